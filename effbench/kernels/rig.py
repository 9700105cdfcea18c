"""A real device as kernels and the sampler see it: torch's clocks, memory and caches behind one small class.

On a GPU a batch is timed by a pair of CUDA events, with the host clock beside it; on a CPU by the host clock, and the
clock that the core held is probed right after the block, before it relaxes.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effbench.device import cpu
from effbench.kernels.buffers import sets_needed
from effbench.kernels.contract import Timing
from effbench.model.error import SiteError
from effbench.model.inventory import Accelerator

if TYPE_CHECKING:
    import torch

__all__ = ["FLUSH_MIN_BYTES", "TorchRig", "flush_bytes", "sets_needed", "threads_for"]

# Triton and MAMF clear 256 MiB; that only equals the 256 MiB Infinity Cache of MI300 parts, hence also twice the cache.
FLUSH_MIN_BYTES = 256 << 20


class TorchRig:
    """One device, opened through torch in this process. Implements `effbench.kernels.contract.Rig`."""

    def __init__(self, accelerator: Accelerator, seed: int) -> None:
        """Open the device.

        Raises:
            SiteError: torch is missing, or it cannot use the device.
        """
        self.accelerator = accelerator
        self.device = accelerator.torch_device
        self.seed = seed
        self._torch = import_torch()
        self._cuda = self.device.startswith("cuda")
        self._flushed: torch.Tensor | None = None
        self._held_hz: float | None = None
        self._probe = None if self._cuda else _clock_probe()
        if self._cuda:
            self._open_gpu()
        else:
            self._torch.set_num_threads(threads_for(accelerator))
            self._torch.manual_seed(seed)

    def _open_gpu(self) -> None:
        cuda = self._torch.cuda
        if not cuda.is_available():
            built = self._torch.version.cuda or self._torch.version.hip
            why = "torch was built without CUDA" if not built else "its driver does not answer torch"
            raise SiteError(f"torch {self._torch.__version__} cannot use {self.accelerator.key} ({self.device}): {why}")
        try:
            cuda.set_device(self.device)
            self._start, self._end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            cuda.synchronize(self.device)
        except RuntimeError as error:
            raise SiteError(f"torch cannot open {self.accelerator.key} ({self.device}): {first_line(error)}") from error
        self._torch.manual_seed(self.seed)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self._cuda:
            self._torch.cuda.synchronize(self.device)

    def time(self, run: Callable[[int], None], first: int, n: int) -> Timing:
        """Time `run(first) ... run(first + n - 1)` as one batch, seconds. The device is idle before and after."""
        if self._cuda:
            return self._time_gpu(run, first, n)
        start = time.perf_counter()
        for i in range(first, first + n):
            run(i)
        elapsed = time.perf_counter() - start
        self._held_hz = self._probe() if self._probe is not None else None
        return Timing(device_s=elapsed, host_s=elapsed)

    def _time_gpu(self, run: Callable[[int], None], first: int, n: int) -> Timing:
        self._torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        self._start.record()
        for i in range(first, first + n):
            run(i)
        self._end.record()
        self._end.synchronize()
        host_s = time.perf_counter() - start
        return Timing(device_s=self._start.elapsed_time(self._end) * 1e-3, host_s=host_s)

    def flush(self) -> None:
        """Overwrite the last-level cache: at least 256 MiB and twice its size, less where memory is short."""
        if self._flushed is None:
            size = flush_bytes(self.accelerator.llc_bytes, self.free_bytes())
            self._flushed = self._torch.empty(size, dtype=self._torch.uint8, device=self.device)
        self._flushed.zero_()

    def clock_hz(self) -> float | None:
        """The clock held by the core that just worked, Hz, probed right after the last timed block; None on a GPU."""
        return self._held_hz

    def monotonic(self) -> float:
        """Seconds of the host's monotonic clock."""
        return time.monotonic()

    def free_bytes(self) -> int:
        """Free memory of the device, bytes. Blocks that torch caches for reuse are given back first."""
        if not self._cuda:
            return cpu.memory().available_bytes
        self._torch.cuda.empty_cache()
        return int(self._torch.cuda.mem_get_info(self.device)[0])

    def peak_bytes(self) -> int | None:
        """Most memory in use since `reset_peak`: torch's allocations on a GPU, this process's resident set on a CPU."""
        if self._cuda:
            return int(self._torch.cuda.max_memory_allocated(self.device))
        return _resident_peak_bytes()

    def reset_peak(self) -> None:
        """Start counting `peak_bytes` anew. On a CPU the kernel resets its high-water mark where it lets us."""
        if self._cuda:
            self._torch.cuda.reset_peak_memory_stats(self.device)
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def context_texts(self) -> dict[str, str]:
        """Words about the software under the kernels: torch, CUDA, its libraries, and the threads in use."""
        torch = self._torch
        texts = {"torch": str(torch.__version__), "device": self.device}
        if self._cuda:
            texts["cuda"] = str(torch.version.cuda or torch.version.hip or "")
            texts["device_name"] = str(torch.cuda.get_device_name(self.device))
            texts["cudnn"] = str(torch.backends.cudnn.version() or "absent")
        else:
            texts["threads"] = str(torch.get_num_threads())
            texts["onednn"] = "available" if torch.backends.mkldnn.is_available() else "absent"
            texts["mkl"] = "available" if torch.backends.mkl.is_available() else "absent"
            texts["cpu_capability"] = str(torch.backends.cpu.get_cpu_capability())
        return texts


def import_torch() -> Any:
    """Import torch.

    Raises:
        SiteError: it is not installed, or it does not load here.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise SiteError(
            f"torch does not load here ({first_line(error)}); install it: pip install 'torch>=2.6'"
        ) from error
    return torch


def threads_for(accelerator: Accelerator) -> int:
    """Return how many threads a CPU kernel gets: the whole cores that affinity and quota leave, at least one."""
    if accelerator.cpu is not None:
        return max(1, math.floor(accelerator.cpu.cores_usable))
    return max(1, len(os.sched_getaffinity(0)))


def flush_bytes(llc_bytes: int, free_bytes: int) -> int:
    """Return how many bytes to overwrite so that the last-level cache holds nothing of a kernel any more."""
    return max(1 << 20, min(max(FLUSH_MIN_BYTES, 2 * llc_bytes), free_bytes // 8))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, which is the sentence that a person can use."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _clock_probe() -> Callable[[], float | None] | None:
    try:
        from effbench.device.cpu_clock import probe_hz
    except ImportError:
        return None
    return probe_hz


def _resident_peak_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
