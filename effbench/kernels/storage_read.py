"""Reads storage through fio: large blocks in order or small ones anywhere, past the page cache, several at once.

The file is written first, a checksum in every MiB, and those are checked after the timed bursts.

OVERHEAD: one file of `file_bytes` without a name in the run's working directory (or `folder`), gone however the trial
ends. FIELDS: `StorageParams`. EXAMPLE: `{kernel: storage_read, params: {pattern: random, depth: 32}, procedure: {mode:
once}}` yields `storage.read.random.q32.rate`; with `direct: false` the key says `random_buffered` instead.
"""

from effbench.kernels import storage_io
from effbench.kernels.contract import Rig, Step, Support
from effbench.kernels.storage_io import StorageParams
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

VERSION = 1


class Params(StorageParams, frozen=True, forbid_unknown_fields=True):
    """What is read, and how."""


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill the sizes: blocks of 1 MiB in order or 4 KiB anywhere, in a file of 256 MiB. Pure."""
    return storage_io.fitted(params)


def work(params: Params) -> Work:
    """Count one block."""
    return storage_io.counted(params)


def support(params: Params, accelerator: Accelerator) -> Support:
    """Ask for fio and for direct I/O. Looks at this machine, unless the device is simulated."""
    return storage_io.supported(params, accelerator)


def outputs(params: Params) -> list[Output]:
    """Bandwidth, or operations per second and the time of one."""
    return storage_io.listed("read", params)


def label(params: Params) -> str:
    """Name pattern, block, depth and cache."""
    return storage_io.named(params)


def build(params: Params, rig: Rig) -> Step:
    """Make the file and write it once.

    Raises:
        InputError: the folder is missing or may not be written to.
        SiteError: fio, the space or direct I/O cannot be had.
    """
    return storage_io.StorageStep("read", params, rig)
