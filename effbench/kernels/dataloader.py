"""Owns the kernel `dataloader`: can this node's CPUs feed a device? Samples a second, and the share of time it waits.

torch's DataLoader with `workers` processes delivers synthetic images: each is unpacked (zlib), cropped, mirrored and
normalised by a rule that depends on its number alone, so every run and every count of workers delivers the same bits.
No file is read; storage has kernels of its own, and this one is what the cores can do.

Two passes. In the first nothing holds the loader up: samples a second. In the second a training step of a fixed length
follows each batch, as a sleep (the way of MLPerf Storage, which replaces the accelerator's compute by one), so that the
cores are as free as beside a GPU: stall = wait / (wait + step). The first batches of a pass are not counted, until the
queue of ready batches is past its start.

OVERHEAD. Workers, each a fork of this process; 32 packed images. FIELDS: `Params`. EXAMPLE: `{kernel: dataloader, axes:
{workers: [0, 1, 2]}, procedure: {mode: once}}` yields `storage.dataloader.w2.samples_per_s` and `.stall_fraction`.
"""

import contextlib
import random
import time
import warnings
import zlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from effbench.device import cpu
from effbench.kernels import scratch
from effbench.kernels.contract import Rig, Step, Support
from effbench.model.error import SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    import torch

VERSION = 1

STORED, CROP, CHANNELS = 256, 224, 3  # pixels of an image as it lies there, and as a network takes it
PACKED = 32  # different images; sample i is the (i mod 32)-th, cropped its own way
# Mean and spread to which pixels of 0 to 255 are brought; any would do, these are the middle of the range.
MEAN, SPREAD = 127.5, 64.0
PREFETCH = 2  # batches that each worker keeps ready, torch's own default
# A step of 25 ms a batch of 32 is 1280 images a second: a data-centre GPU training an image network of medium size.
BATCH, STEP_S = 32, 0.025
ENDLESS = 1 << 40
# Least and most groups of batches that are timed in a pass. Workers finish at about the same time and one after another
# hands its batch over, so single batches come in bunches: a group holds two batches of every worker.
GROUPS_MIN, GROUPS_MAX, PER_WORKER = 4, 2000, 2
VERIFIED = 2
TIMEOUT_S = 30.0
OWN_PASS_FACTOR = 3.0  # effbench.run.measure gives a pass of its own three times `duration_s`


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many processes decode, how much a batch holds, and how long the step is that follows it, s."""

    workers: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    batch: Annotated[int, msgspec.Meta(ge=1)] = BATCH
    step_s: Annotated[float, msgspec.Meta(gt=0)] = STEP_S


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Nothing is open: the work is the same for every device. Pure."""
    return params


def work(params: Params) -> Work:
    """Count the samples of one batch."""
    return Work(items=float(params.batch))


def support(params: Params, accelerator: Accelerator) -> Support:
    """No more workers than cores. Looks at this machine, unless the device is simulated."""
    if (why := scratch.elsewhere(accelerator)) is not None:
        return Support(skip=why)
    if not accelerator.simulated and params.workers > (cores := _cores(accelerator)):
        return Support(skip=f"not applicable: {params.workers} workers on {cores} usable cores")
    return Support()


def _cores(accelerator: Accelerator) -> int:
    facts = accelerator.cpu
    return max(1, int(facts.cores_usable)) if facts is not None else len(cpu.own_cpus())


def outputs(params: Params) -> list[Output]:
    """Samples a second when nothing holds it up, and the share of time that a step would wait."""
    stem = f"storage.dataloader.w{params.workers}"
    return [Output(f"{stem}.samples_per_s", "items"), Output(f"{stem}.stall_fraction", "fact:stall_fraction")]


def label(params: Params) -> str:
    """For example `w2-b32-25ms`."""
    return f"w{params.workers}-b{params.batch}-{params.step_s * 1e3:g}ms"


def build(params: Params, rig: Rig) -> Step:
    """Pack the images."""
    return LoaderStep(params, rig)


class Images:
    """Synthetic images, packed. `images[i]` unpacks, crops, mirrors and normalises sample `i` (torch's map dataset)."""

    def __init__(self, seed: int, length: int) -> None:
        self._length = length
        self._packed = [zlib.compress(_pixels(f"{seed}:{number}"), level=1) for number in range(PACKED)]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> "torch.Tensor":
        """Return sample `i`: float32 of 3 x 224 x 224."""
        import torch

        raw = torch.frombuffer(bytearray(zlib.decompress(self._packed[i % PACKED])), dtype=torch.uint8)
        rule = random.Random(i)
        top, left = rule.randrange(STORED - CROP), rule.randrange(STORED - CROP)
        image = raw.view(STORED, STORED, CHANNELS)[top : top + CROP, left : left + CROP].permute(2, 0, 1)
        if rule.random() < 0.5:
            image = image.flip(2)
        return image.to(torch.float32).sub_(MEAN).div_(SPREAD)


def _pixels(key: str) -> bytes:
    """An image's bytes: noise of 16 levels, which packs to about half as pictures without loss do."""
    return bytes(byte & 0xF0 for byte in random.Random(key).randbytes(STORED * STORED * CHANNELS))


