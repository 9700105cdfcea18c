"""Scaling and clusters in the reports: no figure without evidence, every name only where the score gave it."""

import itertools
import re
from html import unescape
from xml.etree import ElementTree

import msgspec
import pytest

from effbench.kernels import p2p_copy
from effbench.model.inventory import NvLinks, Pcie
from effbench.model.plan import Placement
from effbench.model.record import Status
from effbench.model.scaling import Curve, Straggler
from effbench.model.scorecard import Scorecard
from effbench.report import (
    charts_pairs,
    charts_ranks,
    charts_scaling,
    html,
    markdown,
    terminal,
    view,
    view_curves,
    view_links,
    view_scaling,
)
from effbench.report.view_curves import RankBar, RanksView
from effbench.score.cluster import Node, score_cluster
from effbench.score.scaling import scaling
from tests.factory import HOSTILE, Case, cases, gpu_node
from tests.factory_scaling import (
    cluster_of,
    link_metrics,
    pair_measurement,
    point,
    scaling_broken,
    scaling_cases,
    scaling_cpu,
    scaling_node,
    strong_curve,
    weak_curve,
)
from tests.unit.scaling_records import FACTS, node_of, step, sweep, with_trials

CASES = scaling_cases()


def _section(case: Case, name: str) -> str:
    """The visible words of one section of the page; empty without it."""
    page = html.render(*case).decode()
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, re.S)
    words = re.sub(r"<title>.*?</title>", "", found.group(1) if found else "", flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", words))).strip()


def _page(case: Case) -> view_scaling.ScalingPage:
    page = view.build(*case).scaling
    assert page is not None
    return page


# ---- curves


def test_a_run_without_scaling_has_no_word_of_it_in_any_format() -> None:
    case = cases()["gpu-pass"]
    assert view.build(*case).scaling is None and view.build(*case).cluster is None
    assert _section(case, "scaling") == ""
    assert "--h0" not in html.render(*case).decode()
    assert "Scaling" not in terminal.render(*case).decode()


def test_the_curve_says_where_it_ends_and_what_one_is() -> None:
    curve = _page(scaling_cpu()).curves[0]
    assert curve.end.startswith("2 ranks keep 85.8 ± 0.4 % of ideal scaling, 1.717 ± 0.009 ×")
    assert curve.base == "One rank has one core at every count."
    assert curve.title == "Weak scaling, DDP, within a node"
    assert [p.efficiency for p in curve.points] == ["base", "85.8 ± 0.4 %"]


def test_fewer_than_four_counts_are_no_ground_for_a_projection() -> None:
    assert _page(scaling_cpu()).curves[0].projection == "No projection: not enough points (2 of 4)."
    assert "not enough points (2 of 4)" in _section(scaling_cpu(), "scaling")
    four = _page(scaling_node()).curves[0].projection
    assert "effbench project" in four and "not enough" not in four
    curve = weak_curve()
    fewer = [msgspec.structs.replace(p, status="invalid") if p.ranks == 4 else p for p in curve.points]
    assert "(3 of 4)" in view_curves.projection_text(msgspec.structs.replace(curve, points=fewer))


@pytest.mark.parametrize("status", ["failed", "invalid", "skipped"])
def test_a_point_without_evidence_has_no_figure_anywhere(status: Status) -> None:
    curve = weak_curve()
    points = [msgspec.structs.replace(p, status=status) if p.ranks == 8 else p for p in curve.points]
    shown = view_curves.curve_view(msgspec.structs.replace(curve, points=points), [])
    last = shown.points[-1]
    figures = (last.time, last.efficiency, last.equal_clock, last.speed_up, last.exposed, last.overlap, last.slowest)
    assert set(figures) == {""} and (last.karp_flatt, last.of_peak, last.predicted, last.residual) == ("",) * 4
    assert last.word in ("failed", "invalid", "not applicable")
    assert shown.end.startswith("4 ranks keep")
    assert "8 ranks" not in charts_scaling.draw_efficiency(shown.data, 500)
    assert all(ranks.ranks != 8 for ranks in shown.ranks)


def test_a_disturbed_point_is_hollow_and_says_so() -> None:
    drawn = charts_scaling.draw_time(strong_curve(), 500)
    assert drawn.count("scale-dot hollow") == 1 and "(suspect)" in drawn


def test_one_point_is_no_curve() -> None:
    curve = msgspec.structs.replace(weak_curve(), points=weak_curve().points[:1])
    assert charts_scaling.draw_efficiency(curve, 500) == "" == charts_scaling.draw_time(curve, 500)
    shown = view_curves.curve_view(curve, [])
    assert shown.end == "Only the base was measured: 150.0 ± 0.6 ms per step on 1 rank."


def test_without_a_prediction_none_is_drawn_and_the_reason_is_told() -> None:
    curve = _page(scaling_node()).curves[2]
    assert "predicted-mark" not in charts_scaling.draw_efficiency(curve.data, 500)
    assert curve.points[-1].note == "no sweep of links was measured at 64 ranks"
    assert curve.points[-1].predicted == "" == curve.points[-1].residual
    assert "Suspect measurement first: 16 ranks are slower than 32" in _section(scaling_node(), "scaling")


def test_a_prediction_beyond_noise_is_marked() -> None:
    points = _page(scaling_node()).curves[0].points
    assert [p.residual_tone for p in points] == ["none", "none", "none", "open"]
    assert points[-1].residual == "+4.5 %" and "further off than noise explains" in points[-1].note


def _x(drawn: str, css: str) -> list[float]:
    return [float(x) for x in re.findall(rf'<circle class="{css}" cx="([\d.]+)"', drawn)]


def test_the_counts_stand_on_a_log2_axis_and_more_is_higher() -> None:
    drawn = charts_scaling.draw_efficiency(weak_curve(), 500)
    across = _x(drawn, "scale-dot")
    gaps = [b - a for a, b in itertools.pairwise(across)]
    assert len(across) == 4 and max(gaps) - min(gaps) < 0.3
    down = [float(y) for y in re.findall(r'class="scale-dot" cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert down == sorted(down)


def test_weak_time_is_drawn_from_zero_and_strong_ideal_is_straight() -> None:
    assert ">0 s<" in charts_scaling.draw_time(weak_curve(), 500)
    ideal = re.search(r'<path class="ideal" d="M([^"]+)"', charts_scaling.draw_time(strong_curve(), 500))
    assert ideal
    corners = [tuple(map(float, pair.split())) for pair in ideal.group(1).split("L")]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(corners)]
    assert max(slopes) - min(slopes) < 0.01 and slopes[0] > 0


def test_a_model_is_drawn_only_where_it_stays_on_the_chart() -> None:
    curve = weak_curve()
    wild = msgspec.structs.replace(curve.models[1], efficiency={"1": 1.0, "2": 0.9, "4": -1.5, "8": 0.9})
    drawn = charts_scaling.draw_efficiency(msgspec.structs.replace(curve, models=[wild]), 500)
    found = re.search(r'<path class="model model-0" d="M([^"]+)"', drawn)
    assert found and found.group(1).count("L") == 1


@pytest.mark.parametrize("span", [(1, 2), (3, 7), (0.2, 1.4), (1e-6, 3.0)])
def test_log_ticks_are_inside_and_enough(span: tuple[float, float]) -> None:
    found = charts_scaling.log_ticks(*span)
    assert len(found) >= 2 and all(span[0] * 0.999 <= tick <= span[1] * 1.001 for tick in found)


# ---- ranks


def test_a_rank_is_marked_only_when_the_score_named_it_at_that_count() -> None:
    shown = _page(scaling_node()).curves[0].ranks
    assert [bar.rank for ranks in shown for bar in ranks.bars if bar.marked] == [5]
    assert shown[0].ranks == 8 and "Rank 5 holds the others up" in shown[0].said
    bare = view_curves.curve_view(weak_curve(), [])
    assert not any(bar.marked for ranks in bare.ranks for bar in ranks.bars)
    assert all(ranks.said.startswith("No rank stands out") for ranks in bare.ranks)


def test_bars_are_as_long_as_busy_and_wait() -> None:
    bars = [RankBar(0, 0.1, 0.1, False), RankBar(1, 0.15, 0.05, True)]
    drawn = charts_ranks.draw(RanksView(2, bars, "", "open"), 500)
    wide = [float(w) for w in re.findall(r'<rect class="(?:busy late|busy|wait)" [^>]*width="([\d.]+)"', drawn)]
    assert wide[0] == pytest.approx(wide[1], abs=0.2)
    assert wide[2] == pytest.approx(3 * wide[3], abs=0.3)


def test_of_many_ranks_those_that_wait_least_are_drawn() -> None:
    bars = [RankBar(i, 1.0, 0.001 * (200 - i), False) for i in range(200)]
    shown = charts_ranks.shown(RanksView(200, bars, "", "none"))
    assert [bar.rank for bar in shown] == list(range(136, 200))


# ---- pairs and collectives


def test_the_slow_end_is_named_by_the_score_or_the_sweep_and_by_nobody_else() -> None:
    measured = pair_measurement(4, 2)
    shown = view_links.pair_view(measured, [])
    assert shown is not None and shown.suspects == [2] and len(shown.marked) == 3
    silent = view_links.pair_view(msgspec.structs.replace(measured, texts={}), [])
    assert silent is not None and silent.marked == [] and silent.suspects == []
    assert silent.said.startswith("Nobody is named; the slowest is ranks ")
    one = Straggler("network", [0, 2], 4, 0.2, "ranks 0 and 2 exchange at 20%", measured.trial)
    told = view_links.pair_view(measured, [one])
    assert told is not None and told.marked == [(0, 2)] and told.said == "Ranks 0 and 2 exchange at 20%."
    elsewhere = msgspec.structs.replace(one, trial="another")
    other = view_links.pair_view(measured, [elsewhere])
    assert other is not None and other.suspects == [2]


def test_a_sweep_cut_short_names_no_pair() -> None:
    shown = _page(scaling_broken()).pairs
    assert len(shown) == 1  # the failed sweep is not drawn at all
    assert shown[0].marked == [] and shown[0].suspects == [] and shown[0].said.startswith("Incomplete, so no pair")


def test_links_within_and_across_nodes_are_held_against_their_own_kind() -> None:
    facts = {f"pair_bandwidth.r{i}.r{j}": 1e9 if i // 2 == j // 2 else 1e8 for i in range(4) for j in range(i + 1, 4)}
    shown = view_links.pair_view(pair_measurement(2, None, facts=facts), [], per_node=2)
    assert shown is not None
    assert {cell.ratio for cell in shown.cells} == {1.0}
    assert shown.median == "1.00 GB/s within a node, 100 MB/s across nodes"


def test_the_matrix_is_filled_from_one_half_and_from_both() -> None:
    half = view_links.pair_view(pair_measurement(3, None), [])
    assert half is not None and len(half.cells) == 3
    assert len(re.findall(r'class="heat heat-', charts_pairs.draw(half, 600))) == 6
    facts = {"copy_bandwidth.gpu0.gpu1": 1e9, "copy_bandwidth.gpu1.gpu0": 2e9, "copy_bandwidth.gpu0.gpu2": 0.0}
    both = view_links.pair_view(pair_measurement(2, None, facts=facts), [])
    assert both is not None and both.title == "Copies between devices" and len(both.cells) == 2
    assert len(re.findall(r'class="heat heat-', charts_pairs.draw(both, 600))) == 2


def test_what_the_kernel_calls_a_copy_is_in_the_report_with_the_boards_topology() -> None:
    """The names of the facts are the kernel's own; how the GPUs are joined stands beside the matrix."""
    case = gpu_node(simulated=False)
    assert case.record is not None
    gpus = [
        msgspec.structs.replace(
            case.record.inventory_before.accelerators[0],
            key=f"gpu{i}",
            pci_bus_id=f"0000:{i:02x}:00.0",
            numa=i // 2,
            pcie=Pcie(5, 16, 5, 16),
            nvlink=NvLinks(18, 18, switched=18) if i < 2 else None,
            hops={f"gpu{j}": "node" if i // 2 == j // 2 else "system" for j in range(4) if j != i},
        )
        for i in range(4)
    ]
    step = object.__new__(p2p_copy.PeerCopy)
    step.params, step.words, step.wrong = p2p_copy.Params(ranks=4), {}, {}
    step.copied_s = {(i, j): [0.01 if i // 2 == j // 2 else 0.1] for i in range(4) for j in range(4) if i != j}
    trial = msgspec.structs.replace(
        case.record.plan.trials[0], id="copies@n4", kernel="p2p_copy", placement=Placement([g.key for g in gpus], 4)
    )
    measured = pair_measurement(2, None, facts=step.facts(), texts=step.texts(), trial="copies@n4")
    record = msgspec.structs.replace(
        case.record,
        plan=msgspec.structs.replace(case.record.plan, trials=[*case.record.plan.trials, trial]),
        inventory_before=msgspec.structs.replace(case.record.inventory_before, accelerators=gpus),
        measurements=[*case.record.measurements, measured],
    )
    (shown,) = view_links.pairs(record, [])
    # Across the sockets all are ten times slower, alike and by design: no pair is named.
    assert shown.said.startswith("No pair stands out; the slowest is GPUs ") and not shown.marked
    assert {cell.way for cell in shown.cells} == {
        "by 18 NVLinks through a switch",
        "within a NUMA node",
        "between NUMA nodes",
    }
    assert shown.devices[0] == ("gpu0", "18 up: 18 to a switch", "PCIe gen 5 x16, NUMA 0")
    bridged = msgspec.structs.replace(gpus[3], nvlink=NvLinks(4, 3, peers={gpus[2].pci_bus_id: 3}))
    also = view_links.pair_view(measured, [], devices=[*gpus[:3], bridged])
    assert also is not None and also.devices[3][1] == "3 of 4 up: 3 to gpu2"
    assert shown.devices[3] == ("gpu3", "", "PCIe gen 5 x16, NUMA 1")
    page = _section(Case(case.card, case.grade, record), "scaling")
    assert "NVLink 18 up: 18 to a switch; PCIe gen 5 x16, NUMA 0" in page and "between NUMA nodes" in page
    assert "GPU 0 to GPU 1" in html.render(case.card, case.grade, record).decode()
    two = {name: value for name, value in step.facts().items() if name.endswith((".gpu0.gpu1", ".gpu1.gpu0"))}
    pair = msgspec.structs.replace(trial, placement=Placement(["gpu0", "gpu1"], 2))
    only = msgspec.structs.replace(
        record,
        plan=msgspec.structs.replace(record.plan, trials=[pair]),
        measurements=[msgspec.structs.replace(measured, facts=two)],
    )
    assert "18 up: 18 to a switch" in _section(Case(case.card, case.grade, only), "scaling"), "no matrix, but the two"
    assert "| gpu3 | – | PCIe gen 5 x16, NUMA 1 |" in markdown.render(case.card, case.grade, record).decode()


def test_many_ranks_show_those_with_the_slowest_links() -> None:
    shown = view_links.pair_view(pair_measurement(70, 61), [])
    assert shown is not None and shown.ranks == 70 and len(shown.shown) == 48 and 61 in shown.shown
    assert len(charts_pairs.draw(shown, 600)) < 700_000


def test_collectives_are_gathered_by_count_and_unusable_ones_are_left_out() -> None:
    card = gpu_node(simulated=False).card
    metrics = link_metrics(8, 4e11) + link_metrics(2, 3e11, ("all_reduce",))
    metrics += [msgspec.structs.replace(m, key=m.key.replace("n8", "n64"), status="failed") for m in metrics[:5]]
    across = msgspec.structs.replace(metrics[0], key="link.all_reduce.across.n16.s4096.busbw")
    pair = msgspec.structs.replace(metrics[0], key="link.pair.n4.slowest.bandwidth")
    found = view_links.collectives(msgspec.structs.replace(card, metrics=[*metrics, across, pair]))
    assert [(c.ranks, c.group) for c in found] == [(16, "across nodes"), (8, "all ranks"), (2, "all ranks")]
    assert [s.title for s in found[1].series] == ["all-reduce", "all-gather", "broadcast"]
    assert found[1].series[0].latency == "22.0 ± 0.2 µs" and found[0].series[0].latency == ""
    assert charts_pairs.draw_collectives(found[0], 500) == ""


def test_without_a_record_the_page_says_where_the_matrix_is() -> None:
    card, grade, _ = scaling_node()
    assert "The pair matrix is in the record of the run" in _section(Case(card, grade, None), "scaling")


# ---- clusters


def _real_cluster(slow: float) -> Scorecard:
    """Four nodes through the real scorer, one of them slower."""
    nodes = []
    for i in range(4):
        card, grade, _ = gpu_node(simulated=False)
        metrics = []
        for m in card.metrics:
            off = (slow if m.better == "higher" else 1 / slow) if i == 2 and not m.key.startswith("health") else 1.0
            q = msgspec.structs.replace(m.quantity, value=m.quantity.value * off * (1 + 0.0005 * i))
            metrics.append(msgspec.structs.replace(m, quantity=q, interval=None))
        card = msgspec.structs.replace(card, metrics=metrics, node=f"n{i}", record_digests=[f"{i:016x}"])
        nodes.append(Node(f"n{i}", card, grade))
    return score_cluster("spring", nodes, None, "node-2026@1")


def test_the_slowed_node_is_named_first_in_every_format() -> None:
    card = _real_cluster(0.7)
    case = Case(card, None, None)
    page = view.build(*case).cluster
    assert page is not None and page.first == "n2" and page.nodes[0].name == "n2"
    assert page.outliers[0].node == "n2" and page.outliers[0].figures[0].against.startswith("−29.9")
    assert _section(case, "cluster").startswith("Look here first n2")
    assert re.search(r"Look here first\n +n2\n", terminal.render(*case).decode())
    assert "## Look here first\n\n**n2**" in markdown.render(*case).decode()
    assert "Nothing stands out" in _section(Case(_real_cluster(1.0), None, None), "cluster")


def test_both_grounds_of_an_outlier_are_told_apart() -> None:
    page = view.build(*CASES["cluster-4"]).cluster
    assert page is not None
    gemm = page.outliers[0].figures[0]
    assert "robust standard deviations off" in gemm.robust
    assert gemm.anchor == "below what a healthy part keeps (68.5 %, bar 85.0 %)"
    train = next(f for f in page.outliers[0].figures if f.key.startswith("train"))
    assert train.anchor == "" and train.robust


def test_nodes_that_never_reported_are_named_and_not_counted_as_good() -> None:
    case = CASES["cluster-1000"]
    page = view.build(*case).cluster
    assert page is not None and [node.name for node in page.gone] == ["node-41", "node-42", "node-701"]
    assert page.summary == "1,000 nodes: 2 fail, 3 missing, 995 pass."
    assert sum(number for *_, number in page.counts) == 1000
    words = _section(case, "cluster")
    assert "node-701 missing" in words and "NODE_FAIL" in words


def test_a_thousand_nodes_stay_a_page_that_one_can_read() -> None:
    page = html.render(*CASES["cluster-1000"]).decode()
    assert len(page) < 800_000
    start = page.index('<section id="nodes">')
    before = page[start : page.index("<details", start)]
    assert 7 <= before.count('role="row"') <= 41
    rows = page[start : page.index("</section>", start)]
    assert rows.count('role="row"') == 1000 + 2
    assert page.count("<circle") < 400  # only those that stand out are drawn one by one


def test_every_node_has_its_dot_and_none_is_invented() -> None:
    case = cluster_of(12, {3: 0.8}, (5,))
    page = html.render(*case).decode()
    strips = re.findall(r'<svg class="chart strip wide".*?</svg>', page, re.S)
    assert len(strips) == 6
    for strip in strips:
        assert strip.count("<circle") == 11 and "node-6:" not in strip and strip.count('class="node-out"') == 1


def test_a_fleet_that_is_slow_as_a_whole_is_said_so_above_all() -> None:
    words = _section(CASES["cluster-mixed"], "cluster")
    assert "The fleet as a whole is slow: The median node reaches 71 %" in words
    assert "Two kinds of nodes: 3 at 610 TFLOP/s" in _section(CASES["cluster-mixed"], "figures")
    assert "595.45.04" in _section(CASES["cluster-mixed"], "mixed")


def test_nodes_are_sorted_as_people_count() -> None:
    page = view.build(*cluster_of(12, {})).cluster
    assert page is not None
    assert [node.name for node in page.tiles] == [f"node-{i}" for i in range(1, 13)]


# ---- all of it


def _charts(case: str) -> list[str]:
    return re.findall(r"<svg .*?</svg>", html.render(*CASES[case]).decode(), re.S)


@pytest.mark.parametrize("case", CASES)
def test_every_drawing_is_well_formed_and_finite(case: str) -> None:
    for chart in _charts(case):
        ElementTree.fromstring(chart)
        assert not re.search(r"\b(nan|inf)\b", re.sub(r"<title>.*?</title>", "", chart), re.I)


@pytest.mark.parametrize("case", CASES)
def test_hostile_words_stay_words(case: str) -> None:
    page = html.render(*CASES[case]).decode()
    assert "<script" not in page
    text = terminal.text(*CASES[case], 80, False, unicode=False)
    assert text.isascii() and all(len(line) <= 80 for line in text.splitlines())
    assert HOSTILE not in markdown.render(*CASES[case]).decode()


def test_what_the_real_score_says_is_shown_as_it_is() -> None:
    """The curve of the facts through score and report: 16 nodes keep 62.1 %, the links predict it."""
    trials = [step(n, [t] * 3, half=0.003) for n, t in FACTS.items()]
    trials += [step(n, [FACTS[1]] * 3, part="compute", half=0.003) for n in FACTS]
    record = with_trials(node_of(16), trials + sweep("all_reduce", [n for n in FACTS if n > 1], 1e-4, 24e6))
    _, found = scaling(record, [])
    assert found is not None
    card = msgspec.structs.replace(cases()["cpu"].card, scaling=found)
    page = view.build(card, None, None).scaling
    assert page is not None
    assert page.curves[0].end.startswith("16 ranks keep 62.")
    assert page.curves[0].points[-1].efficiency.startswith("62.")
    assert page.curves[0].points[-1].predicted != ""
    assert charts_scaling.draw_efficiency(page.curves[0].data, 500).count("predicted-mark") == len(FACTS) - 1


def test_efficiency_is_never_made_up_for_a_count_below_the_base() -> None:
    curve = Curve("ddp", "weak", "node", 2, "two", [point(1, 1.0, 1.0, "weak", 2, efficiency=None)], [], 2)
    assert charts_scaling.efficiencies(curve) == []


def test_a_sweep_without_a_headline_shows_its_largest_size_and_says_so() -> None:
    card = gpu_node(simulated=False).card
    metrics = [m for m in link_metrics(8, 4e11, ("all_reduce",)) if m.key != "link.all_reduce.n8.busbw"]
    series = view_links.collectives(msgspec.structs.replace(card, metrics=metrics))[0].series[0]
    assert re.fullmatch(r"3\d\d ± \d+ GB/s at 1 GiB", series.headline)


def test_parameters_are_written_with_their_units() -> None:
    fit = msgspec.structs.replace(
        weak_curve().models[0], parameters={"latency_s.all_reduce": 2e-3, "s_per_byte.all_reduce": 1e-9, "kappa": 0.0}
    )
    shown = view_curves.curve_view(msgspec.structs.replace(weak_curve(), models=[fit]), []).models[0]
    assert shown.parameters == "all-reduce latency 2.00 ms, all-reduce 1.00 GB/s, kappa 0"


def test_a_curve_of_a_run_leads_with_its_efficiency() -> None:
    trials = [step(n, [t] * 3) for n, t in FACTS.items()]
    metrics, _ = scaling(with_trials(node_of(16), trials), [])
    shown = view.build(msgspec.structs.replace(cases()["cpu"].card, metrics=metrics), None, None)
    assert shown.headline[0].key.endswith("scaling_efficiency")


def test_a_disturbed_end_of_a_curve_is_called_so() -> None:
    curve = strong_curve()
    points = [msgspec.structs.replace(p, status="suspect") for p in curve.points]
    assert view_curves.curve_view(msgspec.structs.replace(curve, points=points), []).end.endswith(
        "Suspect: something disturbed it."
    )
    assert "Suspect" not in view_curves.curve_view(weak_curve(), []).end


def test_who_is_slow_at_one_count_is_not_blamed_at_another() -> None:
    named = Straggler("compute", [1], 8, 1.1, "rank 1 of 8 is slow", "train-step:weak-n8@gpu0")
    shown = view_curves.curve_view(weak_curve(), [named]).ranks
    assert [ranks.ranks for ranks in shown if any(bar.marked for bar in ranks.bars)] == [8]
