"""What the engine remembers between rounds: how long trials take, what they gave, and when it is enough."""

import msgspec

from effbench.catalog.references import assumed_tau
from effbench.model.finding import Finding
from effbench.model.plan import Plan, Trial
from effbench.model.record import USABLE, Record
from effbench.model.suite import DeviceClass
from effbench.run.duration import START_S, span_s
from effbench.stats.interval import estimate
from effbench.stats.stopping import look

# What an earlier command measured: a trial's id when it has all its rounds, else the id with the number of one round.
Done = frozenset[str | tuple[str, int]]


class Stop(msgspec.Struct, frozen=True):
    """Why no further round is run; the finding is absent when the reason is a good one."""

    reason: str
    finding: Finding | None = None


class History:
    """The past rounds of one run. What is in `done` was measured by an earlier command and is not run again."""

    def __init__(self, plan: Plan, done: Done = frozenset()) -> None:
        self._plan = plan
        self._done = done
        self._kind: DeviceClass = "gpu" if any(d.startswith("gpu") for d in plan.devices) else "cpu"
        self._times: dict[str, list[list[float]]] = {}
        self._took_s: dict[str, float] = {}
        self._lost: set[str] = set()
        self.cut_short = False

    def add(self, trial: Trial, status: str, step_times_s: list[float], took_s: float) -> None:
        """Remember one trial of one round."""
        if took_s:
            self._took_s[trial.id] = max(took_s, self._took_s.get(trial.id, 0.0))
        if status == "done" and step_times_s:
            self._times.setdefault(trial.id, []).append(step_times_s)
        if status == "lost":
            self._lost.add(trial.id)

    def runnable(self, trial: Trial, number: int) -> bool:
        """Does the trial take part in round `number`? One that cost a worker does not: a hang costs its deadline."""
        wanted = trial.rounds is None or number < trial.rounds
        again = trial.id not in self._done and (trial.id, number) not in self._done
        return wanted and again and trial.id not in self._lost

    def _runnable(self, number: int) -> list[Trial]:
        return [t for t in self._plan.trials if t.skipped is None and self.runnable(t, number)]

    def expected_s(self, trial: Trial) -> float:
        """Seconds that a trial takes: as it took before, or as planned."""
        return self._took_s.get(trial.id, trial.expected_s)

    def round_s(self, number: int) -> float:
        """Seconds of the whole round `number`, worker starts included."""
        trials = self._runnable(number)
        takes = {t.id: self.expected_s(t) for t in trials}
        return span_s(trials, self._plan.at_once, takes, START_S[self._kind])

    def total(self) -> int:
        """How many trials the least number of rounds has."""
        return sum(len(self._runnable(number)) for number in range(self._plan.rounds_min))

    def left_s(self, number: int) -> float:
        """Seconds until the least number of rounds is done, roughly."""
        done = sum(len(times) > number for times in self._times.values())
        share = 1 - done / max(1, len(self._runnable(number)))
        later = sum(self.round_s(n) for n in range(number + 1, self._plan.rounds_min))
        return self.round_s(number) * max(0.0, share) + later

    def stop(self, number: int, budget_left_s: float) -> Stop | None:
        """Look, at the preset places only, whether round `number` should still be run."""
        if number == 0:
            return None
        if number < self._plan.rounds_min:
            if self.round_s(number) <= budget_left_s:
                return None
            message = f"{number} of {self._plan.rounds_min} rounds fitted into the budget; intervals are wider for it"
            self.cut_short = True
            return Stop("budget", Finding("rounds-reduced", "warning", message))
        verdict = look(
            rounds_done=number,
            rounds_min=self._plan.rounds_min,
            rounds_max=self._plan.rounds_max,
            relative_half_widths=self._half_widths(),
            targets=self._targets(),
            budget_left_s=budget_left_s,
            round_s=self.round_s(number),
        )
        return None if verdict is None else Stop(verdict)

    def _half_widths(self) -> dict[str, float]:
        tau, _, _ = assumed_tau(self._kind)
        widths = {}
        bounded = {t.id for t in self._plan.trials if t.rounds is not None}
        for name, times in self._times.items():
            if name in bounded:
                continue  # another round would not add to it
            found = estimate(times, tau)
            widths[name] = (found.high - found.low) / 2 / found.center
        return widths

    def _targets(self) -> dict[str, float]:
        return {
            t.id: t.procedure.target_relative_half_width
            for t in self._plan.trials
            if t.id in self._times and not t.rounds
        }


def finished(record: Record) -> Done:
    """Return what need not be measured again: trials that have all their rounds, and single rounds of the others."""
    enough = {t.id: min(t.rounds or record.plan.rounds_min, record.plan.rounds_min) for t in record.plan.trials}
    done: set[str | tuple[str, int]] = set()
    for m in record.measurements:
        whole = [r.round for r in m.rounds if r.status == "done"]
        done |= {(m.trial, number) for number in whole}
        if m.status in USABLE and len(whole) >= enough[m.trial]:
            done.add(m.trial)
    return frozenset(done)
