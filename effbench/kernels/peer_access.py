"""Lets one GPU read another's memory directly, or forbids it, through the CUDA driver, which torch has no call for.

torch allows it by itself at the first copy between two devices and never takes it back. With it forbidden, the same
copy is staged through host memory by the driver. CUDA Driver API, "Peer Context Memory Access".
"""

import ctypes
from typing import Any

from effbench.model.error import SiteError

__all__ = ["PeerAccess", "driver"]

DONE = 0
ALREADY_ENABLED, NOT_ENABLED = 704, 705  # CUDA_ERROR_PEER_ACCESS_*: what was asked for is so already
LIBRARY = "libcuda.so.1"


def driver() -> Any:
    """Open the CUDA driver library.

    Raises:
        SiteError: there is none.
    """
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise SiteError(f"{LIBRARY} does not load: {error}") from error


class PeerAccess:
    """The primary contexts of all devices, through which access is given and taken. Close it to let them go."""

    def __init__(self, library: Any, devices: int) -> None:
        """Hold the primary context of devices 0 to `devices` - 1, as this process numbers them.

        Raises:
            SiteError: the driver refuses.
        """
        self._library = library
        self._held: list[tuple[Any, Any]] = []
        self._call("cuInit", 0)
        for number in range(devices):
            device, context = ctypes.c_int(), ctypes.c_void_p()
            self._call("cuDeviceGet", ctypes.byref(device), number)
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            self._held.append((device, context))

    def _call(self, name: str, *arguments: Any, fine: tuple[int, ...] = ()) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code not in (DONE, *fine):
            raise SiteError(f"the CUDA driver answers {name} with error {code}")

    def set(self, device: int, peer: int, allowed: bool) -> None:
        """Allow or forbid `device` to use the memory of `peer` directly.

        Raises:
            SiteError: the driver refuses, for example because the two have no path to each other.
        """
        self._call("cuCtxPushCurrent_v2", self._held[device][1])
        try:
            if allowed:
                self._call("cuCtxEnablePeerAccess", self._held[peer][1], 0, fine=(ALREADY_ENABLED,))
            else:
                self._call("cuCtxDisablePeerAccess", self._held[peer][1], fine=(NOT_ENABLED,))
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def close(self) -> None:
        """Let go of the contexts; torch holds its own."""
        for device, _ in self._held:
            self._call("cuDevicePrimaryCtxRelease_v2", device)
        self._held = []
