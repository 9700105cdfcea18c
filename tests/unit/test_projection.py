"""Projections: what they rest on, what they refuse, how wide they are, and what the command prints."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from effbench.cli.main import cli, invoke
from effbench.cli.project_command import told
from effbench.model.digest import digest
from effbench.model.record import Record
from effbench.model.scaling import Projection
from effbench.score.projection import BEYOND, project
from tests.unit.scaling_records import FACTS, GRADIENTS, cost_s, node_of, step, sweep, with_trials

# What the links of 200 Mbit/s gave the steps' 4 MB, the shaper's burst included: 4e6 / 0.1624 s, by the fitted ring.
BANDWIDTH = 24.63e6


def facts(counts: tuple[int, ...] = (1, 2, 3, 4, 6, 8), links: bool = True) -> Record:
    """The measured curve with intervals of 4 ms, and a sweep of its links."""
    record = node_of(1)
    if links:
        nodes = {n: n for n in counts}
        record = with_trials(record, sweep("all_reduce", [n for n in counts if n > 1], 1e-4, BANDWIDTH, nodes=nodes))
    for n in counts:
        record = with_trials(record, [step(n, [FACTS[n]] * 3, nodes=n, half=0.004 / FACTS[n])])
        if links:
            record = with_trials(record, [step(n, [FACTS[1]] * 3, "compute", nodes=n, half=0.008)])
    return record


def only(record: Record, to: int, force: bool = False) -> Projection:
    found = project(record, to, force)
    assert len(found) == 1
    return found[0]


def test_sixteen_nodes_are_foretold_from_eight() -> None:
    """Measured at 16: 0.621. Amdahl says 0.387, is contradicted by the points, shown, and not in the interval."""
    found = only(facts(links=False), 16)
    at = {m.name: m.efficiency.value for m in found.models}
    assert at == {
        "fitted": pytest.approx(0.623, abs=0.0015),
        "fitted_latency": pytest.approx(0.617, abs=0.0015),
        "amdahl": pytest.approx(0.387, abs=0.0015),
        "usl": pytest.approx(0.387, abs=0.0015),
    }
    assert found.primary == "fitted"
    assert [m.name for m in found.models if m.included] == ["fitted", "fitted_latency"]
    assert found.efficiency is not None
    assert found.efficiency.interval is not None
    low, high = found.efficiency.interval.low, found.efficiency.interval.high
    assert low < 0.617 < 0.621 < 0.623 < high
    assert high - low < 0.06
    assert found.spread == [pytest.approx(0.387, abs=0.0015), pytest.approx(0.623, abs=0.0015)]
    assert all("contradicted" in m.note for m in found.models if not m.included)
    assert found.kind == "projection"


def test_links_measured_by_themselves_say_the_same() -> None:
    found = only(facts(), 16)
    assert found.primary == "mechanistic"
    assert found.models[0].efficiency.value == pytest.approx(0.621, abs=0.006)
    own = found.efficiency
    assert own is not None
    assert own.interval is not None
    assert own.interval.low < 0.621 < own.interval.high


def test_the_interval_spans_every_model_that_fits() -> None:
    found = only(facts(), 16)
    assert found.efficiency is not None
    assert found.efficiency.interval is not None
    for model in found.models:
        own = model.efficiency.interval
        assert own is not None
        inside = found.efficiency.interval.low <= own.low and own.high <= found.efficiency.interval.high
        assert inside or not model.included


def test_the_interval_widens_with_distance() -> None:
    widths = []
    for to in (10, 16, 32):
        own = only(facts(links=False), to).efficiency
        assert own is not None
        assert own.interval is not None
        widths.append(own.interval.half_width)
    assert widths == sorted(widths)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("counts", "words"), [((1, 2), "(2 of 4)"), ((1, 2, 4), "(3 of 4)")])
def test_too_few_counts_are_refused_also_by_force(counts: tuple[int, ...], words: str, force: bool) -> None:
    found = only(facts(counts), 8, force)
    assert found.refused == f"not enough points {words}"
    assert found.efficiency is None
    assert found.models == []


def test_beyond_four_times_the_largest_count_only_by_force() -> None:
    assert only(facts(), 8 * BEYOND).refused == ""
    found = only(facts(), 8 * BEYOND + 1)
    assert "33 ranks are more than 4 times the largest count measured (8)" in found.refused
    forced = only(facts(), 8 * BEYOND + 1, force=True)
    assert forced.refused == ""
    assert len(forced.forced) == 1


def test_links_that_were_never_measured_only_by_force() -> None:
    record = with_trials(node_of(8), sweep("all_reduce", [2, 4, 8], 1e-4, BANDWIDTH))
    for n in (1, 2, 4, 8):
        time = 0.5 + (cost_s("all_reduce", n, GRADIENTS, 1e-4, BANDWIDTH) if n > 1 else 0)
        record = with_trials(record, [step(n, [time] * 3), step(n, [0.5] * 3, "compute")])
    found = only(record, 16)
    assert "between nodes, over links that were never measured (a node holds 8 ranks)" in found.refused
    assert only(record, 7).primary == "mechanistic"
    forced = only(record, 16, force=True)
    assert forced.forced
    # What the links of a node cost says nothing of those between nodes, force or not.
    assert "mechanistic" not in {m.name for m in forced.models}


def test_strong_scaling_knows_where_work_runs_out() -> None:
    def truth(n: int) -> float:
        return 2.0 / n + (cost_s("all_reduce", n, GRADIENTS, 1e-4, BANDWIDTH) if n > 1 else 0)

    counts = (1, 2, 4, 8)
    nodes = {n: n for n in counts}
    record = with_trials(node_of(1), sweep("all_reduce", [2, 4, 8], 1e-4, BANDWIDTH, nodes=nodes))
    for n in counts:
        record = with_trials(record, [step(n, [truth(n)] * 3, scaling="strong", nodes=n, half=0.005)])
        record = with_trials(record, [step(n, [2.0 / n] * 3, "compute", scaling="strong", nodes=n, half=0.005)])
    found = only(record, 32)
    assert found.primary == "mechanistic"
    assert found.efficiency is not None
    assert found.efficiency.value == pytest.approx(2.0 / (32 * truth(32)), rel=0.01)


def test_collectives_that_change_with_the_count_are_not_extrapolated() -> None:
    record = facts()
    changed = []
    for trial, measured in zip(record.plan.trials, record.measurements, strict=True):
        sent = dict(measured.facts)
        if "collective_bytes.all_reduce" in sent:
            sent["collective_bytes.all_reduce"] *= trial.placement.ranks
        changed.append(msgspec.structs.replace(measured, facts=sent))
    found = only(msgspec.structs.replace(record, measurements=changed), 16)
    assert "mechanistic" not in {m.name for m in found.models}


def test_when_nothing_fits_all_of_it_is_the_interval() -> None:
    record = node_of(1)
    for n, time in ((1, 0.5), (2, 1.0), (4, 0.7), (8, 1.4), (16, 0.9)):
        record = with_trials(record, [step(n, [time] * 3, nodes=n, half=0.002)])
    found = only(record, 32)
    assert any("no model fits" in text for text in found.notes)
    assert any("suspect" in text for text in found.notes)
    assert all(m.included for m in found.models)


def test_points_without_intervals_are_no_points() -> None:
    record = facts(links=False)
    bare = [msgspec.structs.replace(m, interval=None) for m in record.measurements]
    found = only(msgspec.structs.replace(record, measurements=bare), 16)
    assert found.refused
    assert found.efficiency is None


def test_no_curve_no_projection() -> None:
    assert project(node_of(2), 8) == []


def stored(record: Record, folder: Path) -> Path:
    file = folder / "record.json"
    # Read back once, so that whole numbers in places of fractions are written as a reader would.
    bare = msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(record, digest="")), type=Record)
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(bare, digest=digest(bare))))
    return file


def command(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["project", *words], prog_name="effbench", standalone_mode=False)
    assert done.exception is None
    return int(done.return_value), done.output


def test_the_command_prints_every_model_and_marks_it_a_projection(tmp_path: Path) -> None:
    code, text = command("--to", "16", str(stored(facts(), tmp_path)))
    assert code == 0
    assert "PROJECTION to 16 ranks, not measured: efficiency 0.619 [" in text
    assert "Amdahl" in text
    assert "contradicted by the measured points" in text
    code, text = command("--to", "16", "--json", str(stored(facts(), tmp_path)))
    document = json.loads(text)
    assert (code, document["schema"], document["projections"][0]["primary"]) == (
        0,
        "effbench.projection/1",
        "mechanistic",
    )
    assert document["projections"][0]["ranks"] == 16


def test_the_command_refuses_with_three(tmp_path: Path) -> None:
    code, text = command("--to", "16", str(stored(facts((1, 2)), tmp_path)))
    assert code == 3
    assert "no projection: not enough points (2 of 4)" in text
    code, text = command("--to", "16", str(stored(node_of(2), tmp_path)))
    assert code == 3
    assert "not enough points (0 of 4)" in text
    code, text = command("--to", "100", "--force", str(stored(facts(), tmp_path)))
    assert code == 0
    assert "FORCED: 100 ranks are more than 4 times" in text


@pytest.mark.parametrize("words", [["--to", "0", "RUN"], ["--to", "x", "RUN"], ["RUN"], ["--to", "8", "nowhere"]])
def test_wrong_input_is_two(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(stored(facts(), tmp_path))
    assert invoke(["project", *[run if w == "RUN" else w for w in words]]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_simulated_points_are_stamped() -> None:
    found = only(msgspec.structs.replace(facts(), simulated=True), 16)
    assert found.simulated
    assert "SIMULATED" in told(found)
