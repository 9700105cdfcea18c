"""Owns the one way from telemetry to a figure of energy: primary sensor, ledger, interval, verdict. Pure, never raises.

Fail closed: a figure needs windows that its sensor resolves, joules in every one of them, a ledger without a
contradiction and a device that was neither slowed nor swapped. What lacks one of these says which, and what to do.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from effbench.energy import validity
from effbench.energy.choose import Choice, Taken, choose, take, view_of
from effbench.energy.integrate import amount
from effbench.energy.ledger import Entry, compared, disagreements, entry, rank, rows
from effbench.energy.series import between
from effbench.energy.uncertainty import WINDOWS_FOR_SPREAD, Parts, around, parts, sampling, sub_window_s
from effbench.model.energy import Energy, EnergyStatus, Held, Idle, LedgerRow, Scope, Sensor, Slice, Trust
from effbench.model.event import Telemetry, Window
from effbench.model.inventory import Accelerator
from effbench.model.quantity import Quantity
from effbench.model.unit import Unit

LONGER = "Measure a longer window: `effbench run node/standard` takes 10 s, `effbench run node/full` 60 s and more."
_WINDOWS = "Run a suite that takes energy windows: `effbench run node/standard`."
_DOCTOR = "Run `effbench doctor`; it says which power sensors answer here and what the others need."


def figure(
    accelerator: Accelerator,
    sensors: Sequence[Sensor],
    readings: Mapping[str, Sequence[Telemetry]],
    windows: Sequence[Window],
    *,
    started_ns: int,
    idle: Idle | None = None,
    fault: str = "",
    once: bool = False,
) -> Energy:
    """Give the energy of one thing that `accelerator` did in `windows` (a trial over its rounds, an idle, a command).

    `readings` holds the telemetry of every watched device in time order, that of a wall meter under `node`; `sensors`
    the cards of all. `fault` names what of the whole run makes energy invalid (hardware XID, ECC, a remap). `once`: a
    single execution, so there is no spread. Never raises on data: the answer is then absent, invalid or suspect.
    """
    scope: Scope = "gpu" if accelerator.kind == "gpu" else "package"
    cards = [card for card in sensors if card.device in (accelerator.key, "node")]
    windows = sorted((w for w in windows if w.device == accelerator.key and w.t_ns > w.start_ns), key=lambda w: w.t_ns)
    if refusal := _refusal(accelerator, cards, windows, scope):
        return _absent(accelerator.key, scope, *refusal)
    taken = [take(card, readings, cards, windows) for card in cards if not card.absent]
    choice = choose(taken, windows, accelerator.key, scope)
    if choice.primary is None:
        unread = [_unread(one) for one in taken]
        reason = f"{fault}; {choice.reason}" if fault else choice.reason
        empty = _absent(accelerator.key, scope, reason, LONGER if choice.short else _DOCTOR, unread)
        return msgspec.structs.replace(empty, findings=choice.findings)
    kept = [windows[place] for place in choice.places]
    entries = [_entry(one, choice) for one in taken]
    entries += [Entry(card, note=card.absent) for card in cards if card.absent]
    primary = next(one for one in entries if one.card is choice.primary.card)
    verdict = _verdict(
        accelerator, sensors, readings, windows, choice, entries, primary, _idle_w(idle, accelerator.key), fault, once
    )
    made = _Made(accelerator, scope, kept, choice, primary, entries, verdict, started_ns)
    plain = _plain(made, readings.get(accelerator.key, ()))
    return plain if verdict.status == "invalid" else _priced(plain, made, idle, once)


class _Made(msgspec.Struct, frozen=True):
    """What the steps of one figure share."""

    accelerator: Accelerator
    scope: Scope
    windows: list[Window]
    choice: Choice
    primary: Entry
    entries: list[Entry]
    verdict: validity.Verdict
    started_ns: int


def _refusal(
    device: Accelerator, cards: Sequence[Sensor], windows: Sequence[Window], scope: str
) -> tuple[str, str] | None:
    """Why there can be no figure, whatever was read: (reason, remedy); None when there may be one."""
    own = [card for card in cards if card.device == device.key]
    if device.mig:
        return "MIG: power exists for the whole GPU only", "Disable MIG to measure the energy of the whole device."
    if not any(card.scope == scope and not card.absent for card in own):
        told = [card for card in own if card.absent and card.scope == scope] or [card for card in own if card.absent]
        said = dict.fromkeys(f"{card.key}: {card.absent}" for card in told)
        other = [f"{card.key} is of the {card.scope}, not of the {scope} alone" for card in own if not card.absent]
        remedy = next((card.remedy for card in [*told, *own] if card.remedy), "")
        return "; ".join([*said, *other]) or "no power sensor was found", remedy or _DOCTOR
    if not windows:
        return "no window: nothing ran long enough under a power sensor", _WINDOWS
    return None


def _unread(one: Taken) -> LedgerRow:
    """The ledger's row of a sensor where no figure was made: how much it was read and what was wrong."""
    problem = next((found.problem for found in one.amounts if found.problem), "")
    readings = sum(found.readings for found in one.amounts)
    return LedgerRow(one.card.key, one.card.kind, one.card.scope, readings=readings, note=problem)


