"""Curves of scaling as they are shown: points with their measures, models beside them, busy and wait of every rank."""

import msgspec

from effbench.model.record import USABLE
from effbench.model.scaling import Curve, CurvePoint, ModelFit, Ratio, Straggler
from effbench.report import format, view_links, words
from effbench.report.format import opened

STRATEGIES = {"ddp": "DDP", "fsdp2": "FSDP2", "tp": "tensor parallel"}
SPANS = {"node": "within a node", "cluster": "over nodes"}
HEALTHS = {"fits": ("fits", "good"), "contradicted": ("contradicted", "bad"), "untested": ("untested", "none")}
PEAKS = {"rated": "of rated peak", "held": "of peak at held clock", "": "of peak"}
PLAIN = (("stretch", "1.0"),)  # parameters that change nothing are not worth a word
POINTS_MIN = 4  # distinct counts that a projection needs
SHARE = "scaling_efficiency"  # a key that `format` writes in per cent


class PointView(msgspec.Struct, frozen=True):
    """One count of ranks. An empty string is a figure that does not exist there; `note` says what is doubtful."""

    ranks: int
    nodes: int
    word: str
    tone: str
    time: str
    efficiency: str
    equal_clock: str
    speed_up: str
    exposed: str
    overlap: str
    slowest: str
    karp_flatt: str
    of_peak: str
    predicted: str
    residual: str
    residual_tone: str
    note: str


class ModelView(msgspec.Struct, frozen=True):
    """One model beside the measured points; `at_last` is its efficiency at the largest count."""

    title: str
    word: str
    tone: str
    at_last: str
    parameters: str
    worst: str
    left_out: str
    note: str


class RankBar(msgspec.Struct, frozen=True):
    """One rank of one step, s: own work, then waiting for others."""

    rank: int
    busy_s: float
    wait_s: float
    marked: bool


class RanksView(msgspec.Struct, frozen=True):
    """Busy and wait of every rank at one count."""

    ranks: int
    bars: list[RankBar]
    said: str
    tone: str


class CurveView(msgspec.Struct, frozen=True):
    """One curve with its words. `data` is what the charts draw: only points with usable evidence."""

    title: str
    end: str
    base: str
    shape: str
    points: list[PointView]
    models: list[ModelView]
    doubts: list[str]
    projection: str
    overlap_rule: str
    data: Curve
    ranks: list[RanksView]


def share(ratio: Ratio | None) -> str:
    """Write a fraction with its interval in per cent; an absent one as nothing."""
    return "" if ratio is None else format.measured(ratio.value, "1", ratio.interval, SHARE)


def seconds(ratio: Ratio | None) -> str:
    """Write a time with its interval."""
    return "" if ratio is None else format.measured(ratio.value, "s", ratio.interval)


def times(ratio: Ratio | None) -> str:
    """Write a factor with its interval: `3.71 ± 0.02 ×`."""
    return "" if ratio is None else f"{format.measured(ratio.value, '1', ratio.interval)} ×"


def ranks_of(number: int) -> str:
    """Write `1 rank`, `8 ranks`."""
    return format.count(number, "rank")


def usable(curve: Curve) -> list[CurvePoint]:
    """Keep the points that may be shown as figures, by count."""
    return sorted((p for p in curve.points if p.status in USABLE), key=lambda p: p.ranks)


def projection_text(curve: Curve) -> str:
    """Say whether the points carry a projection; none is drawn here."""
    counts = len({point.ranks for point in usable(curve)})
    if counts < POINTS_MIN:
        return f"No projection: not enough points ({counts} of {POINTS_MIN})."
    return "`effbench project --to N RUN` says what the models make of larger counts; nothing is extrapolated here."


def _point(point: CurvePoint, base: int) -> PointView:
    bare = point.status not in USABLE
    predicted = point.predicted
    exposed = "" if bare else seconds(point.exposed_s)
    if exposed and point.exposed_s and point.time.value > 0:
        exposed += f", {format.percent(point.exposed_s.value / point.time.value, 2)}"
    residual = "" if predicted is None or bare else format.points(predicted.residual)
    tone = "open" if predicted is not None and predicted.beyond_noise else "none"
    notes = [] if predicted is not None or not point.predicted_absent else [point.predicted_absent]
    notes += ["the prediction is further off than noise explains"] if residual and tone == "open" else []
    return PointView(
        ranks=point.ranks,
        nodes=point.nodes,
        word=words.STATUSES[point.status][0],
        tone=words.STATUSES[point.status][2],
        time="" if bare else seconds(point.time),
        efficiency="" if bare else "base" if point.ranks == base else share(point.efficiency),
        equal_clock="" if bare else share(point.equal_clock),
        speed_up="" if bare else times(point.speed_up),
        exposed=exposed,
        overlap="" if bare or point.overlap is None else format.percent(point.overlap, 2).replace("-", "−"),
        slowest="" if bare else times(point.slowest_rank),
        karp_flatt="" if bare else share(point.karp_flatt),
        of_peak="" if bare or point.of_peak is None else f"{share(point.of_peak)} {PEAKS[point.peak]}",
        predicted="" if predicted is None or bare else format.percent(predicted.efficiency),
        residual=residual,
        residual_tone=tone,
        note="; ".join(notes),
    )


