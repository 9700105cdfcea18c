"""Links as they are shown: collectives by size, and the bandwidth of every pair with the slowest one named."""

import re
import statistics
from collections.abc import Sequence

import msgspec

from effbench.model.inventory import Accelerator
from effbench.model.record import USABLE, Measurement, Record
from effbench.model.scaling import Straggler
from effbench.model.scorecard import Metric, Scorecard
from effbench.report import format, view_evidence
from effbench.score import device_paths
from effbench.score.stragglers import SLOW_PAIR

OPS = {
    "all_reduce": "all-reduce",
    "all_gather": "all-gather",
    "reduce_scatter": "reduce-scatter",
    "broadcast": "broadcast",
    "all_to_all": "all-to-all",
    "sendrecv": "send/receive",
}
GROUPS = {"": "all ranks", "within": "within each node", "across": "across nodes"}
KEY = re.compile(
    r"link\.(?P<op>[a-z_]+)(?:\.(?P<group>within|across))?\.n(?P<n>\d+)(?:\.s(?P<size>\d+))?\.(?P<what>busbw|latency)"
)
FACT = re.compile(r"(?:pair|copy)_bandwidth\.(?:r|gpu)(?P<from>\d+)\.(?:r|gpu)(?P<to>\d+)")


Pair = tuple[int, int]


class SeriesView(msgspec.Struct, frozen=True):
    """One collective: `points` are (bytes, byte/s by nccl-tests' bus definition)."""

    title: str
    points: list[tuple[float, float]]
    headline: str
    latency: str
    suspect: bool


class CollectiveView(msgspec.Struct, frozen=True):
    """All collectives at one number of ranks in one kind of group."""

    ranks: int
    group: str
    series: list[SeriesView]


class PairCell(msgspec.Struct, frozen=True):
    """One pair, byte/s, and its share of the upper quartile of its kind: over the same `way`, or on one node or not."""

    first: int
    second: int
    value: float
    ratio: float
    way: str = ""


class PairView(msgspec.Struct, frozen=True):
    """The bandwidth of every pair. `shown` are the ranks on the axes: all, or the slowest of many.

    `marked` are the pairs and `suspects` the ends that the measurement or the score named as slow, and only those.
    `noun` is what the numbers count. `devices` are rows of how each GPU is joined: name, NVLinks, PCIe and NUMA node.
    """

    title: str
    noun: str
    ranks: int
    shown: list[int]
    cells: list[PairCell]
    usual: str
    median: str
    said: str
    tone: str
    marked: list[tuple[int, int]]
    suspects: list[int]
    slow: list[tuple[str, str, str]]
    devices: list[tuple[str, str, str]]


SHOWN_MAX, SLOW_MAX = 48, 10


def op_title(op: str) -> str:
    """Write a collective's name for people."""
    return OPS.get(op, op.replace("_", " "))


def _written(metric: Metric | None) -> str:
    if metric is None:
        return ""
    return format.measured(metric.quantity.value, metric.quantity.unit, metric.interval, metric.key)


def _series(op: str, mine: dict[tuple[str, str], Metric]) -> SeriesView:
    sizes = [(float(size), m.quantity.value) for (what, size), m in mine.items() if what == "busbw" and size]
    points = sorted((size, rate) for size, rate in sizes if size > 0 and rate > 0)
    latency, headline = _written(mine.get(("latency", ""))), _written(mine.get(("busbw", "")))
    if points and not headline:
        last = max((size for what, size in mine if what == "busbw" and size), key=int)
        headline = f"{_written(mine['busbw', last])} at {format.tick(float(last), 'byte')}"
    suspect = any(metric.status == "suspect" for metric in mine.values())
    return SeriesView(op_title(op), points, headline, latency, suspect)


def collectives(card: Scorecard) -> list[CollectiveView]:
    """Group the link metrics of collectives by group and count, the largest count first."""
    found: dict[tuple[str, int], dict[str, dict[tuple[str, str], Metric]]] = {}
    for metric in card.metrics:
        match = KEY.fullmatch(metric.key)
        if match is None or metric.status not in USABLE or metric.device is not None:
            continue
        ops = found.setdefault((match["group"] or "", int(match["n"])), {})
        ops.setdefault(match["op"], {})[match["what"], match["size"] or ""] = metric
    order = list(OPS)
    views = []
    for (group, n), ops in sorted(found.items(), key=lambda item: (-item[0][1], item[0][0])):
        known = sorted(ops, key=lambda op: (order.index(op) if op in order else len(order), op))
        views.append(CollectiveView(n, GROUPS[group], [_series(op, ops[op]) for op in known]))
    return views