def _entry(one: Taken, choice: Choice) -> Entry:
    amounts = [one.amounts[place] for place in choice.places]
    seconds = sum(choice.seconds)
    part_time = one.card.unit == "W" and one.card.kind != "meter"
    share = sampling(one.card, one.watts(choice.places), seconds, one.poll_s) if part_time else 0.0
    dropped = sum(one.found[place].dropped for place in choice.places)
    return entry(one.card, amounts, share, dropped, min(choice.seconds))


def _verdict(
    device: Accelerator,
    sensors: Sequence[Sensor],
    readings: Mapping[str, Sequence[Telemetry]],
    windows: Sequence[Window],
    choice: Choice,
    entries: Sequence[Entry],
    primary: Entry,
    idle_w: float | None,
    fault: str,
    once: bool,
) -> validity.Verdict:
    kept = [windows[place] for place in choice.places]
    points = [p for w in kept for p in between(readings.get(device.key, ()), w.start_ns, w.t_ns)]
    verdict = validity.check(device, points, kept, fault, once)
    others = _others(device.key, sensors, readings, kept) if any(e.card.scope == "node" for e in entries) else {}
    findings = [*disagreements(entries, primary, device.key, others)]
    seen, _ = view_of(choice)
    findings += validity.swapped(device, readings, kept, idle_w)
    findings += validity.implausible(device, (primary.joules or 0.0) / sum(choice.seconds))
    findings += validity.locked(choice.primary.card if choice.primary else primary.card, kept, seen)
    still = [v for p in choice.places for v in choice.values(p)]
    findings += validity.frozen(primary.card, still, sum(choice.seconds), _counter_dead(device.key, entries))
    named = [msgspec.structs.replace(f, trial=kept[0].trial or None) for f in [*verdict.findings, *findings]]
    return validity.Verdict(named, verdict.capped)


def _counter_dead(key: str, entries: Sequence[Entry]) -> bool:
    """Whether the device has a counter and it gave no joules in these windows."""
    own = [one for one in entries if one.card.device == key and one.card.kind == "counter" and not one.card.absent]
    return any(one.joules is None for one in own)


def _others(
    key: str, sensors: Sequence[Sensor], readings: Mapping[str, Sequence[Telemetry]], windows: Sequence[Window]
) -> dict[str, float]:
    """Joules of every other measured device over the same windows, by its first sensor that answered."""
    found: dict[str, float] = {}
    live = [card for card in sensors if not card.absent and card.device not in (key, "node")]
    for card in sorted((card for card in live if card.scope in ("gpu", "package")), key=rank):
        amounts = take(card, readings, live, windows).amounts
        if card.device not in found and all(one.joules is not None for one in amounts):
            found[card.device] = math.fsum(one.joules or 0.0 for one in amounts)
    return found


