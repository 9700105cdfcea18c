"""Owns the one guard between effbench and NVML: a call gives a value, or nothing and a reason in words.

Codes are those of `nvmlReturn_t` in NVIDIA's nvml.h. The binding is `pynvml.py` of the package nvidia-ml-py, imported
only when a GPU is looked for. Nothing here protects against a call that never returns: a driver stuck in the kernel
blocks the whole process, which is why NVML is only ever read in child processes whose parent holds the deadline.
"""

import importlib
import warnings
from typing import Any, Literal

from effbench.model.error import SiteError

NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
VERSION_MISMATCH = 18
UNKNOWN = 999

LOST_CODES = frozenset({GPU_IS_LOST, RESET_REQUIRED})

_WORDS: dict[int, str] = {
    1: "NVML is not initialised",
    2: "the driver does not know this argument",
    NOT_SUPPORTED: "not supported by this GPU, its mode (MIG, vGPU) or its driver",
    NO_PERMISSION: "not permitted for this user or container",
    6: "not found",
    TIMEOUT: "the driver timed out",
    FUNCTION_NOT_FOUND: "the driver is older than this call",
    14: "the board's configuration memory (infoROM) is damaged",
    GPU_IS_LOST: "the GPU fell off the bus or cannot be reached",
    RESET_REQUIRED: "the GPU must be reset before it can be used again",
    17: "blocked by the operating system",
    VERSION_MISMATCH: "kernel driver and NVML library are of different versions",
    21: "no data yet",
    25: "the driver knows this call only in another version",
    UNKNOWN: "an error inside the driver",
}

Cause = Literal[
    "binding-missing", "binding-shadowed", "library-not-found", "driver-not-loaded", "version-mismatch",
    "no-permission", "unknown",
]  # fmt: skip

# A quantity that never answered is asked this often before it is left alone: fast polling can itself make a supported
# quantity fail now and then (seen by Zeus' power.py), so one refusal proves nothing.
_TRIES = 3

# A way to ask: the binding's function, then its arguments after the device handle.
Way = tuple[Any, ...]