def _matrix(measurement: Measurement) -> dict[Pair, float]:
    """Collect the facts that are the bandwidth of a pair, byte/s."""
    found = {}
    for name, value in measurement.facts.items():
        match = FACT.fullmatch(name)
        if match is not None and value > 0:
            found[int(match["from"]), int(match["to"])] = value
    return found


def _shown(cells: list[PairCell]) -> list[int]:
    """Choose the ranks on the axes: all, or of many those with the slowest pair."""
    worst: dict[int, float] = {}
    for cell in cells:
        for rank in (cell.first, cell.second):
            worst[rank] = min(worst.get(rank, cell.ratio), cell.ratio)
    return sorted(sorted(worst, key=lambda rank: (worst[rank], rank))[:SHOWN_MAX])


def _usual(values: list[float]) -> float:
    """The quantile 0.75: with one bad rank of four half of all pairs are slow, and the median is no measure."""
    return values[0] if len(values) < 2 else statistics.quantiles(values, n=4, method="inclusive")[2]


def _cells(matrix: dict[Pair, float], per_node: int, ways: dict[Pair, str]) -> tuple[list[PairCell], str, str]:
    """Hold each pair against its kind, because links within and across nodes, and over other ways, differ by design.

    Returns:
        The cells, the upper quartile and the median of each kind in words.
    """
    kinds: dict[str, dict[Pair, float]] = {}
    for pair, value in matrix.items():
        across = pair[0] // per_node != pair[1] // per_node
        word = ways.get((min(pair), max(pair))) or ("across nodes" if across else "within a node")
        kinds.setdefault(word, {})[pair] = value
    cells: list[PairCell] = []
    usuals, medians = [], []
    for word, kind in sorted(kinds.items(), key=lambda item: (item[0] == "across nodes", -max(item[1].values()))):
        usual, several = _usual(sorted(kind.values())), f" {word}" if len(kinds) > 1 or ways else ""
        usuals.append(format.quantity(usual, "byte/s") + several)
        medians.append(format.quantity(statistics.median(kind.values()), "byte/s") + several)
        cells += [
            PairCell(*pair, value, value / usual, ways.get((min(pair), max(pair)), "")) for pair, value in kind.items()
        ]
    return sorted(cells, key=lambda cell: (cell.first, cell.second)), ", ".join(usuals), ", ".join(medians)


class Named(msgspec.Struct, frozen=True):
    """What was said of slow links: sentences, pairs, ends that several slow pairs share."""

    said: list[str] = []
    pairs: list[tuple[int, int]] = []
    ends: list[int] = []


def _named(measurement: Measurement, stragglers: list[Straggler], itself: bool) -> Named:
    """Return what names slow links: of the score, else, where `itself` may, of the measurement."""
    mine = [s for s in stragglers if s.kind == "network" and s.trial == measurement.trial]
    if mine:
        said = [format.opened(format.sentence(s.text)) for s in mine]
        two = [(s.ranks[0], s.ranks[1]) for s in mine if len(s.ranks) == 2]
        return Named(said, two, [s.ranks[0] for s in mine if len(s.ranks) == 1])
    slow, suspect = measurement.texts.get("slow_pairs", ""), measurement.texts.get("suspect", "")
    if not slow or not itself:
        return Named()
    end = f" Common to them: {suspect}." if suspect else ""
    pairs = [(int(a), int(b)) for a, b in re.findall(r"(?:r|gpu)(\d+)-(?:r|gpu)(\d+)", slow)]
    ends = [int(rank) for rank in re.findall(r"\d+", suspect)]
    return Named([f"Slow against others of their kind: {slow}.{end}"], pairs, ends)


