"""`effbench baseline` and grading against one: robust, anchored, and never a way for slow runs to define normal."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from effbench.catalog.metrics import lookup
from effbench.model.baseline import Baseline, BaselineRow
from effbench.model.error import DocumentError, InputError
from effbench.model.record import Record
from effbench.model.scorecard import Metric
from effbench.score.against_baseline import against_baseline, untrusted
from effbench.score.baseline import Seen, baseline, sealed, seen
from effbench.score.node import score
from effbench.stats.center import Center, center, share_of
from effbench.stats.compare import Side
from effbench.store import documents
from effbench.store.baselines import load_baseline, save_baseline
from effbench.store.runs import record_of
from tests.unit.command_line import POLICY, call
from tests.unit.slowed_records import slowed, undisturbed, write

TRIAD, SHARE = "memory.stream.triad.bandwidth", "memory.stream.triad.fraction_of_baseline"

# Takes simulated figures; the gate on the reference is so low that the baseline decides.
RULES = (
    POLICY.replace("fraction_of_reference", "fraction_of_baseline")
    .replace("memory.stream.triad.bandwidth", "memory.stream.triad.fraction_of_reference")
    .replace("THRESHOLD", "0.2")
)


@pytest.fixture(scope="module")
def real(finished: Path) -> Record:
    """The shared simulated run, at 0.9 to 1.0 of its references."""
    return undisturbed(record_of(finished))


def made(real: Record, factors: Sequence[float]) -> Baseline:
    return baseline(seen(slowed(real, float(factor), f"n{i}")) for i, factor in enumerate(factors))


def row(document: Baseline, key: str = TRIAD) -> BaselineRow:
    return next(r for r in document.rows if r.key == key)


def doubt(document: Baseline, key: str = TRIAD) -> str:
    return next(why for r, why in zip(document.rows, untrusted(document), strict=True) if r.key == key)


def share(record: Record, document: Baseline) -> Metric | None:
    card = against_baseline(score(record), record, document)
    return next((m for m in card.metrics if m.key == SHARE), None)


def test_median_and_mad_do_not_follow_one_bad_run(real: Record) -> None:
    good = row(made(real, [1.0, 1.01, 0.99, 1.0, 1.02]))
    spoilt = row(made(real, [1.0, 1.01, 0.99, 1.0, 3.0]))
    assert spoilt.median == pytest.approx(good.median, rel=0.011)
    assert good.mad is not None and spoilt.mad is not None
    assert spoilt.mad / spoilt.median < 0.03
    assert spoilt.lowest == pytest.approx(good.median / 3, rel=0.02), "but it is not hidden"
    assert row(made(real, [1.0, 1.01])).mad is None, "two runs have no spread worth the name"


def test_the_order_of_the_runs_does_not_matter(real: Record) -> None:
    runs = [seen(slowed(real, factor, f"n{i}")) for i, factor in enumerate([1.0, 1.1, 0.9])]
    assert baseline(runs) == baseline(reversed(runs))


def test_two_kinds_are_flagged_and_not_graded_against(real: Record) -> None:
    rng = np.random.default_rng(5)
    document = made(real, [*(1 + 0.004 * rng.standard_normal(12)), *(1 / 0.93 + 0.004 * rng.standard_normal(12))])
    mixed = row(document)
    assert mixed.kinds is not None and (mixed.kinds.n_low, mixed.kinds.n_high) == (12, 12)
    assert mixed.kinds.low / mixed.kinds.high == pytest.approx(0.93, abs=0.01)
    assert doubt(document) == "the runs are of two kinds"
    assert row(made(real, 1 + 0.01 * rng.standard_normal(24))).kinds is None


def test_a_fleet_at_half_speed_cannot_define_normal(real: Record) -> None:
    document = made(real, [2.0, 2.01, 1.99, 2.0])
    found = share(slowed(real, 2.0, "new"), document)
    assert found is not None and found.quantity.value == pytest.approx(1.0, rel=0.02)
    assert found.ceiling is not None and found.ceiling.confidence == "low", "shown, and no policy grades it"
    card = against_baseline(score(slowed(real, 2.0, "new")), slowed(real, 2.0, "new"), document)
    told = [f.message for f in card.findings if f.code == "baseline-untrusted"]
    assert any(TRIAD in text and "below 0.75 of the reference" in text for text in told)


def test_a_figure_without_an_anchor_in_every_run_has_none(real: Record) -> None:
    runs = [seen(slowed(real, 1.0, f"n{i}")) for i in range(4)]
    loose = [msgspec.structs.replace(figure, reference=None) for figure in runs[0].figures]
    document = baseline([msgspec.structs.replace(runs[0], figures=loose), *runs[1:]])
    assert row(document).anchor is None
    assert doubt(document) == "no absolute measure says whether these runs were good"
    assert row(baseline(runs)).anchor is not None


def test_a_figure_without_a_reference_is_anchored_by_compute_and_memory_of_its_runs(real: Record) -> None:
    good, slow = made(real, [1.0, 1.0, 1.0]), made(real, [2.0, 2.0, 2.0])
    assert row(good, "compute.gemm.fp32.flops").anchor is None
    assert doubt(good, "compute.gemm.fp32.flops") == ""
    assert "the same runs lie below 0.75" in doubt(slow, "compute.gemm.fp32.flops")
    card = against_baseline(score(slowed(real, 1.0, "new")), slowed(real, 1.0, "new"), good)
    lent = next(m for m in card.metrics if m.key == "compute.gemm.fp32.fraction_of_baseline")
    assert lent.ceiling is not None and lent.ceiling.confidence == "high" and lent.ceiling.provisional


def test_disturbed_and_failed_figures_are_left_out_and_counted(real: Record) -> None:
    bad = slowed(real, 1.0, "bad", status={"stream": "suspect", "gemm": "failed"})
    document = baseline([seen(slowed(real, 1.0, "a")), seen(slowed(real, 1.0, "b")), seen(bad)])
    assert row(document).n == 2
    why = {o.key: (o.runs, o.why) for o in document.omitted}
    assert why[TRIAD] == (1, "measured under foreign load")
    assert not any(r.key.startswith("health.") or ".fraction_" in r.key for r in document.rows)


def test_unlike_trials_have_rows_and_shares_of_their_own(real: Record) -> None:
    other = slowed(real, 1.0, "other", trial_key="another")
    document = baseline([seen(slowed(real, 1.0, "a")), seen(other)])
    assert len([r for r in document.rows if r.key == TRIAD]) == 2
    only = baseline([seen(slowed(real, 1.0, "a"))])
    assert share(other, only) is None
    card = against_baseline(score(other), other, only)
    assert any(f.code == "baseline-other-trials" and TRIAD in f.message for f in card.findings)


def test_runs_that_make_no_baseline_are_refused(real: Record) -> None:
    one = seen(real)
    with pytest.raises(InputError, match="more than once"):
        baseline([one, one])
    with pytest.raises(InputError, match="at least one run"):
        baseline([])
    with pytest.raises(InputError, match="some of CPUs"):
        baseline([one, seen_as(one, device_class="cpu")])
    with pytest.raises(InputError, match="some measured"):
        baseline([one, seen_as(one, simulated=False)])
    with pytest.raises(InputError, match="no run has a figure"):
        baseline([msgspec.structs.replace(one, figures=[])])
    disturbed = {"a": "it is failed", "b": "measured under foreign load", "c": "measured under foreign load"}
    with pytest.raises(InputError, match=r"most often: measured under foreign load"):
        baseline([msgspec.structs.replace(one, figures=[], absent=disturbed)])


def seen_as(one: Seen, **changes: object) -> Seen:
    return msgspec.structs.replace(one, journal_digest="j2", record_digest="r2", **changes)


def test_a_node_with_another_number_of_devices_is_no_peer(real: Record) -> None:
    """A node that lost a device is not as good as the runs before, however fast the others are."""
    of_two = [msgspec.structs.replace(seen(slowed(real, 1.0, f"n{i}")), devices=2) for i in range(3)]
    found = share(slowed(real, 1.0, "new"), baseline(of_two))
    assert found is not None and found.ceiling is not None and found.ceiling.confidence == "low"
    card = against_baseline(score(real), real, baseline(of_two))
    assert any("are of 2 devices and this one is of 1" in f.message for f in card.findings)
    mixed = baseline([*of_two, seen(slowed(real, 1.0, "n9"))])
    assert mixed.devices == [1, 2]
    kept = share(slowed(real, 1.0, "new"), msgspec.structs.replace(mixed, devices=[]))
    assert kept is not None and kept.ceiling is not None and kept.ceiling.confidence == "low", (
        "of how many is not known"
    )
    some = share(slowed(real, 1.0, "new"), mixed)
    assert some is not None and some.ceiling is not None and some.ceiling.confidence == "high"


def test_what_may_not_be_held_against_a_baseline(real: Record) -> None:
    card, document = score(real), baseline([seen(real)])
    with pytest.raises(InputError, match="one of those"):
        against_baseline(card, real, document)
    new = slowed(real, 1.0, "new")
    with pytest.raises(InputError, match="the baseline's are measured"):
        against_baseline(card, new, msgspec.structs.replace(document, simulated=False))
    with pytest.raises(InputError, match="of cpu runs"):
        against_baseline(card, new, msgspec.structs.replace(document, device_class="cpu"))


def test_a_share_keeps_status_and_provisional_anchor(real: Record) -> None:
    document = made(real, [1.0, 1.0, 1.0])
    found = share(slowed(real, 1.3, "new", status={"stream": "suspect"}), document)
    assert found is not None and found.status == "suspect" and found.ceiling is not None
    assert found.ceiling.provisional, "the reference of triad is a typical share of the rated peak"
    assert found.interval is not None and found.interval.low < 1 / 1.3 < found.interval.high
    assert found.interval.method == "block+runs(assumed)"


def test_every_share_of_a_baseline_has_words_and_only_beside_a_reference() -> None:
    words = lookup(SHARE)
    assert words is not None and words.better == "higher" and words.unit == "1"
    assert words.title == "Memory bandwidth, triad, of the baseline"
    assert words.pattern == "memory.stream.*.fraction_of_baseline"
    assert lookup("host.launch.sync.fraction_of_baseline") is None


@pytest.mark.parametrize("n", [1, 3, 9, 20])
def test_the_interval_of_a_share_holds_the_truth(n: int) -> None:
    """Runs of one node that scatter by the assumed 1.5 %; the node really reaches 0.9 of what it was."""
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(400):
        runs, block = 100 * np.exp(0.015 * rng.standard_normal(n)), 0.005
        value = 90 * float(np.exp(0.015 * rng.standard_normal() + 0.0025 * rng.standard_normal()))
        side = Side(value, value * (1 - block), value * (1 + block), 5, block)
        _, low, high = share_of(side, center(runs), "higher", 0.015, own=True)
        held += low <= 0.9 <= high
    assert held >= 0.93 * 400


def test_a_share_of_time_is_upside_down_and_own_history_is_narrower() -> None:
    at = Center(2.0, 0.002, 25)
    value, low, high = share_of(Side(4.0, 3.96, 4.04, 5, 0.01), at, "lower", 0.05, own=True)
    assert value == 0.5 and low < 0.5 < high
    _, wide, _ = share_of(Side(4.0, 3.96, 4.04, 5, 0.01), at, "lower", 0.05, own=False)
    assert wide < low, "the spread among many nodes is no spread of one node's runs"
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above zero"):
            share_of(Side(1.0, 0.9, 1.1, 2), Center(bad, None, 1), "higher", 0.01, own=True)


def test_made_kept_and_graded_against(real: Record, tmp_path: Path) -> None:
    runs = [write(tmp_path / f"r{i}", slowed(real, 1 + 0.002 * i, f"n{i}")) for i in range(5)]
    file = tmp_path / "baseline.json"
    done = call("baseline", *runs, "-o", file)
    assert done.code == 0 and "5 runs" in done.err
    assert any(line.startswith(f"{TRIAD}  5 runs  ") and "of the reference" in line for line in done.out.splitlines())
    policy = tmp_path / "ci.yaml"
    policy.write_text(RULES)
    codes = {}
    for factor in (1.0, 1.6):
        run = write(tmp_path / f"new{factor}", slowed(real, factor, f"new{factor}"))
        codes[factor] = call("grade", run, "--policy", policy, "--baseline", file).code
    assert codes == {1.0: 0, 1.6: 1}
    assert call("grade", runs[0], "--policy", policy).code == 3, "no baseline, no share, no rating"
    assert call("grade", runs[0], "--policy", policy, "--baseline", file).code == 2, "a run of the baseline's own"


def test_a_fleet_at_half_speed_is_not_rated_from_the_command_line(real: Record, tmp_path: Path) -> None:
    runs = [write(tmp_path / f"r{i}", slowed(real, 2.0 + i / 100, f"n{i}")) for i in range(4)]
    file, policy = tmp_path / "b.json", tmp_path / "ci.yaml"
    assert call("baseline", *runs, "-o", file).code == 0
    policy.write_text(RULES)
    run = write(tmp_path / "new", slowed(real, 2.0, "new"))
    assert call("grade", run, "--policy", policy, "--baseline", file).code == 3


def test_one_unreadable_run_costs_only_itself(real: Record, tmp_path: Path) -> None:
    good = write(tmp_path / "good", slowed(real, 1.0, "a"))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "record.json").write_text('{"schema": "effbench.record/1", ')
    done = call("baseline", good, bad, "--json")
    assert done.code == 0 and len(done.document["runs"]) == 1
    assert "left out" in done.err and "damaged JSON" in done.err
    alone = call("baseline", bad)
    assert alone.code == 2 and "not one of the runs can be read" in alone.err


def test_a_scorecard_alone_cannot_be_held_against_a_baseline(real: Record, finished: Path, tmp_path: Path) -> None:
    save_baseline(tmp_path / "b.json", made(real, [1.0, 1.0]))
    done = call("grade", finished / "scorecard.json", "--baseline", tmp_path / "b.json")
    assert done.code == 2 and "by which trials" in done.err


def test_a_kept_baseline_is_read_back_and_any_edit_is_seen(real: Record, tmp_path: Path) -> None:
    file, document = tmp_path / "b.json", made(real, [1.0, 1.01, 1.02])
    save_baseline(file, document)
    assert load_baseline(file) == document
    file.write_text(file.read_text().replace('"n": 3', '"n": 4', 1))
    with pytest.raises(DocumentError, match="does not match its own digest"):
        load_baseline(file)


@pytest.mark.parametrize("value", [0, -1, 1e999, "NaN", None])
def test_a_baseline_of_zero_is_refused(real: Record, finished: Path, tmp_path: Path, value: object) -> None:
    plain = json.loads(documents.encode(made(real, [1.0, 1.0, 1.0])))
    plain["rows"][0]["median"] = value
    file = tmp_path / "b.json"
    file.write_text(json.dumps(plain).replace("Infinity", "1e999"))
    done = call("grade", finished, "--baseline", file)
    assert done.code == 2 and str(file) in done.err
    with pytest.raises(DocumentError, match=r"does not fit its schema|out of range"):
        load_baseline(file)


def test_other_documents_and_repeated_rows_are_refused(real: Record, finished: Path, tmp_path: Path) -> None:
    document = made(real, [1.0, 1.0])
    with pytest.raises(DocumentError, match=r"expected a document of schema effbench\.baseline/1"):
        load_baseline(finished / "record.json")
    save_baseline(tmp_path / "b.json", sealed(msgspec.structs.replace(document, rows=[*document.rows] * 2)))
    with pytest.raises(DocumentError, match="given twice"):
        load_baseline(tmp_path / "b.json")
    with pytest.raises(DocumentError, match="cannot read"):
        load_baseline(tmp_path / "none.json")
    newer = documents.encode(document).replace(b"effbench.baseline/1", b"effbench.baseline/2")
    (tmp_path / "n.json").write_bytes(newer)
    with pytest.raises(DocumentError, match="newer effbench"):
        load_baseline(tmp_path / "n.json")
