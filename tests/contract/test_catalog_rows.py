"""Every row of the catalogue: a source, a date, sane physics, and figures that agree with units x clock x rate."""

import ast
import re
from pathlib import Path

import pytest

import effbench
from effbench.catalog.accelerators import _VGPU, catalog
from effbench.catalog.findings import codes
from effbench.catalog.metrics import lookup, metrics
from effbench.catalog.parts import Row
from effbench.catalog.quantities import parse
from effbench.catalog.references import references
from effbench.catalog.xids import xids
from effbench.model.inventory import Part
from effbench.model.unit import Unit

ROWS = catalog()
IDS = ROWS.ids()
GPUS = [i for i in IDS if ROWS.row(i).kind == "gpu"]
CPUS = [i for i in IDS if ROWS.row(i).kind == "cpu"]
DATE = re.compile(r"20\d\d-(0[1-9]|1[0-2])(-[0-3]\d)?")
# fp64, fp32 and what runs beside the matrix units are quoted at the vector clock where a sheet has two.
VECTOR = {"fp64", "fp64_tensor", "fp32", "fp16_vector", "bf16_vector"}


def test_ids_and_titles_are_unique() -> None:
    assert len(set(IDS)) == len(IDS) and len(GPUS) >= 121 and len(CPUS) >= 10
    titles = [ROWS.row(i).title for i in IDS]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("part_id", IDS)
def test_every_row_has_a_source_and_a_date(part_id: str) -> None:
    row = ROWS.row(part_id)
    assert len(row.source) > 10 and DATE.fullmatch(row.as_of) and row.title
    assert row.confidence == "low" or row.peak or row.per_clock, "a row without figures is of low confidence"


@pytest.mark.parametrize("part_id", GPUS)
def test_physics_of_a_gpu_row(part_id: str) -> None:
    row, part = ROWS.row(part_id), ROWS.part(part_id)
    assert row.names and all(name == name.strip() and not _VGPU.search(name) for name in row.names)
    assert all(5e10 <= peak <= 2e16 for peak in part.peak_flops.values())
    if part.memory_bandwidth is not None:
        assert 5e10 <= part.memory_bandwidth <= 1e13
    if part.memory_bytes is not None:
        assert 8e9 <= part.memory_bytes <= 4e11
    if part.power_w is not None:
        assert 10 <= part.power_w <= 2000
    if part.clock_hz is not None:
        assert 5e8 <= part.clock_hz <= 3.5e9
    _ordered(part)
    assert set(row.verified) == set(row.peak), "every printed figure says how it was checked"
    assert not set(row.computed) & set(row.peak)


def _ordered(part: Part) -> None:
    """A narrower format is never slower on the same units (firmware-capped parts and Blackwell Ultra's int8 aside)."""
    for wide, narrow in (("fp32", "tf32"), ("tf32", "bf16"), ("bf16", "fp8"), ("fp8", "fp4"), ("fp64", "fp64_tensor")):
        if wide in part.peak_flops and narrow in part.peak_flops:
            assert part.peak_flops[narrow] >= part.peak_flops[wide] * 0.97, (wide, narrow)
    if "bf16" in part.peak_flops and "fp16" in part.peak_flops and part.id != "amd-mi100":
        assert part.peak_flops["fp16"] == pytest.approx(part.peak_flops["bf16"], rel=0.02)


RECOMPUTED = [
    (part_id, dtype)
    for part_id in GPUS
    for dtype, how in ROWS.row(part_id).verified.items()
    if how.startswith("recomputed") and ROWS.row(part_id).rate
]


def test_most_figures_can_be_recomputed() -> None:
    assert len(RECOMPUTED) > 400


@pytest.mark.parametrize("part_id", sorted({part_id for part_id, _ in RECOMPUTED}))
def test_recomputed_figures_follow_from_units_clock_and_rate(part_id: str) -> None:
    row, part = ROWS.row(part_id), ROWS.part(part_id)
    for dtype in (d for p, d in RECOMPUTED if p == part_id):
        again = _recomputed(row, dtype)
        assert again == pytest.approx(part.peak_flops[dtype], rel=0.025), dtype