class NvmlUnavailableError(SiteError):
    """NVML cannot be used here. `cause` tells a machine without an NVIDIA driver from one whose driver is broken.

    `library-not-found` is the ordinary state of a machine without an NVIDIA GPU; every other cause means that
    something is there and does not work.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        self.cause = cause
        super().__init__(message)


def load_binding() -> Any:
    """Import NVIDIA's own binding.

    Raises:
        NvmlUnavailableError: it is missing, or a package that is not NVIDIA's stands in its place.
    """
    with warnings.catch_warnings():
        # The retired PyPI package `pynvml` 12 and later depends on nvidia-ml-py and only adds an import warning.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            binding = importlib.import_module("pynvml")
        except ImportError as error:
            raise NvmlUnavailableError(
                "binding-missing", f"NVIDIA's NVML binding is missing ({error}): pip install nvidia-ml-py"
            ) from error
    if not hasattr(binding, "_nvmlGetFunctionPointer"):  # present in every nvidia-ml-py, in no other `pynvml`
        raise NvmlUnavailableError(
            "binding-shadowed",
            f"the module pynvml at {getattr(binding, '__file__', 'an unknown place')} is not NVIDIA's binding: "
            "pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py",
        )
    return binding


def initialise(binding: Any) -> None:
    """Call nvmlInit. NVML counts initialisations: each one needs its own nvmlShutdown.

    Raises:
        NvmlUnavailableError: with one sentence on what is wrong and what to do.
    """
    code, _, reason = attempt(binding, "nvmlInitWithFlags", 0)
    if code == LIBRARY_NOT_FOUND:
        raise NvmlUnavailableError(
            "library-not-found",
            "libnvidia-ml.so.1 is not on this machine: no NVIDIA driver is installed, or the container was started "
            "without it (docker run --gpus all)",
        )
    if code == DRIVER_NOT_LOADED:
        raise NvmlUnavailableError(
            "driver-not-loaded",
            "the NVIDIA driver is installed but its kernel module is not loaded: run nvidia-smi for details, "
            "modprobe nvidia as root, or reboot if it was just installed",
        )
    if code == VERSION_MISMATCH:
        raise NvmlUnavailableError(
            "version-mismatch",
            "the loaded NVIDIA kernel module and libnvidia-ml.so.1 come from different driver versions: reboot after "
            "a driver update, or restart the container with the host's driver libraries",
        )
    if code == NO_PERMISSION:
        raise NvmlUnavailableError(
            "no-permission",
            "this user may not talk to the NVIDIA driver: check the permissions of /dev/nvidiactl and /dev/nvidia0, "
            "and the container's device rules",
        )
    if code:
        raise NvmlUnavailableError("unknown", f"NVML cannot be initialised ({reason}, code {code}): run nvidia-smi")


def words(code: int) -> str:
    """Say in words what an NVML return code means."""
    return _WORDS.get(code, f"NVML error {code}")


def attempt(binding: Any, name: str, *arguments: Any) -> tuple[int, Any, str]:
    """Call one function of the binding: (return code, value, reason). The code is 0 when the value is good."""
    function = getattr(binding, name, None)
    if function is None:
        return FUNCTION_NOT_FOUND, None, f"{name}: the installed nvidia-ml-py is too old for it"
    try:
        return 0, function(*arguments), ""
    except binding.NVMLError as error:
        code = int(error.value)
        return code, None, f"{name}: {words(code)}"
    except binding.NVMLLibraryMismatchError:
        return FUNCTION_NOT_FOUND, None, f"{name}: {words(FUNCTION_NOT_FOUND)}"
    except UnicodeDecodeError:
        return UNKNOWN, None, f"{name}: the driver answered with bytes that are no text"


class Guard:
    """Every question to one device goes through here, and remembers what can be asked and why the rest cannot.

    Attributes:
        binding: the NVML binding.
        handle: the device's NVML handle, None for one that could not even be opened.
        reasons: why a quantity has no value, for those that never had one.
        lost: why the GPU is gone, "" while it answers. A lost GPU is not asked again: each call could block.
        lost_code: the NVML code that said so, 0 while it answers.
        bad_calls: how often a quantity that had answered before did not.
    """

    def __init__(self, binding: Any, handle: Any) -> None:
        self.binding = binding
        self.handle = handle
        self.reasons: dict[str, str] = {}
        self.lost = ""
        self.lost_code = 0
        self.bad_calls = 0
        self._seen: dict[str, int] = {}
        self._refusals: dict[tuple[str, int], int] = {}

    def ask(self, quantity: str, *ways: Way) -> Any:
        """Read `quantity` by the first of `ways` that answers; None when none does, with `reasons[quantity]` set.

        The way that answered first is kept to: a later failure of it is counted and not papered over by another way,
        which may mean something else (an average in place of an instant).
        """
        if self.lost:
            return None
        refused = []
        for index, (name, *arguments) in enumerate(ways):
            if self._seen.get(quantity, index) != index or self.given_up(quantity, index):
                continue
            code, value, reason = attempt(self.binding, name, self.handle, *arguments)
            if not code:
                self.answered(quantity, index)
                return value
            if self.refused(quantity, code, reason, index):
                return None
            refused.append(reason)
        if refused and quantity not in self._seen:
            self.reasons[quantity] = "; ".join(refused)
        return None

    def seen(self, quantity: str) -> bool:
        """Tell whether a quantity has ever had a value."""
        return quantity in self._seen

    def given_up(self, quantity: str, way: int = 0) -> bool:
        """Tell whether a way to read a quantity is no longer tried."""
        return self._refusals.get((quantity, way), 0) >= _TRIES

    def answered(self, quantity: str, way: int = 0) -> None:
        """Note that a quantity has a value."""
        self._seen[quantity] = way
        self.reasons.pop(quantity, None)

    def refused(self, quantity: str, code: int, reason: str, way: int = 0) -> bool:
        """Note that a quantity had no value; True when that means the GPU is gone."""
        if code in LOST_CODES:
            self.lost, self.lost_code = reason, code
            return True
        if quantity in self._seen:
            self.bad_calls += 1
            return False
        # What driver or binding do not have will not appear while this process lives.
        tries = _TRIES if code == FUNCTION_NOT_FOUND else self._refusals.get((quantity, way), 0) + 1
        self._refusals[quantity, way] = tries
        self.reasons[quantity] = reason
        return False