class LoaderStep:
    """A dataset, and loaders on it: one at a time, ended with its pass."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        self._params, self._rig = params, rig
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(1)  # as torch does in every worker, so that none differs from one
        self._images = Images(rig.seed, ENDLESS)
        self._skipped = PREFETCH * params.workers + 1
        self._waited_s, self._worked_s = list[float](), list[float]()

    def run(self, i: int) -> None:
        """Refuse: the loader has a pace of its own.

        Raises:
            SiteError: always; a trial of the loader is one pass of its own.
        """
        raise SiteError("the data loader is timed in a pass of its own: give the workload `procedure: {mode: once}`")

    def _batches(self) -> Generator[Any]:
        """A fresh loader's batches in order, on the device; its workers end with the iterator.

        Raises:
            SiteError: workers died (most often too little shared memory) or delivered nothing in time.
        """
        from torch.utils.data import DataLoader

        workers = self._params.workers
        more: dict[str, Any] = {"multiprocessing_context": "fork", "prefetch_factor": PREFETCH, "timeout": TIMEOUT_S}
        try:
            with warnings.catch_warnings():
                # Newer Pythons warn of forks beside threads. Workers use none of the threads' state: they only decode.
                warnings.simplefilter("ignore", DeprecationWarning)
                images: Any = self._images
                loader = DataLoader(
                    images, batch_size=self._params.batch, num_workers=workers, **(more if workers else {})
                )
                iterator = iter(loader)
            for batch in iterator:
                yield batch.to(self._rig.device)
        except (RuntimeError, OSError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise SiteError(f"data loader with {workers} workers: {said}; look at the size of /dev/shm") from error

    def samples(self, deadline_s: float) -> list[Sample]:
        """Both passes, each for half of the procedure's time and of at least four groups of batches."""
        half = deadline_s / OWN_PASS_FACTOR / 2
        group = max(1, PER_WORKER * self._params.workers)
        taken = [Sample(now, spent, spent, group) for now, spent, _ in self._pass(group, half, 0.0)]
        paced = self._pass(group, half, self._params.step_s)
        self._waited_s, self._worked_s = [wait for _, wait, _ in paced], [step for _, _, step in paced]
        return taken

    def _pass(self, group: int, seconds: float, step_s: float) -> list[tuple[int, float, float]]:
        """Of each group of batches: when it was over (monotonic ns), seconds waited for it, seconds worked on it."""
        found: list[tuple[int, float, float]] = []
        with contextlib.closing(self._batches()) as batches:
            for _ in range(PREFETCH * self._params.workers + 1):
                self._batch(batches, step_s)
            stop = time.perf_counter() + seconds
            while len(found) < GROUPS_MIN or (len(found) < GROUPS_MAX and time.perf_counter() < stop):
                timed = [self._batch(batches, step_s) for _ in range(group)]
                found.append((time.monotonic_ns(), sum(wait for wait, _ in timed), sum(step for _, step in timed)))
        return found

    def _batch(self, batches: Iterator[Any], step_s: float) -> tuple[float, float]:
        """Wait for a batch, then work on it: seconds of both."""
        start = time.perf_counter()
        next(batches)
        self._rig.synchronize()
        ready = time.perf_counter()
        if step_s:
            time.sleep(step_s)
        return ready - start, time.perf_counter() - ready

    def verify(self) -> Verify:
        """Compare the first batches that workers deliver, in order, with the same samples made here, bit by bit."""
        import torch

        wrong = 0
        with contextlib.closing(self._batches()) as batches:
            for number in range(VERIFIED):
                first = number * self._params.batch
                want = torch.stack([self._images[i] for i in range(first, first + self._params.batch)])
                wrong += int(not torch.equal(next(batches).cpu(), want))
        detail = f"{wrong} of {VERIFIED} batches differ from the samples made without workers" if wrong else ""
        return Verify(ok=wrong == 0, error=wrong / VERIFIED, tolerance=0.0, detail=detail)

    def fingerprint(self) -> int | None:
        """None: whole batches are compared."""
        return None

    def facts(self) -> dict[str, float]:
        """The stall fraction, once measured, and what it is made of: seconds in all."""
        facts = {"workers": float(self._params.workers)}
        if self._waited_s:
            waited, worked = sum(self._waited_s), sum(self._worked_s)
            facts |= {"stall_fraction": waited / (waited + worked), "waited_s": waited, "worked_s": worked}
        return facts

    def texts(self) -> dict[str, str]:
        """What a sample is, and what the step is."""
        return {
            "sample": f"{STORED} x {STORED} pixels unpacked, {CROP} x {CROP} cropped, every second one mirrored",
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
            "step": f"a sleep of {self._params.step_s * 1e3:g} ms after each batch of {self._params.batch}",
            "threads": "one in every process that decodes",
            "cache": "no file is read: the packed images lie in memory",
        }

    def close(self) -> None:
        """Let go of the images; workers have ended with their pass."""
        import torch

        torch.set_num_threads(self._threads_before)
        self._images = Images.__new__(Images)
