"""Owns the ledger of a sandbox: every process and network namespace it starts, noted so that all of it can be ended.

A process is known by its pid *and* start time, or by the sandbox's random mark in the environment it was started with;
a namespace by its name, written down before it is made. So `clear` finds everything, also after a `kill -9` of the
command that was starting it, and signals nothing else. Linux, root.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MARK, NODE_MARK = "EFFBENCH_SANDBOX", "EFFBENCH_SANDBOX_NODE"
TERM_WAIT_S = 8.0


class SandboxError(Exception):
    """Something a person can act on: what is wrong and what to type."""


@dataclass(frozen=True)
class Process:
    """A started process: its pid, and its start time in clock ticks since boot, which no successor of the pid has."""

    pid: int
    started: str


def start_time(pid: int) -> str | None:
    """When the process started, in ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def tools_missing(names: Sequence[str]) -> list[str]:
    """Of these programs, those that are not on PATH (with the folders of system programs)."""
    return [name for name in names if shutil.which(name, path=search_path()) is None]


def search_path() -> str:
    """PATH with the folders of system programs, which a service's environment may lack."""
    return os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), "/usr/sbin", "/sbin"])


def need_root() -> None:
    """Refuse to go on without root.

    Raises:
        SandboxError: this is not root.
    """
    if os.geteuid() != 0:
        raise SandboxError("network namespaces need root; run it as root, or in a container that has it")


