"""How much of the memory really holds what is written to it: fill a share of it, read everything back, count errors.

Every 64-bit word gets a hash of its place, so that a wrong address line shows as well as a stuck bit; every second
pattern is the complement of the one before, so that each bit is once 0 and once 1. The whole share is written before
anything is read back. Then the whole of it is read once more under the clock.

The capacity is measured, not read off a label: what `verified_bytes` counts was written and read back right. On a CPU
the memory is the machine's own, so the share is of what is available, some of it is always left, and nothing swaps.

OVERHEAD: two scratch blocks. FIELDS: `Params`. EXAMPLE: `{kernel: memory_fill, procedure: {mode: once}}` yields
`memory.capacity.verified_bytes`, `health.memory_errors` and `memory.fill.read.bandwidth`.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from effbench.kernels.contract import Rig, Step, Support
from effbench.model.error import SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work
from effbench.model.quantity import finite

if TYPE_CHECKING:
    import torch

VERSION = 1

CHUNK_BYTES = {"gpu": 1 << 30, "cpu": 1 << 28}
# One block of pattern stays in the cache of a CPU while its copies are written and compared.
BLOCK_BYTES = {"gpu": 1 << 26, "cpu": 1 << 23}
CHUNKS_MIN = 8
# On shared memory at least this much, and this share, stays free for everyone else.
HEADROOM_BYTES, HEADROOM_SHARE = 1 << 30, 0.10
# Shares of the time at which no further memory is touched (the first touch of a virtual machine's memory may take
# seconds per GiB), the comparing ends, and the reading ends; and the least number of timed reads.
TOUCH_SHARE, COMPARE_SHARE, READ_SHARE, SAMPLES_MIN = 0.3, 0.7, 0.9, 20
_WORD = 8
_MASK = (1 << 64) - 1
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # splitmix64 (Steele, Lea and Flood, 2014)


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`share` of the free memory, number of `patterns`, and the bytes of one timed read (`chunk_bytes`)."""

    share: float = 0.25
    patterns: int = 2
    chunk_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse shares outside (0, 1) and chunks that are not whole pages."""
        finite("memory_fill", share=self.share)
        if not 0 < self.share <= 0.98:
            raise ValueError(f"share is {self.share}; it lies above 0 and at most at 0.98")
        if not 1 <= self.patterns <= 16:
            raise ValueError(f"patterns is {self.patterns}; it lies between 1 and 16")
        if self.chunk_bytes is not None and (self.chunk_bytes < 4096 or self.chunk_bytes % 4096):
            raise ValueError(f"chunk_bytes is {self.chunk_bytes}; it must be a positive multiple of 4096")


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Read in chunks of 1 GiB (GPU) or 256 MiB (CPU), halved until the share has at least eight of them."""
    if params.chunk_bytes is not None:
        return params
    size = CHUNK_BYTES[accelerator.kind]
    while size > 1 << 20 and size * CHUNKS_MIN > params.share * accelerator.memory_bytes:
        size //= 2
    return msgspec.structs.replace(params, chunk_bytes=size)


