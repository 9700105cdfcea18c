"""A sum that shows its workings: named terms, each with its origin, to a figure that a reader can compute by hand.

A term without a value makes the figure absent and says what is missing. Ranges are scenarios: the figure is taken at
every corner of them, and the workings show the lowest and the highest.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from effbench.model.chain import CostLine, LinkBasis, Range
from effbench.model.site import Given

Kind = Literal["energy", "total", "carbon", "throughput", "tariff"]
_TRUST: tuple[LinkBasis, ...] = ("measured", "given", "assumed", "unknown")


class Term(msgspec.Struct, frozen=True):
    """One input: its name in words, its value, where that comes from; without a value, `missing` says what to do."""

    words: str
    value: Range | None
    cite: str = ""
    basis: LinkBasis = "given"
    missing: str = ""


class Sum(msgspec.Struct, frozen=True):
    """How terms make a figure: `formula` and the same in `text`, with the terms' names in braces."""

    text: str
    formula: Callable[[Mapping[str, float]], float]
    terms: dict[str, Term]


def given(words: str, figure: Given | None, field: str) -> Term:
    """A figure of the site; `field` is its place in site.yaml, for the message when it is not there."""
    if figure is None:
        return Term(words, None, missing=f"site.yaml does not say `{field}`", basis="unknown")
    return Term(words, figure.range, figure.cite, figure.basis)


def measured(words: str, value: float | None, missing: str, disturbed: bool = False) -> Term:
    """A figure of this run; None or not above zero is missing, because it is divided by or paid for.

    `disturbed` figures are shown, and their workings say so.
    """
    if value is None or value <= 0:
        return Term(words, None, missing=missing, basis="unknown")
    return Term(words, Range(value, value), "measured in this run" + (", disturbed" if disturbed else ""), "measured")


def line(key: str, title: str, kind: Kind, unit: str, made: Sum, scenario: str = "") -> CostLine:
    """Return the figure with its workings, or the line without a value and with every reason why."""
    reasons = dict.fromkeys(term.missing for term in made.terms.values() if term.value is None)
    if reasons:
        return CostLine(key, title, kind, unit, "unknown", scenario=scenario, absent="; ".join(reasons))
    corners = _corners(made)
    low, high = min(corners, key=lambda c: c[0]), max(corners, key=lambda c: c[0])
    shown = [_arithmetic(made, corner) for corner in ([low] if low[0] == high[0] else [low, high])]
    cites = dict.fromkeys(f"{term.words}: {term.cite}" for term in made.terms.values() if term.cite)
    bases: list[LinkBasis] = [term.basis for term in made.terms.values()]
    basis: LinkBasis = max(bases, key=_TRUST.index)
    workings = f"{_words(made)}: {' to '.join(shown)}. {'; '.join(cites)}"
    return CostLine(key, title, kind, unit, basis, Range(low[0], high[0]), scenario, workings)


def _corners(made: Sum) -> list[tuple[float, dict[str, float]]]:
    """The figure at every combination of the terms' ends: exact where it rises or falls with each term alone."""
    ends = [
        dict.fromkeys((term.value.low, term.value.high)) if term.value is not None else {}
        for term in made.terms.values()
    ]
    corners = [dict(zip(made.terms, values, strict=True)) for values in itertools.product(*ends)]
    return [(made.formula(values), values) for values in corners]


def _words(made: Sum) -> str:
    return made.text.format(**{name: term.words for name, term in made.terms.items()})


def _arithmetic(made: Sum, corner: tuple[float, dict[str, float]]) -> str:
    """The sum with its numbers. Seven digits, so that what a reader computes from them agrees to six."""
    result, values = corner
    numbers = made.text.format(**{name: f"{value:.7g}" for name, value in values.items()})
    return f"{numbers} = {result:.6g}"
