"""Plan to journal: rounds of fresh workers, devices in turn or at once, within the budget, whatever they do."""

import itertools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import msgspec

from effbench.model.energy import Sensor
from effbench.model.event import Closed, Event, Noted, Sample, Started, Tool
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Plan, Trial
from effbench.run import plan as planning
from effbench.run import rounds
from effbench.run.display import Display as Display
from effbench.run.idle import Rest, watched_devices
from effbench.run.journal import SCHEMA, JournalWriter
from effbench.run.recording import Recording
from effbench.run.stage import Answer, Stage, drive, oom_kills
from effbench.run.teams import Seams, Teams
from effbench.run.wall_clock import ended, stamp
from effbench.run.watch import Watch
from effbench.run.wire import Do, Hello, Progress

# Kept back from the budget for scoring and reporting (all eight artefacts took under 4 s on 2 cores).
REPORT_RESERVE_S = 8.0
READY_DEADLINE_S = 90.0
LOSSES_MAX = 3
# A worker is not opened for less than this: nothing would be measured in it.
OPEN_LEAST_S = 2.0
# One soak per round: GPUs settle their clock and power in seconds, a CPU core in tenths of a second.
SOAK_S = {"gpu": 5.0, "cpu": 1.0}
SOAKED_MODES = ("sustained",)


class Options(msgspec.Struct, frozen=True):
    """How to run: the environment for children, the budget, and faults for simulated devices.

    `calibrate` puts the user's gains and offsets into the sensors' cards before they are written down. `launcher`
    starts the ranks of team trials: `inline`, `torchrun` or `slurm`.
    """

    environment: dict[str, str]
    budget_s: float
    tool: Tool
    faults: dict[str, dict[str, Any]] = {}
    telemetry: bool = True
    recording: Recording | None = None
    calibrate: Callable[[list[Sensor]], list[Sensor]] | None = None
    launcher: str = "torchrun"