def work(params: Params) -> Work:
    """One step reads one chunk."""
    return Work(memory_bytes=float(_chunk(params)))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Every device has memory."""
    return Support()


def outputs(params: Params) -> list[Output]:
    """Read bandwidth over the whole share, verified capacity, and errors (a hard gate)."""
    return [
        Output("memory.fill.read.bandwidth", "memory_bytes", "bandwidth", fractions=True),
        Output("memory.capacity.verified_bytes", "fact:verified_bytes"),
        Output("health.memory_errors", "fact:memory_errors"),
    ]


def label(params: Params) -> str:
    """Name share and patterns."""
    return f"share{params.share:g}-patterns{params.patterns}"


def _chunk(params: Params) -> int:
    if params.chunk_bytes is None:
        raise ValueError("memory_fill parameters are not fitted: chunk_bytes is open")
    return params.chunk_bytes


def build(params: Params, rig: Rig) -> Step:
    """Allocate the share, or as much of it as can be had.

    Raises:
        SiteError: not even one chunk can be had.
    """
    return FillStep(params, rig)


class FillStep:
    """The chunks, the pattern block, and the count of wrong words."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        self._params, self._rig = params, rig
        chunk, free = _chunk(params), rig.free_bytes()
        self._headroom = _headroom(rig)
        self._asked = int(min(params.share * free, free - self._headroom))
        self._chunks: list[torch.Tensor] = []
        self._shrunk = ""
        self._allocate(self._asked // chunk, chunk)
        if not self._chunks:
            raise SiteError(f"memory_fill cannot have one chunk of {chunk} bytes; {free} bytes are free")
        block = min(chunk, BLOCK_BYTES[rig.accelerator.kind])
        self._base = _hashed_places(block // _WORD, rig.device)
        self._scratch = torch.empty_like(self._base)
        self._total = torch.empty((), dtype=torch.int64, device=rig.device)
        self._errors = 0
        self._patterns_done = 0

    def _allocate(self, count: int, chunk: int) -> None:
        import torch

        for _ in range(count):
            try:
                self._chunks.append(torch.empty(chunk // _WORD, dtype=torch.int64, device=self._rig.device))
            except (RuntimeError, MemoryError) as error:
                self._shrunk = f"the allocation stopped early: {(str(error).splitlines() or ['out of memory'])[0]}"
                return

    def run(self, i: int) -> None:
        """Read one chunk: the sum of its words."""
        import torch

        torch.sum(self._chunks[i % len(self._chunks)], dim=0, out=self._total)

    def samples(self, deadline_s: float) -> list[Sample]:
        """Fill and compare with every pattern, then read everything under the clock, all within `deadline_s` seconds.

        What could not be touched or compared in time is given up: it counts neither as verified nor as wrong.
        """
        started = self._rig.monotonic()
        compare_until = started + COMPARE_SHARE * deadline_s
        for pattern in range(self._params.patterns):
            self._fill(pattern, started + TOUCH_SHARE * deadline_s if pattern == 0 else compare_until)
            if not self._compare_all(pattern, compare_until):
                break
            self._patterns_done += 1
        together = max(1, min(4, len(self._chunks) // 4))
        taken: list[Sample] = []
        first = 0
        while first < len(self._chunks) or len(taken) < SAMPLES_MIN:
            if taken and self._rig.monotonic() - started > READ_SHARE * deadline_s:
                break
            timing = self._rig.time(self.run, first, together)
            first += together
            now, clock_hz = time.monotonic_ns(), self._rig.clock_hz()
            taken.append(Sample(now, timing.device_s, timing.host_s, together, clock_hz))
        return taken

    def _blocks(self, chunk: int) -> "Iterator[tuple[int, torch.Tensor]]":
        """Number and words of every block of a chunk; the last may be shorter."""
        words, size = self._chunks[chunk], self._base.numel()
        per_chunk = -(-words.numel() // size)
        for number in range(per_chunk):
            yield chunk * per_chunk + number, words[number * size : (number + 1) * size]

    def _fill(self, pattern: int, until: float) -> None:
        """Write a pattern everywhere. The first one gives up what would eat into the headroom or the time."""
        for chunk in range(len(self._chunks)):
            if pattern == 0 and chunk and (why := self._give_up(until)):
                self._shrunk = f"{why} while filling"
                del self._chunks[chunk:]
                return
            if pattern and self._rig.monotonic() > until:
                return
            self._write(chunk, pattern)

    def _give_up(self, touch_until: float) -> str:
        if self._headroom and self._rig.free_bytes() < self._headroom:
            return "the memory left for others ran short"
        return "its time ran short" if self._rig.monotonic() > touch_until else ""

    def _write(self, chunk: int, pattern: int) -> None:
        import torch

        for number, words in self._blocks(chunk):
            torch.bitwise_xor(self._base[: words.numel()], _key(number, pattern), out=words)

    def _compare_all(self, pattern: int, until: float) -> bool:
        """Compare every chunk and count errors. The first pattern gives up what it does not reach in time.

        Returns False when a later pattern did not reach the end; what it found counts all the same.
        """
        for chunk in range(len(self._chunks)):
            if self._rig.monotonic() > until and (chunk or pattern):
                if pattern:
                    return False
                self._shrunk = "its time ran short while comparing"
                del self._chunks[chunk:]
                break
            self._errors += self._compare(chunk, pattern)
        return True

    def _compare(self, chunk: int, pattern: int) -> int:
        """Read one chunk back and count the words that differ from the pattern."""
        import torch

        wrong = 0
        for number, words in self._blocks(chunk):
            scratch, base = self._scratch[: words.numel()], self._base[: words.numel()]
            torch.bitwise_xor(words, _key(number, pattern), out=scratch)
            if not torch.equal(scratch, base):
                wrong += int((scratch != base).sum())
        return wrong

    def _size(self) -> int:
        return len(self._chunks) * _chunk(self._params)

    def verify(self) -> Verify:
        """Before the pass: write and read back the first chunk. After it: no word was wrong in the whole."""
        if not self._patterns_done:
            self._write(0, pattern=0)
            wrong, of = self._compare(0, pattern=0), _chunk(self._params)
        else:
            wrong, of = self._errors, self._size()
        detail = f"{wrong} words of 64 bits read back wrong" if wrong else ""
        return Verify(ok=wrong == 0, error=wrong * _WORD / of, tolerance=0.0, detail=detail)

    def fingerprint(self) -> int | None:
        """None: every word is compared instead."""
        return None

    def facts(self) -> dict[str, float]:
        """Verified bytes and wrong words, once the pass has run; what was asked for, and the patterns done.

        A word that is wrong in two patterns is two errors, and is taken off the verified bytes twice.
        """
        facts = {"asked_bytes": float(self._asked), "patterns_done": float(self._patterns_done)}
        if self._patterns_done:
            verified = max(0, self._size() - _WORD * self._errors)
            facts |= {"verified_bytes": float(verified), "memory_errors": float(self._errors)}
        return facts

    def texts(self) -> dict[str, str]:
        """The pattern, and whether less than asked for could be had."""
        short = self._params.patterns - self._patterns_done
        return {
            "pattern": "splitmix64 of the address, every second pattern complemented, compared word by word",
            "extent": self._shrunk or "the whole share was had",
            "patterns": f"{self._patterns_done} done" + (f", {short} left out for lack of time" if short else ""),
        }

    def close(self) -> None:
        """Let go of the memory, and give it back to the device."""
        self._chunks.clear()
        self._rig.free_bytes()


def _headroom(rig: Rig) -> int:
    """Bytes to leave free: for everyone else on a CPU, for the library's workspace on a GPU."""
    if rig.accelerator.kind == "cpu":
        return int(max(HEADROOM_BYTES, HEADROOM_SHARE * rig.accelerator.memory_bytes))
    return 0


def _key(number: int, pattern: int) -> int:
    """The 64 bits, as a signed number, that tell one block from every other; odd patterns are complements."""
    mixed = (number * 0x1_0000_0001 + (pattern // 2 + 1) * _MIX[0]) & _MASK
    mixed = ((mixed ^ mixed >> 30) * _MIX[1]) & _MASK
    mixed = ((mixed ^ mixed >> 27) * _MIX[2]) & _MASK
    mixed ^= mixed >> 31
    if pattern % 2:
        mixed ^= _MASK
    return mixed - (1 << 64) if mixed >> 63 else mixed


def _hashed_places(words: int, device: str) -> "torch.Tensor":
    """A different 64-bit number for every word of a block: multiplication by odd numbers and folds are one-to-one."""
    import torch

    places = torch.arange(words, dtype=torch.int64, device=device)
    for factor in _MIX:
        places.mul_(factor - (1 << 64) if factor >> 63 else factor)
        places.bitwise_xor_((places >> 32).bitwise_and_(0xFFFFFFFF))
    return places
