"""Runs a user's command in the foreground: its streams are ours, each signal reaches it once, its status comes back.

Knows nothing of what is measured meanwhile. From start to `close`, SIGINT and SIGTERM do not end this process: they
are the command's, and whoever started it still wants to hear how it ended.
"""

import functools
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

__all__ = ["CANNOT_RUN", "NOT_FOUND", "Command", "NotStarted", "descendants", "refusal", "status"]

# What a shell answers: POSIX, 2.8.2 "Exit Status for Commands".
NOT_FOUND, CANNOT_RUN, BY_SIGNAL = 127, 126, 128
_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class NotStarted(msgspec.Struct, frozen=True):
    """Why a command did not start, and the status that a shell gives for it."""

    reason: str
    exit_status: int


class Command:
    """A running command. Call `forward` a few times a second, and `close` when all is said."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], stdout: int | None = None) -> None:
        """Start `words`. `stdout` is a descriptor for its output; None leaves it with ours.

        On a terminal it shares our process group, because only so can it read the keyboard: the terminal gives Ctrl-C
        to both of us. Anywhere else it leads a group of its own, and gets what we are sent.

        Raises:
            OSError: it cannot be started; `refusal` says why.
        """
        self._shared = _on_terminal()
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self._process = subprocess.Popen(
                list(words),
                env=dict(environment),
                stdout=stdout,
                process_group=None if self._shared else 0,
                preexec_fn=functools.partial(signal.pthread_sigmask, signal.SIG_SETMASK, self._before),
            )
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise
        self._pidfd = _pidfd(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id of the command."""
        return self._process.pid

    def fileno(self) -> int | None:
        """Descriptor that becomes readable when the command ends (for selectors); None where the kernel has none."""
        return self._pidfd

    def running(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def forward(self) -> None:
        """Pass on the signals that have come since the last time. Never waits.

        One that the terminal made (Ctrl-C) has reached a command in our own group already.
        """
        while (info := signal.sigtimedwait(_SIGNALS, 0)) is not None:
            by_kernel = info.si_code > 0  # SI_KERNEL; kill() gives SI_USER, which is 0
            if self._process.poll() is not None or (self._shared and by_kernel):
                continue
            if self._shared:
                self._process.send_signal(info.si_signo)
                continue
            try:
                os.killpg(self._process.pid, info.si_signo)
            except (ProcessLookupError, PermissionError):
                self._process.send_signal(info.si_signo)

    def exit_status(self) -> int:
        """Wait for its end and return its status as a shell gives it: 128 + n for signal n."""
        return status(self._process.wait())

    def close(self) -> None:
        """Let signals end this process again, but for those that came meanwhile. Safe to call twice."""
        self.forward()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def refusal(words: Sequence[str], error: OSError) -> NotStarted:
    """Say in one line why `words` could not be started."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        there = os.sep in words[0] and Path(words[0]).exists()
        why = "it names an interpreter that is not there" if there else "command not found"
        return NotStarted(f"{words[0]}: {why}", NOT_FOUND)
    if isinstance(error, PermissionError):
        return NotStarted(f"{words[0]}: is not executable: permission denied", CANNOT_RUN)
    return NotStarted(f"{words[0]}: cannot be executed: {error.strerror or error}", CANNOT_RUN)


def status(returncode: int) -> int:
    """Return the status a shell would give for a return code of Python's, which is -n for signal n."""
    return BY_SIGNAL - returncode if returncode < 0 else returncode


def descendants(pid: int) -> list[int]:
    """Return the processes that descend from `pid`, as far as the kernel lists them. Cheap enough for once a second."""
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < 4096:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    numbers: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            numbers += [int(word) for word in (task / "children").read_text("ascii").split()]
    except OSError:  # it has ended, or the kernel does not list children
        return numbers
    return numbers


def _on_terminal() -> bool:
    """Say whether our process group is the one that a terminal gives its keys to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
