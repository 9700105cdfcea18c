"""An undecided verdict to the rounds that could decide it: which trials, how many rounds, in what time. Pure.

A verdict that is looked at several times comes out by chance more often than one that is looked at once: with looks at
equal distances a two-sided error of 0.05 becomes 0.083 after two and 0.107 after three (Armitage, McPherson and Rowe
1969, J. R. Stat. Soc. A 132). So there are at most three looks, each after twice the rounds of the one before or after
what the budget still allows, and never one in between.
"""

from collections.abc import Sequence

import msgspec

from effbench.model.digest import digest
from effbench.model.event import Closed, Event, Opened
from effbench.model.grade import Grade, Reason
from effbench.model.plan import Plan, Trial
from effbench.model.recipe import Stopped
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.run.duration import START_S, span_s
from effbench.run.engine import SOAK_S, SOAKED_MODES
from effbench.run.rounds import Done

LOOKS_MAX = 3
# A round that does not fit would be cut off, and a trial cut off is evidence lost: rounds vary, so room is left.
ROOM = 1.5


class Further(msgspec.Struct, frozen=True):
    """What to run next: the same plan with more rounds, what of it is not measured again, how many rounds it adds."""

    plan: Plan
    done: Done
    rounds: int
    trials: int


def undecided_trials(card: Scorecard, verdict: Grade) -> frozenset[str]:
    """Return the ids of the trials whose figures leave `verdict` undecided, on every device."""
    reasons: list[Reason] = [r for r in verdict.gates if r.outcome == "undecided"]
    reasons += [r for d in verdict.domains if d.required and d.outcome == "undecided" for r in d.reasons]
    keys = {r.metric for r in reasons if r.observed is not None}
    return frozenset(trial for metric in card.metrics if metric.key in keys for trial in metric.evidence)


def further(record: Record, events: Sequence[Event], undecided: frozenset[str], left_s: float) -> Further | Stopped:
    """Return the rounds to add to `record` in `left_s` seconds, or why there are none.

    Args:
        record: what was measured, and its plan.
        events: the journal of it, which tells how long each trial took.
        undecided: the trials to measure again.
        left_s: seconds for measuring, the time for reports already taken off.
    """
    have = record.rounds_done
    took = _took_s(events)
    trials = [
        msgspec.structs.replace(t, expected_s=took[t.id]) if t.id in took and t.skipped is None else t
        for t in record.plan.trials
    ]
    wanted = [t for t in trials if t.id in undecided and t.skipped is None and (t.rounds is None or t.rounds > have)]
    if not wanted:
        return "bounded"
    at_once = record.plan.at_once
    opening_s = _opening_s(wanted, at_once)
    working_s = span_s(wanted, at_once, {t.id: t.expected_s for t in wanted}, 0.0)
    rounds = min(have, int(left_s / (opening_s + ROOM * working_s)))
    if rounds < 1:
        return "budget"
    plan = msgspec.structs.replace(
        record.plan,
        digest="",
        trials=trials,
        rounds_min=have + rounds,
        rounds_max=have + rounds,
        expected_s=rounds * (opening_s + working_s),
        idle=None,
    )
    plan = msgspec.structs.replace(plan, digest=digest(plan))
    return Further(plan, _done(record, {t.id for t in wanted}), rounds, len(wanted))


def _opening_s(trials: Sequence[Trial], at_once: bool) -> float:
    """Seconds of a round before its trials: workers that start, and one soak for each device."""
    soaked = {t.placement.devices[0] for t in trials if t.procedure.mode in SOAKED_MODES}
    kind = "gpu" if any(d.startswith("gpu") for t in trials for d in t.placement.devices) else "cpu"
    return span_s(trials, at_once, dict.fromkeys((t.id for t in trials), 0.0), START_S[kind]) + SOAK_S[kind] * len(
        soaked
    )


def _took_s(events: Sequence[Event]) -> dict[str, float]:
    """Seconds that each trial took in its longest round, from its start to its end."""
    took: dict[str, float] = {}
    opened: dict[str, int] = {}
    for event in events:
        if isinstance(event, Opened):
            opened[event.trial] = event.t_ns
        elif isinstance(event, Closed) and event.trial in opened:
            seconds = (event.t_ns - opened.pop(event.trial)) / 1e9
            took[event.trial] = max(seconds, took.get(event.trial, 0.0))
    return took


def _done(record: Record, wanted: set[str]) -> Done:
    """Every trial but the wanted ones, and of those every round that there is, whatever came of it."""
    done: set[str | tuple[str, int]] = {t.id for t in record.plan.trials if t.id not in wanted}
    done |= {(m.trial, r.round) for m in record.measurements if m.trial in wanted for r in m.rounds}
    return frozenset(done)
