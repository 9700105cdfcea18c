"""The full chain of one device: what is left of the rated peak after hardware, algorithm, system and facility.

A link that is not known stays `unknown`; the product of the others is then an upper bound and says so.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from effbench.model.chain import Boundary, Chain, Economics, Group, Link, LinkBasis
from effbench.model.quantity import Interval
from effbench.model.record import USABLE
from effbench.model.scorecard import Metric, Stage, Waterfall
from effbench.model.site import Given, SiteFacts

_QUALITY = "quality.to_quality."


def chain(fall: Waterfall, metrics: Sequence[Metric], facts: SiteFacts | None, money: Economics | None) -> Chain:
    """Return the chain of the waterfall's device.

    Args:
        fall: hardware links, each against the stage before it.
        metrics: the scorecard's, for `quality.to_quality.*` (algorithm) and `scale.*` (scaling).
        facts: the site's figures; None, and every link that needs them is unknown.
        money: boundaries, cost and carbon of the same run, of `economics`; None without a site.
    """
    mine = [m for m in metrics if m.device in (None, fall.device) and m.status in USABLE]
    links = [
        *_hardware(fall),
        _algorithm(mine, facts),
        _scaling(mine),
        _site("availability", "Availability", "of the hours of a year the node can be used", facts),
        _site("utilisation", "Utilisation", "of the hours it can be used it does useful work", facts),
        _node_power(money),
        _facility_power(facts),
        *_commercial(money),
    ]
    linked, product = _multiplied(links)
    unknown = [link.name for link in linked if link.share is None and link.group != "commercial"]
    known = [link for link in linked if link.share is not None]
    # The weakest of what is known: an unknown link may be weaker still, which `upper_bound` says.
    weakest = min(known, key=lambda link: link.share or 0.0).name if known else ""
    return Chain(fall.device, fall.dtype, linked, product, bool(unknown), weakest, unknown)


def _multiplied(links: Sequence[Link]) -> tuple[list[Link], float | None]:
    """Each link with the running product up to it; no product before the first known share."""
    product: float | None = None
    done = []
    for link in links:
        if link.share is not None:
            product = link.share if product is None else product * link.share
        done.append(msgspec.structs.replace(link, product=product if link.group != "commercial" else None))
    return done, product


def _hardware(fall: Waterfall) -> Iterator[Link]:
    """Held clock, best GEMM and training step, each over the last stage before it that has a value."""
    before: Stage | None = None
    skipped = False
    for stage in fall.stages:
        if stage.name == "rated_peak" or (before is None and stage.name == "held_clock_peak" and _starts(fall)):
            before = stage if stage.value else before
            continue
        share = stage.value / before.value if stage.value and before is not None and before.value else None
        basis: LinkBasis = "measured" if share is not None else "unknown"
        said = stage.explanation
        if share is None and stage.value:
            said = f"Unknown: there is no peak to hold it against. {said}"
        elif share is not None and skipped:
            said = f"{said} The unknown link before it is part of this one."
        title = "Held clock" if stage.name == "held_clock_peak" else stage.title
        name = "held_clock" if stage.name == "held_clock_peak" else stage.name
        yield Link(name, title, "hardware", basis, said, share, metric=stage.metric)
        skipped = share is None
        before = stage if stage.value else before


def _starts(fall: Waterfall) -> bool:
    """Whether the chain begins at the held clock: a CPU has no rated peak above it."""
    return all(stage.name != "rated_peak" for stage in fall.stages)


def _algorithm(metrics: Sequence[Metric], facts: SiteFacts | None) -> Link:
    """Flop to the same quality: the best recipe's over those of the recipe in use."""
    flops = {
        m.key.removeprefix(_QUALITY).removesuffix(".flop"): m
        for m in metrics
        if m.key.startswith(_QUALITY) and m.key.endswith(".flop") and m.quantity.value > 0
    }
    title = "Algorithm"
    if len(flops) < 2:
        text = "Unknown: fewer than two recipes were trained to the same quality; `to_quality` does it."
        return Link("algorithm", title, "algorithm", "unknown", text)
    best = min(flops, key=lambda name: flops[name].quantity.value)
    worst = max(flops, key=lambda name: flops[name].quantity.value)
    ratio = flops[worst].quantity.value / flops[best].quantity.value
    told = f"to the same held-out loss {best} needs the least flop, {worst} {ratio:.2f} times as much"
    used = facts.recipe.replace("-", "_") if facts is not None else ""
    if used not in flops:
        known = ", ".join(sorted(flops))
        ask = f"site.yaml names no `recipe` that was measured here ({known})"
        return Link("algorithm", title, "algorithm", "unknown", f"Unknown: {ask}; {told}.")
    if len({str(m.params.get("target")) for m in flops.values()}) > 1:
        text = "Unknown: the recipes were trained to different targets, which cannot be compared."
        return Link("algorithm", title, "algorithm", "unknown", text)
    share = flops[best].quantity.value / flops[used].quantity.value
    interval = _over(flops[best].interval, flops[used].interval) if used != best else None
    text = f"With {used}, {share:.1%} of the flop spent would be enough: {told}."
    return Link("algorithm", title, "algorithm", "measured", text, share, interval, metric=flops[used].key)


