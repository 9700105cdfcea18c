"""The metrics of a scorecard as rows to read: a figure, the fractions beside it, the same figure on each device."""

import re

import msgspec

from effbench.model.quantity import Ceiling
from effbench.model.scorecard import Metric, Scorecard
from effbench.report import format, words

# What the score layer adds beside a throughput (INTERFACES section 4), in the order in which it is read.
FRACTIONS = {
    "fraction_of_rated_peak": "of rated peak",
    "fraction_at_held_clock": "of peak at the held clock",
    "fraction_of_reference": "of the reference",
}
# The figure of a stem that its fractions are shown beside: the first of these that exists.
CARRIERS = ("flops", "bandwidth", "mfu", "fraction_of_bandwidth", "tokens_per_s", "verified_bytes")
HEADLINES_MAX = 8
# A figure of one seed is a part of its recipe's.
_PART = re.compile(r"\.s\d+\.")


class FractionView(msgspec.Struct, frozen=True):
    """One fraction with its denominator: `78.0 ± 0.5 %` of `989 TFLOP/s`, and where that comes from."""

    name: str
    key: str
    share: float
    text: str
    ceiling: str = ""
    source: str = ""


class DeviceValue(msgspec.Struct, frozen=True):
    """The same figure on one device."""

    device: str
    text: str
    relative: str
    worst: bool


class MetricView(msgspec.Struct, frozen=True):
    """One figure as it is shown. `text` is the figure in one piece; `number`, `spread`, `unit` the same in three."""

    key: str
    stem: str
    domain: str
    title: str
    text: str
    number: str
    spread: str
    unit: str
    word: str
    tone: str
    arrow: str
    method: str
    meaning: str
    when_low: str
    shape: str
    worst_device: str
    fractions: list[FractionView]
    devices: list[DeviceValue]
    evidence: list[str]

    @property
    def lead(self) -> FractionView | None:
        """The fraction to draw as a bar: of the reference, else of the held clock, else of the rated peak."""
        return next((fraction for fraction in reversed(self.fractions) if fraction.text), None)


def source_text(ceiling: Ceiling) -> str:
    """Name a ceiling's source, date, protocol and confidence in one line."""
    notes = [format.clean(ceiling.source), ceiling.as_of, f"{ceiling.confidence} confidence"]
    notes += [f"{ceiling.protocol} protocol"] if ceiling.protocol else []
    notes += ["provisional"] if ceiling.provisional else []
    return ", ".join(note for note in notes if note)


def _stem(key: str) -> tuple[str, str]:
    stem, _, last = key.rpartition(".")
    return stem, last


def _by_key(card: Scorecard) -> dict[str, list[Metric]]:
    """Group metrics by key in the order of the scorecard, the node's aggregate before its devices."""
    grouped: dict[str, list[Metric]] = {}
    for metric in card.metrics:
        grouped.setdefault(metric.key, []).append(metric)
    return {key: sorted(mine, key=lambda metric: metric.device or "") for key, mine in grouped.items()}


def _text(metric: Metric) -> str:
    return format.measured(metric.quantity.value, metric.quantity.unit, metric.interval, metric.key)


def _fraction(metric: Metric) -> FractionView:
    last = _stem(metric.key)[1]
    ceiling = metric.ceiling
    return FractionView(
        name=FRACTIONS[last],
        key=metric.key,
        share=metric.quantity.value,
        text=_text(metric),
        ceiling=format.quantity(ceiling.value, ceiling.unit, metric.key) if ceiling else "",
        source=source_text(ceiling) if ceiling else "",
    )


def _devices(mine: list[Metric]) -> list[DeviceValue]:
    """List the devices' own figures, with the distance of each from the best; empty for a node of one device."""
    own = [metric for metric in mine if metric.device is not None]
    if len(own) < 2:
        return []
    pick = max if own[0].better == "higher" else min
    best = pick(metric.quantity.value for metric in own)
    last = min if own[0].better == "higher" else max
    worst = last(metric.quantity.value for metric in own)
    return [
        DeviceValue(
            device=metric.device or "",
            text=_text(metric),
            relative=format.points(metric.quantity.value / best - 1) if best and metric.quantity.value != best else "",
            worst=metric.quantity.value == worst != best,
        )
        for metric in own
    ]