class Ledger:
    """What one sandbox started. Its folder holds the ledger, logs and whatever the sandbox keeps there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "ledger.json"

    def exists(self) -> bool:
        """Was a sandbox begun here and not cleared?"""
        return self._path.exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that two commands do not build or clear it at once.

        Raises:
            SandboxError: another command holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SandboxError(f"another command works on {self.folder}; wait, or name another --dir") from None
            yield

    def begin(self, **settings: Any) -> None:
        """Start an empty ledger with a mark of its own; `settings` are kept for later commands."""
        (self.folder / "log").mkdir(parents=True, exist_ok=True)
        self._write({"id": secrets.token_hex(8), "settings": settings, "namespaces": [], "processes": {}})

    def settings(self) -> dict[str, Any]:
        """What `begin` was given.

        Raises:
            SandboxError: no sandbox is up here.
        """
        found: dict[str, Any] = self._read()["settings"]
        return found

    @property
    def mark(self) -> str:
        """The sandbox's random mark."""
        found: str = self._read()["id"]
        return found

    def environment(self, node: str = "") -> dict[str, str]:
        """The variables by which a process is known as the sandbox's, and as the node's."""
        return {MARK: self.mark} | ({NODE_MARK: f"{self.mark}/{node}"} if node else {})

    # ---- processes
    def launch(self, name: str, words: Sequence[str], env: dict[str, str], node: str = "") -> Process:
        """Start a daemon in a session of its own; what it says goes to `log/<name>.out`."""
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            child = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": search_path(), **env, **self.environment(node)},
                start_new_session=True,
            )
        process = Process(child.pid, start_time(child.pid) or "")
        document = self._read()
        document["processes"][name] = asdict(process)
        self._write(document)
        return process

    def alive(self, name: str) -> bool:
        """Does the very process that was started under this name still run?"""
        process = self._process(name)
        return process is not None and start_time(process.pid) == process.started

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal a daemon, only if that very process still runs."""
        process = self._process(name)
        if process is not None and start_time(process.pid) == process.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def stop(self, names: Sequence[str]) -> None:
        """End daemons: TERM, at most eight seconds, KILL."""
        for name in names:
            self.signal(name, signal.SIGTERM)
        end = time.monotonic() + TERM_WAIT_S
        while time.monotonic() < end and any(self.alive(name) for name in names):
            time.sleep(0.05)
        for name in names:
            self.signal(name, signal.SIGKILL)

    def marked(self, node: str = "") -> list[int]:
        """Pids of everything that carries the mark (of one node) in the environment it was started with."""
        name, value = (NODE_MARK, f"{self.mark}/{node}") if node else (MARK, self.mark)
        wanted = f"{name}={value}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                pid = int(path.parent.name)
                if pid != os.getpid() and wanted in path.read_bytes().split(b"\0") and start_time(pid):
                    found.append(pid)
        return found

    def writing(self, log: Path) -> list[int]:
        """Pids of Slurm's step daemons that hold this log open: they overwrite their environment, and its mark."""
        found = []
        for path in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if path.read_text().strip() != "slurmstepd":
                    continue
                if any(link.readlink() == log for link in path.parent.glob("fd/*")):
                    found.append(int(path.parent.name))
        return found

    # ---- namespaces
    def namespace(self, name: str) -> str:
        """The full name of a namespace: it carries the mark, so that sandboxes do not meet."""
        return f"eb{self.mark[:6]}-{name}"

    def make_namespace(self, name: str) -> str:
        """Note a network namespace, then make it, its loopback up. Returns its full name."""
        full = self.namespace(name)
        document = self._read()
        document["namespaces"].append(full)
        self._write(document)
        call(["ip", "netns", "add", full])
        call(["ip", "-n", full, "link", "set", "lo", "up"])
        return full

    def clear(self, extra: Sequence[int] = ()) -> None:
        """End every process that is left, delete every namespace, forget the ledger. Never fails half-way."""
        if not self.exists():
            return
        for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGKILL):
            for pid in {*self.marked(), *(pid for pid in extra if start_time(pid))}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = time.monotonic() + (0.0 if number is signal.SIGTERM else 2.0)
            while time.monotonic() < end and self.marked():
                time.sleep(0.05)
        for name in self._read()["namespaces"]:
            subprocess.run(["ip", "netns", "del", name], env=program_environment(), capture_output=True, check=False)
        left = [name for name in self._read()["namespaces"] if Path("/run/netns", name).exists()]
        if left:
            raise SandboxError(f"the namespaces {' '.join(left)} do not go away; see `ip netns pids NAME`")
        self._path.unlink()

    def _process(self, name: str) -> Process | None:
        found = self._read()["processes"].get(name)
        return Process(**found) if found else None

    def _read(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except OSError:
            raise SandboxError(f"no sandbox is up in {self.folder}; start one: up") from None
        except ValueError as error:
            raise SandboxError(f"{self._path} is damaged ({error}); end what it started by hand, remove it") from None
        return document

    def _write(self, document: dict[str, Any]) -> None:
        fresh = self._path.with_suffix(".fresh")
        fresh.write_text(json.dumps(document, indent=1), encoding="utf-8")
        fresh.replace(self._path)


def program_environment() -> dict[str, str]:
    """The caller's environment, with system programs on PATH."""
    return {**os.environ, "PATH": search_path()}


def call(words: Sequence[str]) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        SandboxError: it is missing or failed; its own words are passed on.
    """
    try:
        done = subprocess.run(list(words), env=program_environment(), capture_output=True, text=True, check=False)
    except OSError as error:
        raise SandboxError(f"{words[0]}: {error.strerror}; Debian, Ubuntu: apt-get install iproute2") from error
    if done.returncode != 0:
        raise SandboxError(f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def bits_per_s(text: str) -> float:
    """Read a rate as `tc` writes it (`1gbit`, `250mbit`, `64kbit`), bit/s.

    Raises:
        SandboxError: it is not of that form.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kmg])bit", text.lower())
    if not match:
        raise SandboxError(f"a rate of {text!r} is not understood; write 1gbit, 250mbit or 64kbit")
    return float(match[1]) * {"k": 1e3, "m": 1e6, "g": 1e9}[match[2]]


def seconds(text: str) -> float:
    """Read a delay (`0.5ms`, `200us`), seconds.

    Raises:
        SandboxError: it is not of that form.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s)", text.lower())
    if not match:
        raise SandboxError(f"a delay of {text!r} is not understood; write 0.5ms or 200us")
    return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[match[2]]
