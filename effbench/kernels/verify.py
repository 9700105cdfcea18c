"""Is a result right, and is it still the same? Checks over whole outputs, never over a sample of rows.

A product is checked as Freivalds did: C.x against A(B.x) in fp64 for two random x. The columns are taken in blocks of
64, each with its own part of x, so that one wrong element has to stand out from 64 rounding errors and not from 16384:
a flipped sign or exponent bit of a single element is seen. What no comparison with a tolerance can see, a flipped low
bit, the fingerprint sees.

Tolerance. The residual of a block row is a sum of rounding errors with random signs, so relative to the root mean
square of the row it is about sqrt(u_out^2 / 3 + K u_acc^2 + 2 u_in^2): rounding of the output (uniform within u_out),
K accumulation errors as a random walk (Higham and Mary, SIAM J. Sci. Comput. 41(5), 2019), rounding of both inputs.
Times 8, because the largest of 16384 x 256 x 2 normal deviates is below 6 and split sums round more than once.
"""

import math
from typing import TYPE_CHECKING

from effbench.model.event import Verify

if TYPE_CHECKING:
    import torch

BLOCK = 64
# Work is done in pieces of this size: on a CPU they stay in the cache and come from the heap without page faults
# (64 MiB pieces made it four times slower), on a GPU they are large enough to fill it.
PIECE_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
SAFETY = 8.0
VECTORS = 2

# Unit roundoffs: of the stored output, of one accumulation, of the inputs on their way into the multiplier.
U_OUT = {"fp64": 2**-53, "fp32": 2**-24, "tf32": 2**-24, "bf16": 2**-8, "fp16": 2**-11, "fp8": 2**-8, "int8": 0.0}
# fp8 with fast accumulation keeps about 14 bits (DeepSeek-V3 technical report, section 3.3.2); its random-walk step is
# then 2^-13. Without it partial sums move to fp32 every 128 products.
U_ACC = {"fp64": 2**-53, "fp32": 2**-24, "tf32": 2**-24, "bf16": 2**-24, "fp16": 2**-24, "fp8": 2**-13, "int8": 0.0}
U_IN = {"tf32": 2**-10}  # 10 mantissa bits, truncated by some parts
FP8_PROMOTION_K = 128

_MASK32 = 0xFFFFFFFF
# Odd multipliers of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as signed 64-bit numbers.
_MIX = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
_MODULUS = 1 << 64


def tolerance(dtype: str, k: int, promoted: bool = False) -> float:
    """Return the largest relative residual of a right product with inner dimension `k`; 0 for int8, which is exact.

    Args:
        dtype: input format, a key of `U_OUT`.
        k: inner dimension.
        promoted: fp8 without fast accumulation.
    """
    steps = min(k, FP8_PROMOTION_K) if promoted else k
    variance = U_OUT[dtype] ** 2 / 3 + steps * U_ACC[dtype] ** 2 + 2 * U_IN.get(dtype, 0.0) ** 2
    return SAFETY * math.sqrt(variance)


def poison(output: "torch.Tensor") -> None:
    """Fill an output with what no right result contains (NaN; the least integer), so that unwritten parts show."""
    import torch

    if output.is_floating_point():
        output.fill_(math.nan)
    else:
        output.fill_(torch.iinfo(output.dtype).min)


def product(
    a: "torch.Tensor", b: "torch.Tensor", c: "torch.Tensor", allowed: float, seed: int, exact: bool = False
) -> Verify:
    """Check C = A B over the whole of C.

    Args:
        a: M x K, b: K x N, c: M x N, on one device.
        allowed: largest relative residual, from `tolerance`.
        seed: fixes the random x.
        exact: integers; x is then integral, and every residual must be 0.
    """
    wrong = broken(c)
    if wrong:
        return Verify(ok=False, error=1.0, tolerance=allowed, detail=wrong)
    worst = max(_residual(a, b, c, seed + which, exact) for which in range(VECTORS))
    if not math.isfinite(worst):
        return Verify(ok=False, error=1.0, tolerance=allowed, detail="the residual is not finite")
    detail = "" if worst <= allowed else f"C.x differs from A(B.x) by {worst:.3g} of the row, allowed {allowed:.3g}"
    return Verify(ok=worst <= allowed, error=worst, tolerance=allowed, detail=detail)


def broken(output: "torch.Tensor") -> str:
    """Name what no tolerance is needed for: NaN, Inf, parts never written, all zeros; empty when none is there."""
    import torch

    if not output.is_floating_point():
        if bool((output == torch.iinfo(output.dtype).min).any()):
            return "part of the output was never written"
    elif not bool(torch.isfinite(output.sum(dtype=torch.float64))) and not bool(torch.isfinite(output).all()):
        return "the output holds NaN or Inf, or part of it was never written"
    return "" if bool((output != 0).any()) else "the output is all zeros"


