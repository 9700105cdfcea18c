"""Launch a child process on this machine and talk to it in lines. Knows nothing of what the lines mean."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec


class Job(msgspec.Struct, frozen=True):
    """A child to start: a module of effbench, and environment variables to set for it alone."""

    module: str
    environment: dict[str, str] = {}


def command(job: Job) -> list[str]:
    """Return the words that start `job`. Pure. `-P` keeps the caller's folder off the child's module path."""
    return [sys.executable, "-P", "-u", "-m", job.module]


class Handle:
    """A running child: lines in, lines out, the tail of its stderr, and a way to end it.

    The child gets its own session, so that Ctrl-C reaches the parent alone.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._stderr = os.fdopen(os.memfd_create("effbench-stderr"), "w+b")  # a full disk must not matter here
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_with_effbench(environment),
            start_new_session=True,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._buffer = b""
        self.ended = False

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def fileno(self) -> int:
        """File descriptor that becomes readable when the child says something (for selectors)."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, line: bytes) -> bool:
        """Send one line; False when the child no longer listens."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            return False
        return True

    def lines(self) -> list[bytes]:
        """Return the whole lines that have arrived; sets `ended` at the end of the stream."""
        while True:
            try:
                data = os.read(self.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self.ended = True
                break
            self._buffer += data
        *whole, self._buffer = self._buffer.split(b"\n")
        return [line for line in whole if line]

    def returncode(self, wait_s: float = 0.0) -> int | None:
        """Exit status, negative for a signal; None while the child runs."""
        try:
            return self._process.wait(wait_s) if wait_s else self._process.poll()
        except subprocess.TimeoutExpired:
            return None

    def stderr_tail(self, characters: int = 600) -> str:
        """Return the end of what the child wrote to stderr."""
        size = os.fstat(self._stderr.fileno()).st_size
        data = os.pread(self._stderr.fileno(), characters, max(0, size - characters))
        return data.decode("utf-8", "replace").strip()

    def kill(self, grace_s: float = 5.0) -> bool:
        """SIGKILL the child's session and wait. False when it survives `grace_s`: stuck in the kernel, abandoned."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        end = time.monotonic() + grace_s
        while self._process.poll() is None:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        self._close()
        return True

    def leave(self, wait_s: float = 5.0) -> bool:
        """Close the child's stdin, wait for it to end by itself, kill it otherwise. False when abandoned."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            return self.kill()
        if self.returncode(wait_s) is None:
            return self.kill()
        self._close()
        return True

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue


def _with_effbench(environment: Mapping[str, str]) -> dict[str, str]:
    """Let the child find this very effbench, installed or a checkout, without the folder it was started in."""
    own = str(Path(__file__).resolve().parents[2])
    asked = environment.get("PYTHONPATH", "")
    return {**environment, "PYTHONPATH": os.pathsep.join([own, asked] if asked else [own])}


def start(words: Sequence[str], environment: Mapping[str, str]) -> Handle:
    """Start a child with `words` and `environment`."""
    return Handle(words, environment)
