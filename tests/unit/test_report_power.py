"""The chain and the power page: no figure without evidence, every absence with its reason, unknown is never full."""

import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from effbench import resources
from effbench.model.chain import Chain, CostLine, Economics, Link, Range
from effbench.model.energy import Energy, EnergyStatus
from effbench.model.quantity import Quantity
from effbench.model.record import Record
from effbench.model.scorecard import Stage, Waterfall
from effbench.model.unit import Unit
from effbench.report import (
    charts_power,
    html,
    markdown,
    prometheus,
    terminal,
    view,
    view_chain,
    view_money,
    view_power,
    view_sensors,
)
from tests.factory import Case, gpu_node
from tests.factory_power import (
    RAPL_ABSENT,
    RAPL_REMEDY,
    SHORT_REMEDY,
    SHORT_WINDOW,
    chain,
    economics,
    energy,
    no_sensor_node,
    power_cases,
    power_node,
)

WATTS = re.compile(r"\d ?(?:[kmM]?W|[kmMGT]?J|[kmMGTP]?FLOP/J|[kMG]?B/J|[µm]?J/token|tokens/J|[mµ]?J·s)\b")


def _record(case: Case) -> Record:
    assert case.record is not None
    return case.record


def _section(case: Case, name: str) -> str:
    """The visible words of one section of the page."""
    page = html.render(*case).decode()
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, re.S)
    assert found
    words = re.sub(r"<title>.*?</title>", "", found.group(1), flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", words)))


def _with(case: Case, **more: Any) -> Case:
    """The same case with every energy replaced."""
    record = _record(case)
    measured = [msgspec.structs.replace(m, energy=None) for m in record.measurements]
    return Case(case.card, case.grade, msgspec.structs.replace(record, measurements=measured, **more))


# ---- the chain


def test_links_are_grouped_labelled_and_drawn_by_their_product() -> None:
    shown = view.build(*power_node(unknown=())).chains[0]
    assert [link.group for link in shown.links if link.group] == ["Hardware", "Algorithm", "System", "Commercial"]
    assert {link.basis for link in shown.links} == {"measured", "given", "assumed"}
    widths = [link.width for link in shown.links]
    assert widths == sorted(widths, key=lambda w: -(w or 0)) and widths[0] == 1.0
    assert not shown.bound and "≤" not in "".join(link.product for link in shown.links)
    assert shown.end == "5.53 % of the rated peak reaches the end of the chain."
    assert shown.weakest == "The weakest link is green share: it keeps 40.0 % of what reaches it (assumed)."


def test_an_unknown_link_has_no_bar_and_makes_bounds_of_what_follows() -> None:
    shown = view.build(*power_node()).chains[0]
    dark = next(link for link in shown.links if link.name == "availability")
    assert (dark.width, dark.share, dark.product, dark.basis) == (None, "unknown", "", "unknown")
    at = shown.links.index(dark)
    assert not any(link.bound for link in shown.links[:at]) and all(link.bound for link in shown.links[at:])
    assert all(link.product.startswith("≤ ") for link in shown.links[at + 1 :])
    assert "At most 5.62 %" in shown.end and "because availability is unknown" in shown.end
    assert shown.weakest.startswith("The weakest known link")
    words = _section(power_node(), "chain")
    assert words.count("unknown") >= 4 and "≤ 27.8 %" in words and "upper bound" in words
    assert "site.yaml, 2026-10-31, ticket system" in _section(power_node(unknown=()), "chain")


def test_a_share_without_a_basis_or_a_basis_without_a_share_is_unknown() -> None:
    fields: dict[str, Any] = {"group": "system", "explanation": "e"}
    links = [
        Link("a", "A", basis="measured", share=0.9, product=0.9, **fields),
        Link("b", "B", basis="unknown", share=1.0, product=0.9, **fields),
        Link("c", "C", basis="given", **fields),
        Link("d", "D", basis="given", share=0.5, product=0.45, **fields),
    ]
    shown = view_chain.chain_view(Chain("gpu0", "bf16", links, weakest="b"), "H200")
    assert [link.width for link in shown.links] == [0.9, None, None, 0.45]
    assert [link.product for link in shown.links] == ["90.0 %", "", "", "≤ 45.0 %"]
    assert shown.weakest == ""  # it names an unknown link


def test_a_chain_of_unknown_links_says_that_nothing_is_left_to_say() -> None:
    every = tuple(link.name for link in chain().links)
    shown = view_chain.chain_view(
        Chain("gpu0", "bf16", [msgspec.structs.replace(x, basis="unknown") for x in chain(unknown=every).links]), ""
    )
    assert shown.end.startswith("Too few links") and not any(link.width for link in shown.links)


def test_the_device_with_the_least_left_comes_first() -> None:
    assert [found.device for found in view.build(*power_node()).chains] == ["gpu1", "gpu0"]


# ---- money and carbon


def test_energy_cost_and_total_cost_are_apart_and_ranges_are_ranges() -> None:
    groups = {group.title: group for group in view_money.money_view(economics()).groups}
    energy_cost, total = groups["Energy cost"], groups["Total cost"]
    assert {line.kind for line in energy_cost.lines} == {"energy"} and {line.kind for line in total.lines} == {"total"}
    assert energy_cost.lines[0].value == "0.281" and total.lines[0].value == "3.36 – 5.71"
    ((what, why),) = total.absent
    assert what == "Compute, bf16 (rent)" and why.startswith("site.yaml gives no price")
    words = _section(power_node(), "money")
    assert "1.31 kW x 1.52 x PUE 1.30" in words and "measured watts" in words and "provisioned watts" in words
    assert "2026-06-30; annual report" in words


def test_the_picture_ends_in_what_a_useful_result_costs() -> None:
    first, second = view_money.money_view(economics()).results
    assert (first.title, first.per) == ("Training step", "per 1M tokens")  # all three are known: it leads
    assert [[line.value for line in lines] for _, lines in first.columns] == [
        ["0.00102"],
        ["0.0214 – 0.0338"],
        ["2.27"],
    ]
    assert second.title == "GEMM bf16" and second.columns[2] == ("Carbon", [])
    assert [line.scenario for line in second.columns[1][1]] == ["depreciation over 4 to 6 years"]  # rent is unknown
    assert "It does not follow from what the site gave." in _section(power_node(), "chain")


def test_a_cost_without_a_basis_or_a_value_is_no_figure() -> None:
    lines = [
        CostLine("total.a", "A", "total", "EUR per a", "unknown", Range(7.5, 7.5), workings="7.5"),
        CostLine("total.b", "B", "total", "EUR per b", "given"),
    ]
    money = view_money.money_view(Economics("s", "", "EUR", lines=lines))
    (group,) = money.groups
    assert group.lines == [] and group.absent == [("A; B", "it does not follow from what was given.")]
    shown = [line for result in money.results for _, mine in result.columns for line in mine]
    assert [(line.value, line.basis, line.workings) for line in shown] == [("", "unknown", "")] * 2


def test_the_chain_starts_at_the_peak_that_its_waterfall_gives() -> None:
    whole = chain(unknown=())
    below = msgspec.structs.replace(whole, links=whole.links[1:])
    peak = Stage("rated_peak", "Rated peak", "By the vendor.", 989e12, 1.0)
    shown = view_chain.chain_view(below, "", Waterfall("gpu0", "bf16", [peak]))
    start = shown.links[0]
    assert (start.title, start.basis, start.product) == ("Rated peak", "given", "100 %")
    assert "989 TFLOP/s" in shown.links[0].explanation and shown.links[1].before == 1.0
    assert shown.end.startswith("5.71 % of the rated peak")
    for stage in (Stage("best_gemm", "GEMM", "", 1e12, 1.0), Stage("rated_peak", "Rated peak", "Absent.")):
        assert view_chain.chain_view(below, "", Waterfall("gpu0", "bf16", [stage])).links[0].name == "held_clock"
    assert view_chain.chain_view(below, "").end.startswith("5.71 % of the rated peak")


def test_results_of_the_commercial_group_are_no_links() -> None:
    whole = chain(unknown=())
    money = Link("money", "Money", "commercial", "given", "7 EUR")
    shown = view_chain.chain_view(msgspec.structs.replace(whole, links=[*whole.links, money]), "")
    assert shown.links[-1].name == "green_share" and not shown.bound


def test_no_site_is_unknown_money_with_what_to_give() -> None:
    case = gpu_node(simulated=False)
    for words in (
        _section(case, "chain"),
        _section(case, "money"),
        markdown.render(*case).decode(),
        re.sub(r"\s+", " ", terminal.text(*case, 100, False)),
    ):
        assert view_money.NO_SITE in words and "site.yaml" in words


# ---- figures of power


def test_a_workload_shows_its_figures_with_trust_window_and_sensor() -> None:
    works = {work.title: work for work in view.build(*power_node()).power.workloads}
    assert list(works) == ["GEMM bf16", "Stream copy", "Training step", "Decode, batch 8"]
    gemm = works["GEMM bf16"]
    assert gemm.lead.text == "1.11 ± 0.06 TFLOP/J" and gemm.trust == "B" and "capped" in gemm.flag
    assert dict(gemm.facts)["Window"] == "60.0 s in 1 window" and "gpu0.counter" in dict(gemm.facts)["Sensor"]
    assert "above the bare idle of 78.4 W" in dict(gemm.facts)["Net, as an extra"]
    assert [name for name, _ in works["Training step"].figures][1:3] == ["Power", "Energy per token"]


@pytest.mark.parametrize("status", ["invalid", "absent"])
def test_a_figure_is_written_only_of_a_usable_energy(status: EnergyStatus) -> None:
    """Even when a document carries a figure beside a status that forbids it, no format shows it."""
    case = _with(power_node(), idle=[], timeline=[])
    wrong = msgspec.structs.replace(energy("gpu0", 10, 123.0, "valid"), status=status, reason="R", remedy="D")
    first = msgspec.structs.replace(_record(case).measurements[0], energy=wrong, power_w=None)
    record = msgspec.structs.replace(_record(case), measurements=[first])
    card = msgspec.structs.replace(case.card, metrics=[], chains=[], economics=None)
    page = view.build(card, case.grade, record).power
    assert not page.workloads and not page.budgets and not page.held
    assert "123 W" not in html.render(card, case.grade, record).decode()
    assert any(absence.reason == "R." and absence.remedy == "D." for absence in page.absences)
    assert charts_power.draw(record, 340) == ""
    assert {sensor.trust for sensor in page.sensors} == {""}


def test_an_unusable_metric_is_no_headline() -> None:
    case = power_node()
    metrics = [msgspec.structs.replace(m, status="invalid") for m in case.card.metrics if m.key.startswith("power.")]
    shown = view.build(msgspec.structs.replace(case.card, metrics=metrics), case.grade, case.record)
    assert shown.power.workloads == []


def test_windows_without_a_figure_say_why_once_per_reason() -> None:
    absences = view.build(*power_node()).power.absences
    short = [absence for absence in absences if absence.reason == f"{SHORT_WINDOW}."]
    assert len(short) == 1 and short[0].remedy == SHORT_REMEDY and "and 1 more" in short[0].what
    assert [absence.word for absence in absences] == ["absent", "invalid"]


def test_without_any_sensor_the_page_is_complete_and_holds_no_figure() -> None:
    case = no_sensor_node()
    words = _section(case, "power")
    assert not WATTS.search(words), WATTS.search(words)
    for sentence in ("No figure of power or energy", "no RAPL domain: a hypervisor hides it", "Measure on the host"):
        assert sentence in words
    assert "No ledger" in words and "No uncertainty budget" in words and "Bare idle" in words
    text = terminal.text(*case, 80, False)
    assert "No figure of power or energy" in text and not WATTS.search(text)
    block = markdown.render(*case).decode().partition("## Power")[2].partition("## Domains")[0]
    assert "What to do: Measure on the host" in block and not WATTS.search(block)
    assert "watts" not in prometheus.render(*case).decode()


def test_every_device_without_a_figure_has_a_reason() -> None:
    case = gpu_node(simulated=False)  # a record made before sensors were kept
    (absence,) = view.build(*case).power.absences
    assert absence.what == "gpu0, gpu1" and absence.reason == view_power.NOT_SENSED and absence.remedy
    sensed = _with(power_node(), idle=[])
    card = msgspec.structs.replace(sensed.card, metrics=[])
    (absence,) = view.build(card, None, sensed.record).power.absences
    assert "no trial of this run was long enough" in absence.reason and "node/standard" in absence.remedy
    (absence,) = view.build(card, None, None).power.absences
    assert absence.reason == view_power.NO_RECORD


def test_suspect_energy_is_said_and_shown() -> None:
    words = _section(power_node(), "power")
    assert "another process ran on the device for 3 s" in words
    pages = view_sensors.ledgers(_record(power_node()))
    assert [page.word for page in pages][:2] == ["invalid", "suspect"]


# ---- why it can be believed


def test_the_ledger_names_what_disagrees() -> None:
    page = view_sensors.ledgers(_record(power_node()))[0]
    assert [line.word for line in page.lines] == ["primary", "disagrees", "no reading", "not comparable"]
    assert page.lines[1].difference == "+31.0 %" and page.lines[1].tolerance == "± 5.0 %"
    assert page.lines[2].joules == "" and page.lines[2].note == "NotSupported"
    good = next(page for page in view_sensors.ledgers(_record(power_node())) if page.word == "valid")
    assert [line.word for line in good.lines][:2] == ["primary", "agrees"] and "1 other sensor agrees" in good.verdict


def test_sensor_cards_tell_what_is_unknown_and_how_far_to_trust() -> None:
    cards = {card.key: card for card in view_sensors.sensors(_record(power_node()))}
    counter, instant = cards["gpu0.counter"], cards["gpu0.instant"]
    assert counter.trust == "C" and "single sensor" in counter.trust_text  # the least of what rests on it: the idles
    assert dict(counter.facts)["One reading averages"] == "unknown"
    assert instant.trust == "" and "held against the others" in instant.trust_text
    assert dict(instant.facts)["Sees"] == "25.0 % of the time" and "published" in dict(instant.facts)["These are"]
    assert "no meter was ever put on this part" in dict(instant.facts)["Against a meter"]
    assert "1.004 × read − 2 W" in dict(cards["node.meter"].facts)["Calibration"]
    absent = cards["cpu.package"]
    assert (absent.absent, absent.remedy, absent.facts) == (f"{RAPL_ABSENT}.", RAPL_REMEDY, [])
    assert list(cards)[-1] in ("gpu1.module", "cpu.package")  # absent ones last


def test_the_budget_adds_up_to_the_variance() -> None:
    for page in view_sensors.budgets(_record(power_node())):
        assert sum(part.part for part in page.parts) == pytest.approx(1.0)
        assert page.parts[0].title == "sensor class" and page.parts[0].text == "5.0 %" and page.total == "± 5.2 %"


def test_idles_are_two_and_an_absent_one_says_why() -> None:
    idles = view.build(*power_node()).power.idles
    assert [(idle.title, idle.device) for idle in idles[:2]] == [("Bare idle", "gpu0"), ("Context idle", "gpu0")]
    assert idles[0].text == "78 ± 4 W" and "61.0 s after the last program closed it" in idles[0].note
    dark = view.build(*no_sensor_node()).power.idles
    assert all(idle.text == "" and idle.reason and idle.remedy for idle in dark)


def test_held_energy_is_known_only_when_every_window_knows_it() -> None:
    held = view.build(*power_node()).power.held
    assert (held[0].reason, held[0].seconds, held[0].joules) == ("power limit", "84.0 s", "56.7 kJ")
    record = _record(power_node())
    measured = []
    for m in record.measurements:
        if m.energy is not None and m.energy.held and m.trial.startswith("gemm"):
            blind = [msgspec.structs.replace(row, joules=None) for row in m.energy.held]
            m = msgspec.structs.replace(m, energy=msgspec.structs.replace(m.energy, held=blind))
        measured.append(m)
    shown = view_power.power_view([], msgspec.structs.replace(record, measurements=measured)).held
    assert {row.joules for row in shown} == {""} and shown[0].seconds == "84.0 s"


# ---- the drawings and the other formats


def test_the_timeline_marks_windows_and_refuses_a_height_to_the_invalid() -> None:
    drawn = charts_power.draw(_record(power_node()), 1020)
    root = ElementTree.fromstring(drawn)
    kinds = [node.attrib.get("class", "") for node in root.iter("rect")]
    assert kinds.count("window refused") == 3 and "window doubtful" in kinds and kinds.count("window") > 20
    titles = [node.findtext("title") or "" for node in root.iter("rect")]
    assert any(title.startswith("gemm-bf16") and "691 W over 20.0 s" in title for title in titles)
    assert any("no figure. counter and integral" in title for title in titles)
    assert "node, by its meter" in drawn and not re.search(r"\b(nan|inf)\b", drawn)


def test_a_slice_without_length_is_not_divided_by() -> None:
    record = _record(power_node())
    first = next(m for m in record.measurements if m.energy is not None and m.energy.slices)
    assert first.energy is not None
    flat = [msgspec.structs.replace(piece, seconds=0.0) for piece in first.energy.slices]
    m = msgspec.structs.replace(first, energy=msgspec.structs.replace(first.energy, slices=flat))
    assert "refused" in charts_power.draw(msgspec.structs.replace(record, measurements=[m]), 340)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", power_cases())
def test_the_terminal_keeps_to_its_width(name: str, width: int) -> None:
    for unicode in (True, False):
        text = terminal.text(*power_cases()[name], width, False, unicode)
        assert max(len(line) for line in text.split("\n")) <= width
        assert unicode or text.isascii()


def test_the_terminal_says_chain_costs_and_power_in_short() -> None:
    text = re.sub(r"\s+", " ", terminal.text(*power_node(), 100, False))
    for said in ("≤ 27.8 %", "The weakest known link is green share", "0.0214 – 0.0338 EUR per 1M tokens"):
        assert said in text
    assert "1.11 ± 0.06 TFLOP/J 694 ± 36 W 991 ± 52 mJ B" in text and "window 2.0 s < 10 s" in text


def test_prometheus_has_no_sample_of_what_is_unknown() -> None:
    text = prometheus.render(*power_node()).decode()
    assert 'link="availability"' not in text and 'upper_bound="true"' in text
    assert 'scenario="rent"' not in text and "effbench_economics_high{" in text
    for name in ("_flops_per_joule{", "_tokens_per_joule{", "joules_per_step{", "energy_delay_joule_seconds{"):
        assert name in text
    assert "joules_per_step_joules" not in text


def test_a_card_alone_gives_the_figures_and_says_where_the_rest_is() -> None:
    case = power_cases()["power-card-only"]
    words = _section(case, "power")
    assert "1.11 ± 0.06 TFLOP/J" in words and "are in the record of the run" in words


@pytest.mark.parametrize("colour", ["bar", "s4", "s5"])
def test_the_words_of_a_basis_can_be_read_light_and_dark(colour: str) -> None:
    css = (resources.folder("templates") / "style.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?)\}", css, flags=re.S)[:2]:
        palette = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})\b", block))
        light, dark = sorted((_luminance(palette[colour]), _luminance(palette["paper"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_energy_of_another_device_is_not_drawn_as_this_ones() -> None:
    record = _record(power_node())
    other = Energy("gpu7", "valid", energy=Quantity(1.0, Unit.JOULE), power=Quantity(1.0, Unit.WATT))
    assert view_sensors.windows_of(record, "gpu7") == [] and view_sensors.usable(other)