def _residual(a: "torch.Tensor", b: "torch.Tensor", c: "torch.Tensor", seed: int, exact: bool) -> float:
    """Largest |C.x - A(B.x)| over row norm |a| |B x|-scale, in blocks of columns, in chunks of rows."""
    n = c.shape[1]
    x = _random_vector(n, c.device.type, str(c.device), seed, exact)
    bx, squares = _folded(b, x), 0.0
    chunk = max(1, piece_bytes(c) // (8 * max(a.shape[1], n)))
    for low in range(0, b.shape[0], chunk):
        squares += float(_wide(b[low : low + chunk]).square_().sum())
    scale_b = math.sqrt(squares / (b.shape[0] * n) * min(BLOCK, n)) or 1.0
    worst = 0.0
    for low in range(0, a.shape[0], chunk):
        rows = _wide(a[low : low + chunk])
        difference = (_folded(c[low : low + chunk], x) - rows @ bx).abs_()
        norms = rows.norm(dim=1, keepdim=True).clamp_min_(1e-300)
        worst = max(worst, float((difference / (norms * scale_b)).amax()))
    return worst


def _folded(matrix: "torch.Tensor", x: "torch.Tensor") -> "torch.Tensor":
    """Multiply by x within each block of columns: rows x N -> rows x ceil(N / BLOCK), fp64, in chunks of rows."""
    import torch

    rows, n = matrix.shape
    blocks = -(-n // BLOCK)
    out = torch.empty(rows, blocks, dtype=torch.float64, device=matrix.device)
    chunk = max(1, piece_bytes(matrix) // (8 * n))
    for low in range(0, rows, chunk):
        weighted = _wide(matrix[low : low + chunk]).mul_(x)
        padded = torch.nn.functional.pad(weighted, (0, blocks * BLOCK - n)) if n % BLOCK else weighted
        torch.sum(padded.view(-1, blocks, BLOCK), dim=2, out=out[low : low + chunk])
    return out


def _wide(part: "torch.Tensor") -> "torch.Tensor":
    """Copy to fp64, row-major. fp8 goes by way of fp32, which every device can convert to."""
    import torch

    if part.dtype.itemsize == 1 and part.is_floating_point():
        part = part.to(torch.float32)
    return torch.empty(part.shape, dtype=torch.float64, device=part.device).copy_(part)


def _random_vector(n: int, kind: str, device: str, seed: int, exact: bool) -> "torch.Tensor":
    """Random signs times magnitudes 0.5 to 1.5 (or 1 to 3 when exact): no element of C gets a weight near zero."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (n,), generator=generator, dtype=torch.int64).mul_(2).sub_(1).to(torch.float64)
    if exact:
        sizes = torch.randint(1, 4, (n,), generator=generator, dtype=torch.int64).to(torch.float64)
    else:
        sizes = torch.rand(n, generator=generator, dtype=torch.float64).add_(0.5)
    return (signs * sizes).to(device if kind != "cpu" else "cpu")


def fingerprint(output: "torch.Tensor") -> int:
    """Return a 64-bit checksum over the raw bits of a tensor.

    Every 8-byte word is mixed one-to-one with its position and the mixtures are added modulo 2^64. So a change within
    one word always changes the sum, two swapped words change it but for a chance of 2^-64, and the order in which
    threads add does not matter.
    """
    import torch

    raw = output.detach().contiguous().view(-1).view(torch.uint8)
    if raw.storage_offset() % 8:
        raw = raw.clone()
    words = raw.numel() // 8
    body = raw[: words * 8].view(torch.int64)
    step = min(max(words, 1), piece_bytes(output) // 8)
    places = torch.arange(step, dtype=torch.int64, device=raw.device).mul_(_MIX[0])
    scratch = (torch.empty_like(places), torch.empty_like(places))
    total = torch.zeros((), dtype=torch.int64, device=raw.device)
    for low in range(0, words, step):
        piece = body[low : low + step]
        total += _mixed_sum(piece, places[: piece.numel()], low, scratch)
    tail: int = sum(
        (byte + 1) * (2 * (words * 8 + place) + 1) * (_MIX[0] % _MODULUS)
        for place, byte in enumerate(raw[words * 8 :].tolist())
    )
    return (int(total) + tail + raw.numel()) % _MODULUS


def piece_bytes(tensor: "torch.Tensor") -> int:
    """Bytes of one piece of work on the tensor's device."""
    return PIECE_BYTES["cpu" if tensor.device.type == "cpu" else "cuda"]


def _mixed_sum(
    words: "torch.Tensor", places: "torch.Tensor", low: int, scratch: "tuple[torch.Tensor, torch.Tensor]"
) -> "torch.Tensor":
    """Sum of a bijective mixture of words and places, the first word being number `low`."""
    import torch

    mixed, shifted = scratch[0][: words.numel()], scratch[1][: words.numel()]
    offset = low * _MIX[0] % _MODULUS
    torch.add(places, offset - _MODULUS if offset >= _MODULUS // 2 else offset, out=mixed)
    mixed.bitwise_xor_(words).mul_(_MIX[1])
    torch.bitwise_right_shift(mixed, 32, out=shifted)
    mixed.bitwise_xor_(shifted.bitwise_and_(_MASK32)).mul_(_MIX[2])
    return mixed.sum()
