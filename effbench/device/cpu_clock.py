"""The clock that a CPU core holds at this moment, from a timed chain of dependent multiplications.

Virtual machines expose no cycle counters, and /proc/cpuinfo shows a nominal figure (2.60 where 3.66 GHz was held).
So a few dozen bytes of machine code are timed instead: a chain of 32-bit `imul`, each needing the result of the one
before, takes three clocks per link on Intel since Nehalem and on every Zen, whatever the operands. (Not `add`: a
dependent add of an immediate is folded at rename on newer cores and reads 19 GHz. Not the 64-bit `imul`: it is as fast
where both were tried, a Zen 4, but is slower on some small cores.)

Call `probe_hz()` on the core that did the work, right after it: the clock that wide vector or matrix code brings with
it relaxes within 0.7 to 2 ms, so the whole probe stays under 0.1 ms.
"""

import ctypes
import functools
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

LINKS_PER_TRIP = 16
CLOCKS_PER_LINK = 3
# Two trip counts: their difference cancels the 1 to 2 us that one call through ctypes costs. 500 trips are 24 000
# clocks, 6.5 us at 3.7 GHz, against a timer that resolves about 20 ns: 0.3 % each, less in the median of five.
TRIPS_SHORT = 50
TRIPS_LONG = 550
PAIRS = 5
# Outside this band the figure is no clock of a real core (an emulator, a core that was taken away all the time).
PLAUSIBLE_HZ = (0.3e9, 8.0e9)

_PAGE = 4096
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_SHARED, _MAP_PRIVATE, _MAP_ANONYMOUS = 1, 2, 0x20
# x86-64, System V: the trip count arrives in rdi, nothing but eax, rdi and flags is touched.
_IMUL_EAX_EAX = b"\x0f\xaf\xc0"
_CODE = (
    b"\xb8\x03\x00\x00\x00"  # mov eax, 3
    + _IMUL_EAX_EAX * LINKS_PER_TRIP
    + b"\x48\xff\xcf"  # dec rdi
    + b"\x75"  # jnz back to the first imul
    + (-(len(_IMUL_EAX_EAX) * LINKS_PER_TRIP + 3 + 2) & 0xFF).to_bytes(1, "little")
    + b"\xc3"  # ret
)


class Spread(msgspec.Struct, frozen=True):
    """Several probes one after another: their median, their relative range, and what one of them costs.

    Attributes:
        median_hz: median of the readings that were clocks.
        relative_range: (95 % quantile - 5 % quantile) / median, dimensionless.
        n: readings that were clocks.
        refused: readings that were not.
        cost_s: median time of one whole probe, seconds.
    """

    median_hz: float
    relative_range: float
    n: int
    refused: int
    cost_s: float


def probe_hz() -> float | None:
    """Read the clock of the core that this thread runs on, Hz; None where `why_absent()` says why.

    Takes about 50 us. The first call of a pair's code after a large matrix product reads 1.0 to 2.2 GHz, because the
    code fell out of the caches, so one call is thrown away and each long call comes before its short one.
    """
    chain = _chain()
    return None if isinstance(chain, str) else _reading(chain)


def why_absent() -> str:
    """Say in one sentence why `probe_hz` gives None here; empty where the probe runs."""
    chain = _chain()
    return chain if isinstance(chain, str) else ""


def spread(n: int = 50, pause_s: float = 0.001) -> Spread | None:
    """Probe `n` times, `pause_s` apart, as a check on the probe itself; None where it does not run."""
    readings: list[float] = []
    costs: list[float] = []
    for _ in range(n):
        start = time.perf_counter()
        reading = probe_hz()
        costs.append(time.perf_counter() - start)
        if reading is not None:
            readings.append(reading)
        time.sleep(pause_s)
    if not readings:
        return None
    readings.sort()
    last = len(readings) - 1
    low, high = readings[round(0.05 * last)], readings[round(0.95 * last)]
    middle = statistics.median(readings)
    return Spread(middle, (high - low) / middle, len(readings), n - len(readings), statistics.median(costs))


