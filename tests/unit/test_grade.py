"""Verdicts fail closed: missing, invalid, disturbed, simulated or doubtful evidence never passes."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.grade.gates import compare
from effbench.grade.ladder import Ladder
from effbench.grade.shrink import score
from effbench.grade.verdict import grade
from effbench.model.grade import EXIT_CODES, Grade
from effbench.model.policy import DomainRule, GateRule, MetricRule, Policy, Prior, Section
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.scorecard import DeviceCard, Metric, Scorecard
from effbench.model.unit import Unit

COMPUTE, MEMORY = "compute.gemm.fp32.fraction_of_reference", "memory.stream.triad.fraction_of_reference"


def share(key: str, value: float, half: float = 0.01, **changes: object) -> Metric:
    ceiling = Ceiling(1.0, Unit.ONE, "a source", "2026-11-21")
    interval = Interval(value - half, value + half)
    metric = Metric(key, Quantity(value, Unit.ONE), "higher", "valid", ["t"], interval=interval, ceiling=ceiling)
    return msgspec.structs.replace(metric, **changes)


def count(key: str, value: float, **changes: object) -> Metric:
    return msgspec.structs.replace(Metric(key, Quantity(value, Unit.ONE), "lower", "valid", ["t"]), **changes)


def card(*metrics: Metric, **changes: object) -> Scorecard:
    plain = Scorecard(
        schema="effbench.scorecard/1",
        subject="node",
        node="n",
        device_class="cpu",
        devices=[DeviceCard("cpu", "cpu", "a cpu")],
        metrics=[count("health.wrong_results", 0.0), *metrics],
        coverage=1.0,
        findings=[],
        record_digests=["d"],
        suite="s",
        started_at="2026-11-21T10:00:00+00:00",
        ended_at="2026-11-21T10:03:00+00:00",
    )
    return msgspec.structs.replace(plain, **changes)


SECTION = Section(
    gates=[GateRule("health.wrong_results", "0")],
    domains=[
        DomainRule("compute", [MetricRule([COMPUTE, "compute.gemm.tf32.fraction_of_reference"])], critical=True),
        DomainRule("memory", [MetricRule([MEMORY])], critical=True),
        DomainRule("power", [MetricRule(["power.gemm.bf16.flops_per_joule"])], required=False),
    ],
)
POLICY = Policy(
    schema="effbench.policy/1",
    name="p",
    version=1,
    effective_from="2026-11-21",
    purpose="a test",
    ladder={"S": "0.97", "A": "0.92", "B": "0.85", "C": "0.75"},
    gpu=SECTION,
    cpu=SECTION,
)


def test_a_good_node_passes_with_the_grade_of_its_pessimistic_end() -> None:
    verdict = grade(card(share(COMPUTE, 0.94), share(MEMORY, 0.94)), POLICY)
    assert (verdict.verdict, verdict.grade, EXIT_CODES[verdict.verdict]) == ("pass", "A", 0)
    assert verdict.rated_until == "2026-12-21"
    below = grade(card(share(COMPUTE, 0.925), share(MEMORY, 0.925)), POLICY)
    assert below.grade == "B", "0.925 - 0.01 is below the 0.92 of an A"


def test_a_share_may_be_written_with_the_unit_of_shares() -> None:
    policy = msgspec.structs.replace(POLICY, coverage_min="0.9 1", prior=Prior("0.85 1", "0.05 1"))
    good = card(share(COMPUTE, 0.99), share(MEMORY, 0.99))
    assert grade(good, policy).verdict == "pass"
    assert grade(msgspec.structs.replace(good, coverage=0.8), policy).verdict == "not_rated"


def test_a_figure_that_its_domain_carries_is_named() -> None:
    rules = Section(SECTION.gates, [DomainRule("compute", [MetricRule([COMPUTE]), MetricRule([MEMORY])])])
    verdict = grade(card(share(COMPUTE, 0.74, 0.03), share(MEMORY, 0.99)), msgspec.structs.replace(POLICY, cpu=rules))
    assert verdict.verdict == "pass"
    assert f"but not by itself {COMPUTE};" in verdict.summary and "Every required figure" not in verdict.summary


def test_a_device_class_may_need_a_better_grade_to_pass() -> None:
    strict = msgspec.structs.replace(POLICY, cpu=msgspec.structs.replace(SECTION, pass_grade="A"))
    made = card(share(COMPUTE, 0.90), share(MEMORY, 0.99))
    assert grade(made, POLICY).verdict == "pass"
    assert grade(made, strict).verdict == "fail"
    other = msgspec.structs.replace(POLICY, gpu=msgspec.structs.replace(SECTION, pass_grade="A"))
    assert grade(made, other).verdict == "pass"


def test_no_mean_buys_out_a_required_figure_that_was_measured_and_misses() -> None:
    rules = Section(SECTION.gates, [DomainRule("compute", [MetricRule([COMPUTE]), MetricRule([MEMORY], 3.0)])])
    policy = msgspec.structs.replace(POLICY, cpu=rules)
    verdict = grade(card(share(COMPUTE, 0.60), share(MEMORY, 0.99)), policy)
    assert verdict.domains[0].share_low is not None and verdict.domains[0].share_low > 0.75
    assert (verdict.verdict, verdict.domains[0].outcome, verdict.domains[0].grade) == ("fail", "fail", "F")
    assert COMPUTE in verdict.summary and "0.600" in verdict.summary
    disturbed = share(COMPUTE, 0.60, status="suspect")
    assert grade(card(disturbed, share(MEMORY, 0.99)), policy).verdict == "not_rated"
    optional = Section(
        SECTION.gates, [DomainRule("compute", [MetricRule([COMPUTE], required=False), rules.domains[0].metrics[1]])]
    )
    assert (
        grade(card(share(COMPUTE, 0.60), share(MEMORY, 0.99)), msgspec.structs.replace(policy, cpu=optional)).verdict
        == "pass"
    )


def test_a_missing_required_metric_is_not_rated_and_says_which() -> None:
    verdict = grade(card(share(COMPUTE, 0.99)), POLICY)
    assert verdict.verdict == "not_rated"
    assert verdict.grade is None
    assert MEMORY in verdict.summary


@pytest.mark.parametrize("status", ["invalid", "failed", "skipped"])
def test_unusable_evidence_is_missing_evidence(status: str) -> None:
    verdict = grade(card(share(COMPUTE, 0.99), share(MEMORY, 0.99, status=status)), POLICY)
    assert verdict.verdict == "not_rated"


def test_a_miss_at_the_optimistic_end_fails() -> None:
    verdict = grade(card(share(COMPUTE, 0.5), share(MEMORY, 0.99)), POLICY)
    assert (verdict.verdict, verdict.grade) == ("fail", "F")
    reason = next(r for d in verdict.domains for r in d.reasons if r.metric == COMPUTE)
    assert reason.outcome == "fail"
    assert reason.margin is not None
    assert reason.margin < 0


def test_a_threshold_inside_the_interval_is_undecided() -> None:
    verdict = grade(card(share(COMPUTE, 0.75, 0.02), share(MEMORY, 0.99)), POLICY)
    assert (verdict.verdict, verdict.grade) == ("undecided", None)


def test_suspect_evidence_never_fails_a_node() -> None:
    verdict = grade(card(share(COMPUTE, 0.5, status="suspect"), share(MEMORY, 0.99)), POLICY)
    assert verdict.verdict == "not_rated"


def test_fail_outranks_not_rated() -> None:
    assert grade(card(share(COMPUTE, 0.5)), POLICY).verdict == "fail"


def test_a_wrong_result_fails_whatever_the_speed() -> None:
    metrics = [count("health.wrong_results", 1.0), share(COMPUTE, 0.99), share(MEMORY, 0.99)]
    verdict = grade(card(share(COMPUTE, 1), metrics=metrics), POLICY)
    assert verdict.verdict == "fail"
    assert "health.wrong_results" in verdict.summary


def test_without_the_gate_metric_there_is_no_rating() -> None:
    verdict = grade(card(metrics=[share(COMPUTE, 0.99), share(MEMORY, 0.99)]), POLICY)
    assert verdict.verdict == "not_rated"


def test_a_low_confidence_reference_is_shown_and_not_graded() -> None:
    weak = Ceiling(1.0, Unit.ONE, "hearsay", "2026-11-21", confidence="low")
    verdict = grade(card(share(COMPUTE, 0.99, ceiling=weak), share(MEMORY, 0.99)), POLICY)
    assert verdict.verdict == "not_rated"
    assert "low confidence" in verdict.summary


def test_a_provisional_reference_caps_at_b_and_says_so() -> None:
    assumed = Ceiling(1.0, Unit.ONE, "typical share", "2026-11-21", provisional=True)
    verdict = grade(card(share(COMPUTE, 0.99, ceiling=assumed), share(MEMORY, 0.99)), POLICY)
    compute = next(d for d in verdict.domains if d.name == "compute")
    assert (compute.grade, compute.capped, verdict.grade) == ("B", True, "B")


def test_an_alternative_that_was_asked_for_in_vain_is_missing_evidence() -> None:
    """A device whose tf32 gives no numbers is not rated by its fp32; a part that has no tf32 is."""
    first, second = "compute.gemm.tf32.fraction_of_reference", "compute.gemm.fp32.fraction_of_reference"
    either = DomainRule("compute", [MetricRule([first, second])], critical=True)
    policy = msgspec.structs.replace(POLICY, cpu=msgspec.structs.replace(SECTION, domains=[either]))
    one_of_two = share(first, 0.95, device="gpu0")
    for planned, verdict in ((None, "pass"), (["compute.gemm.fp32"], "pass"), (["compute.gemm.tf32"], "not_rated")):
        found = grade(card(share(second, 0.95), one_of_two, planned=planned), policy)
        assert found.verdict == verdict, planned
    assert "compute.gemm.tf32.fraction_of_reference is absent: it was asked for" in found.domains[0].reasons[0].text
    assert grade(card(share(first, 0.95), planned=["compute.gemm.tf32", "compute.gemm.fp32"]), policy).verdict == "pass"


def test_the_overall_is_at_most_one_grade_above_the_worst_critical_domain() -> None:
    verdict = grade(card(share(COMPUTE, 0.999, 0.0), share(MEMORY, 0.76, 0.0)), POLICY)
    assert verdict.grade == "B"
    memory = next(d for d in verdict.domains if d.name == "memory")
    assert memory.grade == "C"


def test_a_figure_above_its_reference_buys_nothing_out() -> None:
    rules = Section(SECTION.gates, [DomainRule("compute", [MetricRule([COMPUTE]), MetricRule([MEMORY])])])
    policy = msgspec.structs.replace(POLICY, cpu=rules)
    verdict = grade(card(share(COMPUTE, 2.0, 0.0), share(MEMORY, 0.5, 0.0)), policy)
    assert verdict.verdict == "fail"


def test_alternatives_are_tried_in_order() -> None:
    other = share("compute.gemm.tf32.fraction_of_reference", 0.98)
    verdict = grade(card(other, share(MEMORY, 0.98)), POLICY)
    assert verdict.verdict == "pass"


def test_an_optional_domain_without_evidence_is_named_and_does_not_stop_the_rest() -> None:
    verdict = grade(card(share(COMPUTE, 0.99), share(MEMORY, 0.99)), POLICY)
    assert verdict.verdict == "pass"
    assert "not rated: power" in verdict.summary


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"simulated": True}, "simulated"),
        ({"subject": "device"}, "device"),
        ({"outcome": "interrupted"}, "interrupted"),
        ({"outcome": "truncated"}, "truncated"),
        ({"coverage": 0.5}, "50%"),
    ],
)
def test_a_doubtful_card_is_not_rated_and_says_why(changes: dict, word: str) -> None:
    verdict = grade(card(share(COMPUTE, 0.99), share(MEMORY, 0.99), **changes), POLICY)
    assert verdict.verdict == "not_rated"
    assert any(word in reason for reason in verdict.reasons)


@given(value=st.floats(0.01, 2), half=st.floats(0, 0.5), lower=st.booleans(), threshold=st.floats(0.01, 2))
def test_compare_is_a_partition(value: float, half: float, lower: bool, threshold: float) -> None:
    low, high = value - half, value + half
    pessimistic, optimistic = (high, low) if lower else (low, high)
    outcome = compare(pessimistic, optimistic, threshold, lower)
    if outcome == "pass":
        assert all((x <= threshold) if lower else (x >= threshold) for x in (low, high))
    elif outcome == "fail":
        assert all((x > threshold) if lower else (x < threshold) for x in (low, high))
    else:
        assert low <= threshold <= high


@given(shares=st.lists(st.floats(0.3, 1.2), min_size=2, max_size=2), better=st.floats(0, 0.3))
def test_a_better_node_never_gets_a_worse_grade(shares: list[float], better: float) -> None:
    order = [*Ladder(POLICY, "cpu").names]
    rank = {"pass": 0, "undecided": 1, "not_rated": 2, "fail": 3}
    before = grade(card(share(COMPUTE, shares[0]), share(MEMORY, shares[1])), POLICY)
    after = grade(card(share(COMPUTE, shares[0] + better), share(MEMORY, shares[1] + better)), POLICY)
    assert rank[after.verdict] <= rank[before.verdict]
    if before.grade and after.grade:
        assert order.index(after.grade) <= order.index(before.grade)


def test_the_ladder_is_ordered() -> None:
    ladder = Ladder(POLICY, "cpu")
    assert ladder.names == ["S", "A", "B", "C", "F"]
    assert [ladder.at(x) for x in (1.0, 0.97, 0.96, 0.9, 0.8, 0.1)] == ["S", "S", "A", "B", "C", "F"]
    for a, b in itertools.pairwise(ladder.names):
        assert ladder.rank(a) < ladder.rank(b)
        assert ladder.above(b, 1) == a


def test_a_share_without_an_interval_is_not_rated() -> None:
    verdict = grade(card(share(COMPUTE, 0.99, interval=None), share(MEMORY, 0.99)), POLICY)
    assert verdict.verdict == "not_rated"
    assert "no pessimistic end" in verdict.summary


SHARE_GATE = GateRule(MEMORY, "0.75")
GATED = msgspec.structs.replace(POLICY, cpu=Section([SHARE_GATE], SECTION.domains[:1]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "pass"),
        ({"interval": None}, "not_rated"),
        ({"ceiling": None}, "not_rated"),
        ({"ceiling": Ceiling(1.0, Unit.ONE, "hearsay", "2026-11-21", confidence="low")}, "not_rated"),
        ({"status": "invalid"}, "not_rated"),
    ],
)
def test_a_gate_on_a_share_needs_an_interval_and_a_trusted_reference(changes: dict, expected: str) -> None:
    assert grade(card(share(COMPUTE, 0.99), share(MEMORY, 0.99, **changes)), GATED).verdict == expected


HISTORY = "compute.gemm.fp32.fraction_of_baseline"
AGAINST_BASELINE = msgspec.structs.replace(
    POLICY,
    ladder={"S": "0.99", "A": "0.97", "B": "0.95", "C": "0.90"},
    cpu=Section([GateRule(COMPUTE, "0.75")], [DomainRule("compute", [MetricRule([HISTORY])], critical=True)]),
)


@pytest.mark.parametrize(
    ("history", "absolute", "expected"),
    [(1.0, 0.95, "pass"), (0.7, 0.95, "fail"), (1.0, 0.5, "fail"), (1.0, None, "not_rated"), (None, 0.95, "not_rated")],
    ids=["healthy", "slower than before", "the whole fleet at half speed", "no anchor", "no baseline"],
)
def test_a_baseline_cannot_define_normal_alone(history: float | None, absolute: float | None, expected: str) -> None:
    metrics = [share(HISTORY, history)] if history is not None else []
    metrics += [share(COMPUTE, absolute)] if absolute is not None else []
    verdict = grade(card(*metrics), AGAINST_BASELINE)
    assert verdict.verdict == expected
    if expected == "not_rated":
        assert "fraction_of" in verdict.summary


def test_every_yardstick_stands_beside_each_figure() -> None:
    peak = share("compute.gemm.fp32.fraction_at_held_clock", 0.61)
    verdict = grade(card(peak, share(COMPUTE, 0.97), share(HISTORY, 1.02)), AGAINST_BASELINE)
    expected = [("peak", 0.61), ("reference", 0.97), ("baseline", 1.02)]
    for reason in (verdict.gates[0], verdict.domains[0].reasons[0]):
        assert [(y.kind, y.share) for y in reason.yardsticks] == expected
    assert all(y.low is not None and y.low < (y.share or 0) and y.source for y in verdict.gates[0].yardsticks)


def test_a_yardstick_that_is_not_there_says_why() -> None:
    verdict = grade(card(share(COMPUTE, 0.99), share(MEMORY, 0.99)), POLICY)
    peak, reference, baseline = verdict.domains[0].reasons[0].yardsticks
    assert reference.share == 0.99 and peak.share is None and baseline.share is None
    assert "no rated peak" in peak.absent and "none was given" in baseline.absent
    assert verdict.gates == [] or all(not r.yardsticks for r in verdict.gates), "a count is held against nothing"


def test_a_rating_names_what_ends_it() -> None:
    policy = msgspec.structs.replace(POLICY, rerate_on=["driver", "vbios"])
    good = grade(card(share(COMPUTE, 0.99), share(MEMORY, 0.99)), policy)
    assert good.rerate_on == ["driver", "vbios"]
    assert good.rated_for == {}
    facts = {"driver": "595.1", "topology": "8 x a GPU (1)"}
    assert grade(card(share(COMPUTE, 0.99), share(MEMORY, 0.99), identity=facts), policy).rated_for == facts
    bad = grade(card(share(COMPUTE, 0.5), share(MEMORY, 0.99), identity=facts), policy)
    assert (bad.rerate_on, bad.rated_for) == ([], {})


def test_few_rounds_buy_no_top_grade() -> None:
    """The same medians with the wide interval of two rounds and the narrow one of many."""
    few = grade(card(share(COMPUTE, 0.99, 0.04), share(MEMORY, 0.99, 0.04)), POLICY)
    many = grade(card(share(COMPUTE, 0.99, 0.01), share(MEMORY, 0.99, 0.01)), POLICY)
    assert (few.grade, many.grade) == ("A", "S")


def test_two_rounds_of_a_good_node_are_no_top_grade() -> None:
    """At its reference with the assumed spread of a GPU: the interval's own end is an S, the evidence is not."""

    def graded(rounds: int) -> Grade:
        half = 2 * 0.015 / rounds**0.5
        return grade(card(share(COMPUTE, 1.0, half), share(MEMORY, 1.0, half), device_class="gpu"), POLICY)

    few, many = graded(2), graded(6)
    assert (few.grade, many.grade) == ("A", "S")
    low = few.domains[0]
    assert low.share_low is not None and low.score is not None
    assert (low.share_low, low.score) == (pytest.approx(0.9788, abs=1e-4), pytest.approx(0.9652, abs=1e-4))
    assert few.score == pytest.approx(low.score)