@pytest.mark.parametrize("part_id", [i for i in GPUS if ROWS.row(i).computed])
def test_computed_figures_are_what_they_say_and_never_graded(part_id: str) -> None:
    row, part = ROWS.row(part_id), ROWS.part(part_id)
    for dtype in row.computed:
        assert _recomputed(row, dtype) == pytest.approx(part.peak_flops[dtype], rel=0.02), dtype
        assert part.peak_confidence[dtype] == "low"


def _recomputed(row: Row, dtype: str) -> float:
    assert row.rate is not None and row.units is not None and row.clock is not None
    clock = row.clock.vector if row.clock.vector and dtype in VECTOR else row.clock.rated
    return row.units * parse(clock).value * ROWS.rates()[row.rate][dtype]


@pytest.mark.parametrize("part_id", IDS)
def test_what_is_weak_stays_marked_weak(part_id: str) -> None:
    row, part = ROWS.row(part_id), ROWS.part(part_id)
    for dtype, how in row.verified.items():
        if how == "derived" or row.confidence == "low":
            assert part.peak_confidence[dtype] == "low", dtype


@pytest.mark.parametrize("part_id", CPUS)
def test_physics_of_a_cpu_row(part_id: str) -> None:
    row, part = ROWS.row(part_id), ROWS.part(part_id)
    assert row.match is not None and row.match.vendors and part.peak_flops == {}
    assert part.flops_per_clock["fp32"] == 2 * part.flops_per_clock["fp64"]
    assert all(8 <= rate <= 2048 for rate in part.flops_per_clock.values())
    assert "fp8" in part.emulated and "tf32" not in part.flops_per_clock and "tf32" not in part.emulated
    assert not set(part.emulated) & set(part.flops_per_clock)


def test_every_rate_is_used_and_every_used_rate_exists() -> None:
    used = {row.rate for row in map(ROWS.row, IDS) if row.rate}
    assert used <= set(ROWS.rates())


@pytest.mark.parametrize(
    "row", references(), ids=lambda row: f"{row.metric}-{row.protocol}-{(row.parts or ['class'])[0]}"
)
def test_every_reference_names_a_metric_a_part_a_source_and_a_date(row: object) -> None:
    from effbench.catalog.references import ReferenceRow

    assert isinstance(row, ReferenceRow)
    described = lookup(row.metric)
    assert described is not None and len(row.source) > 10 and DATE.fullmatch(row.as_of)
    assert set(row.parts) <= set(IDS)
    if row.value is not None:
        assert parse(row.value).unit is described.unit and parse(row.value).value > 0
    else:
        share = parse(row.share or "")
        assert share.unit is Unit.ONE and 0.1 < share.value <= 1


@pytest.mark.parametrize("row", [r for r in references() if r.value and r.metric.endswith("achievable.flops")], ids=str)
def test_no_published_maximum_exceeds_the_rated_peak(row: object) -> None:
    from effbench.catalog.references import ReferenceRow

    assert isinstance(row, ReferenceRow) and row.value is not None
    dtype = row.metric.split(".")[2]
    for part_id in row.parts:
        assert parse(row.value).value <= ROWS.part(part_id).peak_flops[dtype]


def test_metric_patterns_are_unique_and_speak_in_sentences() -> None:
    patterns = [row.pattern for row in metrics()]
    assert len(set(patterns)) == len(patterns)
    for row in metrics():
        assert row.pattern.split(".")[0] == row.domain
        assert row.meaning.endswith(".") and row.when_low.endswith("."), row.pattern
        assert max(map(int, re.findall(r"\{(\d)\}", row.title)), default=0) <= row.pattern.count("*"), row.pattern


def test_every_xid_has_a_line() -> None:
    assert all(row.text and row.code > 0 for row in xids())


def _codes_in(path: Path) -> set[str]:
    """Finding codes written in a source file: the first argument, or `code=`, of Finding and its makers."""
    makers = {"Finding", "Absent", "_finding", "finding"}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers:
            said = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "code")]
            found |= {a.value for a in said if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def test_every_finding_code_in_the_program_is_explained() -> None:
    sources = sorted(Path(effbench.__file__).parent.rglob("*.py"))
    used = {code: path.name for path in sources for code in _codes_in(path)}
    assert len(used) > 5
    assert {code: name for code, name in used.items() if code not in codes()} == {}
