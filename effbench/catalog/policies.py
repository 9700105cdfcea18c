"""Policy documents to `Policy`: every mistake at once, metric keys and units checked against the metrics catalogue."""

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effbench.catalog.metrics import BASELINE_SUFFIX, DOMAINS, REFERENCE_SUFFIX, lookup, metrics
from effbench.catalog.quantities import parse
from effbench.catalog.shape import Mistake, choices, conclude, open_as, place
from effbench.catalog.yaml import Document, Where
from effbench.model.digest import digest as digest_of
from effbench.model.policy import Policy
from effbench.model.unit import Unit

__all__ = ["SCHEMA", "digest", "examine", "load_policy"]

SCHEMA = "effbench.policy/1"

# No date lies further ahead than this many days (2,700 years), and sums of weights stay what they are.
NUMBER_MAX = 1_000_000
# What grades rest on: what healthy parts reach, or what earlier runs did. The second never stands without the first.
ABSOLUTE, RELATIVE = ".fraction_of_reference", ".fraction_of_baseline"


def load_policy(path: Path | str) -> Policy:
    """Read and check a policy.

    Raises:
        CatalogError: every mistake in the document, one line each: `file:line:column: what is wrong; valid: ...`.
    """
    _, policy, problems = examine(path)
    conclude(problems)
    if policy is None:  # pragma: no cover - conclude has raised
        raise AssertionError("a policy without problems was not decoded")
    return policy


def examine(path: Path | str) -> tuple[Document, Policy | None, list[str]]:
    """Return the document, its policy (None where it cannot be one), and every mistake, in the order of the lines.

    Raises:
        CatalogError: the file cannot be read as one mapping, or says that it is no policy.
    """
    document, policy, problems = open_as(str(path), Policy, SCHEMA)
    found = [*_ladder(document.value), *_prior(document.value), *_dates(document.value)]
    for section in ("gpu", "cpu"):
        found += _section(document.value.get(section), (section,))
    own = place(document, found)
    places = {_place(problem) for problem in own}
    # A struct's own sentence about a place gives way to the more exact one found here.
    problems = sorted({*own, *(p for p in problems if _place(p) not in places)}, key=_place)
    return document, policy, problems


def digest(policy: Policy) -> str:
    """Return the digest of what a policy demands; comments and layout do not count."""
    return digest_of(policy)


def _place(problem: str) -> tuple[int, int]:
    line, column = re.findall(r":(\d+):(\d+): ", problem)[0]
    return int(line), int(column)


def _ladder(value: dict[str, Any]) -> Iterator[Mistake]:
    ladder = value.get("ladder")
    if not isinstance(ladder, dict):
        return
    if not ladder:
        yield Mistake(("ladder",), "the ladder has no grades")
    before = None
    for grade, text in ladder.items():
        where: Where = ("ladder", grade)
        if not isinstance(text, str):
            continue
        share, mistake = _quantity(text, Unit.ONE, where)
        if mistake is not None:
            yield mistake
        elif share is not None and not 0 < share <= 1:
            yield Mistake(where, f"{text}: a grade needs a share above 0 and up to 1")
        elif share is not None and before is not None and share >= before:
            yield Mistake(where, f"{grade} asks for {text}, which is not below the grade before it; best grade first")
        before = share if share is not None else before
    for name, usual in (("pass_grade", "C"), ("provisional_cap", "B")):
        grade = value.get(name, usual)
        if isinstance(grade, str) and ladder and grade not in ladder:
            where = (name,) if name in value else ("ladder",)
            yield Mistake(where, f"{grade!r} is not a grade of the ladder{choices(grade, ladder)}")
    for kind in ("gpu", "cpu"):
        section = value.get(kind)
        grade = section.get("pass_grade") if isinstance(section, dict) else None
        if isinstance(grade, str) and ladder and grade not in ladder:
            yield Mistake((kind, "pass_grade"), f"{grade!r} is not a grade of the ladder{choices(grade, ladder)}")
    fail = value.get("fail_grade", "F")
    if isinstance(fail, str) and fail in ladder:
        at: Where = ("fail_grade",) if "fail_grade" in value else ("ladder", fail)
        yield Mistake(at, f"{fail!r} is on the ladder; below it there is no share to meet")


def _prior(value: dict[str, Any]) -> Iterator[Mistake]:
    prior = value.get("prior")
    if not isinstance(prior, dict):
        return
    shares: dict[str, float | None] = {}
    for name in ("share", "spread"):
        if isinstance(prior.get(name), str):
            shares[name], mistake = _quantity(prior[name], Unit.ONE, ("prior", name))
            if mistake is not None:
                yield mistake
    share, spread = shares.get("share"), shares.get("spread")
    if share is not None and not 0 < share <= 1:
        yield Mistake(("prior", "share"), f"{share:g}: a share above 0 and up to 1 is assumed of a node")
    if spread is not None and spread <= 0:
        yield Mistake(("prior", "spread"), f"{spread:g}: nodes differ; write a spread above 0, such as 0.05")


