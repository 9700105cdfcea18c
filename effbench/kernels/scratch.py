"""Owns the place where storage kernels put their bytes: what file system it is, and a folder of one's own that goes.

A kernel writes only below its own folder, after a look at the free space, and `close` removes it. A process that was
killed cannot; whatever it left is removed by the next one that works in the same place on the same node.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from effbench.model.error import InputError, SiteError
from effbench.model.inventory import Accelerator

__all__ = ["Place", "Scratch", "direct_refusal", "elsewhere", "folder_word", "look"]

# File systems that keep files in memory (man 5 tmpfs); newer kernels let them take O_DIRECT, which then means nothing.
MEMORY_FS = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs")
# Left free for everyone else: this share of the file system, at most this many bytes.
LEFT_SHARE, LEFT_MAX_BYTES = 0.05, 1 << 30
PREFIX = ".effbench-scratch-"
LOCK = "lock"


class Place(msgspec.Struct, frozen=True):
    """The file system under a folder: type, mount point and options as the kernel lists them, and bytes."""

    folder: str
    fs_type: str
    mount: str
    options: str
    free_bytes: int
    total_bytes: int

    def texts(self) -> dict[str, str]:
        """Words for the record: the file system, its mount and the free space, bytes."""
        return {
            "file_system": self.fs_type,
            "mount": f"{self.mount} ({self.options})" if self.options else self.mount,
            "free_space": f"{self.free_bytes} of {self.total_bytes} bytes before",
        }


def elsewhere(accelerator: Accelerator) -> str | None:
    """Say why a figure of the whole node is not measured with this device: it is, once, with the CPU or `gpu0`."""
    if accelerator.kind == "gpu" and accelerator.key != "gpu0":
        return "not applicable: a figure of the node, not of a device; it is measured once, with gpu0"
    return None


def folder_word(folder: str) -> list[str]:
    """Return what tells trials in different folders apart, nothing for the working directory: no path, so no name."""
    return [f"folder{hashlib.sha256(folder.encode()).hexdigest()[:8]}"] if folder else []


def look(folder: str, mountinfo: Path = Path("/proc/self/mountinfo")) -> Place:
    """Describe the file system of `folder`; the empty name is the working directory.

    Raises:
        InputError: there is no such folder.
    """
    path = Path(folder or ".").absolute()
    try:
        stat, at = os.statvfs(path), path.resolve(strict=True)
    except OSError as error:
        raise InputError(f"storage folder {path}: {error.strerror}; give one that exists as `folder`") from error
    if not at.is_dir():
        raise InputError(f"storage folder {path} is not a folder; give one that exists as `folder`")
    fs_type, mount, options = _mount_of(at, mountinfo)
    return Place(str(at), fs_type, mount, options, stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)


def _mount_of(path: Path, mountinfo: Path) -> tuple[str, str, str]:
    """Type, mount point and options of the mount that holds `path`, from the kernel's list (proc(5)); the last wins."""
    best: tuple[str, str, str] = ("unknown", "unknown", "")
    longest = -1
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return best
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) < 6 or not kinds:
            continue
        mount = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        if path.is_relative_to(mount) and len(mount) >= longest:
            longest, best = len(mount), (kinds[0], mount, fields[5])
    return best


def direct_refusal(place: Place) -> str:
    """Say why direct I/O cannot be had in a place; empty when nothing speaks against it. Leaves nothing behind.

    Asked with a nameless file (O_TMPFILE, open(2)). A file system without those is asked again when the file is made.
    """
    if place.fs_type in MEMORY_FS:
        return (
            f"{place.fs_type} at {place.mount} keeps files in memory, so there is no device to read or write directly"
        )
    try:
        os.close(os.open(place.folder, os.O_RDWR | os.O_TMPFILE | os.O_DIRECT, 0o600))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return f"{place.fs_type} at {place.mount} refuses direct I/O"
    return ""


class Scratch:
    """A folder of one's own below a place, with the space for it; gone after `close`."""

    def __init__(self, folder: str, needed_bytes: int) -> None:
        """Make the folder, once what dead processes left is gone and the space is there.

        Raises:
            InputError: the folder does not exist or may not be written to.
            SiteError: `needed_bytes` and some for everyone else are not free.
        """
        parent = look(folder).folder
        with contextlib.suppress(OSError):
            _sweep(Path(parent))
        self.place = look(folder)
        left = min(LEFT_MAX_BYTES, int(LEFT_SHARE * self.place.total_bytes))
        if self.place.free_bytes < needed_bytes + left:
            raise SiteError(
                f"storage folder {parent} has {self.place.free_bytes} bytes free; {needed_bytes} are needed and {left} "
                "stay free for others. Give another `folder` or smaller sizes"
            )
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.uname().nodename}-", dir=parent))
        except OSError as error:
            raise InputError(
                f"storage folder {parent}: {error.strerror}; give one that may be written to as `folder`"
            ) from error
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove the folder with everything in it. May be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _sweep(parent: Path) -> None:
    """Remove folders of this node whose process is gone: the lock that it held is free.

    Only folders of this user and of this node's name are looked at, because a lock may not reach over a network. One
    without a lock file is just being made, and is left alone.
    """
    for old in parent.glob(f"{PREFIX}{os.uname().nodename}-*"):
        if old.is_symlink() or old.stat().st_uid != os.getuid():
            continue
        try:
            lock = os.open(old / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