def _shape(metric: Metric) -> str:
    """Write what the figure was measured at; the aggregate's own notes are told elsewhere."""
    shown = {name: value for name, value in metric.params.items() if name not in ("worst_device", "spread")}
    if {"m", "n", "k"} <= set(shown):
        shape = " × ".join(str(shown.pop(name)) for name in ("m", "n", "k"))
        return ", ".join(part for part in (shape, format.params(shown)) if part)
    return format.params(shown)


def _method(metric: Metric) -> str:
    interval = metric.interval
    if interval is None:
        return ""
    level = format.percent(interval.level, 2)
    rounds, samples = format.count(interval.n_processes, "round"), format.count(interval.n_samples, "sample")
    return f"{level} interval, {interval.method}, {rounds}, {samples}"


def _view(mine: list[Metric], fractions: list[FractionView]) -> MetricView:
    metric = mine[0]
    text = words.metric(metric.key)
    figure = format.written(metric.quantity.value, metric.quantity.unit, metric.interval, metric.key)
    own = fractions
    if metric.ceiling and _stem(metric.key)[1] not in FRACTIONS:
        against = format.quantity(metric.ceiling.value, metric.ceiling.unit, metric.key)
        denominator = FractionView("held against", "", 0, "", against, source_text(metric.ceiling))
        own = [denominator, *fractions]
    devices = _devices(mine)
    worst = next((own.device for own in devices if own.worst), "")
    return MetricView(
        key=metric.key,
        stem=_stem(metric.key)[0],
        domain=metric.key.split(".", 1)[0],
        title=text.title,
        text=str(figure),
        number=figure.number,
        spread=figure.spread,
        unit=figure.unit,
        word=words.STATUSES[metric.status][0],
        tone=words.STATUSES[metric.status][2],
        arrow="higher is better" if metric.better == "higher" else "lower is better",
        method=_method(metric),
        meaning=text.meaning,
        when_low=text.when_low,
        shape=_shape(metric),
        worst_device=worst,
        fractions=own,
        devices=devices,
        evidence=metric.evidence,
    )


def rows(card: Scorecard) -> list[MetricView]:
    """Make one row per figure, its fractions beside it; a fraction without a figure is a row of its own."""
    grouped = _by_key(card)
    carriers: dict[str, str] = {}
    for last in CARRIERS:
        for key in grouped:
            if _stem(key)[1] == last:
                carriers.setdefault(_stem(key)[0], key)
    beside: dict[str, list[FractionView]] = {}
    for last in FRACTIONS:
        for key, mine in grouped.items():
            stem = _stem(key)[0]
            if _stem(key)[1] == last and stem in carriers:
                beside.setdefault(carriers[stem], []).append(_fraction(mine[0]))
    return [
        _view(mine, beside.get(key, []))
        for key, mine in grouped.items()
        if not (_stem(key)[1] in FRACTIONS and _stem(key)[0] in carriers)
    ]


def _carries(row: MetricView) -> tuple[bool, bool, int]:
    """Order the figures of one stem: scaling efficiency, then those with fractions, then by how much they say."""
    last = _stem(row.key)[1]
    return last != "scaling_efficiency", not row.fractions, CARRIERS.index(last) if last in CARRIERS else len(CARRIERS)


def headline(shown: list[MetricView], rated: list[str]) -> list[MetricView]:
    """Choose the figures for the top: those that the policy rated, else the first of each stem.

    Args:
        shown: every row of the scorecard.
        rated: metric keys from the grade's domain reasons, in its order.
    """
    by_stem: dict[str, MetricView] = {}
    for row in sorted(shown, key=_carries):
        by_stem.setdefault(row.stem, row)
    chosen = {by_stem[_stem(key)[0]].key: by_stem[_stem(key)[0]] for key in rated if _stem(key)[0] in by_stem}
    if chosen:
        return list(chosen.values())
    told = [row for row in by_stem.values() if row.domain != "health" and not _PART.search(row.key)]
    return sorted(told, key=lambda row: not row.key.endswith(".separation"))[:HEADLINES_MAX]
