"""The team trials of a round: one fresh launch per size of team, again after a loss, within the budget."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from effbench.kernels.group import PORT_TAKEN
from effbench.launch.team_job import Launcher, TeamJob
from effbench.model.error import SiteError
from effbench.model.event import Closed, Event, Noted, Tool
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator
from effbench.model.plan import Plan, Trial
from effbench.model.team import TeamSpec
from effbench.run import placement
from effbench.run import plan as planning
from effbench.run.blame import Blame
from effbench.run.duration import START_S
from effbench.run.rounds import History
from effbench.run.stage import oom_kills
from effbench.run.team import Team, launcher
from effbench.run.wire import Progress

__all__ = ["Seams", "Teams"]

LAUNCHES_LOST_MAX = 3
PORTS_TRIED = 3
# A rank waits this long for the others and for a collective; the parent waits longer, so that ranks can report first.
DEADLINE_S = 40.0
STARTING_S = 45.0
# What differs once differs again, and what does not come together within its deadline is tried once more only.
COSTS = {"differ": LAUNCHES_LOST_MAX, "unformed": 2}
CODES = {
    "crashed": "rank-lost",
    "hung": "rank-hung",
    "error": "rank-failed",
    "differ": "ranks-differ",
    "unformed": "team-unformed",
}


class Seams(msgspec.Struct, frozen=True):
    """What teams need of the engine: its journal and display, its telemetry and its purse."""

    note: Callable[[Finding], None]
    telemetry: Callable[[], list[Event]]
    pump: Callable[[], None]
    ours: Callable[[int], None]
    left_s: Callable[[], float]
    announce: Callable[[Trial, int], None]
    account: Callable[[Closed, Sequence[Event], Trial, float], None]
    lose: Callable[[Trial, int, str], None]
    left_out: Callable[[list[str], int, str], None]
    progress: Callable[[Progress], None]
    number: Callable[[], int]


class Asked(Protocol):
    """What teams need of the run's options."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the children."""

    @property
    def tool(self) -> Tool:
        """Which effbench makes the plan."""

    @property
    def launcher(self) -> str:
        """Name of the launcher."""


