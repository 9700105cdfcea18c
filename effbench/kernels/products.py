"""Matrix products in every number format: operands, and the one torch call that multiplies them into a given output.

Layout: B is stored transposed on a GPU, as a linear layer holds its weight and as published maxima were taken; on a
CPU it is row-major. fp8 needs the transposed form everywhere.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from effbench.kernels import inputs
from effbench.kernels.dtypes import BYTES, OUTPUT, OUTPUT_BYTES

if TYPE_CHECKING:
    import torch

    Operands = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]

# cuBLASLt wants 16-byte rows for 8-bit operands; torch._int_mm also wants more than 16 rows.
EIGHT_BIT_MULTIPLE = 16


def flop(m: int, n: int, k: int) -> float:
    """Count one product: 2 m n k, a fused multiply-add being two flop."""
    return 2.0 * m * n * k


def set_bytes(dtype: str, m: int, n: int, k: int) -> int:
    """Bytes of A, B and C together: what a product moves at least once."""
    return (m * k + k * n) * BYTES[dtype] + m * n * OUTPUT_BYTES[dtype]


def shape_refused(dtype: str, m: int, n: int, k: int) -> str:
    """Say why a GPU cannot multiply this shape in an 8-bit format; empty when it can."""
    if dtype not in ("fp8", "int8") or not (m % EIGHT_BIT_MULTIPLE or n % EIGHT_BIT_MULTIPLE or k % EIGHT_BIT_MULTIPLE):
        return "" if dtype != "int8" or m > EIGHT_BIT_MULTIPLE else "not applicable: int8 products need m above 16"
    return f"not applicable: {dtype} products need m, n and k that are multiples of {EIGHT_BIT_MULTIPLE}"


def transposed(dtype: str, device: str) -> bool:
    """Whether B is stored transposed (N x K)."""
    return dtype == "fp8" or not device.startswith("cpu")


def operands(dtype: str, m: int, n: int, k: int, device: str, seed: int) -> "Operands":
    """Draw A (m x k) and B (k x n), and allocate C (m x n)."""
    a = inputs.tensor((m, k), dtype, device, seed)
    turned = transposed(dtype, device)
    b = inputs.tensor((n, k) if turned else (k, n), dtype, device, seed + 1)
    return a, b.t() if turned else b, empty_output(dtype, m, n, device)


def empty_output(dtype: str, m: int, n: int, device: str) -> "torch.Tensor":
    """Allocate C for a product in `dtype`."""
    import torch

    return torch.empty(m, n, dtype=inputs.torch_dtype(OUTPUT.get(dtype, dtype)), device=device)


def multiplier(dtype: str, device: str, fast_accumulation: bool) -> "Multiply":
    """Return the call that computes C = A B into C. It launches asynchronously on a GPU and allocates no output."""
    import torch

    if dtype == "int8":
        return lambda a, b, c: _discard(torch._int_mm(a, b, out=c))
    if dtype == "fp8":
        one = torch.ones((), dtype=torch.float32, device=device)
        scaled = torch._scaled_mm
        return lambda a, b, c: _discard(
            scaled(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=fast_accumulation, out=c)
        )
    return lambda a, b, c: _discard(torch.mm(a, b, out=c))


def _discard(result: "torch.Tensor") -> None:
    """The result is `out`; nothing is returned."""