@given(st.floats(0.01, 2.0), st.floats(0.0, 0.5), st.floats(0.75, 1.0), st.floats(0.001, 0.5))
def test_a_prior_lowers_grades_and_lifts_none(value: float, half: float, at: float, spread: float) -> None:
    metric = share(COMPUTE, value, half * value)
    low = metric.interval.low if metric.interval is not None else 0.0
    prior = Prior(str(at), str(spread))
    assert 0 < score(metric, prior, "gpu") <= min(low, 1.0)
    node = card(metric, share(MEMORY, 0.99))
    plain, drawn = (grade(node, msgspec.structs.replace(POLICY, prior=p)) for p in (Prior("1", "1e9"), prior))
    assert drawn.verdict == plain.verdict, "a prior judges nothing"
    if plain.grade is not None:
        ladder = Ladder(POLICY, "cpu")
        assert drawn.grade is not None
        assert ladder.rank(drawn.grade) >= ladder.rank(plain.grade)
        assert (drawn.grade == "F") == (drawn.verdict == "fail")


def test_a_share_without_a_pessimistic_end_scores_nothing() -> None:
    for metric in (share(COMPUTE, 0.9, interval=None), share(COMPUTE, 0.1, 0.2), share(COMPUTE, 0.0)):
        assert score(metric, Prior(), "gpu") <= 1e-9


def test_what_passes_is_a_pass_however_little_was_measured() -> None:
    """One metric sure and low, one unsure and high: the ends pass together, and the letter says no fail."""
    rules = Section(SECTION.gates, [DomainRule("compute", [MetricRule([COMPUTE]), MetricRule([MEMORY])])])
    policy = msgspec.structs.replace(POLICY, cpu=rules)
    verdict = grade(card(share(COMPUTE, 0.70, 0.06), share(MEMORY, 1.2, 0.27)), policy)
    (found,) = verdict.domains
    assert found.share_low is not None and found.score is not None
    assert found.score < 0.75 < found.share_low
    assert (verdict.verdict, found.grade, verdict.grade) == ("pass", "C", "C")