def pair_view(
    measurement: Measurement,
    stragglers: list[Straggler],
    per_node: int = 1 << 30,
    ways: dict[Pair, str] | None = None,
    devices: Sequence[Accelerator] = (),
) -> PairView | None:
    """Lay out the matrix of one measurement; None when it holds no pair.

    Args:
        measurement: its facts are byte/s per pair; its texts say whether the sweep was whole and who was slow.
        stragglers: what the score made of it.
        per_node: ranks per node, numbered node by node.
        ways: over what each pair reaches the other, where it is known of all. devices: the GPU of each rank.
    """
    matrix = _matrix(measurement)
    if not matrix:
        return None
    copies = any(name.startswith("copy") for name in measurement.facts)
    noun = "GPU" if copies else "rank"
    cells, usual, median = _cells(matrix, per_node, ways or {})
    incomplete = measurement.texts.get("incomplete", "")
    # A kernel holds all copies against each other; with the ways known, the score has held like against like.
    named = Named() if incomplete else _named(measurement, stragglers, not (copies and ways))
    said = f"Incomplete, so no pair is named: {format.sentence(incomplete)}" if incomplete else " ".join(named.said)
    pairs = {pair for a, b in named.pairs for pair in ((a, b), (b, a))}
    slow = sorted((cell for cell in cells if (cell.first, cell.second) in pairs), key=lambda cell: cell.ratio)
    return PairView(
        title=_copied(measurement) if copies else "Bandwidth of every pair",
        noun=noun,
        ranks=len({rank for cell in cells for rank in (cell.first, cell.second)}),
        shown=_shown(cells),
        cells=cells,
        usual=usual,
        median=median,
        said=said or _calm(cells, noun),
        tone="open" if incomplete or named.said else "none",
        marked=[(cell.first, cell.second) for cell in slow],
        suspects=named.ends,
        slow=[
            (f"{cell.first} – {cell.second}", format.quantity(cell.value, "byte/s"), format.percent(cell.ratio, 2))
            for cell in slow[:SLOW_MAX]
        ],
        devices=[(device.key, *_joined(device, devices)) for device in devices],
    )


def _calm(cells: list[PairCell], noun: str) -> str:
    """Say what is slowest for its kind where nobody stands out."""
    slowest = min(cells, key=lambda cell: cell.ratio)
    name = f"{noun}s {slowest.first} and {slowest.second}{f' ({slowest.way})' if slowest.way else ''}"
    figure = format.quantity(slowest.value, "byte/s")
    if len(cells) == 1:
        return f"One pair, {name}: {figure}."
    share = format.percent(slowest.ratio, 2)
    lead = "No pair stands out" if slowest.ratio >= SLOW_PAIR else "Nobody is named"
    return f"{lead}; the slowest is {name}: {figure}, {share} of the upper quartile."


def _copied(measurement: Measurement) -> str:
    """Name copies by how they went: the trial's own words say whether direct access was forbidden."""
    staged = "through the host" in measurement.texts.get("copies", "")
    return "Copies between devices, through the host" if staged else "Copies between devices"


def _joined(device: Accelerator, devices: Sequence[Accelerator]) -> tuple[str, str]:
    """Write how one GPU is joined: its NVLinks, with the other GPUs by name, and its PCIe link with its NUMA node."""
    nvlink = view_evidence.nvlink(device)
    for other in devices:
        nvlink = nvlink.replace(other.pci_bus_id, other.key) if other.pci_bus_id else nvlink
    numa = "" if device.numa is None else f"NUMA {device.numa}"
    pcie = view_evidence.pcie(device)
    return nvlink, ", ".join(part for part in (pcie and f"PCIe {pcie}", numa) if part)


def pairs(record: Record | None, stragglers: list[Straggler]) -> list[PairView]:
    """Lay out every measured pair matrix of the run, the largest first; what is not usable is not drawn."""
    if record is None:
        return []
    placed = {trial.id: trial.placement for trial in record.plan.trials}
    known = {a.key: a for a in record.inventory_before.accelerators}
    views = []
    for measurement in record.measurements:
        if measurement.status in USABLE:
            place = placed.get(measurement.trial)
            per_node = max(1, place.ranks // place.nodes) if place is not None and place.nodes > 1 else 1 << 30
            ways = device_paths.paths(record, measurement.trial)
            devices = [known[key] for key in place.devices] if place is not None and ways else []
            view = pair_view(measurement, stragglers, per_node, ways, devices)
            views += [view] if view is not None else []
    return sorted(views, key=lambda view: -view.ranks)