def _over(a: Interval | None, b: Interval | None) -> Interval | None:
    if a is None or b is None or b.low <= 0:
        return None
    return Interval(max(a.low / b.high, 0.0), a.high / b.low, method="both at their ends")


def _scaling(metrics: Sequence[Metric]) -> Link:
    """The worst scaling efficiency of the most devices; one device alone says nothing about many.

    Weak scaling where there is one: a device then does the same work at every count, as the links before assume.
    """
    mine = [m for m in metrics if m.key.startswith("scale.") and m.key.endswith(".scaling_efficiency")]
    mine = [m for m in mine if m.key.startswith("scale.weak.")] or mine
    if not mine:
        text = "Unknown: no run over several devices was measured."
        return Link("scaling", "Scaling", "system", "unknown", text)
    most = max(_ranks(m.key) for m in mine)
    worst = min((m for m in mine if _ranks(m.key) == most), key=lambda m: m.quantity.value)
    share = worst.quantity.value
    base = int(worst.params.get("base_ranks", 1))
    alone = f"what one does alone, {most} times" if base == 1 else f"{most / base:g} times what {base} do on one node"
    text = f"{most} devices together keep {share:.1%} of {alone}."
    return Link("scaling", "Scaling", "system", "measured", text, share, worst.interval, metric=worst.key)


def _ranks(key: str) -> int:
    return max((int(p[1:]) for p in key.split(".") if p[:1] == "n" and p[1:].isdigit()), default=1)


def _site(name: str, title: str, meaning: str, facts: SiteFacts | None) -> Link:
    figure: Given | None = getattr(facts, name) if facts is not None else None
    if figure is None:
        text = f"Unknown: no site.yaml says `{name}`, the share {meaning}."
        return Link(name, title, "system", "unknown", text)
    share, interval = _middle(figure)
    return Link(
        name, title, "system", figure.basis, f"Given: {meaning}, {figure.text}.", share, interval, source=figure.cite
    )


def _middle(figure: Given) -> tuple[float, Interval | None]:
    """A range's middle with its ends as interval; a single figure has none."""
    if figure.low == figure.high:
        return figure.low, None
    return (figure.low + figure.high) / 2, Interval(figure.low, figure.high, method="given range")


def _node_power(money: Economics | None) -> Link:
    found: Mapping[str, Boundary] = {}
    if money is not None:
        found = {b.name: b for b in money.boundaries if b.denominator == "measured"}
    device, node = found.get("device"), found.get("node")
    if device is None or node is None or device.watts is None or node.watts is None or node.watts.value <= 0:
        why = node.explanation if node is not None else "Unknown: no site.yaml says what stands beside the devices."
        return Link("node_power", "Node power", "system", "unknown", why)
    share = device.watts.value / node.watts.value
    text = f"The devices take {share:.1%} of the node's power; the rest is CPUs, memory, fans and conversion."
    return Link("node_power", "Node power", "system", node.basis, text, share, source=node.source)


def _facility_power(facts: SiteFacts | None) -> Link:
    """1 / PUE: the share of the facility's energy that reaches its IT equipment (ISO/IEC 30134-2)."""
    if facts is None or facts.pue is None:
        text = "Unknown: no site.yaml says `pue`, the facility's energy over that of its IT equipment."
        return Link("facility_power", "Facility power", "system", "unknown", text)
    pue = facts.pue
    low, high = 1 / pue.high, 1 / pue.low
    share, interval = (low, None) if low == high else ((low + high) / 2, Interval(low, high, method="given range"))
    text = f"Of the facility's energy {share:.1%} reaches the node: 1 / PUE {pue.text}."
    return Link("facility_power", "Facility power", "system", pue.basis, text, share, interval, source=pue.cite)


def _commercial(money: Economics | None) -> Iterator[Link]:
    """Money and carbon of the first kind of work that has them: results, not shares."""
    for name, title, kind in (
        ("money", "Money per useful result", "total"),
        ("carbon", "Carbon per useful result", "carbon"),
    ):
        group: Group = "commercial"
        lines = [c for c in money.lines if c.kind == kind and ".hour." not in c.key] if money is not None else []
        known = next((c for c in lines if c.value is not None), None)
        if known is None or known.value is None:
            why = lines[0].absent if lines else "no site.yaml with prices and grid was given"
            yield Link(name, title, group, "unknown", f"Unknown: {why}.")
            continue
        ends = f"{known.value.low:.4g}"
        if known.value.high > known.value.low:
            ends += f" to {known.value.high:.4g}"
        scenario = f" ({known.scenario})" if known.scenario else ""
        text = f"{known.title}{scenario}: {ends} {known.unit}."
        yield Link(name, title, group, known.basis, text, metric=known.key)