def _reading(chain: Callable[[int], None], clock: Callable[[], int] = time.perf_counter_ns) -> float | None:
    """Time pairs of a long and a short call; the clock in Hz, or None when no pair makes sense."""
    chain(TRIPS_SHORT)
    differences = []
    for _ in range(PAIRS):
        start = clock()
        chain(TRIPS_LONG)
        middle = clock()
        chain(TRIPS_SHORT)
        differences.append(2 * middle - start - clock())
    difference = statistics.median(differences)
    if difference <= 0:
        return None
    hertz = (TRIPS_LONG - TRIPS_SHORT) * LINKS_PER_TRIP * CLOCKS_PER_LINK / (difference * 1e-9)
    return hertz if PLAUSIBLE_HZ[0] <= hertz <= PLAUSIBLE_HZ[1] else None


@functools.cache
def _chain() -> Callable[[int], None] | str:
    """Build the chain once per process; the reason in words where it cannot be had."""
    if platform.machine() not in ("x86_64", "AMD64") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return f"the clock probe is written for 64-bit x86; this machine is {platform.machine() or 'unknown'}"
    reason = _latency_unknown(Path("/proc/cpuinfo"))
    if reason:
        return reason
    try:
        address = _executable_page()
    except OSError as error:
        return f"this system refuses executable memory to programs ({error.strerror}), so the clock probe cannot run"
    # PYFUNCTYPE keeps the interpreter lock: giving it up could cost a switch to another thread inside the timed part.
    return ctypes.PYFUNCTYPE(None, ctypes.c_uint64)(address)


def _latency_unknown(cpuinfo: Path) -> str:
    """Say why the three clocks per link are not vouched for on this core; empty when they are."""
    facts: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if not name.strip():
                break
            facts[name.strip()] = value.strip()
    except OSError as error:
        return f"the processor is unknown ({cpuinfo}: {error.strerror}), and so is the latency of its multiplier"
    vendor, family = facts.get("vendor_id", ""), int(facts.get("cpu family", "0") or 0)
    intel = vendor == "GenuineIntel" and "avx2" in facts.get("flags", "").split()
    zen = vendor in ("AuthenticAMD", "HygonGenuine") and family >= 0x17
    if intel or zen:
        return ""
    return f"the latency of an integer multiplication is not known for {vendor or 'this vendor'} family {family}"


def _executable_page() -> int:
    """Map one page that holds the code and may run; never writable and executable at once. Kept for good.

    Raises:
        OSError: neither an anonymous page nor one of an in-memory file may become executable (SELinux, seccomp).
    """
    try:
        return _anonymous_page()
    except OSError:
        return _memory_file_page()


def _anonymous_page() -> int:
    """Write the code into an anonymous page, then turn it from writable into executable."""
    libc = _libc()
    address = _mapped(libc, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1)
    ctypes.memmove(address, _CODE, len(_CODE))
    if libc.mprotect(address, _PAGE, _PROT_READ | _PROT_EXEC) != 0:
        number = ctypes.get_errno()
        libc.munmap(address, _PAGE)
        raise OSError(number, os.strerror(number))
    return address


def _memory_file_page() -> int:
    """Map the code from a file in memory: the way in where pages may not gain the right to execute."""
    descriptor = os.memfd_create("effbench-clock-probe")
    try:
        os.write(descriptor, _CODE.ljust(_PAGE, b"\xcc"))
        return _mapped(_libc(), _PROT_READ | _PROT_EXEC, _MAP_SHARED, descriptor)
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc


def _mapped(libc: ctypes.CDLL, protection: int, flags: int, descriptor: int) -> int:
    """Call mmap for one page; its address.

    Raises:
        OSError: the kernel refused.
    """
    address = libc.mmap(None, _PAGE, protection, flags, descriptor, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(address)
