"""Money and carbon as they are shown: what a useful result costs, every line, and the boundaries of power.

Energy cost and total cost are never added or mixed; a line without a figure says what to give.
"""

import msgspec

from effbench.model.chain import Boundary, CostLine, Economics, Range
from effbench.report import format, words
from effbench.report.view_power import workload_title

KINDS = {
    "energy": "Energy cost",
    "total": "Total cost",
    "carbon": "Carbon",
    "throughput": "Useful throughput",
    "tariff": "Time of use",
}
RESULT_KINDS = ("energy", "total", "carbon")
# Last segments of a cost line's key that name a scenario of the same figure.
SCENARIOS = ("rented", "bought", "location", "market")
RESULTS_MAX, NAMED_MAX = 2, 3
NO_SITE = "No site figures were given, so there is no money and no carbon here."
NO_SITE_DO = (
    "Write a site.yaml with utilisation, PUE, country, price and tariff, each with date and source: "
    "`effbench report RUN --site site.yaml`."
)
NO_VALUE = "it does not follow from what was given"


class CostView(msgspec.Struct, frozen=True):
    """One figure of money or carbon; without a figure, `absent` says what to give."""

    key: str
    title: str
    kind: str
    value: str
    unit: str
    basis: str
    tone: str
    scenario: str
    workings: str
    absent: str


class BoundaryView(msgspec.Struct, frozen=True):
    """Power of the same work at one boundary and against one denominator."""

    title: str
    denominator: str
    watts: str
    factor: str
    basis: str
    tone: str
    explanation: str
    source: str


class CostGroup(msgspec.Struct, frozen=True):
    """The lines of one kind: those with a figure, and for the others one reason each with what it holds for."""

    title: str
    lines: list[CostView]
    absent: list[tuple[str, str]]


class ResultView(msgspec.Struct, frozen=True):
    """What one useful result costs: energy cost, total cost and carbon, each with its lines; an empty one: unknown."""

    title: str
    per: str
    columns: list[tuple[str, list[CostView]]]


class MoneyView(msgspec.Struct, frozen=True):
    """Everything that the site's own figures make of the measured ones, by kind, and those figures themselves."""

    site: str
    digest: str
    currency: str
    boundaries: list[BoundaryView]
    groups: list[CostGroup]
    results: list[ResultView]
    given: list[tuple[str, str, str]]


def _range(value: Range, unit: str) -> str:
    """Write a range of scenarios as `low – high`; one figure where both are written alike."""
    write = format.percent if unit == "fraction" else lambda end: format.quantity(end, "currency")
    low, high = write(value.low), write(value.high)
    return low if low == high else f"{low} – {high}"


def _cost(line: CostLine) -> CostView:
    value = line.value if line.basis != "unknown" else None
    basis = line.basis if value is not None else "unknown"
    return CostView(
        key=line.key,
        title=line.title,
        kind=line.kind,
        value="" if value is None else _range(value, line.unit),
        unit="" if line.unit == "fraction" and value is not None else line.unit,
        basis=basis,
        tone=words.BASES.get(basis, "none"),
        scenario=line.scenario,
        workings=line.workings if value is not None else "",
        absent="" if value is not None else format.sentence(line.absent or NO_VALUE),
    )


def _boundary(boundary: Boundary) -> BoundaryView:
    known = boundary.watts is not None and boundary.basis != "unknown"
    watts, basis = (boundary.watts, boundary.basis) if known else (None, "unknown")
    return BoundaryView(
        title=boundary.title,
        denominator=boundary.denominator,
        watts="" if watts is None else format.measured(watts.value, watts.unit, boundary.interval),
        factor="" if boundary.factor is None or not known else f"{format.quantity(boundary.factor, 'currency')} ×",
        basis=basis,
        tone=words.BASES.get(basis, "none"),
        explanation=format.sentence(boundary.explanation),
        source=boundary.source,
    )


def _group(title: str, lines: list[CostView]) -> CostGroup:
    """Set the lines with a figure apart; of the others say each reason once."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        if not line.value:
            reasons.setdefault(line.absent, []).append(
                f"{line.title} ({line.scenario})" if line.scenario else line.title
            )
    return CostGroup(title, [line for line in lines if line.value], [(_several(w), why) for why, w in reasons.items()])


def _several(whats: list[str]) -> str:
    shown = "; ".join(whats[:NAMED_MAX])
    return shown if len(whats) <= NAMED_MAX else f"{shown}; and {len(whats) - NAMED_MAX} more"


def _stem(key: str) -> str:
    """Return what a cost line is of: `train_step` of `total.train_step.rented`."""
    parts = key.split(".")[1:]
    return ".".join(parts[:-1] if parts[-1:] and parts[-1] in SCENARIOS else parts)


def _result(stem: str, lines: list[CostView]) -> ResultView:
    """Lay out one useful result. An absent line is left out where another scenario of the same figure is known."""
    columns = []
    for kind in RESULT_KINDS:
        mine = [line for line in lines if line.kind == kind]
        mine = [line for line in mine if not line.key.endswith(".market")] or mine  # location-based, where there is one
        columns.append((KINDS[kind], [line for line in mine if line.value] or mine[:1]))
    unit = next((line.unit for line in lines if " per " in line.unit), "")
    return ResultView(workload_title(f"cost.{stem}"), f"per {unit.partition(' per ')[2]}" if unit else "", columns)


def _results(lines: list[CostView]) -> list[ResultView]:
    """Choose the useful results for the end of the picture: those of which most is known, in the order of the card."""
    stems: dict[str, list[CostView]] = {}
    for line in lines:
        if line.kind in RESULT_KINDS and _stem(line.key).split(".")[0] not in ("hour", "demand"):
            stems.setdefault(_stem(line.key), []).append(line)
    known = {stem: len({line.kind for line in mine if line.value}) for stem, mine in stems.items()}
    best = sorted(stems, key=lambda stem: -known[stem])[:RESULTS_MAX]
    return [_result(stem, stems[stem]) for stem in best]


def money_view(economics: Economics) -> MoneyView:
    """Lay out money and carbon: energy cost and total cost in groups of their own, absent lines among them."""
    lines = [_cost(line) for line in economics.lines]
    groups = [(title, [line for line in lines if line.kind == kind]) for kind, title in KINDS.items()]
    given = [(*(*row, "", "")[:2], "; ".join(part for part in row[2:] if part)) for row in economics.given]
    return MoneyView(
        site=economics.site,
        digest=economics.site_digest,
        currency=economics.currency,
        boundaries=[_boundary(boundary) for boundary in economics.boundaries],
        groups=[_group(title, mine) for title, mine in groups if mine],
        results=_results(lines),
        given=[(str(name), str(value), str(source)) for name, value, source in given],
    )
