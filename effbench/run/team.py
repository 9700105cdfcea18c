"""One launch of a team, from its folder to its end: starting it, reading what it writes, naming who ended it."""

import contextlib
import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec

from effbench.launch.team_job import Launcher, TeamHandle, TeamJob
from effbench.model.error import InputError, OutputError
from effbench.model.event import Closed, Noted, Opened, Sample, Window
from effbench.model.plan import Trial
from effbench.model.team import RankNote, TeamSpec
from effbench.run.blame import LAST, Blame, blame
from effbench.run.ranks import node_name
from effbench.run.wire import Progress, Ready, message

__all__ = ["LAUNCHERS", "Team", "TeamAnswer", "launcher"]

TICK_S = 0.25
# After the first sign of an end the other ranks get this long to report theirs, so that the silent one can be told.
REPORT_S = 3.0
LAUNCHERS = {"inline": "inline_team", "torchrun": "torchrun", "slurm": "slurm"}
_NOTES: msgspec.json.Decoder[RankNote] = msgspec.json.Decoder(RankNote)
Line = Opened | Sample | Window | Noted | Closed


def launcher(name: str) -> Launcher:
    """Return a launcher by the name a person gives it.

    Raises:
        InputError: there is no such launcher.
    """
    try:
        return cast(Launcher, importlib.import_module(f"effbench.launch.{LAUNCHERS[name]}"))
    except (KeyError, ModuleNotFoundError) as error:
        raise InputError(f"no launcher {name!r}; there are: {', '.join(LAUNCHERS)}") from error


class TeamAnswer(msgspec.Struct, frozen=True):
    """What became of a trial: rank 0's events in order; `blame` when the team ended over it."""

    events: list[Line]
    blame: Blame | None = None
    abandoned: bool = False

    @property
    def closed(self) -> Closed | None:
        """The trial's end, if it came."""
        return next((event for event in self.events if isinstance(event, Closed)), None)