def _plain(made: _Made, points: Sequence[Telemetry]) -> Energy:
    """All but the figures: what an invalid energy keeps."""
    status: EnergyStatus = {"invalid": "invalid", "suspect": "suspect"}.get(made.verdict.status, "valid")  # type: ignore[assignment]
    key, kept = made.accelerator.key, made.windows
    ends = [[p.temperature_degc for p in between(points, w.start_ns, w.t_ns)] for w in (kept[0], kept[-1])]
    first = [t for t in ends[0] if t is not None][:1]
    last = [t for t in ends[1] if t is not None][-1:]
    held = validity.held(points, kept)
    if status == "invalid":
        held = [Held(one.reason, one.seconds) for one in held]
    return Energy(
        device=key,
        status=status,
        reason=made.verdict.reason,
        remedy=validity.remedy(made.verdict) if status != "valid" else "",
        sensor=made.primary.card.key,
        scope=made.scope,
        window_s=sum(made.choice.seconds),
        windows=len(kept),
        steps=math.fsum(w.steps for w in kept),
        ledger=rows(made.entries, made.primary, made.scope),
        held=held,
        capped=made.verdict.capped,
        temperature_degc=[*first, *last] if first and last else [],
        findings=[*made.verdict.findings, *made.choice.findings],
    )


def _priced(plain: Energy, made: _Made, idle: Idle | None, once: bool) -> Energy:
    """Add the figures with their interval."""
    joules, seconds = made.primary.joules or 0.0, sum(made.choice.seconds)
    whole = _slices(made, cut=False)
    fine = whole if len(whole) >= WINDOWS_FOR_SPREAD else _slices(made, cut=True)
    _, view = view_of(made.choice)
    powers = [one.joules / one.seconds for one in fine]
    pieces = len(made.windows) == 1
    found: Parts = parts(made.primary, view, powers, made.accelerator.kind, pieces=pieces, once=once)
    count = len({w.round for w in made.windows}), made.primary.readings
    power = joules / seconds
    idle_w = _idle_w(idle, plain.device)
    net = joules - idle_w * seconds if idle_w is not None else None
    return msgspec.structs.replace(
        plain,
        trust=_trust(made),
        energy=Quantity(joules, Unit.JOULE),
        energy_interval=around(joules, found.total, found.method, *count),
        power=Quantity(power, Unit.WATT),
        power_interval=around(power, found.total, found.method, *count),
        components=found.components,
        slices=fine or whole,
        idle_w=idle_w,
        idle_name=idle.name if idle is not None and idle_w is not None else "",
        net=Quantity(net, Unit.JOULE) if net is not None and net > 0 else None,
    )


def _trust(made: _Made) -> Trust:
    """A wall-metered and reconciled, B reconciled counter, C a single sensor or one that stepped in for another.

    A meter lifts to A only where it resolves every window itself (60 s at a reading each second).
    """
    if made.choice.stepped_in or made.primary.card.kind != "counter":
        return "C"
    if any(one.card.scope == "node" and one.joules is not None and one.resolved for one in made.entries):
        return "A"
    return "B" if compared(made.entries, made.primary) else "C"


def _slices(made: _Made, cut: bool) -> list[Slice]:
    """The windows as slices, or cut into sub-windows that the primary sensor resolves; none where one of them fails."""
    taken, found = made.choice.primary, []
    if taken is None:
        return []
    for window, place in zip(made.windows, made.choice.places, strict=True):
        length = window.t_ns - window.start_ns
        piece = sub_window_s(taken.card, length * 1e-9) if cut else length * 1e-9
        pieces = round(length * 1e-9 / piece) if piece else 0
        for number in range(pieces):
            start, end = (window.start_ns + length * n // pieces for n in (number, number + 1))
            settled_s = window.settled_s + (start - window.start_ns) * 1e-9
            one = amount(taken.found[place], start, end, taken.swings[place], settled_s)
            if one.joules is None:
                return []
            seconds = (end - start) * 1e-9
            found.append(Slice((start - made.started_ns) * 1e-9, seconds, one.joules, window.steps / pieces))
    return found


def _idle_w(idle: Idle | None, key: str) -> float | None:
    """Idle power of this device, W, when it was measured and may be used."""
    if idle is None or idle.device != key or idle.energy.power is None:
        return None
    return idle.energy.power.value if idle.energy.status in ("valid", "suspect") else None


def _absent(key: str, scope: Scope, reason: str, remedy: str, ledger: Sequence[LedgerRow] = ()) -> Energy:
    return Energy(device=key, status="absent", reason=reason, remedy=remedy, scope=scope, ledger=list(ledger))


__all__ = ["figure"]
