"""What reading and writing storage through fio have in common: the file, the bursts, and the proof of direct I/O."""

import errno
import os
import statistics
import time
from typing import Annotated, Literal, TypeVar

import msgspec

from effbench.kernels import fio, scratch
from effbench.kernels.contract import Rig, Support
from effbench.model.error import InputError, SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

ALIGNMENT = 4096  # direct I/O needs blocks of whole sectors; no sector in use is larger
BLOCK_BYTES = {"sequential": 1 << 20, "random": 4096}
# The same on every node. Small beside a device's own cache, if it has one: direct I/O passes the host's memory only.
FILE_BYTES = 256 << 20
BURST_S = 0.5
BURSTS_MIN, BURSTS_MAX = 3, 40
# A trial stops when it has moved this much, however fast the device, so that flash is not worn for a benchmark.
TRAFFIC_BYTES = 16 << 30
VERIFY_BYTES = 64 << 20
# Of the file in the page cache after direct I/O: more than this, and it was not direct.
CACHED_SHARE = 0.01
# A pass over the file and the wait for a burst are given up after this, with a sentence, before the trial is killed.
PASS_S, BURST_WAIT_S = 20.0, 15.0
BUFFERED = {
    "read": "buffered: through the host's page cache, so mostly the speed of memory and not of a device",
    "write": "buffered: into the host's page cache and not durable, so not the speed of a device",
}
OWN_PASS_FACTOR = 3.0  # effbench.run.measure gives a pass of its own three times `duration_s`

Way = Literal["read", "write"]
Asked = TypeVar("Asked", bound="StorageParams")


class StorageParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to read or write. None is filled by `fit`; the empty `folder` is the run's working directory, in bytes."""

    pattern: Literal["sequential", "random"] = "sequential"
    depth: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    direct: bool = True
    block_bytes: Annotated[int, msgspec.Meta(ge=512)] | None = None
    file_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] | None = None
    engine: Literal["libaio", "io_uring", "psync"] = "libaio"
    folder: str = ""

    def __post_init__(self) -> None:
        """Refuse sizes that direct I/O cannot move, and a depth that the engine does not have."""
        block, size = self.block_bytes or BLOCK_BYTES[self.pattern], self.file_bytes or FILE_BYTES
        if self.direct and block % ALIGNMENT:
            raise ValueError(f"block_bytes is {block}; direct I/O needs a multiple of {ALIGNMENT}")
        if size % block:
            raise ValueError(f"file_bytes is {size}; it must be a multiple of the block, {block}")
        if size % (1 << 20):
            raise ValueError(f"file_bytes is {size}; it must be a multiple of {1 << 20}")
        if self.engine == "psync" and self.depth > 1:
            raise ValueError("the engine psync has one request at a time: depth 1")


def sizes(params: StorageParams) -> tuple[int, int]:
    """Return the bytes of a block and of the file. Raises ValueError on parameters that are not fitted."""
    if params.block_bytes is None or params.file_bytes is None:
        raise ValueError("storage parameters are not fitted: block_bytes or file_bytes is open")
    return params.block_bytes, params.file_bytes


def fitted(params: Asked) -> Asked:
    """Fill the sizes, the same for every device."""
    return msgspec.structs.replace(
        params,
        block_bytes=params.block_bytes or BLOCK_BYTES[params.pattern],
        file_bytes=params.file_bytes or FILE_BYTES,
    )


def counted(params: StorageParams) -> Work:
    """Count one repetition: one block over the link to the storage."""
    return Work(link_bytes=float(sizes(params)[0]), items=1.0)


def supported(params: StorageParams, accelerator: Accelerator) -> Support:
    """Ask for fio, and for a file system that does what is asked. Looks at this machine, unless it is simulated."""
    if (why := scratch.elsewhere(accelerator)) is not None:
        return Support(skip=why)
    if accelerator.simulated:
        return Support()
    if fio.find() is None:
        return Support(skip=f"not applicable: fio is not installed; {fio.REMEDY}")
    refusal = _refusal(params)
    if refusal:
        return Support(skip=f"not applicable: {refusal}; `direct: false` gives buffered figures, and says so")
    return Support()


