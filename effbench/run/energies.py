"""The energy of every trial and idle of a journal, by the sensors that its cards name. Pure."""

from collections.abc import Mapping, Sequence

from effbench.energy import apply
from effbench.energy.figure import figure
from effbench.model.energy import Energy, Idle, Sensor
from effbench.model.event import Closed, Event, Opened, Sensed, Started, Telemetry, Window
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator
from effbench.model.plan import Plan, Trial
from effbench.run.windows import Readings

NO_SENSOR = "no sensor of its power was found"
TEAM = "a window of energy is of one device, and this trial is a team's"
SIMULATED = "a simulated device draws no power of its own"


class Energies:
    """What a journal says about power: the sensors' cards, the idles, and the energy of each trial.

    `faults` holds by device what happened to it in the run that makes every energy figure of it invalid.
    """

    def __init__(
        self, events: Sequence[Event], started: Started, plan: Plan, readings: Readings, faults: Mapping[str, str]
    ) -> None:
        published = _cards(events)
        self._characterised = apply.characterised(published, events)
        self.sensors = apply.measured(published, self._characterised)
        self._plan = plan
        self._started_ns = started.t_ns
        self._devices = {a.key: a for a in started.inventory.accelerators}
        self._windows = _kept(events)
        self._faults = faults
        self._readings: Mapping[str, Sequence[Telemetry]] = {name: readings.of(name) for name in readings.devices()}
        self.idle = [idle for key in plan.devices for name in ("bare", "context") if (idle := self._idle(key, name))]

    def of(self, trial: Trial) -> Energy | None:
        """Return the energy of a trial; None when its procedure asks for none or it did not apply."""
        if not trial.procedure.energy or trial.skipped is not None:
            return None
        device = self._devices[trial.placement.devices[0]]
        if device.simulated:
            return Energy(device.key, "absent", SIMULATED, "measure a real device")
        if trial.scope != "device":
            return Energy(device.key, "absent", TEAM, "measure the same kernel with an energy window on one device")
        windows = [w for w in self._windows if w.trial == trial.id]
        if not windows:
            return Energy(device.key, "absent", "no energy window of it was completed", "run it again, undisturbed")
        return self._figure(device, windows, self._resting(device.key))

    def findings(self) -> list[Finding]:
        """Return what a reader must know of the run's power as a whole: devices that no sensor watches."""
        found = apply.findings(self._characterised)
        for key in self._plan.devices:
            if self._devices[key].simulated:
                continue
            cards = [card for card in self.sensors if card.device == key]
            if any(not card.absent for card in cards):
                continue
            why = "; ".join(dict.fromkeys(card.absent for card in cards)) or NO_SENSOR
            steps = "; ".join(dict.fromkeys(card.remedy for card in cards if card.remedy))
            text = f"nothing here measures the power of {key}: {why}" + (f". To do: {steps}" if steps else "")
            found.append(Finding("power-sensor-absent", "info", text, device=key))
        if not any(trial.procedure.energy for trial in self._plan.trials):
            text = f"{self._plan.suite} has no energy window: its watts are telemetry, and power is not rated"
            found.append(Finding("power-telemetry-only", "info", text))
        return found

    def _figure(self, device: Accelerator, windows: Sequence[Window], idle: Idle | None) -> Energy:
        return figure(
            device,
            self.sensors,
            self._readings,
            windows,
            started_ns=self._started_ns,
            idle=idle,
            fault=self._faults.get(device.key, ""),
        )

    def _idle(self, device: str, name: str) -> Idle | None:
        windows = [w for w in self._windows if w.device == device and w.name == f"idle.{name}"]
        if not windows:
            return None
        energy = self._figure(self._devices[device], windows, None)
        settled = min(w.settled_s for w in windows)
        return Idle("bare" if name == "bare" else "context", device, energy, settled)

    def _resting(self, device: str) -> Idle | None:
        """The idle that a working device is held against: the one with a context, as a worker has one."""
        mine = [idle for idle in self.idle if idle.device == device and idle.energy.power is not None]
        return next((idle for idle in mine if idle.name == "context"), None)


def _cards(events: Sequence[Event]) -> list[Sensor]:
    """Return the newest card of each sensor; one that was there before and is gone later stays with its first card."""
    cards: dict[str, Sensor] = {}
    for event in events:
        if isinstance(event, Sensed):
            for card in event.sensors:
                known = cards.get(card.key)
                if known is None or known.absent or not card.absent:
                    cards[card.key] = card
    return list(cards.values())


def _kept(events: Sequence[Event]) -> list[Window]:
    """Return the windows of idles, and of trials those that ended well: a wrong result's energy is worth nothing.

    A trial that was opened again in the same round replaces what there was of it.
    """
    idles: list[Window] = []
    whole: dict[tuple[str, int], list[Window]] = {}
    opened: tuple[str, int] | None = None
    pending: list[Window] = []
    for event in events:
        if isinstance(event, Opened):
            opened, pending = (event.trial, event.round), []
        elif isinstance(event, Window):
            (pending if event.trial else idles).append(event)
        elif isinstance(event, Closed) and event.status == "done" and opened == (event.trial, event.round):
            whole[opened] = pending
    return [*idles, *(window for windows in whole.values() for window in windows)]
