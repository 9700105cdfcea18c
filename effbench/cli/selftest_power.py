"""The power part of `effbench selftest`: run the square wave on each device and show what its sensors really do."""

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effbench import api
from effbench.cli import options
from effbench.cli.display import PlainDisplay
from effbench.energy import apply
from effbench.energy.characterise import Characterised
from effbench.energy.rules import least_window_s
from effbench.energy.uncertainty import WORST_SEEN
from effbench.model.energy import Sensor
from effbench.model.plan import Plan
from effbench.run import journal
from effbench.run.engine import Options, environment_for_children
from effbench.run.idle import Rest
from effbench.run.site import Site
from effbench.run.watch import Watch
from effbench.store import documents

__all__ = ["run"]

# Windows of node/standard and of MLPerf's power rule, s.
SPANS_S = (10.0, 60.0)
NO_CARD = "nothing on this node names a power sensor of this device that effbench may read"
REMEDY = "`effbench doctor` says what is missing; or join the log of a wall meter to a run: `effbench meter --help`"


def run(suite: str, device: str, as_json: bool) -> int:
    """Characterise the power sensors of the chosen devices. 0 when each one that is there follows the load, else 3."""
    asked = api.load_suite(suite, options.search_path(None))
    site = api.look(options.environment(), None, device)
    todo = api.plan(asked, site, device)
    cards = _cards(todo, site)
    found: list[Characterised] = []
    trouble: list[str] = []
    if any(not card.absent for card in cards):
        found, trouble = _measured(todo, site)
    rows = [_row(one) for one in found] or [_unmeasured(card) for card in cards]
    rows += [_nothing(key) for key in todo.devices if not any(card.device == key for card in cards)]
    present = [one for one in found if not one.published.absent]
    ok = bool(present) and all(one.residual is not None for one in present) and not trouble
    noted = [*trouble, *(finding.message for finding in apply.findings(found))]
    if as_json:
        options.emit_json({"sensors": rows, "notes": noted, "ok": ok})
    else:
        options.emit(_text(rows, noted, ok))
    return 0 if ok else 3


def _cards(todo: Plan, site: Site) -> list[Sensor]:
    """Ask the devices for the cards of their sensors, before anything is loaded."""
    chosen = [a for a in site.inventory.accelerators if a.key in todo.devices]
    watch = Watch(chosen, environment_for_children(options.environment()))
    try:
        cards = apply.cards_of(Rest(todo, site.inventory, watch, None).begin(time.monotonic()))
    finally:
        watch.stop()
    return [card for card in cards if card.device in todo.devices]


def _measured(todo: Plan, site: Site) -> tuple[list[Characterised], list[str]]:
    """Run the wave on every device. Returns what was found, and in words which trials gave nothing."""
    settings = Options(environment_for_children(options.environment()), api.budget(todo, None), api.tool())
    with tempfile.TemporaryDirectory(prefix="effbench-selftest-") as folder:
        record, _ = api.run(todo, site.inventory, Path(folder), PlainDisplay(), settings)
        events = journal.read(Path(folder) / documents.JOURNAL).events
    trouble = [
        f"{m.trial}: {m.detail or m.status}" for m in record.measurements if m.status not in ("valid", "suspect")
    ]
    return apply.characterised(apply.cards_of(events), events), trouble


def _row(one: Characterised) -> dict[str, Any]:
    """One sensor as a document: published, measured, and what follows. What is not known has no key."""
    card = one.sensor
    row: dict[str, Any] = {"sensor": card.key, "kind": card.kind, "published": _facts(one.published)}
    measured = _facts(card) if card.basis == "measured" else {}
    for name in ("update_s", "lag_s", "granularity_j", "window_s", "window_low_s", "window_high_s", "residual"):
        if (value := getattr(one, name)) is not None:
            measured[name] = value
    if measured:
        row["measured"] = measured
    if one.confidence:
        row["confidence"] = one.confidence
    if one.reason:
        row["reason"] = one.reason
    if card.absent:
        return {**row, "remedy": card.remedy or REMEDY}
    return {**row, "least_window_s": least_window_s(card), **_bounds(card)}


def _facts(card: Sensor) -> dict[str, float]:
    figures = {"update_s": card.update_s, "window_s": card.window_s, "coverage": card.coverage}
    return {name: value for name, value in figures.items() if value is not None}


def _bounds(card: Sensor) -> dict[str, Any]:
    """Relative error bound of a steady load's joules: the sensor's gain and two updates at the ends, in quadrature."""
    if card.update_s is None:
        return {}
    gain = WORST_SEEN if card.uncertainty is None else card.uncertainty
    return {f"error_at_{span:.0f}_s": round(math.hypot(gain, 2 * card.update_s / span), 4) for span in SPANS_S}


def _unmeasured(card: Sensor) -> dict[str, Any]:
    """A sensor that was not put under load."""
    why = card.absent or "the square wave did not run to its end"
    return {"sensor": card.key, "kind": card.kind, "reason": why, "remedy": card.remedy or REMEDY}


def _nothing(device: str) -> dict[str, Any]:
    return {"sensor": f"{device}.power", "reason": NO_CARD, "remedy": REMEDY}


def _text(rows: Sequence[dict[str, Any]], noted: Sequence[str], ok: bool) -> str:
    lines = ["Power sensors under a load that goes on and off:"]
    for row in rows:
        lines += _sensor_lines(row)
    lines += [f"  note: {text}" for text in noted]
    lines.append(
        "The power sensors follow the load; what was found is used for windows and error bounds where a run holds it."
        if ok
        else "No figure of power can rest on a sensor that is not there or does not follow the load."
    )
    return "\n".join(lines)


def _sensor_lines(row: dict[str, Any]) -> list[str]:
    lines = [f"  {row['sensor']}"]
    for name in ("published", "measured"):
        if row.get(name):
            lines.append(f"    {name:<9}  {_words(row[name])}" + _confidence(row, name))
    if "least_window_s" in row:
        bounds = [f"{row[k]:.1%} over {span:.0f} s" for span in SPANS_S if (k := f"error_at_{span:.0f}_s") in row]
        follows = f"windows of at least {row['least_window_s']:g} s"
        lines.append(f"    hence      {follows}" + (f"; a steady load within {', '.join(bounds)}" if bounds else ""))
    lines += [f"    {name:<9}  {row[name]}" for name in ("reason", "remedy") if row.get(name)]
    return lines


def _confidence(row: dict[str, Any], name: str) -> str:
    return f" ({row['confidence']} confidence)" if name == "measured" and "confidence" in row else ""


def _words(facts: dict[str, float]) -> str:
    """Figures of one sensor in milliseconds and percent."""
    said = [f"{n} {facts[f'{n}_s'] * 1e3:.4g} ms" for n in ("update", "window", "lag") if f"{n}_s" in facts]
    if "window_low_s" in facts:
        said.append(f"window between {facts['window_low_s'] * 1e3:.3g} and {facts['window_high_s'] * 1e3:.3g} ms")
    if "coverage" in facts:
        said.append(f"sees {facts['coverage']:.0%} of the time")
    if "granularity_j" in facts:
        said.append(f"smallest step {facts['granularity_j']:.4g} J")
    if "residual" in facts:
        said.append(f"{facts['residual']:.1%} of the rise unexplained")
    return ", ".join(said)
