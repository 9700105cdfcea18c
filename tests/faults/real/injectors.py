"""Real faults of a CPU node: each is put in place around one command, proved to have been there, and taken away again.

An injector is a context manager over the number and the folder of a run, neither of which need be there yet. It yields
`Around`: the words before the command, further environment variables, and a question that says, after the command, by
what the fault is known to have acted.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
# Far below what a local disk reads directly, and what a node on starved network storage gets.
DISK_BYTES_PER_S = 200_000_000
JUMP_S = 3600
BUSY = "while True:\n    pass\n"
# Copies 256 MiB to and fro, far beyond any cache.
HOG = "import numpy\na = numpy.ones(1 << 25); b = numpy.zeros(1 << 25)\nwhile True:\n    b[:] = a; a[:] = b\n"
JOIN = "import os, sys\nopen(sys.argv[1] + '/cgroup.procs', 'w').write('0')\nos.execv(sys.argv[2], sys.argv[2:])\n"
PIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nos.execv(sys.argv[2], sys.argv[2:])\n"


class NotInjectableError(Exception):
    """This machine does not let the fault be injected; the message says why."""


class Around(NamedTuple):
    """How the command is to be started, and how to tell afterwards that the fault was there."""

    words: list[str]
    environment: dict[str, str]
    proof: Callable[[], str]


Injector = Callable[[int, Path], contextlib.AbstractContextManager[Around]]


def cpus() -> list[int]:
    """The logical CPUs that may be used."""
    return sorted(os.sched_getaffinity(0))


def die_along() -> None:
    """Die with the parent, however it ends (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def nothing(number: int, folder: Path) -> Iterator[Around]:
    """The same healthy node."""
    yield Around([], {}, lambda: "nothing was injected")


@contextlib.contextmanager
def competing_load(number: int, folder: Path) -> Iterator[Around]:
    """A busy loop pinned to each core."""
    with contextlib.ExitStack() as stack:
        began = [stack.enter_context(_running(BUSY, one)) for one in cpus()]
        yield Around([], {}, lambda: _used(began))


@contextlib.contextmanager
def bandwidth_hog(number: int, folder: Path) -> Iterator[Around]:
    """A process that copies memory beyond all caches without a pause, on whichever core it gets."""
    with _running(HOG, None) as one:
        time.sleep(0.5)  # until its arrays are there
        yield Around([], {}, lambda: _used([one]))


@contextlib.contextmanager
def quota(number: int, folder: Path) -> Iterator[Around]:
    """A control group whose quota is half of the cores."""
    half_us = PERIOD_US * len(cpus()) // 2
    if (CGROUPS / "cpu").is_dir():
        limits = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(half_us)}
        made = _group("cpu", limits)
    else:
        made = _group("", {"cpu.max": f"{half_us} {PERIOD_US}"}, "cpu")
    with made as group:
        yield Around(_joining(group), {}, partial(_periods, group))


@contextlib.contextmanager
def affinity(number: int, folder: Path) -> Iterator[Around]:
    """All cores but one are taken away; which one is left takes turns."""
    if len(cpus()) < 2:
        raise NotInjectableError("there is one core only, so none can be taken away")
    left = cpus()[number % len(cpus())]
    yield Around([sys.executable, "-c", PIN, str(left)], {}, lambda: f"only CPU {left} was left")


@contextlib.contextmanager
def slow_disk(number: int, folder: Path) -> Iterator[Around]:
    """A control group in which the disk under the run folder reads at most 200 MB/s."""
    disk = _disk(folder.parent)
    if (CGROUPS / "blkio").is_dir():
        made = _group("blkio", {"blkio.throttle.read_bps_device": f"{disk} {DISK_BYTES_PER_S}"})
    else:
        made = _group("", {"io.max": f"{disk} rbps={DISK_BYTES_PER_S}"}, "io")
    with made as group:
        yield Around(_joining(group), {}, partial(_moved, group, disk))


@contextlib.contextmanager
def flipped_bit(number: int, folder: Path, first: int | None = None, bit: int | None = None) -> Iterator[Around]:
    """One bit of one element of every product is wrong from the `first` one on; drawn by the run's number if not given.

    Products 5 to 8 of a worker follow its first checks and are timed or checked: the worker began healthy.
    """
    draw = random.Random(f"flip {number}")
    first = draw.randint(5, 8) if first is None else first
    element, bit = draw.randrange(1 << 22), draw.randrange(32) if bit is None else bit
    mark = folder.parent / f"flipped-{number}"
    path = os.pathsep.join(filter(None, [str(HERE / "flip"), os.environ.get("PYTHONPATH", "")]))
    told = {"PYTHONPATH": path, "EFFBENCH_TEST_FLIP": f"{first},{element},{bit},{mark}"}
    try:
        yield Around([], told, lambda: f"bit {bit} from product {first} on" if mark.exists() else "")
    finally:
        mark.unlink(missing_ok=True)


