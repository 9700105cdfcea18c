"""Run a command that ends when its parent does: `python -m effbench.launch.leash WORDS...`. Becomes that command."""

import ctypes
import os
import signal
import sys

__all__ = ["die_with_parent", "main"]

PR_SET_PDEATHSIG = 1  # prctl(2); kept by execve


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, also when it died a moment ago."""
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Become the command."""
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
