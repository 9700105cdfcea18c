"""Owns the talk with `fio`: the words of one burst of I/O on an open file, and what its JSON says of it.

fio (github.com/axboe/fio, packaged by every distribution) is the measuring instrument of the storage kernels. It gets
the file as an open descriptor, so that the file needs no name and vanishes with the last process that holds it.
"""

import ctypes
import errno
import functools
import mmap
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence

import msgspec

from effbench.model.error import SiteError

__all__ = ["REMEDY", "Burst", "FioError", "Job", "find", "resident_share", "run", "version", "words"]

REMEDY = "install fio: apt-get install fio"
PR_SET_PDEATHSIG = 1  # prctl(2)
# fio counts its run time in whole milliseconds: a burst of at least this many is timed to one in two hundred.
MILLISECONDS_MIN = 200
P99 = "99.000000"
# What fio calls a block that did not read back as it was written (its verify.c): EILSEQ.
WRONG_DATA = errno.EILSEQ


class FioError(SiteError):
    """fio ran and failed. `number` is its errno, 0 where it gave none."""

    def __init__(self, message: str, number: int = 0) -> None:
        self.number = number
        super().__init__(message)


class Job(msgspec.Struct, frozen=True):
    """One burst: how to read or write, in which blocks, how many at once. `seconds` None: the whole size once."""

    rw: str
    block_bytes: int
    size_bytes: int
    depth: int
    direct: bool
    engine: str
    seconds: float | None = None
    verify: bool = False
    check: bool = False
    seed: int = 1


class Burst(msgspec.Struct, frozen=True):
    """What a burst did: blocks, bytes, the seconds they took, and the 99 % quantile of one block's time, s."""

    blocks: int
    bytes: int
    seconds: float
    p99_s: float | None


class _Times(msgspec.Struct):
    percentile: dict[str, float] = {}


class _Direction(msgspec.Struct):
    io_bytes: int = 0
    total_ios: int = 0
    runtime: int = 0
    clat_ns: _Times = msgspec.field(default_factory=_Times)


class _Job(msgspec.Struct):
    error: int
    read: _Direction
    write: _Direction


class _Answer(msgspec.Struct):
    jobs: list[_Job]


def find() -> str | None:
    """Return the path of fio, None where it is not installed."""
    return shutil.which("fio")


def version() -> str:
    """Return what fio calls itself, `fio-3.33`.

    Raises:
        SiteError: it is not installed.
    """
    path = find()
    if path is None:
        raise SiteError(f"fio is not installed; {REMEDY}")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip()


def words(job: Job, fd: int) -> list[str]:
    """Return fio's arguments for one burst on descriptor `fd`. Pure."""
    listed = [
        "--name=effbench",
        "--output-format=json",
        f"--filename=/proc/self/fd/{fd}",
        f"--rw={job.rw}",
        f"--bs={job.block_bytes}",
        f"--size={job.size_bytes}",
        f"--iodepth={job.depth}",
        f"--direct={int(job.direct)}",
        f"--ioengine={job.engine}",
        f"--randseed={job.seed}",
        "--allow_file_create=0",
        "--overwrite=1",
        "--verify_state_save=0",
        "--thread",
    ]
    if job.seconds is not None:
        listed += ["--time_based", f"--runtime={round(job.seconds * 1000)}ms"]
    if job.verify:
        listed += ["--verify=crc32c", f"--do_verify={int(job.check)}", "--verify_fatal=1"]
    return listed


def run(job: Job, fd: int, folder: str, timeout_s: float) -> Burst:
    """Run one burst on an open file; fio is killed at `timeout_s` seconds, and when this process dies.

    Raises:
        SiteError: fio is not installed.
        FioError: it failed, did not end in time, or said what it cannot have done.
    """
    path = find()
    if path is None:
        raise SiteError(f"fio is not installed; {REMEDY}")
    try:
        done = subprocess.run(
            [path, *words(job, fd)],
            cwd=folder,
            pass_fds=[fd],
            capture_output=True,
            timeout=timeout_s,
            check=False,
            preexec_fn=_die_with_parent(),
        )
    except subprocess.TimeoutExpired as error:
        raise FioError(
            f"fio {job.rw} did not end within {timeout_s:.0f} s: the storage hangs or is very slow"
        ) from error
    except OSError as error:
        raise FioError(f"fio did not start in {folder}: {error.strerror}", error.errno or 0) from error
    return read(done.stdout, done.stderr, done.returncode, job)


def read(stdout: bytes, stderr: bytes, returncode: int, job: Job) -> Burst:
    """Return what fio's output says of the burst. Lines before its JSON are passed over.

    Raises:
        FioError: a failure, no JSON, or a burst in which nothing was done.
    """
    start = stdout.find(b"{")
    try:
        answer = msgspec.json.decode(stdout[max(0, start) :], type=_Answer)
    except msgspec.DecodeError as error:
        raise FioError(f"fio {job.rw} ended with {returncode} and gave no result: {_said(stdout, stderr)}") from error
    if returncode != 0 or any(one.error for one in answer.jobs) or len(answer.jobs) != 1:
        number = next((one.error for one in answer.jobs if one.error), 0)
        why = os.strerror(number) if number else f"status {returncode}"
        raise FioError(f"fio {job.rw} failed: {why} ({_said(stdout[:start], stderr)})", number)
    way = answer.jobs[0].read if job.rw.endswith("read") else answer.jobs[0].write
    if way.total_ios <= 0 or way.io_bytes <= 0:
        raise FioError(f"fio {job.rw} ended well but moved nothing")
    if job.seconds is not None and way.runtime < MILLISECONDS_MIN:
        raise FioError(f"fio {job.rw} ran for {way.runtime} ms, too short to be timed")
    p99 = way.clat_ns.percentile.get(P99)
    return Burst(way.total_ios, way.io_bytes, way.runtime / 1000, p99 / 1e9 if p99 is not None else None)


def resident_share(fd: int, size: int) -> float | None:
    """Return which share of a file's first `size` bytes the page cache holds (mincore(2)); None where it will not say.

    After direct I/O it is nought: a file system that takes O_DIRECT and caches all the same is found out by it.
    """
    try:
        with mmap.mmap(fd, size) as view:
            pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
            held = (ctypes.c_ubyte * pages)()
            start = ctypes.c_char.from_buffer(view)
            answer = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), held)
            del start
    except (OSError, ValueError, AttributeError):
        return None
    return sum(page & 1 for page in held) / pages if answer == 0 else None


def _said(*streams: bytes) -> str:
    """The first line in which fio says something, stderr last."""
    lines: Sequence[str] = b"\n".join(reversed(streams)).decode(errors="replace").strip().splitlines()
    return lines[0][:200] if lines else "it said nothing"


def _die_with_parent() -> Callable[[], object]:
    """Return what fio's process does first: ask to be killed with this one. The library is loaded before the fork."""
    return functools.partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGKILL)
