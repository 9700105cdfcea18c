"""`effbench compare A... --against B...`: several runs a side, intervals for all figures together, no false repeats."""

from pathlib import Path

import pytest

from effbench.model.error import InputError
from effbench.model.record import Record
from effbench.score.comparison import Compared, compare_records
from effbench.store.runs import record_of
from tests.unit.command_line import call
from tests.unit.slowed_records import slowed, undisturbed, write

TRIAD = "memory.stream.triad.bandwidth"


@pytest.fixture(scope="module")
def real(finished: Path) -> Record:
    """The shared simulated run."""
    return undisturbed(record_of(finished))


def side(real: Record, name: str, *factors: float) -> list[Record]:
    return [slowed(real, factor, f"{name}{i}") for i, factor in enumerate(factors)]


def of(rows: list[Compared], key: str = TRIAD) -> Compared:
    return next(row for row in rows if row.key == key)


def test_noise_of_three_runs_a_side_condemns_nothing(real: Record) -> None:
    rows = compare_records(side(real, "a", 1.0, 1.01, 0.99), side(real, "b", 1.01, 1.0, 1.02))
    assert {row.outcome for row in rows} <= {"same", "undecided"}


def test_a_slowdown_is_told_with_five_runs_a_side_that_one_a_side_cannot_tell(real: Record) -> None:
    before, after = (1.0, 1.001, 0.999, 1.0, 1.002), (1.07, 1.071, 1.069, 1.072, 1.07)
    assert of(compare_records(side(real, "a", 1.0), side(real, "b", 1.07))).outcome == "undecided"
    several = of(compare_records(side(real, "a", *before), side(real, "b", *after)))
    assert several.outcome == "worse"
    assert several.ratio == pytest.approx(1 / 1.07, rel=1e-3)
    assert several.resolution is not None and several.resolution < 0.07


def test_one_bad_run_of_five_does_not_move_the_side(real: Record) -> None:
    row = of(
        compare_records(side(real, "a", 1.0, 1.0, 1.001, 0.999, 3.0), side(real, "b", 1.0, 1.001, 1.0, 1.0, 0.999))
    )
    assert row.ratio == pytest.approx(1.0, abs=2e-3)
    assert row.outcome == "undecided", "but its spread is not forgotten"


def test_intervals_hold_for_all_figures_and_one_time_counts_once(real: Record) -> None:
    rows = compare_records(side(real, "a", 1.0), side(real, "b", 1.0))
    levels = {row.level for row in rows if row.level is not None}
    assert len(levels) == 1
    judged = [row for row in rows if row.level is not None]
    tests = round(0.05 / (1 - levels.pop()))
    times = len({m.trial for m in real.measurements if m.step_s is not None})
    assert 1 < tests < len(judged), "a rate and its share of the peak are one measured time"
    assert tests <= 2 * times
    alone = compare_records(*(only(real, name) for name in "ab"))
    assert width(of(alone)) < width(of(rows)), "one figure alone needs no correction"


def only(real: Record, name: str) -> Record:
    """The run with the trial of the memory bandwidth alone."""
    kernels = {t.id: t.kernel for t in real.plan.trials}
    dropped = [k for k in set(kernels.values()) if k != "stream"]
    for i, kernel in enumerate(dropped):
        real = slowed(real, 1.0, f"{name}{i}", without=kernel)
    return real


def width(row: Compared) -> float:
    assert row.low is not None and row.high is not None
    return row.high / row.low


def test_a_figure_that_one_run_lacks_or_failed_is_not_compared(real: Record) -> None:
    b = [*side(real, "b", 1.0, 1.0), slowed(real, 1.0, "cut", without="stream")]
    rows = compare_records(side(real, "a", 1.0, 1.0), b)
    assert of(rows).outcome == "not-comparable"
    assert of(rows).note == "absent in 1 of the 3 runs of B"
    failed = [*side(real, "b", 1.0), slowed(real, 1.0, "invalid", status={"stream": "invalid"})]
    assert of(compare_records(side(real, "a", 1.0), failed)).outcome == "not-comparable"


def test_unlike_trials_within_one_side_are_named(real: Record) -> None:
    b = [*side(real, "b", 1.0), slowed(real, 1.0, "other", trial_key="another")]
    row = of(compare_records(side(real, "a", 1.0), b))
    assert row.outcome == "not-comparable" and "params.op" in row.note


def test_disturbed_runs_are_named_by_their_side(real: Record) -> None:
    b = [*side(real, "b", 1.0), slowed(real, 1.0, "loud", status={"stream": "suspect"})]
    assert of(compare_records(side(real, "a", 1.0), b)).note == "B disturbed: foreign load during the trial"


def test_a_copy_is_no_repetition(real: Record) -> None:
    a, b = side(real, "a", 1.0, 1.0), side(real, "b", 1.0)
    with pytest.raises(InputError, match="run 2 of B is run 1 of B again"):
        compare_records(a, [b[0], b[0]])
    with pytest.raises(InputError, match="run 2 of B is run 1 of A again"):
        compare_records(a, [b[0], a[0]])
    with pytest.raises(InputError, match="side B of the comparison has no run"):
        compare_records(a, [])


def test_against_reads_as_it_says(real: Record, tmp_path: Path) -> None:
    good = [write(tmp_path / f"g{i}", record) for i, record in enumerate(side(real, "g", 1.0, 1.001, 0.999))]
    slow = [write(tmp_path / f"s{i}", record) for i, record in enumerate(side(real, "s", 1.6, 1.601, 1.599))]
    done = call("compare", *slow, "--against", *good)
    assert done.code == 1, "the slow ones are judged"
    assert "A against B" in done.err
    assert call("compare", *good, "--against", *slow, "--strict", "--json").code == 0
    assert call("compare", "--against", *good, "--margin", "0.1", *slow).code == 1, "an option ends the side"
    assert call("compare", good[0], "--against", slow[0]).code == call("compare", slow[0], good[0]).code == 0


@pytest.mark.parametrize("words", [["A"], ["A", "B", "C"], ["A", "--against"], ["A", "B", "--against", "--json"]])
def test_sides_that_are_not_two_are_2(real: Record, tmp_path: Path, words: list[str]) -> None:
    paths = {name: write(tmp_path / name, slowed(real, 1.0, name)) for name in "ABC"}
    done = call("compare", *(paths.get(word, word) for word in words))
    assert done.code == 2 and done.err


def test_where_nothing_is_decided_the_least_change_that_could_be_told_is_named(real: Record, tmp_path: Path) -> None:
    for name, factor in (("a", 1.0), ("b", 1.04)):
        write(tmp_path / name, slowed(real, factor, name))
    done = call("compare", tmp_path / "a", tmp_path / "b", "--json")
    assert {row["outcome"] for row in done.document if "resolution" in row} == {"undecided"}
    least = min(row["resolution"] for row in done.document if "resolution" in row)
    told = call("compare", tmp_path / "a", tmp_path / "b").err
    assert f"no change of less than {least:.0%} could have been told" in told


def test_an_undecided_line_says_what_could_be_told(real: Record, tmp_path: Path) -> None:
    pair = [write(tmp_path / name, slowed(real, factor, name)) for name, factor in (("a", 1.0), ("b", 1.05))]
    done = call("compare", *pair)
    lines = [line for line in done.out.splitlines() if line.startswith("undecided")]
    assert lines and all("could be told" in line for line in lines)
