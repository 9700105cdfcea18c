"""Files of /proc and /sys that are read again and again: opened once, read with one call each."""

import os
from pathlib import Path


class OpenFile:
    """A file kept open. `read` starts at its beginning every time; the kernel renews such files on each read."""

    def __init__(self, path: Path, size: int = 4096) -> None:
        """Open `path`; `size` is the most that one read returns, in bytes.

        Raises:
            OSError: it does not exist or may not be read.
        """
        self.path = path
        self._size = size
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """Read the file afresh.

        Raises:
            OSError: the device or process behind it is gone, or it was closed.
        """
        return os.pread(self._descriptor, self._size, 0)

    def integer(self) -> int | None:
        """Read a file that holds one decimal number; None when it holds or answers something else."""
        try:
            return int(self.read())
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Close it; further calls do nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def opened(path: Path, size: int = 4096) -> OpenFile | str:
    """Open `path`, or give the reason in words why its figure is absent."""
    try:
        return OpenFile(path, size)
    except PermissionError:
        return f"{path} may be read by root only"
    except OSError as error:
        return f"{path}: {error.strerror}"
