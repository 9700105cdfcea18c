"""The clock probe: plausible where it runs, None with a reason where it cannot, and never writable code."""

import itertools
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from effbench.device import cpu_clock

ON_X86 = platform.machine() == "x86_64"
needs_x86 = pytest.mark.skipif(not ON_X86, reason="the clock probe is x86-64 machine code")


@pytest.fixture(autouse=True)
def fresh():
    cpu_clock._chain.cache_clear()
    yield
    cpu_clock._chain.cache_clear()


@needs_x86
def test_a_reading_is_a_clock():
    reading = cpu_clock.probe_hz()
    if reading is None:
        pytest.skip(cpu_clock.why_absent())
    assert 0.5e9 < reading < 7e9
    assert cpu_clock.why_absent() == ""


@needs_x86
def test_probes_agree_and_are_short():
    result = cpu_clock.spread(n=40)
    if result is None:
        pytest.skip(cpu_clock.why_absent())
    assert result.n + result.refused == 40
    # A loose bound: the machine may be busy. A chain that were folded or not dependent would be off by 3 or more.
    assert result.relative_range < 0.5
    assert result.cost_s < 1e-3


@needs_x86
def test_code_is_what_the_docstring_says():
    assert len(cpu_clock._CODE) < 90
    assert cpu_clock._CODE.count(b"\x0f\xaf\xc0") == cpu_clock.LINKS_PER_TRIP
    jump = cpu_clock._CODE.index(b"\x75")
    back = cpu_clock._CODE[jump + 1] - 256
    assert jump + 2 + back == 5, "the jump must land on the first imul, right behind the 5 bytes of mov"


@needs_x86
def test_time_grows_with_trips():
    chain = cpu_clock._chain()
    if isinstance(chain, str):
        pytest.skip(chain)
    import time

    def shortest(trips):
        times = []
        for _ in range(20):
            start = time.perf_counter_ns()
            chain(trips)
            times.append(time.perf_counter_ns() - start)
        return min(times)

    assert 5 < shortest(20_000) / shortest(2_000) < 20


def scripted(*durations):
    """A clock whose successive gaps are the given durations, in pairs long, short."""
    ticks = itertools.accumulate(itertools.chain.from_iterable((0, d[0], d[1]) for d in durations))
    return lambda: next(ticks)


def test_difference_of_two_trip_counts_cancels_the_call():
    # 24000 clocks at 3 GHz are 8000 ns; every call carries 1500 ns, whatever its trips.
    pairs = [(8800 + 1500, 800 + 1500)] * cpu_clock.PAIRS
    assert cpu_clock._reading(lambda trips: None, scripted(*pairs)) == pytest.approx(3e9)


def test_two_interrupted_pairs_of_five_do_not_matter():
    good, late_long, late_short = (8800, 800), (95_000, 800), (8800, 60_000)
    pairs = [good, late_long, good, late_short, good]
    assert cpu_clock._reading(lambda trips: None, scripted(*pairs)) == pytest.approx(3e9)


@pytest.mark.parametrize("pair", [(800, 8800), (800, 800), (10**9, 0), (801, 800)])
def test_what_is_no_clock_is_absent(pair):
    assert cpu_clock._reading(lambda trips: None, scripted(*[pair] * cpu_clock.PAIRS)) is None


def test_first_call_is_thrown_away():
    calls = []
    ticks = itertools.count(0, 1000)
    cpu_clock._reading(calls.append, lambda: next(ticks))
    assert calls[0] == cpu_clock.TRIPS_SHORT
    assert calls[1:3] == [cpu_clock.TRIPS_LONG, cpu_clock.TRIPS_SHORT]
    assert len(calls) == 1 + 2 * cpu_clock.PAIRS


def test_other_machine_has_a_reason(monkeypatch):
    monkeypatch.setattr(cpu_clock.platform, "machine", lambda: "aarch64")
    assert cpu_clock.probe_hz() is None
    assert "aarch64" in cpu_clock.why_absent()
    assert cpu_clock.spread(2, 0) is None


@needs_x86
def test_refused_mapping_has_a_reason(monkeypatch):
    def refuse():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cpu_clock, "_anonymous_page", refuse)
    monkeypatch.setattr(cpu_clock, "_memory_file_page", refuse)
    assert cpu_clock.probe_hz() is None
    assert "refuses executable memory" in cpu_clock.why_absent()


@needs_x86
def test_hardened_process_still_reads_a_clock():
    """Under PR_SET_MDWE (Linux 6.3) no page may become executable; the page of the memory file still may."""
    code = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "from effbench.device import cpu_clock\n"
        "try: cpu_clock._anonymous_page()\n"
        "except OSError: pass\n"
        "else: sys.exit(1)\n"
        "print(cpu_clock.probe_hz())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
    assert 0.5e9 < float(done.stdout) < 7e9


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nflags\t\t: avx2\n", True),
        ("vendor_id\t: HygonGenuine\ncpu family\t: 24\nflags\t\t: avx2\n", True),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 21\nflags\t\t: avx2\n", False),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 6\nflags\t\t: sse2 avx2\n", True),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 6\nflags\t\t: sse2\n", False),
        ("vendor_id\t: Shanghai\ncpu family\t: 7\nflags\t\t: avx2\n", False),
        ("", False),
    ],
)
def test_latency_is_vouched_for_by_vendor_and_family(tmp_path: Path, text, known):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert (cpu_clock._latency_unknown(path) == "") is known


def test_no_cpuinfo_is_a_reason(tmp_path: Path):
    assert "unknown" in cpu_clock._latency_unknown(tmp_path / "none")
