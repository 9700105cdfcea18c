"""Several processes of this machine as one team: started together, ended together, by handle."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from effbench.launch.foreground import descendants

__all__ = ["LocalTeam"]


class LocalTeam:
    """A running team. Implements `effbench.launch.team_job.TeamHandle`.

    Each process leads a session of its own, so that Ctrl-C reaches the parent alone. What its processes start in
    sessions of *their* own (torchrun does that to every rank) is found and ended through process handles.
    """

    def __init__(self, commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]]) -> None:
        """Start every command with its environment; when one does not start, the others are ended.

        Raises:
            OSError: a command cannot be started.
        """
        self._stderr = os.fdopen(os.memfd_create("effbench-team"), "w+b")  # a full disk must not matter here
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for words, environment in zip(commands, environments, strict=True):
                self._processes.append(self._started(words, environment))
        except BaseException:
            self.kill()
            raise

    def _started(self, words: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            env=dict(environment),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the first process."""
        return self._processes[0].pid

    @property
    def ended(self) -> bool:
        """Have all processes ended?"""
        return all(process.poll() is not None for process in self._processes)

    def returncode(self) -> int | None:
        """The first status that is not 0, else 0; None while one runs."""
        codes = [process.poll() for process in self._processes]
        return None if None in codes else next((code for code in codes if code), 0)

    def rank_returncodes(self) -> dict[int, int]:
        """Exit status of each process that has ended, in the order in which they were started."""
        codes = {rank: process.poll() for rank, process in enumerate(self._processes)}
        return {rank: code for rank, code in codes.items() if code is not None}

    def stderr_tail(self, characters: int = 600) -> str:
        """End of what the processes wrote."""
        if self._stderr.closed:
            return ""
        size = os.fstat(self._stderr.fileno()).st_size
        data = os.pread(self._stderr.fileno(), characters, max(0, size - characters))
        return data.decode("utf-8", "replace").strip()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of all processes. True when they have ended."""
        end = time.monotonic() + seconds
        while not self.ended and time.monotonic() < end:
            time.sleep(0.02)
        return self.ended

    def kill(self, grace_s: float = 5.0) -> bool:
        """SIGKILL every process and what descends from it, and wait. False when one survives `grace_s`."""
        below = [pid for process in self._processes if process.poll() is None for pid in descendants(process.pid)]
        handles = {pid: _opened(pid) for pid in below}
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        for handle in handles.values():
            if handle is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        end = time.monotonic() + grace_s
        gone = self.wait(grace_s)
        for handle in handles.values():
            if handle is not None:
                gone &= bool(select.select([handle], [], [], max(0.0, end - time.monotonic()))[0])
                os.close(handle)
        if gone:
            self._stderr.close()
        return gone


def _opened(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:  # it has ended meanwhile
        return None
