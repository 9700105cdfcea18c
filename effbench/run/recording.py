"""A journal as a device: the node it was recorded on, and what it holds of each trial, to run every path again."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from effbench.device.replay import RecordedTrial, by_trial_and_round
from effbench.model.energy import Sensor
from effbench.model.error import DocumentError
from effbench.model.event import Event, Sensed, Started, Telemetry
from effbench.model.inventory import Inventory
from effbench.run import journal
from effbench.run.wire import Recorded


class Recording:
    """The events of a journal, by trial and round. What is played back is marked simulated: it is not measured now."""

    def __init__(self, path: Path) -> None:
        """Read the journal at `path`.

        Raises:
            DocumentError: it cannot be read, or its beginning (plan and inventory) is damaged.
        """
        self._events: Sequence[Event] = journal.read(path).events
        started = next((e for e in self._events if isinstance(e, Started)), None)
        if started is None:
            raise DocumentError(f"{path}: the beginning of the journal is damaged, so it cannot be played back")
        self._started = started
        self._trials: dict[tuple[str, int], RecordedTrial] = by_trial_and_round(self._events)

    @property
    def inventory(self) -> Inventory:
        """The recorded node, every device marked as simulated."""
        devices = [
            msgspec.structs.replace(a, simulated=True, torch_device="fake")
            for a in self._started.inventory.accelerators
        ]
        return msgspec.structs.replace(self._started.inventory, accelerators=devices)

    @property
    def suite(self) -> str:
        """Name of the suite that was recorded."""
        return self._started.plan.suite

    @property
    def sensors(self) -> list[Sensor]:
        """The recorded cards of the power sensors, the newest of each; an old recording has none."""
        cards = {card.key: card for event in self._events if isinstance(event, Sensed) for card in event.sensors}
        return list(cards.values())

    def take(self, trial: str, round_number: int) -> Recorded | None:
        """Return what was recorded of a trial in a round, or in the recorded round that takes its turn; else None."""
        rounds = sorted(number for name, number in self._trials if name == trial)
        if not rounds:
            return None
        found = self._trials[trial, rounds[round_number % len(rounds)]]
        return Recorded(found.samples, found.closed) if found.closed is not None else None

    def spool(self) -> Path:
        """Write the recorded readings to a temporary file of JSON lines, for the telemetry child."""
        lines = [msgspec.json.encode(e) for e in self._events if isinstance(e, Telemetry)]
        with tempfile.NamedTemporaryFile(prefix="effbench-replay-", suffix=".jsonl", delete=False) as file:
            file.write(b"\n".join(lines) + b"\n")
        return Path(file.name)