@contextlib.contextmanager
def clock_jump(number: int, folder: Path, by_s: int | None = None) -> Iterator[Around]:
    """The date goes forward by an hour once the run has begun, back by one in runs of an odd number.

    Setting the machine's own date would hurt everyone on it, so a preloaded library moves what the run is told, from
    the moment on at which its journal holds the plan.
    """
    library = folder.parent / "jump.so"
    try:
        words = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "jump.c"), "-ldl"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        raise NotInjectableError(f"gcc, which builds the library that moves the date: {error.strerror}") from error
    if done.returncode != 0:
        raise NotInjectableError(f"gcc does not build the library that moves the date: {done.stderr.strip()[:200]}")
    by_s = (-JUMP_S if number % 2 else JUMP_S) if by_s is None else by_s
    journal = folder / "journal.jsonl.gz"
    told = {"LD_PRELOAD": str(library), "EFFBENCH_TEST_JUMP_S": str(by_s), "EFFBENCH_TEST_JUMP_WHEN": str(journal)}
    yield Around([], told, lambda: f"{by_s:+d} s" if journal.exists() and journal.stat().st_size else "")


@contextlib.contextmanager
def _running(script: str, cpu: int | None) -> Iterator[int]:
    """A process beside the run; it is gone afterwards."""
    process = subprocess.Popen([sys.executable, "-c", script], preexec_fn=die_along)
    try:
        if cpu is not None:
            os.sched_setaffinity(process.pid, {cpu})
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _used(pids: list[int]) -> str:
    """How long these processes worked; empty when one of them is gone."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return ""
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return f"{len(pids)} processes worked for {total:.1f} core-seconds" if total > 1 else ""


@contextlib.contextmanager
def _group(controller: str, limits: dict[str, str], enable: str = "") -> Iterator[Path]:
    """A control group with these limits, removed afterwards: version 1 with `controller`, version 2 with `enable`."""
    top = CGROUPS / controller
    group = top / f"effbench-fault-{os.getpid()}"
    for left_behind in top.glob("effbench-fault-*"):
        with contextlib.suppress(OSError):
            left_behind.rmdir()  # of a command that was killed; one in use cannot be removed
    switch = top / "cgroup.subtree_control"
    on = enable and enable not in switch.read_text().split() if switch.exists() else False
    try:
        if on:
            switch.write_text(f"+{enable}")
        group.mkdir()
    except OSError as error:
        raise NotInjectableError(f"no control group can be made in {top}: {error.strerror}") from error
    try:
        for name, value in limits.items():
            _limit(group / name, value)
        yield group
    finally:
        _removed(group)
        if on:
            switch.write_text(f"-{enable}")


def _limit(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise NotInjectableError(f"{path.name} cannot be set: {error.strerror}") from error


def _removed(group: Path) -> None:
    """Remove a group, whose last processes may need a moment to end."""
    end = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _joining(group: Path) -> list[str]:
    """Words that put what follows them into the group."""
    return [sys.executable, "-c", JOIN, str(group)]


def _periods(group: Path) -> str:
    stat = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    periods = int(stat.get("nr_periods", 0))
    return f"the quota counted in {periods} periods and stopped in {stat['nr_throttled']}" if periods else ""


def _moved(group: Path, disk: str) -> str:
    for name, word in (("blkio.throttle.io_service_bytes", "Read "), ("io.stat", "rbytes=")):
        if (group / name).is_file():
            lines = [line for line in (group / name).read_text().splitlines() if line.startswith(disk) and word in line]
            read = int(lines[0].partition(word)[2].split()[0]) if lines else 0
            return f"{read / 1e6:.0f} MB were read at no more than {DISK_BYTES_PER_S / 1e6:.0f} MB/s" if read else ""
    return ""


def _disk(folder: Path) -> str:
    """Major and minor number of the whole disk under a folder."""
    device = folder.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    if not block.is_dir():
        raise NotInjectableError("the file system is on no single block device, so none can be slowed")
    return ((block.parent if (block / "partition").exists() else block) / "dev").read_text().strip()