def _refusal(params: StorageParams) -> str:
    """Why direct I/O cannot be had. A folder that does not exist is a mistake that the trial itself reports."""
    if not params.direct:
        return ""
    try:
        return scratch.direct_refusal(scratch.look(params.folder))
    except InputError:
        return ""


def listed(way: Way, params: StorageParams) -> list[Output]:
    """Bandwidth of large blocks; operations per second of small ones, and the time of one where one is in flight.

    Buffered figures have keys of their own, because they are of the host's memory too: never a device's speed.
    """
    pattern = params.pattern if params.direct else f"{params.pattern}_buffered"
    stem = f"storage.{way}.{pattern}.q{params.depth}"
    if params.pattern == "sequential":
        return [Output(f"{stem}.bandwidth", "link_bytes")]
    alone = [Output(f"{stem}.latency", "time"), Output(f"{stem}.latency_p99", "fact:p99_s")]
    return [Output(f"{stem}.rate", "items"), *(alone if params.depth == 1 else [])]


def named(params: StorageParams) -> str:
    """For example `random-4096-q32-direct`."""
    block, size = sizes(params)
    words = [params.pattern, str(block), f"q{params.depth}", "direct" if params.direct else "buffered"]
    words += [f"{size >> 20}MiB"] if size != FILE_BYTES else []
    words += [params.engine] if params.engine != "libaio" else []
    return "-".join([*words, *scratch.folder_word(params.folder)])


