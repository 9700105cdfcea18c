"""Where power is counted: at the devices, at the node's plug, at the facility's meter; measured and provisioned."""

import math
from collections.abc import Mapping, Sequence

from effbench.model.chain import Boundary
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Record
from effbench.model.site import Given, SiteFacts
from effbench.model.unit import Unit
from effbench.score.useful import Useful
from effbench.score.worked import Sum, Term, given, measured

_TITLES = {"device": "Accelerators", "node": "Node, at its plug", "facility": "Facility, at its meter"}


def boundaries(work: Useful, record: Record, facts: SiteFacts) -> list[Boundary]:
    """Return device, node and facility for the measured watts of `work`, then node and facility as provisioned.

    What is not known has no watts and an explanation that says what to give.
    """
    device = _device(work)
    node = _node(device, work, record, facts)
    provisioned = _provisioned(work, facts)
    return [device, node, _facility(node, facts), provisioned, _facility(provisioned, facts)]


def facility_kw(work: Useful, found: Sequence[Boundary], facts: SiteFacts) -> Sum:
    """Return the facility's measured kW per accelerator while `work` runs, as a sum that shows its terms.

    `found` are the `boundaries` of the same work. Where one of them is unknown, so is the sum.
    """
    node, n, of_all = of(found, "node"), float(work.devices), 1.0
    terms = {"watts": measured(f"W of the accelerators in {work.title}", work.watts, work.why, work.disturbed)}
    text = "{watts}"
    if node.watts is None:
        if work.watts is not None:
            terms["node"] = Term("node power", None, basis="unknown", missing=_bare(node))
    elif node.basis == "measured":
        terms["watts"] = measured("W of the node", node.watts.value, "", work.disturbed)
    elif facts.node is not None and facts.node.factor is not None:
        terms["factor"] = given("node factor", facts.node.factor, "node.factor")
        text = "{watts} * {factor}"
    elif facts.node is not None:
        of_all = float(facts.node.accelerators)
        terms["beside"] = given("W beside the accelerators", facts.node.overhead_w, "node.overhead")
        text = f"({{watts}} + {{beside}} * {n:g} / {of_all:g})"
    terms["pue"] = given("PUE", facts.pue, "pue")

    def kilowatts(v: Mapping[str, float]) -> float:
        beside = v.get("beside", 0.0) * n / of_all
        return (v["watts"] * v.get("factor", 1.0) + beside) * v["pue"] / n / 1000

    return Sum(f"{text} * {{pue}} / {n:g} / 1000", kilowatts, terms)


def _bare(boundary: Boundary) -> str:
    """The reason of an unknown boundary, as part of a longer sentence."""
    return boundary.explanation.removeprefix("Unknown: ").rstrip(".")


def of(found: Sequence[Boundary], name: str, denominator: str = "measured") -> Boundary:
    """Return one boundary of `boundaries`' answer."""
    return next(b for b in found if b.name == name and b.denominator == denominator)


def _device(work: Useful) -> Boundary:
    if work.watts is None:
        return Boundary("device", _TITLES["device"], "measured", "unknown", f"Unknown: {work.why}.")
    alone = "" if work.devices == 1 else f", the sum of {work.devices} measured one after another"
    text = f"Measured while {work.title} ran{alone}{', disturbed by foreign load' if work.disturbed else ''}."
    return Boundary(
        "device",
        _TITLES["device"],
        "measured",
        "measured",
        text,
        Quantity(work.watts, Unit.WATT),
        work.watts_interval,
        1.0,
        ", ".join(dict.fromkeys(e.sensor for e in work.energies if e.sensor)),
    )


def _node(device: Boundary, work: Useful, record: Record, facts: SiteFacts) -> Boundary:
    """The node by its meter, else by what the site says stands beside the devices."""
    metered = _metered(work, record)
    if isinstance(metered, Boundary):
        return metered
    if device.watts is None or device.interval is None:
        return _unknown("node", "measured", work.why or "the power of its devices is unknown")
    node = facts.node
    if node is None or (node.overhead_w is None and node.factor is None):
        ask = f"{metered}, and site.yaml says neither `node.overhead` nor `node.factor`"
        return _unknown("node", "measured", ask)
    if node.factor is not None:
        value, low, high = _times(device, node.factor)
        text = f"The devices' watts times the node's factor {node.factor.text}."
        return _known("node", "measured", device, (value, low, high), text, node.factor)
    assert node.overhead_w is not None
    if work.devices > node.accelerators:
        return _unknown("node", "measured", _too_many(work, node.accelerators))
    share, beside = work.devices / node.accelerators, node.overhead_w
    low, high = device.interval.low + share * beside.low, device.interval.high + share * beside.high
    value = device.watts.value + share * (beside.low + beside.high) / 2
    text = f"The devices' watts and their share, {work.devices} of {node.accelerators}, of {beside.text} beside them."
    return _known("node", "measured", device, (value, low, high), text, beside)


