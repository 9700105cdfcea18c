"""Charts and the view: what is drawn follows from the documents, and what is unknown is not drawn."""

import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench import resources
from effbench.model.record import Record, TimelinePoint
from effbench.model.scorecard import Stage, Waterfall
from effbench.report import charts, charts_roofline, charts_spread, charts_timeline, html, terminal, view, view_evidence
from effbench.report.roofline import roofline
from effbench.report.view_judged import waterfall_view
from tests.factory import cpu_node, empty_node, failed_node, gpu_node, undecided_node


def _record(cpu: bool = False) -> Record:
    record = (cpu_node() if cpu else gpu_node()).record
    assert record is not None
    return record


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 12))
def test_ticks_are_round_inside_and_few(low: float, span: float, wanted: int) -> None:
    found = charts.ticks(low, low + span, wanted)
    assert len(found) <= wanted + 1
    assert all(low - span * 1e-6 <= tick <= low + span * 1.000001 for tick in found)


def test_every_chart_is_well_formed() -> None:
    record = _record()
    data = roofline(record, "gpu0")
    assert data is not None
    drawn = [charts_roofline.draw(data, 340, 360), charts_timeline.draw(record, 340)]
    drawn += [charts_spread.draw(spread) for spread in view_evidence.spreads(record)]
    for text in drawn:
        root = ElementTree.fromstring(text)
        assert root.tag == "svg" and root.attrib["aria-label"]
        assert not re.search(r"\b(nan|inf)\b", text)


def test_kernels_stand_under_the_roof_of_their_dtype() -> None:
    data = roofline(_record(), "gpu0")
    assert data is not None
    dots = {dot.label: dot for dot in data.dots}
    assert dots["gemm-fp64[dtype=fp64]"].roof == pytest.approx(66.9e12)  # the tensor rate, where the part has one
    assert dots["gemm-bf16[dtype=bf16]"].bound == "compute"
    decode = dots["decode[batch=8,config=3b]"]
    assert decode.bound == "memory" and decode.roof == pytest.approx(4.8e12 * decode.intensity)
    assert [slope.kind for slope in data.bandwidths] == ["rated", "measured"]
    assert any("stream" in why for why in data.absent)


def test_a_cpu_has_only_what_it_held_and_measured() -> None:
    data = roofline(_record(cpu=True), "cpu")
    assert data is not None
    assert dict(data.peaks)["bf16"] == pytest.approx(64 * 2 * 3.66e9)
    assert [slope.kind for slope in data.bandwidths] == ["measured"]
    emulated = next(dot for dot in data.dots if "fp16" in dot.label and "bf16" not in dot.label)
    assert emulated.roof is None and emulated.share_text == ""


def test_without_kernels_there_is_no_roofline() -> None:
    record = msgspec.structs.replace(_record(), measurements=[])
    assert roofline(record, "gpu0") is None
    assert roofline(record, "gpu9") is None


def test_thinning_keeps_the_extremes() -> None:
    points = [(float(i), float(i % 7)) for i in range(5000)]
    points[2500] = (2500.0, 99.0)
    points[3000] = (3000.0, -99.0)
    kept = charts_timeline.thinned(points)
    assert len(kept) <= charts_timeline.COLUMNS_MAX + 2
    assert {(2500.0, 99.0), (3000.0, -99.0)} <= set(kept) and kept == sorted(kept)


def test_what_no_sensor_gave_is_not_drawn_but_named() -> None:
    record = _record(cpu=True)
    assert charts_timeline.missing(record) == ["power", "temperature"]
    assert "Power" not in charts_timeline.draw(record, 340)
    assert charts_timeline.draw(msgspec.structs.replace(record, timeline=[]), 340) == ""
    assert charts_timeline.draw(msgspec.structs.replace(record, timeline=[TimelinePoint(0.0, "cpu")]), 340) == ""


def test_one_reading_is_enough_for_a_timeline() -> None:
    record = msgspec.structs.replace(_record(), timeline=[TimelinePoint(0.0, "gpu0", 1.9e9, 100.0, 40.0, "t")])
    assert ElementTree.fromstring(charts_timeline.draw(record, 340)).tag.endswith("svg")