class Team:
    """A running team. `idle` is called while waiting; `ours` is told every process of it on this machine."""

    def __init__(
        self,
        spec: TeamSpec,
        job: TeamJob,
        started_by: Launcher,
        environment: Mapping[str, str],
        idle: Callable[[], None],
        ours: Callable[[int], None],
    ) -> None:
        """Write the folder and start the ranks.

        Raises:
            OutputError: the folder cannot be written.
            SiteError: the launcher's engine is absent or refuses.
        """
        self._folder, self._spec = Path(job.folder), spec
        self._idle, self._ours, self._here = idle, ours, node_name(environment)
        self._events = _Tail(self._folder / "events.jsonl")
        self._tails: dict[Path, _Tail] = {}
        self._notes: dict[int, list[RankNote]] = {}
        self._pending: list[Line | Progress | Ready] = []
        self.alive = True
        try:
            self._folder.mkdir(parents=True)
            (self._folder / "team.json").write_bytes(msgspec.json.encode(spec))
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot write the team's folder: {error.strerror}") from error
        self._handle: TeamHandle = started_by.start(job, environment)
        self._began = time.monotonic()

    def wait_joined(self, deadline_s: float) -> TeamAnswer | None:
        """Wait until the ranks have met and agreed. None when they have; otherwise what went wrong."""
        end = time.monotonic() + deadline_s
        return self._listen(end, self._all_agreed, [], None)

    def take(self, trial: Trial, deadline_s: float, draw: Callable[[Progress], None]) -> TeamAnswer:
        """Wait for the end of `trial`, the next in the team's order."""
        events: list[Line] = []
        end = time.monotonic() + deadline_s

        def closed() -> bool:
            while self._pending and not (events and isinstance(events[-1], Closed)):
                said = self._pending.pop(0)
                if isinstance(said, Progress):
                    draw(said)
                elif not isinstance(said, Ready):
                    events.append(said)
            return bool(events) and isinstance(events[-1], Closed)

        return self._listen(end, closed, events, trial) or TeamAnswer(events)

    def _listen(
        self, end: float, until: Callable[[], bool], events: list[Line], trial: Trial | None
    ) -> TeamAnswer | None:
        """Read until `until` is true (None), or until it will not become so any more."""
        trouble: float | None = None
        while True:
            over = self._handle.ended
            self._idle()
            self._read()
            if until():
                return None
            now = time.monotonic()
            fallen = (
                over or self._anyone("error", "peer", "terminated") or any(self._handle.rank_returncodes().values())
            )
            if trouble is None and fallen:
                trouble = now
            reported = all(self._last(rank) in LAST for rank in range(self._spec.ranks))
            if trouble is not None and (over or reported or now - trouble >= REPORT_S):
                break
            if now >= end:
                break
            time.sleep(TICK_S)
        return self._broken(events, trial)

    def _read(self) -> None:
        for line in self._events.lines():
            try:
                self._pending.append(message(line))
            except (msgspec.DecodeError, ValueError):
                continue  # a damaged line is worth less than the rest; without its `Closed` the trial is lost
        for path in self._folder.glob("rank-*.jsonl"):
            for line in self._tails.setdefault(path, _Tail(path)).lines():
                try:
                    note = _NOTES.decode(line)
                except (msgspec.DecodeError, ValueError):
                    continue
                if not self._notes.get(note.rank) and note.node == self._here:
                    self._ours(note.pid)
                self._notes.setdefault(note.rank, []).append(note)

    def _all_agreed(self) -> bool:
        return all(self._anyone("agreed", of=rank) for rank in range(self._spec.ranks))

    def _anyone(self, *phases: str, of: int | None = None) -> bool:
        notes = self._notes if of is None else {of: self._notes.get(of, [])}
        return any(note.phase in phases for one in notes.values() for note in one)

    def _last(self, rank: int) -> str:
        return self._notes[rank][-1].phase if self._notes.get(rank) else ""

    def _broken(self, events: list[Line], trial: Trial | None) -> TeamAnswer:
        """Find out who ended the team, then end all of it."""
        found = blame(
            self._notes,
            self._spec.ranks,
            self._handle.rank_returncodes(),
            {rank: _runs(notes[0].pid) for rank, notes in self._notes.items() if notes[0].node == self._here},
            {rank: _last_line(self._folder / f"rank-{rank}.log") for rank in range(self._spec.ranks)},
            _complaint(self._handle.stderr_tail(4000)),
            time.monotonic() - self._began,
        )
        gone = self.kill()
        if trial is not None and not any(isinstance(event, Opened) for event in events):
            events.insert(0, self._opened(trial))
        return TeamAnswer(events, found, abandoned=not gone)

    def _opened(self, trial: Trial) -> Opened:
        device = trial.placement.devices[0]
        return Opened(time.monotonic_ns(), trial.id, self._spec.round, self._spec.process, device)

    def end(self, wait_s: float = 10.0) -> bool:
        """Wait for the ranks to leave by themselves, then make sure. False when something survives."""
        end = time.monotonic() + wait_s
        while self.alive and not self._handle.ended and time.monotonic() < end:
            self._idle()
            time.sleep(TICK_S)
        return self.kill()

    def kill(self) -> bool:
        """End every process of the team. Safe to call twice."""
        if not self.alive:
            return True
        self.alive = False
        return self._handle.kill()


class _Tail:
    """Whole lines of a file that another process appends to; the file need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._rest = path, 0, b""

    def lines(self) -> list[bytes]:
        """Return the whole lines that have come since the last call."""
        data = b""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line for line in whole if line]


def _runs(pid: int) -> bool:
    """Is the process there, and neither dead nor a zombie?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return bool(state) and state[0] not in ("Z", "X")


def _last_line(log: Path) -> str:
    """The last line of a log that tells of an error; libraries' warnings are none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
    except OSError:
        return ""
    return _complaint("\n".join(lines))


def _complaint(text: str) -> str:
    """The last line of some output that names an error, without torchrun's frame around it."""
    words = ("Error", "error:", "Fatal", "effbench.run.rank:", "not found", "No module")
    lines = [line.strip() for line in text.splitlines() if any(word in line for word in words)]
    return lines[-1][:300] if lines else ""
