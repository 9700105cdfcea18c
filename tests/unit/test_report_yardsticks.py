"""A report shows each figure against everything it can be held against, and what ends a rating."""

from effbench.model.grade import Reason, Yardstick
from effbench.report.view_judged import reason_view

KEY = "compute.gemm.bf16.fraction_of_reference"
PEAK = Yardstick("peak", "compute.gemm.bf16.fraction_of_rated_peak", 0.718, 0.70, 0.73)
REFERENCE = Yardstick("reference", KEY, 0.895, 0.87, 0.92, provisional=True)
BASELINE = Yardstick("baseline", "compute.gemm.bf16.fraction_of_baseline", 1.01, 0.98, 1.04, provisional=True)


def notes(*yardsticks: Yardstick) -> str:
    reason = Reason(KEY, "pass", "a text", observed=0.895, threshold=0.75, yardsticks=list(yardsticks))
    return reason_view(reason).notes


def test_the_other_yardsticks_stand_beside_the_one_that_judges() -> None:
    assert notes(PEAK, REFERENCE, BASELINE) == "71.8 % of the peak, 101 % of the baseline"


def test_a_provisional_reference_says_so() -> None:
    reason = Reason(BASELINE.metric, "pass", "a text", yardsticks=[REFERENCE, BASELINE])
    assert reason_view(reason).notes == "89.5 % of the provisional reference"


def test_what_is_not_known_is_not_shown_as_a_figure() -> None:
    assert notes(Yardstick("peak", PEAK.metric, absent="no rated peak"), REFERENCE) == ""