def _dates(value: dict[str, Any]) -> Iterator[Mistake]:
    day = value.get("effective_from")
    if isinstance(day, str):
        try:
            datetime.date.fromisoformat(day)
        except ValueError:
            yield Mistake(("effective_from",), f"{day!r} is not a date; write it as 2026-11-21")
    coverage = value.get("coverage_min")
    if isinstance(coverage, str):
        share, mistake = _quantity(coverage, Unit.ONE, ("coverage_min",))
        if mistake is not None:
            yield mistake
        elif share is not None and not 0 <= share <= 1:
            yield Mistake(("coverage_min",), f"{coverage}: coverage is a fraction from 0 to 1")
    for name in ("rated_for_days", "version"):
        number = value.get(name)
        if isinstance(number, int) and not isinstance(number, bool) and not 1 <= number <= NUMBER_MAX:
            yield Mistake((name,), f"{name} must be at least 1 and at most {NUMBER_MAX}")


def _section(section: Any, where: Where) -> Iterator[Mistake]:
    if not isinstance(section, dict):
        return
    for number, gate in enumerate(_items(section, "gates")):
        yield from _gate(gate, (*where, "gates", number))
    yield from _anchor(section, where)
    seen: set[str] = set()
    for number, domain in enumerate(_items(section, "domains")):
        at: Where = (*where, "domains", number)
        name = domain.get("name")
        if isinstance(name, str):
            if name not in DOMAINS:
                yield Mistake((*at, "name"), f"there is no domain {name!r}{choices(name, DOMAINS)}")
            elif name in seen:
                yield Mistake((*at, "name"), f"the domain {name!r} is given twice in this section")
            seen.add(name)
        yield from _weight(domain, at)
        for rank, rule in enumerate(_items(domain, "metrics")):
            yield from _rule(rule, name, (*at, "metrics", rank))


def _anchor(section: dict[str, Any], where: Where) -> Iterator[Mistake]:
    """Shares of a baseline alone would let a fleet that is slow as a whole define what is normal."""
    gates = [g for g in _items(section, "gates") if str(g.get("metric")).endswith(ABSOLUTE)]
    anchored = {str(g.get("metric")).split(".")[0] for g in gates if g.get("on_missing", "not_rated") == "not_rated"}
    for number, domain in enumerate(_items(section, "domains")):
        lists = [rule.get("any_of") for rule in _items(domain, "metrics")]
        keys = [key for keys in lists if isinstance(keys, list) for key in keys if isinstance(key, str)]
        if not any(key.endswith(RELATIVE) for key in keys):
            continue
        if not anchored or (domain.get("critical") is True and str(domain.get("name")) not in anchored):
            which = "its" if domain.get("critical") is True else "a critical domain's"
            text = f"{domain.get('name')} rests on a baseline alone; add a gate on one of {which} ...{ABSOLUTE}"
            yield Mistake((*where, "domains", number), text)


def _items(mapping: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = mapping.get(name)
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _gate(gate: dict[str, Any], where: Where) -> Iterator[Mistake]:
    key, threshold = gate.get("metric"), gate.get("threshold")
    unit = None
    if isinstance(key, str):
        row = lookup(key)
        if row is None:
            yield _unknown(key, (*where, "metric"))
        else:
            unit = row.unit
    if isinstance(threshold, str):
        _, mistake = _quantity(threshold, unit, (*where, "threshold"), str(key))
        if mistake is not None:
            yield mistake


def _rule(rule: dict[str, Any], domain: Any, where: Where) -> Iterator[Mistake]:
    yield from _weight(rule, where)
    keys = rule.get("any_of")
    if isinstance(keys, list) and not keys:
        yield Mistake((*where, "any_of"), "any_of is empty; name at least one metric")
    for number, key in enumerate(keys if isinstance(keys, list) else []):
        if not isinstance(key, str):
            continue
        at: Where = (*where, "any_of", number)
        row = lookup(key)
        if row is None:
            yield _unknown(key, at)
        elif not key.endswith((REFERENCE_SUFFIX, BASELINE_SUFFIX)):
            wanted = "...fraction_of_reference or ...fraction_of_baseline"
            yield Mistake(at, f"{key} is no share of a reference, and grades are; write {wanted}")
        elif row.domain != domain:
            yield Mistake(at, f"{key} belongs to the domain {row.domain}, not {domain}")


def _weight(mapping: dict[str, Any], where: Where) -> Iterator[Mistake]:
    weight = mapping.get("weight")
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        return
    if weight <= 0:
        yield Mistake((*where, "weight"), "a weight must be above zero; leave the metric out instead")
    elif not 1 / NUMBER_MAX <= weight <= NUMBER_MAX:
        yield Mistake((*where, "weight"), f"{weight:g}: a weight is from {1 / NUMBER_MAX:g} to {NUMBER_MAX}")


def _unknown(key: str, where: Where) -> Mistake:
    """A key without a row, with the patterns of its domain that come closest."""
    patterns = [row.pattern for row in metrics() if row.pattern.split(".")[0] == key.split(".")[0]]
    return Mistake(where, f"there is no metric {key!r}{choices(key, patterns or [f'{d}....' for d in DOMAINS])}")


def _quantity(text: str, unit: Unit | None, where: Where, what: str = "it") -> tuple[float | None, Mistake | None]:
    """Parse `text`; a mistake when it is no quantity, or in another unit than `unit` (0 needs none)."""
    try:
        quantity = parse(text)
    except ValueError as error:
        return None, Mistake(where, str(error))
    bare_zero = quantity.value == 0 and quantity.unit is Unit.ONE
    if unit is not None and quantity.unit is not unit and not bare_zero:
        given, wanted = ("no unit" if u is Unit.ONE else str(u) for u in (quantity.unit, unit))
        return None, Mistake(where, f"{text!r} has {given}, but {what} is measured in {wanted}")
    return quantity.value, None