class StorageStep:
    """A file of one's own without a name, and bursts of fio on it."""

    def __init__(self, way: Way, params: StorageParams, rig: Rig) -> None:
        """Make the file and write it once, with a checksum in every MiB.

        Raises:
            InputError: the folder is missing or may not be written to.
            SiteError: fio, the space, or direct I/O cannot be had here.
        """
        self._way, self._params, self._rig = way, params, rig
        self._version = fio.version()
        self._block, self._size = sizes(params)
        self._moved, self._p99 = 0, list[float]()
        self._cached: float | None = None
        self._scratch = scratch.Scratch(params.folder, self._size)
        self._fd = -1
        try:
            self._open()
            self._run(self._job("write", 1 << 20, verify=True), PASS_S)
            os.fsync(self._fd)
            self._forget()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """Open the file and take its name away: it is gone with this process, however that ends."""
        place = self._scratch.place
        if self._params.direct and (why := scratch.direct_refusal(place)):
            raise SiteError(f"{why}; `direct: false` gives buffered figures, and says so")
        path = self._scratch.path / "data"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            if self._params.direct:
                os.close(os.open(path, flags | os.O_DIRECT, 0o600))
                flags &= ~(os.O_EXCL | os.O_CREAT)
            self._fd = os.open(path, flags, 0o600)
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise SiteError(
                    f"{place.fs_type} at {place.mount} refuses direct I/O; `direct: false` gives buffered figures"
                ) from error
            raise SiteError(f"storage folder {place.folder}: {error.strerror}") from error
        self._scratch.close()

    def _job(self, rw: str, block: int, verify: bool = False, check: bool = False) -> fio.Job:
        """A pass over the file. Its checking reads only as much as is bounded."""
        size = min(self._size, VERIFY_BYTES) if check else self._size
        return fio.Job(
            rw, block, size, self._params.depth, self._params.direct, self._params.engine, None, verify, check
        )

    def _run(self, job: fio.Job, timeout_s: float) -> fio.Burst:
        burst = fio.run(job, self._fd, self._scratch.place.folder, timeout_s)
        self._moved += burst.bytes
        return burst

    def _forget(self) -> None:
        """Ask the kernel to drop the file's pages (posix_fadvise(2)), so that what follows is not read from memory."""
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def run(self, i: int) -> None:
        """Refuse: fio has its own clock.

        Raises:
            SiteError: always; a trial of storage is one pass of its own.
        """
        raise SiteError("fio times storage by itself: give the workload `procedure: {mode: once}`")

    def samples(self, deadline_s: float) -> list[Sample]:
        """Bursts of half a second until the procedure's time is over, at least three, each timed by fio.

        Raises:
            SiteError: fio failed, or I/O that was to be direct went through the page cache.
        """
        stop = self._rig.monotonic() + deadline_s / OWN_PASS_FACTOR
        rw = self._way if self._params.pattern == "sequential" else f"rand{self._way}"
        taken: list[Sample] = []
        traffic = 0
        while len(taken) < BURSTS_MAX and traffic < TRAFFIC_BYTES:
            if len(taken) >= BURSTS_MIN and self._rig.monotonic() >= stop:
                break
            job = msgspec.structs.replace(self._job(rw, self._block), seconds=BURST_S, seed=len(taken) + 1)
            burst = self._run(job, BURST_S + BURST_WAIT_S)
            traffic += burst.bytes
            now = time.monotonic_ns()
            taken.append(Sample(now, burst.seconds, burst.seconds, burst.blocks))
            if burst.p99_s is not None:
                self._p99.append(burst.p99_s)
            if not self._params.direct:
                os.fsync(self._fd)
        self._prove_direct()
        return taken

    def _prove_direct(self) -> None:
        """Look whether the page cache holds what was read or written directly."""
        self._cached = fio.resident_share(self._fd, self._size)
        if self._params.direct and self._cached is not None and self._cached > CACHED_SHARE:
            fs_type = self._scratch.place.fs_type
            raise SiteError(
                f"{fs_type} took direct I/O and yet {self._cached:.0%} of the file is in the page cache afterwards: "
                "this is not the speed of a device; `direct: false` gives buffered figures, and says so"
            )

    def verify(self) -> Verify:
        """Write blocks with checksums and read them back; of a reading trial, check the ones that lie there.

        The checksums are fio's (crc32c in every block); at most the first 64 MiB are checked.
        """
        if self._way == "read":
            job = self._job("read", 1 << 20, verify=True, check=True)
        else:
            rw = "write" if self._params.pattern == "sequential" else "randwrite"
            job = self._job(rw, self._block, verify=True, check=True)
        self._forget()
        try:
            self._run(job, PASS_S)
        except fio.FioError as error:
            if error.number != fio.WRONG_DATA:
                raise
            return Verify(ok=False, error=1.0, tolerance=0.0, detail="a block read back differs from what was written")
        return Verify(ok=True, error=0.0, tolerance=0.0)

    def fingerprint(self) -> int | None:
        """None: blocks are compared by their own checksums."""
        return None

    def facts(self) -> dict[str, float]:
        """Sizes, bytes moved in all, the 99 % quantile of one block's time (median of bursts), and the share cached."""
        facts = {"block_bytes": float(self._block), "file_bytes": float(self._size), "moved_bytes": float(self._moved)}
        if self._p99:
            facts["p99_s"] = statistics.median(self._p99)
        if self._cached is not None:
            facts["cached_share"] = self._cached
        return facts

    def texts(self) -> dict[str, str]:
        """The file system and its mount, the cache's state, and the tool."""
        return {
            **self._scratch.place.texts(),
            "fio": f"{self._version}, {self._params.engine}, {self._params.depth} in flight",
            "io": "direct: past the host's page cache" if self._params.direct else BUFFERED[self._way],
            "cache": f"{_share(self._cached)} of the file in the page cache after the last burst; what a device, a "
            "hypervisor or a server caches by itself cannot be seen from here",
        }

    def close(self) -> None:
        """Let go of the file, which removes it."""
        self._scratch.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _share(share: float | None) -> str:
    return "an unknown share" if share is None else f"{share:.0%}"