class Engine:
    """One run. Owns the workers, the telemetry child and the journal for as long as it lasts."""

    def __init__(
        self,
        plan: Plan,
        inventory: Inventory,
        journal: JournalWriter,
        display: Display,
        options: Options,
        done: rounds.Done = frozenset(),
    ) -> None:
        self.plan, self.inventory, self.journal = plan, inventory, journal
        self.display, self.options = display, options
        self._devices = {a.key: a for a in inventory.accelerators}
        self._places = {t.id: t.placement.devices for t in plan.trials}
        self._began = time.monotonic()
        watched = watched_devices(plan, inventory, options.recording is not None)
        self._watch = Watch(watched, options.environment, options.recording) if options.telemetry else None
        self._rest = Rest(plan, inventory, self._watch, options.calibrate)
        self._next_process = itertools.count(1).__next__
        self._history = rounds.History(plan, done)
        self._stages: list[Stage] = []
        self._measured_s = 0.0
        self._oom_kills = oom_kills()
        self._done = 0
        self._abandoned = False
        self._teams = Teams(plan, self._devices, self._history, self._seams(), options, journal.path.parent / "teams")

    def run(self) -> str:
        """Run until the stop rule, the budget, Ctrl-C or a stuck driver ends it. Returns the outcome.

        Raises:
            OutputError: the journal cannot be written (a full disk); what was written before is whole.
        """
        t_ns, utc_ns = time.monotonic_ns(), time.time_ns()
        first = Started(SCHEMA, t_ns, stamp(utc_ns), self.options.tool, self.plan, self.inventory, utc_ns)
        outcome = "interrupted"
        try:
            self.journal.write([first])
            self.display.begin(self.plan, self.inventory)
            self._record_counters()
            self._write_rest(self._rest.begin(self._began))
            outcome = self._rounds()
        except KeyboardInterrupt:
            pass  # whatever was measured is kept
        finally:
            self._finish(first, outcome)
        return outcome

    def _finish(self, first: Started, outcome: str) -> None:
        for stage in self._stages:
            stage.kill()
        self._teams.kill()
        try:
            self._record_counters()
            wall = time.monotonic() - self._began
            self.journal.write([ended(first, outcome, overhead_s=max(0.0, wall - self._measured_s))])
        finally:
            if self._watch is not None:
                self._watch.stop()

    def _rounds(self) -> str:
        for number in range(self.plan.rounds_max):
            stop = self._history.stop(number, self._left_s())
            if stop is not None:
                if stop.finding is not None:
                    self._note(stop.finding)
                break
            turns = [self._round(number, self._devices[key]) for key in self.plan.devices]
            for together in [turns] if self.plan.at_once else [[turn] for turn in turns]:
                drive(together, self._listening, self._pump)
                if self._abandoned:
                    return "abandoned"
            self._teams.round(number)
            if self._teams.abandoned:
                return "abandoned"
        return "budget" if self._history.cut_short else "complete"

    def _listening(self) -> list[int]:
        """The descriptors of every child that may say something."""
        watch = self._watch.fileno() if self._watch else None
        return [*(stage.fileno() for stage in self._stages if stage.alive), *([watch] if watch is not None else [])]

    def _round(self, number: int, accelerator: Accelerator) -> Generator[None]:
        """Run every trial of one device once, in fresh processes: one, and one more after each loss."""
        waiting = [t for t in planning.order(self.plan, number, accelerator.key) if self._history.runnable(t, number)]
        losses, soaked = 0, False
        left_out: list[str] = []
        while waiting and losses <= LOSSES_MAX:
            if self._left_s() < OPEN_LEAST_S:
                left_out, waiting = [*left_out, *(t.id for t in waiting)], []
                break
            stage = yield from self._open(number, accelerator)
            losses = LOSSES_MAX + 1 if stage is None else losses
            if stage is not None and number == 0:
                self._write_rest(self._rest.with_context(accelerator.key))
            while stage is not None and waiting and stage.alive and not self._abandoned:
                trial = waiting.pop(0)
                if self._history.expected_s(trial) > self._left_s():
                    left_out.append(trial.id)
                    continue
                soak_s = 0.0 if soaked or trial.procedure.mode not in SOAKED_MODES else SOAK_S[accelerator.kind]
                soaked = soaked or soak_s > 0
                losses += yield from self._trial(stage, trial, number, soak_s)
            if stage is not None:
                stage.end()
                self._abandoned |= stage.abandoned
                self._stages.remove(stage)
            if self._abandoned:
                return
        self._leave_out(left_out, number, accelerator.key)
        for trial in waiting:
            self._lose(trial, number, f"not run: {losses} workers were lost in this round")

    def _open(self, number: int, accelerator: Accelerator) -> Generator[None, None, Stage | None]:
        """Start a worker and wait for its device. None when it does not come up, with the finding written."""
        replayed = self.options.recording is not None
        hello = Hello(accelerator, self.plan.seed, number, self._next_process(), self.options.faults, replayed)
        stage = Stage(hello, self.options.environment)
        self._stages.append(stage)
        if self._watch is not None:
            self._watch.ours(stage.pid)
        deadline_s = min(READY_DEADLINE_S, max(5.0, self._left_s()))
        failure = yield from stage.wait_ready(deadline_s)
        if failure is None:
            return stage
        self._note(stage.unopened(failure, deadline_s < READY_DEADLINE_S))
        self._abandoned |= stage.abandoned
        self._stages.remove(stage)
        return None

    def _leave_out(self, names: list[str], number: int, device: str) -> None:
        """Count and name the trials of a round that no longer fitted into the budget."""
        if not names:
            return
        self._history.cut_short = True
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        message = f"{len(names)} trials did not fit into the budget in round {number + 1}: {shown}"
        self._note(Finding("budget-exhausted", "warning", message, device=device))

    def _trial(self, stage: Stage, trial: Trial, number: int, soak_s: float) -> Generator[None, None, int]:
        """Measure one trial, journal it, and return 1 when it cost the worker."""
        self._announce(trial, number)
        began = time.monotonic()
        deadline_s = max(1.0, min(trial.deadline_s + soak_s, self._left_s()))
        recorded = self.options.recording.take(trial.id, number) if self.options.recording else None
        faster = self._watch if trial.procedure.telemetry_hz is not None else None
        if faster is not None:
            faster.rate(trial.procedure.telemetry_hz)
        answer = yield from stage.measure(Do(trial, soak_s, recorded=recorded), deadline_s, self._progress)
        if faster is not None:
            faster.rate(None)
        took = time.monotonic() - began
        events = [*answer.events, *self._telemetry()]
        closed = next((e for e in answer.events if isinstance(e, Closed)), None)
        if closed is None:
            closed, noted = self._loss(answer, trial, number)
            events += [noted, closed]
        self._account(closed, events, trial, took)
        return 0 if answer.fate == "closed" else 1

    def _announce(self, trial: Trial, number: int) -> None:
        self._done += 1
        total = max(self._history.total(), self._done)
        self.display.trial(trial, number, self._done, total, self._history.left_s(number))

    def _account(self, closed: Closed, events: Sequence[Event], trial: Trial, took: float) -> None:
        """Remember what a trial gave and took, journal it, and tell the display."""
        samples = [e for e in events if isinstance(e, Sample)]
        self._measured_s += sum(s.host_s for s in samples) + closed.facts.get("soak_s", 0.0)
        self._history.add(trial, closed.status, [s.device_s / s.inner_steps for s in samples], took)
        self.journal.write(events)
        self.display.closed(trial, closed.status, closed.detail)

    def _loss(self, answer: Answer, trial: Trial, number: int) -> tuple[Closed, Noted]:
        code = "worker-hung" if answer.fate == "hung" else "worker-crashed"
        if answer.signal == 9 and oom_kills() > self._oom_kills:
            code = "worker-oom"
        now = time.monotonic_ns()
        device = trial.placement.devices[0]
        finding = Finding(code, "error", f"{trial.id}: {answer.detail}", device=device, trial=trial.id)
        self.display.note(finding)
        return Closed(now, trial.id, number, "lost", answer.detail), Noted(now, finding)

    def _lose(self, trial: Trial, number: int, detail: str) -> None:
        self._history.add(trial, "lost", [], 0.0)
        self.journal.write([Closed(time.monotonic_ns(), trial.id, number, "lost", detail)])

    def _seams(self) -> Seams:
        return Seams(
            self._note,
            self._telemetry,
            self._pump,
            lambda pid: self._watch.ours(pid) if self._watch else None,
            self._left_s,
            self._announce,
            self._account,
            self._lose,
            self._leave_out,
            self._progress,
            self._next_process,
        )

    def _note(self, finding: Finding) -> None:
        self.display.note(finding)
        self.journal.write([Noted(time.monotonic_ns(), finding)])

    def _progress(self, progress: Progress) -> None:
        devices = self._places[progress.trial]
        self.display.progress(progress, self._watch.latest(devices) if self._watch else None)

    def _pump(self) -> None:
        if self._watch is not None:
            self._watch.pump()

    def _telemetry(self) -> list[Event]:
        """Collect the telemetry that arrived with the last trial, and what the watcher has to say of itself."""
        if self._watch is None:
            return []
        collected: list[Event] = [*self._watch.collect()]
        for finding in self._watch.complaints():
            self.display.note(finding)
            collected.append(Noted(time.monotonic_ns(), finding))
        return collected

    def _record_counters(self) -> None:
        """Journal the health counters as they are now; the record takes the difference of the first and the last."""
        if self._watch is not None:
            self.journal.write([*self._watch.counters(), *self._telemetry()])

    def _write_rest(self, events: list[Event]) -> None:
        if events:
            self.journal.write([*events, *self._telemetry()])

    def _left_s(self) -> float:
        return self.options.budget_s - REPORT_RESERVE_S - (time.monotonic() - self._began)


def environment_for_children(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that children inherit: everything but what would change how a kernel runs unseen.

    Thread counts are set by the rig from the cores that are usable; a stray OMP_NUM_THREADS would lie about a node.
    """
    dropped = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ONEDNN_VERBOSE", "DNNL_VERBOSE", "PYTHONSTARTUP")
    return {name: value for name, value in environment.items() if name not in dropped}
