"""The hours of a tariff: its flat equivalent, the best start of a job, and what that start saves."""

from collections.abc import Sequence

import msgspec

from effbench.model.chain import Boundary, CostLine, Range
from effbench.model.site import DAY_MINUTES, SiteFacts, Tariff
from effbench.score.boundary import facility_kw
from effbench.score.cost import mean_price
from effbench.score.useful import Useful
from effbench.score.worked import Sum, Term, line


class Start(msgspec.Struct, frozen=True):
    """A start of a job, minutes after midnight, and what a kWh costs it on the mean of its hours."""

    minute: int
    price_per_kwh: float


def shift_price(tariff: Tariff, start_min: int, minutes: int) -> float:
    """Return the mean price of a kWh from `start_min` on for `minutes` (up to a day), at a constant load."""
    total = 0.0
    for period in tariff.periods:
        for first in (start_min, start_min - DAY_MINUTES):  # a job may run over midnight
            overlap = min(first + minutes, period.end_min) - max(first, period.start_min)
            total += max(overlap, 0) * period.price_per_kwh
    return total / minutes


def starts(tariff: Tariff, minutes: int) -> tuple[Start, Start]:
    """Return the cheapest and the dearest start; the earliest where several are alike.

    The price is linear in the start between the edges, so that its extremes lie where the job begins or ends at one.
    """
    edges = {p.start_min % DAY_MINUTES for p in tariff.periods}
    edges |= {(edge - minutes) % DAY_MINUTES for edge in edges}
    found = [Start(edge, shift_price(tariff, edge, minutes)) for edge in sorted(edges)]
    return (
        min(found, key=lambda s: (round(s.price_per_kwh, 12), s.minute)),
        max(found, key=lambda s: (round(s.price_per_kwh, 12), -s.minute)),
    )


def tariff_lines(headline: Useful | None, found: Sequence[Boundary], facts: SiteFacts) -> list[CostLine]:
    """Return the flat equivalent, and where prices change over the day the best start and its savings."""
    tariff, money = facts.tariff, facts.currency
    if tariff is None:
        missing = "site.yaml does not say `tariff`"
        return [CostLine("tariff.flat", "Mean price of a kWh", "tariff", f"{money} per kWh", "unknown", absent=missing)]
    lines = [_flat(tariff, money)]
    if tariff.flat:
        return lines
    if tariff.job_hours is None:
        title, missing = "Best start of a job", "site.yaml does not say `tariff.job_hours`"
        return [*lines, CostLine("tariff.best_start", title, "tariff", f"{money} per kWh", "unknown", absent=missing)]
    return [*lines, *_best(tariff, tariff.job_hours, headline, found, facts)]


def _flat(tariff: Tariff, money: str) -> CostLine:
    price = mean_price(tariff)
    hours = " + ".join(f"{(p.end_min - p.start_min) / 60:g} h * {p.price_per_kwh:g}" for p in tariff.periods)
    workings = f"({hours}) / 24 h = {price:.6g}, {tariff.timezone}. {tariff.source}, {tariff.date}"
    return CostLine(
        "tariff.flat",
        "Mean price of a kWh at a constant load: the flat equivalent",
        "tariff",
        f"{money} per kWh",
        "given",
        Range(price, price),
        workings=workings,
    )


def _best(
    tariff: Tariff, hours: float, headline: Useful | None, found: Sequence[Boundary], facts: SiteFacts
) -> list[CostLine]:
    minutes = round(hours * 60)
    best, worst = starts(tariff, minutes)
    mean, cite = mean_price(tariff), f"{tariff.source}, {tariff.date}"
    at = f"{best.minute // 60:02d}:{best.minute % 60:02d}"
    terms = {
        "best": Term(f"mean price from {at}", Range(best.price_per_kwh, best.price_per_kwh), cite),
        "mean": Term("mean price of the day", Range(mean, mean) if mean > 0 else None, missing="every hour is free"),
    }
    title = f"Best start of a job of {hours:g} h: {at} {tariff.timezone}"
    worst_at = f"{worst.minute // 60:02d}:{worst.minute % 60:02d}"
    price = CostLine(
        "tariff.best_start",
        title,
        "tariff",
        f"{facts.currency} per kWh",
        "given",
        Range(best.price_per_kwh, best.price_per_kwh),
        workings=f"{_hours(tariff, best.minute, minutes)} = {best.price_per_kwh:.6g}; the dearest start, {worst_at}, "
        f"pays {worst.price_per_kwh:.6g}. {cite}",
    )
    share = line(
        "tariff.best_start.share",
        "Share of the electricity cost that the best start saves, against the mean of all starts",
        "tariff",
        "fraction",
        Sum("1 - {best} / {mean}", lambda v: 1 - v["best"] / v["mean"], terms),
    )
    return [price, share, _saved(hours, terms, headline, found, facts)]


def _hours(tariff: Tariff, start_min: int, minutes: int) -> str:
    """The hours of a job by price, as a sum."""
    parts = []
    for period in tariff.periods:
        overlap = sum(
            max(min(first + minutes, period.end_min) - max(first, period.start_min), 0)
            for first in (start_min, start_min - DAY_MINUTES)
        )
        if overlap:
            parts.append(f"{overlap / 60:g} h * {period.price_per_kwh:g}")
    return f"({' + '.join(parts)}) / {minutes / 60:g} h"


def _saved(
    hours: float, terms: dict[str, Term], headline: Useful | None, found: Sequence[Boundary], facts: SiteFacts
) -> CostLine:
    title = f"What the best start saves per accelerator and job of {hours:g} h, against the mean of all starts"
    unit = f"{facts.currency} per accelerator and job"
    if headline is None:
        terms = {**terms, "watts": Term("power", None, basis="unknown", missing="no power was measured")}
        return line("tariff.best_start.saved", title, "tariff", unit, Sum("{watts}", lambda v: v["watts"], terms))
    power = facility_kw(headline, found, facts)
    made = Sum(
        f"{power.text} * {hours:g} * ({{mean}} - {{best}})",
        lambda v: power.formula(v) * hours * (v["mean"] - v["best"]),
        {**power.terms, **terms},
    )
    return line("tariff.best_start.saved", title, "tariff", unit, made)