class Teams:
    """All launches of one run. `abandoned` is set when a process survives SIGKILL."""

    def __init__(
        self,
        plan: Plan,
        accelerators: Mapping[str, Accelerator],
        history: History,
        seams: Seams,
        options: Asked,
        scratch: Path,
    ) -> None:
        self._plan, self._accelerators, self._history, self._seams = plan, accelerators, history, seams
        self._options, self._environment, self._scratch = options, options.environment, scratch.resolve()
        self._team: Team | None = None
        self._failed = False
        self._oom_kills = oom_kills()
        self.abandoned = False
        self.deadline_s = DEADLINE_S

    def round(self, number: int) -> None:
        """Run every team trial once, in fresh processes."""
        for trials in planning.team_order(self._plan, number):
            self._size(number, [trial for trial in trials if self._history.runnable(trial, number)])
            if self.abandoned:
                return

    def kill(self) -> None:
        """End what runs (Ctrl-C, an error), and remove what is not evidence of a failure."""
        if self._team is not None:
            self._failed = True
            self._team.kill()
            self._team = None
        if not self._failed:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _size(self, number: int, waiting: list[Trial]) -> None:
        """Run the trials of one size of team: one launch, and one more after each loss."""
        losses, taken, why = 0, 0, ""
        while waiting and losses < LAUNCHES_LOST_MAX and not self.abandoned:
            waiting = self._within_budget(waiting, number)
            if not waiting:
                return
            try:
                done, found = self._launch(number, waiting)
            except SiteError as error:  # the launcher's engine is absent or refuses: it would again
                done, found = 0, Blame("unformed", str(error))
                losses = LAUNCHES_LOST_MAX
            if found is not None and PORT_TAKEN in found.detail and taken < PORTS_TRIED:
                taken += 1
                continue
            if found is not None:
                self._failed = True
                losses += COSTS.get(found.kind, 1)
                why = found.detail
                if done == 0:
                    self._note(found, waiting[0])
            waiting = waiting[done:]
        for trial in waiting:
            self._seams.lose(trial, number, f"not run: {why}")

    def _within_budget(self, trials: Sequence[Trial], number: int) -> list[Trial]:
        """Return the trials that the budget still holds, and name the others."""
        left = self._seams.left_s() - START_S[self._kind(trials[0])]
        kept: list[Trial] = []
        for trial in trials:
            left -= self._history.expected_s(trial)
            if left > 0:
                kept.append(trial)
        dropped = [trial.id for trial in trials if trial not in kept]
        self._seams.left_out(dropped, number, trials[0].placement.devices[0])
        return kept

    def _kind(self, trial: Trial) -> str:
        return self._accelerators[trial.placement.devices[0]].kind

    def _launch(self, number: int, trials: Sequence[Trial]) -> tuple[int, Blame | None]:
        """Start one team for `trials`; return how many it got through (a lost one counts), and what ended it."""
        process = self._seams.number()
        spec, job = self._described(number, process, trials)
        team = self._team = Team(spec, job, self._launcher(), self._environment, self._seams.pump, self._seams.ours)
        try:
            waited = min(self.deadline_s + STARTING_S, max(5.0, self._seams.left_s()))
            failure = team.wait_joined(waited)
            if failure is not None and failure.blame is not None:
                self.abandoned |= failure.abandoned
                return 0, failure.blame
            for done, trial in enumerate(trials, 1):
                found = self._trial(team, trial, number)
                if found is not None:
                    return done, found
            self.abandoned |= not team.end()
        finally:
            self.abandoned |= not team.kill()
            self._team = None
        if not self._failed:
            shutil.rmtree(job.folder, ignore_errors=True)
        return len(trials), None

    def _launcher(self) -> Launcher:
        return launcher(self._options.launcher)

    def _described(self, number: int, process: int, trials: Sequence[Trial]) -> tuple[TeamSpec, TeamJob]:
        where = trials[0].placement
        devices = [self._accelerators[key] for key in where.devices]
        token = f"effbench-{self._plan.digest[-8:]}-{process}-{time.time_ns() % 10**9}"
        folder = self._scratch / f"team-{token.removeprefix('effbench-')}"
        interface = self._environment.get("GLOO_SOCKET_IFNAME", "lo" if where.nodes == 1 else "")
        backend = placement.backend(devices[0])
        spec = TeamSpec(
            token=token,
            ranks=where.ranks,
            trials=list(trials),
            accelerators=devices,
            seed=self._plan.seed,
            round=number,
            process=process,
            backend=backend,
            nodes=where.nodes,
            interface=interface,
            deadline_s=self.deadline_s,
            source_digest=self._options.tool.source_digest if where.nodes > 1 else "",
        )
        job = TeamJob(
            folder=str(folder),
            ranks=where.ranks,
            ranks_per_node=-(-where.ranks // where.nodes),
            token=token,
            nodes=where.nodes,
            interface=interface,
            cores=len(where.cores[0]) if where.cores else 0,
        )
        return spec, job

    def _trial(self, team: Team, trial: Trial, number: int) -> Blame | None:
        """Wait for one trial, journal it, and return what ended the team if it did."""
        self._seams.announce(trial, number)
        began = time.monotonic()
        deadline_s = max(1.0, min(trial.deadline_s + self.deadline_s, self._seams.left_s()))
        quiet = self._kind(trial) == "cpu"  # drawing would take a core from a rank
        answer = team.take(trial, deadline_s, _ignore if quiet else self._seams.progress)
        took = time.monotonic() - began
        events: list[Event] = [*answer.events, *self._seams.telemetry()]
        closed = answer.closed
        if closed is None:
            found = answer.blame or Blame("hung", "the team did not close the trial")
            closed = Closed(time.monotonic_ns(), trial.id, number, "lost", found.detail)
            events += [Noted(closed.t_ns, self._finding(found, trial)), closed]
            self._failed = True
        self.abandoned |= answer.abandoned
        self._seams.account(closed, events, trial, took)
        return answer.blame

    def _finding(self, found: Blame, trial: Trial) -> Finding:
        code = CODES[found.kind]
        if found.signal == 9 and oom_kills() > self._oom_kills:
            code = "worker-oom"
        return Finding(code, "error", f"{trial.id}: {found.detail}", device=trial.placement.devices[0], trial=trial.id)

    def _note(self, found: Blame, trial: Trial) -> None:
        ranks = trial.placement.ranks
        message = f"the team of {ranks} could not work: {found.detail}"
        self._seams.note(Finding(CODES[found.kind], "error", message))


def _ignore(progress: Progress) -> None:
    """On a CPU nothing is drawn while ranks are timed."""
