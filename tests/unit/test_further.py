"""More rounds for what is undecided: only the trials that could decide it, only what fits, and never a cut-off one."""

import random
from typing import Any

import msgspec
import pytest

from effbench.model.event import Closed, Event, Opened
from effbench.model.grade import DomainGrade, Grade, PolicyRef, Reason
from effbench.model.record import Record
from effbench.run.further import LOOKS_MAX, Further, further, undecided_trials
from effbench.stats.interval import estimate
from tests.factory import cpu_node

CASE = cpu_node()
assert CASE.record is not None
RECORD: Record = CASE.record
HAVE = RECORD.rounds_done
RUN = [t for t in RECORD.plan.trials if t.skipped is None]
KEYS = {m.key: m.evidence for m in CASE.card.metrics if m.device is None and m.evidence}
ONE, OTHER = list(KEYS)[:2]


def reason(metric: str, outcome: Any, **changes: Any) -> Reason:
    return Reason(metric, outcome, "text", **{"observed": 0.8, **changes})


def graded(gates: list[Reason] = [], domains: list[DomainGrade] = []) -> Grade:  # noqa: B006
    return Grade("effbench.grade/1", "undecided", PolicyRef("p", 1, ""), "", gates, domains, "", "")


def domain(outcome: Any, *reasons: Reason, required: bool = True) -> DomainGrade:
    return DomainGrade("compute", outcome, list(reasons), required, critical=False)


def took(*seconds: tuple[str, float]) -> list[Event]:
    """Events of trials that took so long."""
    events: list[Event] = []
    for number, (name, of) in enumerate(seconds):
        began = number * 10**12
        events += [Opened(began, name, 0, 1, "cpu"), Closed(began + int(of * 1e9), name, 0, "done")]
    return events


def asked(left_s: float, *names: str, record: Record = RECORD, each_s: float = 2.0) -> Further:
    found = further(record, took(*((name, each_s) for name in names)), frozenset(names), left_s)
    assert isinstance(found, Further), found
    return found


def test_an_undecided_gate_names_its_trials() -> None:
    verdict = graded([reason(ONE, "undecided"), reason(OTHER, "pass")])
    assert undecided_trials(CASE.card, verdict) == set(KEYS[ONE])


def test_an_undecided_domain_names_the_trials_of_all_its_figures() -> None:
    verdict = graded([], [domain("undecided", reason(ONE, "pass"), reason(OTHER, "undecided"))])
    assert undecided_trials(CASE.card, verdict) == {*KEYS[ONE], *KEYS[OTHER]}


@pytest.mark.parametrize(
    "verdict",
    [
        graded(),
        graded([reason(ONE, "fail"), reason(OTHER, "not_rated")]),
        graded([], [domain("pass", reason(ONE, "undecided"))]),
        graded([], [domain("undecided", reason(ONE, "undecided"), required=False)]),
        graded([reason("health.wrong_results", "undecided", observed=None)]),
        graded([reason("no.such.metric", "undecided")]),
    ],
)
def test_what_does_not_keep_the_verdict_undecided_is_not_measured_again(verdict: Grade) -> None:
    assert undecided_trials(CASE.card, verdict) == frozenset()
    assert further(RECORD, [], frozenset(), 1e6) == "bounded"


def test_every_device_is_measured_again_not_only_the_worst() -> None:
    worst = next(m for m in CASE.card.metrics if m.key == ONE and m.device is None)
    second = msgspec.structs.replace(worst, device="gpu1", evidence=["second"])
    card = msgspec.structs.replace(CASE.card, metrics=[*CASE.card.metrics, second])
    assert undecided_trials(card, graded([reason(ONE, "undecided")])) == {*KEYS[ONE], "second"}


def test_with_time_the_rounds_are_doubled_and_nothing_else_is_measured() -> None:
    name = RUN[0].id
    found = asked(1e6, name)
    assert found.rounds == HAVE and found.trials == 1
    assert found.plan.rounds_min == found.plan.rounds_max == 2 * HAVE
    assert found.plan.digest != RECORD.plan.digest and found.plan.idle is None
    assert [t.trial_key for t in found.plan.trials] == [t.trial_key for t in RECORD.plan.trials]
    assert {t.id for t in RECORD.plan.trials} - found.done == {name}
    assert {number for n, number in (d for d in found.done if isinstance(d, tuple)) if n == name} == set(range(HAVE))


def test_only_rounds_that_fit_are_asked_for() -> None:
    name = RUN[0].id
    one = next(s for s in range(1, 100) if further(RECORD, took((name, 2.0)), frozenset([name]), s) != "budget")
    assert one >= 1.5 * 2.0, "room for a slower round"
    assert asked(one, name).rounds == 1
    assert asked(2 * one, name).rounds == 2
    for left_s in (one - 1, 0.0, -5.0):
        assert further(RECORD, took((name, 2.0)), frozenset([name]), left_s) == "budget"


def test_how_long_a_round_takes_is_what_it_took_not_what_was_planned() -> None:
    name = RUN[0].id
    slow = RUN[0].expected_s * 100
    assert asked(1e6, name, each_s=slow).plan.expected_s > HAVE * slow
    assert further(RECORD, took((name, 1.0), (name, slow)), frozenset([name]), 0.9 * slow) == "budget"


def test_trials_bounded_to_the_rounds_there_are_cannot_decide() -> None:
    name = RUN[0].id
    trials = [msgspec.structs.replace(t, rounds=1) if t.id == name else t for t in RECORD.plan.trials]
    bounded = msgspec.structs.replace(RECORD, plan=msgspec.structs.replace(RECORD.plan, trials=trials))
    assert further(bounded, [], frozenset([name]), 1e6) == "bounded"
    assert asked(1e6, name, RUN[1].id, record=bounded).trials == 1


def decided(seed: int, looks: int, tau: float = 0.015) -> bool:
    """Does a node exactly at its threshold get a verdict within so many looks, each after twice the rounds?"""
    dice = random.Random(seed)
    rounds: list[list[float]] = []
    for look in range(looks):
        while len(rounds) < 2 << look:
            center = 1 + dice.gauss(0, tau)
            rounds.append([center * (1 + dice.gauss(0, 0.004)) for _ in range(8)])
        found = estimate(rounds, tau)
        if not found.low <= 1 <= found.high:
            return True
    return False


def test_looking_again_decides_by_chance_about_as_often_as_published() -> None:
    """0.05 with one look, 0.107 with three (3000 nodes: 0.049 and 0.111); bounds are 4 standard errors away."""
    nodes = 150
    one, all_looks = (sum(decided(seed, looks) for seed in range(nodes)) / nodes for looks in (1, LOOKS_MAX))
    assert one <= all_looks <= 0.107 + 4 * (0.107 * 0.893 / nodes) ** 0.5
    assert one <= 0.05 + 4 * (0.05 * 0.95 / nodes) ** 0.5