def _metered(work: Useful, record: Record) -> Boundary | str:
    """The node's meter in the same window, or why it gives no figure of this work.

    Only where one device is all there is, so that no idle one is counted, and over windows that the meter resolves.
    """
    listed = [a.key for a in record.inventory_before.accelerators if a.kind == "gpu"] or ["cpu"]
    card = next((s for s in record.sensors if s.kind == "meter" and s.scope == "node" and not s.absent), None)
    if card is None or card.uncertainty is None or work.watts is None:
        return "no meter of the node was read"
    rows = [r for e in work.energies for r in e.ledger if r.sensor == card.key and r.joules is not None]
    if not rows:
        return "the node's meter gave no energy of this work"
    if work.devices != 1 or len(work.energies) != 1 or listed != record.plan.devices:
        return "the node's meter saw devices that did not do this work"
    energy, row = work.energies[0], rows[0]
    if not row.resolved or row.joules is None or energy.window_s <= 0:
        return f"the node's meter resolves no window of {energy.window_s / max(1, energy.windows):.1f} s"
    watts = row.joules / energy.window_s
    if watts < work.watts:
        why = (
            f"its meter read {watts:.0f} W, less than the {work.watts:.0f} W of its device: it measured something else"
        )
        return _unknown("node", "measured", why)
    share = math.hypot(card.uncertainty, row.ends or 0.0, energy.components.get("spread", 0.0))
    interval = Interval(watts * (1 - share), watts * (1 + share), method="meter+window+spread")
    text = "Measured by the meter of the node in the same windows."
    return Boundary(
        "node",
        _TITLES["node"],
        "measured",
        "measured",
        text,
        Quantity(watts, Unit.WATT),
        interval,
        watts / work.watts,
        card.source,
    )


def _provisioned(work: Useful, facts: SiteFacts) -> Boundary:
    """The declared power of the node, shared by its accelerators, as MLPerf Endpoints (2026) normalises."""
    node = facts.node
    if node is None or node.provisioned_w is None:
        return _unknown("node", "provisioned", "site.yaml does not say `node.provisioned_power`")
    if work.devices > node.accelerators:
        return _unknown("node", "provisioned", _too_many(work, node.accelerators))
    share, power = work.devices / node.accelerators, node.provisioned_w
    interval = Interval(power.low * share, power.high * share, method="given")
    watts = Quantity((power.low + power.high) / 2 * share, Unit.WATT)
    factor = watts.value / work.watts if work.watts else None
    text = f"What is provisioned for {work.devices} of {node.accelerators} accelerators, whether it is drawn or not."
    return Boundary("node", _TITLES["node"], "provisioned", "given", text, watts, interval, factor, power.cite)


def _facility(node: Boundary, facts: SiteFacts) -> Boundary:
    """ISO/IEC 30134-2: the facility's energy is its IT energy times PUE."""
    if node.watts is None or node.interval is None:
        return _unknown("facility", node.denominator, "the power of the node is unknown")
    if facts.pue is None:
        return _unknown("facility", node.denominator, "site.yaml does not say `pue`")
    text = f"The node times PUE {facts.pue.text} (ISO/IEC 30134-2)."
    return _known("facility", node.denominator, node, _times(node, facts.pue), text, facts.pue)


def _times(inner: Boundary, factor: Given) -> tuple[float, float, float]:
    assert inner.watts is not None and inner.interval is not None
    middle = inner.watts.value * (factor.low + factor.high) / 2
    return middle, inner.interval.low * factor.low, inner.interval.high * factor.high


def _known(
    name: str, denominator: str, inner: Boundary, watts: tuple[float, float, float], text: str, source: Given
) -> Boundary:
    value, low, high = watts
    factor = None
    if inner.factor is not None and inner.watts is not None:
        factor = value / inner.watts.value * inner.factor
    return Boundary(
        "node" if name == "node" else "facility",
        _TITLES[name],
        "measured" if denominator == "measured" else "provisioned",
        "given",
        text,
        Quantity(value, Unit.WATT),
        Interval(low, high, method="measured ends with the given range"),
        factor,
        source.cite,
    )


def _unknown(name: str, denominator: str, why: str) -> Boundary:
    return Boundary(
        "node" if name == "node" else "facility",
        _TITLES[name],
        "measured" if denominator == "measured" else "provisioned",
        "unknown",
        f"Unknown: {why}.",
    )


def _too_many(work: Useful, accelerators: int) -> str:
    return f"this run measured {work.devices} devices, and site.yaml says `node.accelerators: {accelerators}`"