def test_spread_scale_holds_the_middle_and_says_what_lies_beyond() -> None:
    spread = view_evidence.spreads(_record())[0]
    wild = msgspec.structs.replace(spread, quantiles=spread.quantiles | {"99": 0.04, "100": 3.0})
    assert charts_spread.limit(wild) == 0.05
    assert charts_spread.scale(wild) == ("−5 %", "slowest +300 %", "+5 %")


def test_waterfall_names_losses_gains_and_gaps() -> None:
    stages = [
        Stage("a", "Rated", "", 100.0, 1.0),
        Stage("b", "Held", "", 108.0, 1.08),
        Stage("c", "Gap", "no probe"),
        Stage("d", "Train", "", 54.0, 0.54),
    ]
    fall = waterfall_view(Waterfall("gpu0", "bf16", stages), "H200")
    assert [stage.change for stage in fall.stages] == ["", "+8.0 %", "", "−50.0 %"]
    assert [stage.tone for stage in fall.stages] == ["none", "good", "none", "loss"]
    assert fall.stages[1].width == 1.0 and fall.stages[2].width is None
    assert fall.end == "54.0 % of the rated reaches the train."


def test_the_least_efficient_device_comes_first() -> None:
    shown = view.build(*gpu_node())
    assert [fall.device for fall in shown.waterfalls] == ["gpu1", "gpu0"]


def test_fractions_stand_beside_their_figure() -> None:
    shown = view.build(*gpu_node(simulated=False))
    rows = {row.key: row for _, group in shown.metrics for row in group}
    bf16 = rows["compute.gemm.bf16.flops"]
    assert [fraction.key.rsplit(".", 1)[1] for fraction in bf16.fractions] == list(view.view_metrics.FRACTIONS)
    assert bf16.worst_device == "gpu1" and [own.device for own in bf16.devices] == ["gpu0", "gpu1"]
    assert "compute.gemm.bf16.fraction_of_reference" not in rows
    assert "high confidence" in bf16.fractions[0].source and "2024-11-18" in bf16.fractions[0].source
    assert rows["train.step.mfu"].fractions and not rows["train.step.time"].fractions


def test_causes_say_what_failed_before_what_is_unknown() -> None:
    groups = view.build(*failed_node()).causes
    assert [group.title for group in groups] == ["What failed", "What is not rated, and why"]
    assert groups[0].causes[0].next_step.startswith("Drain")
    assert view.build(*undecided_node()).causes[0].title == "What is undecided"
    assert view.build(*gpu_node(simulated=False)).causes == []


def test_the_page_says_why_a_part_is_missing() -> None:
    page = html.render(*empty_node()).decode()
    for sentence in (
        "No waterfall:",
        "No figure was measured.",
        "needs the record",
        "was interrupted",
        "No policy was applied",
    ):
        assert sentence in page


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("case", [gpu_node(), cpu_node(), failed_node(), undecided_node(), empty_node()])
def test_the_terminal_keeps_to_its_width(case: tuple[object, ...], width: int) -> None:
    for unicode in (True, False):
        text = terminal.text(*case, width, False, unicode)  # type: ignore[arg-type]
        assert max(len(line) for line in text.split("\n")) <= width
        assert unicode or text.isascii()


def test_colour_is_an_option_of_the_terminal() -> None:
    assert "\x1b[" in terminal.text(*gpu_node(), 80, True)
    assert "\x1b[" not in terminal.text(*gpu_node(), 80, False)


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _palettes() -> list[dict[str, str]]:
    css = Path(resources.folder("templates") / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, flags=re.S)
    assert len(blocks) == 3  # light, dark, paper
    return [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})\b", block)) for block in blocks]


@pytest.mark.parametrize("tone", ["ink", "muted", "good", "best", "fair", "open", "bad", "none"])
def test_text_has_enough_contrast_light_dark_and_on_paper(tone: str) -> None:
    for palette in _palettes()[:2]:
        for ground in ["paper", "sunk" if tone in ("ink", "muted") else f"{tone}-soft"]:
            light, dark = sorted((_luminance(palette[tone]), _luminance(palette[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (tone, ground)
