"""Owns the kernel `checkpoint_write`: a training state to a file, until a power cut could no longer take it away.

One repetition writes the whole state to a new file, flushes it (fsync), gives it its name by a rename over the one
before, and flushes the folder too: the order that survives a crash at any point (fsync(2), rename(2)). The state has
bf16 weights and fp32 master weights and two Adam moments: 14 bytes a parameter, in as many tensors as there are layers.
`torch_save` is what most programs call; `raw` writes the same bytes without serialising, so that the two tell the
format's cost from the storage's. On a GPU the state lies in its memory and the copy to the host counts.

OVERHEAD. Twice the state on disk and once in memory; own folder in the working directory (or `folder`), removed at the
end. FIELDS: `Params`. EXAMPLE: `{kernel: checkpoint_write, procedure: {mode: once}}` yields
`storage.checkpoint.torch_save.time` and `.bandwidth`.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import msgspec

from effbench.kernels import inputs, scratch
from effbench.kernels.contract import Rig, Step, Support
from effbench.model.error import SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    import torch

VERSION = 1

# bf16 weights; fp32 master weights and Adam's two moments: what mixed-precision training keeps for each parameter.
PARTS = {"weight": "bf16", "master": "fp32", "moment": "fp32", "moment_squared": "fp32"}
BYTES_PER_PARAMETER = 14
LAYERS = 16
# 20 million parameters are 280 MB: three seconds at 100 MB/s, so that a trial on slow storage ends within its deadline.
PARAMETERS = 20_000_000
SAMPLES_MIN, SAMPLES_MAX = 2, 20
OWN_PASS_FACTOR = 3.0  # effbench.run.measure gives a pass of its own three times `duration_s`
CHUNK_BYTES = 16 << 20
# The file beside the state: serialising adds some hundred bytes a tensor; a checkpoint replaces the one before it.
COPIES, SLACK = 2, 1.05


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large the state is and how it is written. The empty `folder` is the run's working directory."""

    writer: Literal["torch_save", "raw"] = "torch_save"
    parameters: Annotated[int, msgspec.Meta(ge=LAYERS)] | None = None
    folder: str = ""


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill the size, the same for every device, rounded to whole layers. Pure."""
    return msgspec.structs.replace(params, parameters=params.parameters or PARAMETERS)


def _bytes(params: Params) -> int:
    """Bytes of the state, whole layers of it."""
    if params.parameters is None:
        raise ValueError("checkpoint_write parameters are not fitted: parameters is open")
    return params.parameters // LAYERS * LAYERS * BYTES_PER_PARAMETER


def work(params: Params) -> Work:
    """Count the state's bytes once."""
    return Work(link_bytes=float(_bytes(params)))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Measured once on a node."""
    return Support(skip=scratch.elsewhere(accelerator))


def outputs(params: Params) -> list[Output]:
    """The time until the state is durable, and the bytes per second of it."""
    stem = f"storage.checkpoint.{params.writer}"
    return [Output(f"{stem}.time", "time"), Output(f"{stem}.bandwidth", "link_bytes")]


def label(params: Params) -> str:
    """For example `torch_save-560MB`."""
    return "-".join([params.writer, f"{_bytes(params) / 1e6:.6g}MB", *scratch.folder_word(params.folder)])


def build(params: Params, rig: Rig) -> Step:
    """Draw the state and make the folder.

    Raises:
        InputError: the folder is missing or may not be written to.
        SiteError: too little space or memory is free.
    """
    return CheckpointStep(params, rig)


class CheckpointStep:
    """The state, and the folder that holds its last checkpoint."""

    def __init__(self, params: Params, rig: Rig) -> None:
        self._params, self._rig = params, rig
        self._size = _bytes(params)
        if self._size > rig.free_bytes() * 9 // 10:
            raise SiteError(f"a state of {self._size} bytes does not fit into {rig.free_bytes()} free bytes of memory")
        self._scratch = scratch.Scratch(params.folder, int(SLACK * COPIES * self._size))
        self._path = self._scratch.path / "checkpoint"
        self._file_bytes = 0
        try:
            self._state = state_of(params, rig)
        except BaseException:
            self._scratch.close()
            raise

    def run(self, i: int) -> None:
        """Write the state until it is durable.

        Raises:
            SiteError: the storage did not take it: full, over a quota, gone.
        """
        fresh = self._scratch.path / "checkpoint.new"
        try:
            with fresh.open("wb") as file:
                self._write(file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            folder = os.open(self._scratch.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by a RuntimeError
            raise SiteError(f"checkpoint in {self._scratch.place.folder}: {error}".splitlines()[0]) from error
        self._file_bytes = self._path.stat().st_size

    def _write(self, file: BinaryIO) -> None:
        import torch

        if self._params.writer == "torch_save":
            torch.save(self._state, file)
            return
        for tensor in self._state.values():
            view = _raw(tensor.cpu()).numpy().data
            for low in range(0, len(view), CHUNK_BYTES):
                file.write(view[low : low + CHUNK_BYTES])

    def samples(self, deadline_s: float) -> list[Sample]:
        """Write again and again until the procedure's time is over, at least twice; the first write is a warm-up."""
        stop = self._rig.monotonic() + deadline_s / OWN_PASS_FACTOR
        self.run(0)
        taken: list[Sample] = []
        while len(taken) < SAMPLES_MAX:
            if len(taken) >= SAMPLES_MIN and self._rig.monotonic() >= stop:
                break
            timing = self._rig.time(self.run, len(taken), 1)
            taken.append(Sample(time.monotonic_ns(), timing.host_s, timing.host_s))
        return taken

    def verify(self) -> Verify:
        """Write once more, let the page cache drop the file, read it back and compare every byte of every tensor."""
        self.run(0)
        _forget(self._path)
        wrong = [name for name, told in self._read() if not self._same(name, told)]
        detail = f"{len(wrong)} of {len(self._state)} tensors read back differ, first {wrong[0]}" if wrong else ""
        return Verify(ok=not wrong, error=len(wrong) / len(self._state), tolerance=0.0, detail=detail)

    def _read(self) -> "Iterator[tuple[str, torch.Tensor | None]]":
        """Every tensor of the state as the file has it, None where it lacks it or cannot be read."""
        import torch

        if self._params.writer == "torch_save":
            try:
                told = torch.load(self._path, map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, ValueError, EOFError):
                told = {}
            for name in self._state:
                yield name, told.get(name)
            return
        with self._path.open("rb") as file:
            for name, tensor in self._state.items():
                data = bytearray(file.read(tensor.numel() * tensor.element_size()))
                whole = len(data) == tensor.numel() * tensor.element_size()
                yield name, torch.frombuffer(data, dtype=torch.uint8) if whole else None

    def _same(self, name: str, told: "torch.Tensor | None") -> bool:
        import torch

        return told is not None and torch.equal(_raw(told), _raw(self._state[name].cpu()))

    def fingerprint(self) -> int | None:
        """None: every byte is read back and compared."""
        return None

    def facts(self) -> dict[str, float]:
        """Bytes of the state and of its file."""
        return {"state_bytes": float(self._size), "checkpoint_bytes": float(self._file_bytes)}

    def texts(self) -> dict[str, str]:
        """The file system, and what a repetition does."""
        return {
            **self._scratch.place.texts(),
            "state": f"{len(self._state)} tensors on {self._rig.device}, {BYTES_PER_PARAMETER} bytes a parameter",
            "durable": _durable(self._scratch.place),
            "read_back": "after the page cache was asked to drop the file; every byte compared",
        }

    def close(self) -> None:
        """Let go of the state and remove the folder."""
        self._state = {}
        self._scratch.close()


def _durable(place: scratch.Place) -> str:
    if place.fs_type in scratch.MEMORY_FS:
        return f"never: {place.fs_type} keeps files in memory, so this is not the speed of a device"
    return "file flushed, renamed over the last one, folder flushed; a device that lies about flushing is not found out"


def state_of(params: Params, rig: Rig) -> "dict[str, torch.Tensor]":
    """Return the training state, drawn from the rig's seed: named tensors of one dimension on its device."""
    size = _bytes(params) // BYTES_PER_PARAMETER // LAYERS
    named = [(f"layer{layer}.{part}", dtype) for layer in range(LAYERS) for part, dtype in PARTS.items()]
    return {
        name: inputs.tensor((size,), dtype, rig.device, rig.seed + number) for number, (name, dtype) in enumerate(named)
    }


def _raw(tensor: "torch.Tensor") -> "torch.Tensor":
    """The tensor's bytes."""
    import torch

    return tensor.contiguous().view(torch.uint8)


def _forget(path: Path) -> None:
    """Ask the kernel to drop the pages of a file that is clean (posix_fadvise(2))."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