def _parameter(name: str, value: float) -> str:
    """Write one parameter; those of a collective carry its name after a dot."""
    stem, _, op = name.partition(".")
    lead = f"{view_links.op_title(op)} " if op else ""
    if stem == "s_per_byte":
        return f"{lead}{format.quantity(1 / value, 'byte/s')}" if value > 0 else f"{lead}no cost per byte"
    if stem.endswith("_s"):
        return f"{lead}{stem.removesuffix('_s').replace('_', ' ')} {format.quantity(value, 's')}"
    if stem in ("serial_share", "sigma"):
        return f"{lead}{stem.replace('_', ' ')} {format.percent(value)}"
    return f"{lead}{stem.replace('_', ' ')} {value:.3g}"


def _model(model: ModelFit, last: int) -> ModelView:
    word, tone = HEALTHS[model.health]
    at = model.efficiency.get(str(last))
    return ModelView(
        title=model.title or model.name,
        word=word,
        tone=tone,
        at_last="" if at is None else format.percent(at),
        parameters=", ".join(_parameter(name, value) for name, value in model.parameters.items()),
        worst="" if model.worst_residual is None else format.percent(abs(model.worst_residual), 2),
        left_out="" if model.left_out is None else format.percent(abs(model.left_out), 2),
        note=format.sentence(model.note),
    )


def _ranks(point: CurvePoint, stragglers: list[Straggler]) -> RanksView | None:
    """Lay out busy and wait of one point; a rank is marked only where the score named it."""
    n = min(len(point.busy_s), len(point.wait_s))
    if n < 2:
        return None
    named = {r for s in stragglers if s.kind == "compute" and s.trial == point.trial for r in s.ranks}
    bars = [RankBar(r, point.busy_s[r], point.wait_s[r], r in named) for r in range(n)]
    least = min(bars, key=lambda bar: bar.wait_s)
    if named:
        said = f"Rank {', '.join(map(str, sorted(named)))} holds the others up: busy longest, waiting least."
        return RanksView(point.ranks, bars, said, "open")
    said = f"No rank stands out; rank {least.rank} waits least, {format.quantity(least.wait_s, 's')}."
    return RanksView(point.ranks, bars, said, "none")


def _end(curve: Curve, points: list[CurvePoint]) -> str:
    """Say in one sentence where the curve ends."""
    last = points[-1] if points else None
    if last is None:
        return "No point of this curve has usable evidence."
    if last.efficiency is None or last.ranks == curve.base_ranks:
        return f"Only the base was measured: {seconds(last.time)} per step on {ranks_of(last.ranks)}."
    speed = f", {times(last.speed_up)} the work per second of the base" if last.speed_up else ""
    over = f" on {format.count(last.nodes, 'node')}" if last.nodes > 1 else ""
    doubt = " Suspect: something disturbed it." if last.status == "suspect" else ""
    return f"{ranks_of(last.ranks).capitalize()}{over} keep {share(last.efficiency)} of ideal scaling{speed}.{doubt}"


def _title(curve: Curve) -> str:
    strategy = STRATEGIES.get(curve.strategy, curve.strategy)
    return f"{curve.scaling.capitalize()} scaling, {strategy}, {SPANS[curve.span]}"


def curve_view(curve: Curve, stragglers: list[Straggler]) -> CurveView:
    """Lay out one curve; points without usable evidence stay as rows without figures, and are not drawn."""
    points = usable(curve)
    last = points[-1].ranks if points else 0
    rows = [_point(point, curve.base_ranks) for point in sorted(curve.points, key=lambda p: p.ranks)]
    bars = [found for point in reversed(points) if (found := _ranks(point, stragglers)) is not None]
    return CurveView(
        title=_title(curve),
        end=_end(curve, points),
        base=opened(format.sentence(curve.base)),
        shape=format.params(
            {name: value for name, value in curve.params.items() if value and (name, value) not in PLAIN}
        ),
        points=rows,
        models=[_model(model, last) for model in curve.models],
        doubts=[opened(format.sentence(doubt)) for doubt in curve.doubts],
        projection=projection_text(curve),
        overlap_rule=opened(format.sentence(curve.overlap_rule)),
        data=msgspec.structs.replace(curve, points=points),
        ranks=bars,
    )
