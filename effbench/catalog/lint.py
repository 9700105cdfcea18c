"""What a readable policy gets wrong all the same: thresholds that nothing or everything meets, grades out of reach."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from effbench.catalog.metrics import MetricRow, lookup
from effbench.catalog.parts import catalog
from effbench.catalog.policies import examine
from effbench.catalog.quantities import parse
from effbench.catalog.references import assumed_tau, references
from effbench.catalog.shape import Mistake
from effbench.catalog.yaml import Where
from effbench.model.error import CatalogError
from effbench.model.unit import Unit

__all__ = ["Remark", "lint"]

Level = Literal["mistake", "warning", "note"]

# Evidence that a working driver or every run gives: a gate on it that ignores its own absence lets a bad node pass.
ALWAYS_THERE = frozenset({"wrong_results", "memory_errors", "device_lost", "ecc_uncorrected", "xid_hardware"})
# Shares of something that cannot be exceeded, by the last word of the key; 1 is all of it.
OF_A_PEAK = frozenset({"fraction_of_rated_peak", "fraction_at_held_clock", "fraction_of_bandwidth", "mfu", "hfu"})
OF_AN_EXAMPLE = frozenset({"fraction_of_reference", "fraction_of_baseline"})
NEVER_ABOVE_ONE = frozenset({"throttle_share", "row_remap_pending", "row_remap_failed"})
# Below this share of what healthy parts reach, a device at half its speed passes.
HALF = 0.5
# The widest step between neighbouring grades that still tells two devices apart.
STEP_MAX = 0.25
LETTERS = "SABCDEF"
RATED_DAYS_MAX = 366


class Remark(msgspec.Struct, frozen=True):
    """One thing found: `text` is `file:line:column: what is wrong and what to do`.

    A `mistake` makes the policy useless or unsafe, a `warning` lets something through that the author may not want,
    a `note` says what the catalogue cannot give today.
    """

    level: Level
    text: str


_Found = tuple[Level, Mistake]


def lint(path: Path | str) -> list[Remark]:
    """Return everything that is wrong with a policy, mistakes first, each kind in the order of the lines.

    A file that cannot be read as a policy at all gives its mistakes; nothing is raised for what the file holds.
    """
    try:
        document, _, problems = examine(path)
    except CatalogError as error:
        return [Remark("mistake", text) for text in error.problems]
    remarks = [Remark("mistake", text) for text in problems]
    told = {_place(text, document.path) for text in problems}
    for level, mistake in _doubts(document.value):
        text = document.at(mistake.where, mistake.text, mistake.key)
        if _place(text, document.path) not in told or level != "mistake":
            remarks.append(Remark(level, text))
    order = ("mistake", "warning", "note")
    return sorted(dict.fromkeys(remarks), key=lambda r: (order.index(r.level), _place(r.text, document.path)))


def _place(text: str, path: str) -> tuple[int, int]:
    """Line and column of a `file:line:column: text`, whatever the file is called."""
    line, column = text.removeprefix(f"{path}:").split(":", 2)[:2]
    return int(line), int(column)


def _doubts(value: Mapping[str, Any]) -> Iterator[_Found]:
    yield from _ladder(value)
    yield from _whole(value)
    for kind in ("gpu", "cpu"):
        section = value.get(kind)
        if isinstance(section, dict):
            yield from _section(section, kind)
            yield from _out_of_reach(value, section, kind)


def _shares(value: Mapping[str, Any]) -> dict[str, float]:
    """The readable grades of the ladder with their shares."""
    ladder = value.get("ladder")
    found = {}
    for grade, text in (ladder if isinstance(ladder, dict) else {}).items():
        figure = _figure(text, Unit.ONE)
        if figure is not None:
            found[str(grade)] = figure
    return found


def _ladder(value: Mapping[str, Any]) -> Iterator[_Found]:
    shares = _shares(value)
    for (above, high), (below, low) in itertools.pairwise(shares.items()):
        where: Where = ("ladder", below)
        missing = _between(above, below)
        if missing:
            yield (
                "warning",
                Mistake(where, f"a gap in the ladder: no {' or '.join(missing)} between {above} and {below}"),
            )
        if high - low > STEP_MAX:
            text = f"a gap in the ladder: everything from {low:g} to {high:g} is {below}; put a grade between them"
            yield "warning", Mistake(where, text)
    yield from _passing(value, shares, value.get("pass_grade", "C"), ("ladder",))
    for kind in ("gpu", "cpu"):
        section = value.get(kind)
        if isinstance(section, dict) and isinstance(section.get("pass_grade"), str):
            yield from _passing(value, shares, section["pass_grade"], (kind, "pass_grade"))


def _passing(value: Mapping[str, Any], shares: Mapping[str, float], passing: Any, where: Where) -> Iterator[_Found]:
    """What is odd about the grade that passes."""
    names, cap = list(shares), value.get("provisional_cap", "B")
    if passing in names and shares[passing] < HALF:
        text = f"{passing} passes, and asks for {shares[passing]:g}: a device at half of what healthy ones reach passes"
        yield "warning", Mistake((*where, passing) if where == ("ladder",) else where, text)
    if passing in names and cap in names and names.index(cap) > names.index(passing):
        text = (
            f"{cap} is below the pass grade {passing}: a domain that passes on provisional references is graded {cap}"
        )
        yield "mistake", Mistake(("provisional_cap",) if "provisional_cap" in value else (), text)


def _between(above: str, below: str) -> list[str]:
    """The usual letters that a ladder leaves out between two of its grades."""
    if len(above) != 1 or len(below) != 1 or above not in LETTERS or below not in LETTERS:
        return []
    return list(LETTERS[LETTERS.index(above) + 1 : LETTERS.index(below)])


def _whole(value: Mapping[str, Any]) -> Iterator[_Found]:
    if _figure(value.get("coverage_min"), Unit.ONE) == 0:
        yield "warning", Mistake(("coverage_min",), "0: a run that measured nothing but the required figures passes")
    if value.get("accepts_simulated") is True:
        text = "simulated devices would be rated; a rating of a real node needs false"
        yield "warning", Mistake(("accepts_simulated",), text)
    prior = value.get("prior")
    spread = _figure(prior.get("spread"), Unit.ONE) if isinstance(prior, dict) else None
    least = assumed_tau("gpu")[0]
    if spread is not None and 0 < spread < least:
        text = f"{spread:g} is less than runs of one GPU differ by ({least:g}): what is measured then hardly counts"
        yield "warning", Mistake(("prior", "spread"), text)
    days = value.get("rated_for_days")
    if isinstance(days, int) and not isinstance(days, bool) and days > RATED_DAYS_MAX:
        text = f"{days} days: a rating that old says nothing of a node; at most a year"
        yield "warning", Mistake(("rated_for_days",), text)
    steps = value.get("above_worst_critical")
    if isinstance(steps, int) and not isinstance(steps, bool) and steps < 0:
        yield "mistake", Mistake(("above_worst_critical",), f"{steps}: the overall grade would be below every domain")


def _section(section: Mapping[str, Any], kind: str) -> Iterator[_Found]:
    seen: dict[str, int] = {}
    gates, domains = _items(section, "gates"), _items(section, "domains")
    for number, gate in enumerate(gates):
        where: Where = (kind, "gates", number)
        key = gate.get("metric")
        row = lookup(key) if isinstance(key, str) else None
        if row is None or not isinstance(key, str):
            continue
        if key in seen:
            yield "mistake", Mistake((*where, "metric"), f"{key} has a gate already, number {seen[key] + 1}; keep one")
        seen.setdefault(key, number)
        yield from _threshold(gate, key, row, kind, where)
        if gate.get("on_missing") == "ignore" and (row.domain != "health" or key.split(".")[-1] in ALWAYS_THERE):
            text = f"a node that gives no {key} would pass this gate; leave on_missing out, and it is not rated"
            yield "warning", Mistake((*where, "on_missing"), text)
    yield from _counted_twice(domains, kind)
    asked = [d for d in domains if d.get("required", True) and _items(d, "metrics")]
    if not asked and not gates:
        text = f"nothing is required of a {kind}, so none can be rated"
        yield "note", Mistake((kind,), text)
    elif not asked and all(str(gate.get("metric")).startswith("health.") for gate in gates):
        yield "warning", Mistake((kind,), f"no figure of speed is required of a {kind}: it passes however slow it is")


def _counted_twice(domains: list[dict[str, Any]], kind: str) -> Iterator[_Found]:
    seen: set[str] = set()
    for number, domain in enumerate(domains):
        rules = _items(domain, "metrics")
        if domain.get("required", True) and rules and not any(rule.get("required", True) for rule in rules):
            text = "no metric of this required domain is required: the easiest of them decides alone"
            yield "warning", Mistake((kind, "domains", number), text)
        for rank, rule in enumerate(rules):
            keys = rule.get("any_of")
            for place, key in enumerate(keys if isinstance(keys, list) else []):
                if isinstance(key, str) and key in seen:
                    where: Where = (kind, "domains", number, "metrics", rank, "any_of", place)
                    yield "mistake", Mistake(where, f"{key} counts already in this section; keep one")
                elif isinstance(key, str):
                    seen.add(key)


def _threshold(gate: Mapping[str, Any], key: str, row: MetricRow, kind: str, where: Where) -> Iterator[_Found]:
    """A threshold that nothing can meet, or that everything meets."""
    figure = _figure(gate.get("threshold"), row.unit)
    if figure is None:
        return
    at, word = (*where, "threshold"), key.split(".")[-1]
    nothing = f"nothing can meet {gate['threshold']!r}: "
    if row.better == "lower":
        if figure < 0:
            yield "mistake", Mistake(at, f"{nothing}{key} is never below zero")
        elif figure >= 1 and word in NEVER_ABOVE_ONE:
            yield "mistake", Mistake(at, f"everything meets {gate['threshold']!r}: {key} is never above 1")
        return
    if figure <= 0:
        yield "mistake", Mistake(at, f"everything meets {gate['threshold']!r}: {key} is never below zero")
    elif word in OF_A_PEAK and figure > 1:
        yield "mistake", Mistake(at, f"{nothing}{key} is a share of a peak, and 1 is all of it")
    elif word in OF_AN_EXAMPLE and figure > 1:
        yield "mistake", Mistake(at, f"{nothing}it is more than the healthy example that {key} is a share of")
    elif word in OF_AN_EXAMPLE and figure < HALF:
        text = f"{gate['threshold']}: a device at half of what healthy ones reach passes this gate"
        yield "warning", Mistake(at, text)
    best = _best(key, row) if kind == "gpu" else None
    if best is not None and figure > best[0]:
        text = f"{nothing}the highest rated peak in the catalogue is {best[0]:.4g} {row.unit}, of {best[1]}"
        yield "mistake", Mistake(at, text)


def _best(key: str, row: MetricRow) -> tuple[float, str] | None:
    """The highest rated peak of any GPU behind an absolute figure, and whose it is; None where none bounds it."""
    segments = key.split(".")
    gemm = segments[:2] == ["compute", "gemm"] and row.unit is Unit.FLOP_PER_S
    if not gemm and not (segments[:2] == ["memory", "stream"] and row.unit is Unit.BYTE_PER_S):
        return None
    found: list[tuple[float, str]] = []
    for part in (catalog().part(i) for i in catalog().ids() if catalog().row(i).kind == "gpu"):
        names = (segments[2], f"{segments[2]}_tensor") if gemm else ()
        peaks = [part.peak_flops[name] for name in names if name in part.peak_flops]
        peaks += [part.memory_bandwidth] if not gemm and part.memory_bandwidth is not None else []
        found += [(peak, part.title) for peak in peaks]
    return max(found) if found else None


def _out_of_reach(value: Mapping[str, Any], section: Mapping[str, Any], kind: str) -> Iterator[_Found]:
    """Grades above the cap of provisional references, in a domain for which the catalogue has no others."""
    names, cap = list(_shares(value)), value.get("provisional_cap", "B")
    if cap not in names or not names.index(cap):
        return
    better = ", ".join(names[: names.index(cap)])
    for number, domain in enumerate(_items(section, "domains")):
        keys = [k for rule in _items(domain, "metrics") for k in _keys(rule) if k.endswith(".fraction_of_reference")]
        if keys and not any(_firm(key, kind) for key in keys):
            text = (
                f"unreachable today: {better} in {domain.get('name')}, as every {kind} reference is provisional or none"
            )
            yield "note", Mistake((kind, "domains", number), text)


def _firm(key: str, kind: str) -> bool:
    """Whether the catalogue has one reference for the key that was measured on such a part and may be graded."""
    stem = key.rpartition(".")[0].split(".")
    for row in references():
        pattern = row.metric.split(".")[:-1]
        fits = len(pattern) == len(stem) and all(p in ("*", s) for p, s in zip(pattern, stem, strict=True))
        mine = row.any.kind == kind if row.any is not None else catalog().row(row.parts[0]).kind == kind
        if fits and mine and row.value is not None and not row.assumed and row.confidence != "low":
            return True
    return False


def _keys(rule: Mapping[str, Any]) -> list[str]:
    keys = rule.get("any_of")
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def _items(mapping: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = mapping.get(name)
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _figure(text: object, unit: Unit) -> float | None:
    """The figure in SI units; None where another check has told what is wrong with it."""
    if not isinstance(text, str):
        return None
    try:
        quantity = parse(text)
    except ValueError:
        return None
    bare_zero = quantity.value == 0 and quantity.unit is Unit.ONE
    return quantity.value if quantity.unit is unit or bare_zero else None
