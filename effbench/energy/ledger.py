"""Owns the ledger: what every sensor of a device says of the same windows, side by side, and whether they agree. Pure.

Sensors of one scope must agree within what each may be wrong against the other. Of different scopes only the order is
held: memory is part of the GPU, the GPU is part of its module, everything measured is part of the node. (In the field
a counter and an integral of the same idle GPU gave 187 J and 327 J over 5 s: zeus issue 181.)
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from effbench.energy.integrate import Amount
from effbench.energy.rules import least_window_s, short_words
from effbench.model.energy import LedgerRow, Sensor
from effbench.model.finding import Finding

# Two sensors of one chip share its shunt, so they may differ by a gain between them: 5 % is the usual error of either
# (measuring-power (a) a1), on top of what windows and sampling explain.
GAIN_TOLERANCE = 0.05
# Seeing less than half of the time ranks a power sensor below a mean that sees all of it.
PART_TIME = 0.5
_RANK = {"counter": 0, "average": 1, "instant": 2, "meter": 3}


class Entry(msgspec.Struct, frozen=True):
    """One sensor over the windows in question. `joules` is absent when one window had none; `note` says why.

    `ends` and `sampling` are relative half-widths: of the windows' ends, and of a sensor that sees part of the time.
    """

    card: Sensor
    joules: float | None = None
    readings: int = 0
    ends: float = 0.0
    sampling: float = 0.0
    note: str = ""
    settled: bool = True
    shortest_s: float = math.inf

    @property
    def resolved(self) -> bool:
        """Whether every window is as long as this sensor needs for a figure of its own."""
        return self.shortest_s >= least_window_s(self.card)


def entry(card: Sensor, amounts: Sequence[Amount], sampling: float, dropped: int, shortest_s: float) -> Entry:
    """Add up one sensor's windows, the shortest of `shortest_s` s: all of them have joules, or the entry has none."""
    readings = sum(one.readings for one in amounts)
    lost = f"{dropped} readings without a value were dropped" if dropped else ""
    problems = list(dict.fromkeys(one.problem for one in amounts if one.joules is None))
    if problems or not amounts:
        return Entry(card, readings=readings, note="; ".join(filter(None, [*problems, lost])))
    joules = math.fsum(one.joules or 0.0 for one in amounts)
    # The ends of different windows are independent of each other.
    ends = math.hypot(*(one.ends_j for one in amounts)) / joules
    settled = all(one.settled for one in amounts)
    ramp = "" if settled else "its mean still holds what came before the window: not compared"
    return Entry(card, joules, readings, ends, sampling, "; ".join(filter(None, [ramp, lost])), settled, shortest_s)


def rank(card: Sensor) -> tuple[int, float, str]:
    """Order the candidates for primary: counter, average, instant, meter; a part-time instant only before a meter."""
    part_time = card.coverage is not None and card.coverage < PART_TIME
    return _RANK[card.kind], 1.0 if part_time else 0.0, card.key


def rows(entries: Sequence[Entry], primary: Entry, scope: str) -> list[LedgerRow]:
    """Write the ledger, primary first. Only sensors of the primary's own scope get a difference."""
    ordered = sorted(entries, key=lambda one: (one is not primary, one.card.scope != scope, rank(one.card)))
    return [_row(one, primary, scope) for one in ordered]


def tolerance(one: Entry, primary: Entry) -> float:
    """Return by how much two sensors of one scope may differ, relative: gain, both ends, part-time sampling."""
    return GAIN_TOLERANCE + one.ends + primary.ends + one.sampling + primary.sampling


def disagreements(
    entries: Sequence[Entry], primary: Entry, device: str, others_j: Mapping[str, float]
) -> list[Finding]:
    """Name every pair that cannot both be right, with both joules and the percentage.

    `others_j` holds the joules of the other measured devices over the same windows: with this device's they are part
    of what a meter of the node reads.
    """
    return [_finding(device, text, other, base) for text, other, base in _broken(entries, primary, others_j)]


def compared(entries: Sequence[Entry], primary: Entry) -> int:
    """Count the sensors of the same scope that were held against the primary."""
    return sum(_comparable(one, primary) for one in entries)


def _comparable(one: Entry, primary: Entry) -> bool:
    same = one is not primary and one.card.scope == primary.card.scope and one.card.device == primary.card.device
    return same and one.joules is not None and one.settled and primary.settled


def _broken(
    entries: Sequence[Entry], primary: Entry, others_j: Mapping[str, float]
) -> Iterator[tuple[str, float, float]]:
    base = primary.joules or 0.0
    for one in entries:
        if one is primary or one.joules is None or not one.settled:
            continue
        slack, name = tolerance(one, primary), one.card.key
        off = one.joules / base - 1
        if _comparable(one, primary) and abs(off) > slack:
            yield f"{name} differs from {primary.card.key} by {off:+.0%}, tolerance {slack:.0%}", one.joules, base
        elif one.card.scope == "hbm" and primary.card.scope == "gpu" and off > slack:
            yield f"{name}, memory alone, is {off:+.0%} above the whole {primary.card.key}", one.joules, base
        elif one.card.scope == "module" and off < -slack:
            yield f"{name}, the whole module, is {-off:.0%} below its part {primary.card.key}", one.joules, base
        elif one.card.scope == "node":
            total = math.fsum([base, *others_j.values()])
            if one.joules < total * (1 - slack):
                below = 1 - one.joules / total
                yield f"{name} is {below:.0%} below the sum of the devices it feeds", one.joules, total


def _finding(device: str, text: str, other: float, base: float) -> Finding:
    words = f"{text}: {other:.0f} J against {base:.0f} J over the same windows"
    evidence: dict[str, str | int | float | bool] = {"joules": round(other, 3), "against": round(base, 3)}
    return Finding("energy-irreconcilable", "error", words, device, evidence=evidence)


def _row(one: Entry, primary: Entry, scope: str) -> LedgerRow:
    card, note = one.card, one.note
    comparable = _comparable(one, primary)
    if not note and not comparable and one is not primary and one.joules is not None:
        note = {"node": "the whole node", "module": "holds its GPU: never added to it", "hbm": "part of the GPU"}.get(
            card.scope, f"{card.scope} is not {scope}: not compared"
        )
    base = primary.joules
    if one.joules is not None and not one.resolved:
        note = "; ".join(
            filter(None, [note, f"{short_words(one.shortest_s, least_window_s(card))}: no figure of its own"])
        )
    return LedgerRow(
        sensor=card.key,
        kind=card.kind,
        scope=card.scope,
        joules=one.joules,
        readings=one.readings,
        difference=one.joules / base - 1 if comparable and one.joules is not None and base else None,
        tolerance=tolerance(one, primary) if comparable else None,
        primary=one is primary,
        note=note,
        ends=math.hypot(one.ends, one.sampling) if one.joules is not None else None,
        resolved=one.joules is None or one.resolved,
    )
