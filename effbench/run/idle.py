"""What is known of power before anything runs: the sensors' cards, and devices at rest, bare and with a context.

The two idles are never mixed: an open context alone draws 26 to 66 W on data-centre parts (arXiv 2605.23918).
"""

import time
from collections.abc import Callable, Sequence

from effbench.model.energy import Sensor
from effbench.model.event import Event, Sensed, Window
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Plan
from effbench.run.pacing import RAMP_S
from effbench.run.watch import Watch

TICK_S = 0.05


class Rest:
    """Asks the telemetry child for its sensors, and lets devices rest where a sensor of theirs can tell their power."""

    def __init__(
        self,
        plan: Plan,
        inventory: Inventory,
        watch: Watch | None,
        calibrate: Callable[[list[Sensor]], list[Sensor]] | None,
    ) -> None:
        self._plan, self._watch, self._calibrate = plan, watch, calibrate
        self._simulated = {a.key: a.simulated for a in inventory.accelerators}
        self._sensors: list[Sensor] = []
        self._rested: set[str] = set()

    def begin(self, since: float) -> list[Event]:
        """Return the sensors' cards, and the bare idle of every device that can tell it.

        `since` is time.monotonic() from which on no context of ours was open.
        """
        if self._watch is None:
            return []
        cards = self._watch.sensors()
        self._sensors = cards if self._calibrate is None else self._calibrate(cards)
        sensed = Sensed(time.monotonic_ns(), self._sensors)
        asked = self._plan.idle
        keys = [key for key in self._plan.devices if self._worth(key)]
        if asked is None or not keys or asked.bare_s == 0:
            return [sensed]
        self._wait(max(asked.settle_s, RAMP_S))
        return [sensed, *self._windows(keys, "idle.bare", asked.bare_s, since)]

    def with_context(self, device: str) -> list[Event]:
        """Return the idle of a device whose worker holds a context open; once in a run."""
        asked = self._plan.idle
        if asked is None or asked.context_s == 0 or device in self._rested or not self._worth(device):
            return []
        self._rested.add(device)
        opened = time.monotonic()
        self._wait(RAMP_S)
        return self._windows([device], "idle.context", asked.context_s, opened)

    def _worth(self, device: str) -> bool:
        """A simulated device has no idle, and one without a sensor could not tell it."""
        present = any(card.device == device and not card.absent for card in self._sensors)
        return present and not self._simulated[device]

    def _windows(self, devices: Sequence[str], name: str, seconds: float, since: float) -> list[Event]:
        settled_s = round(time.monotonic() - since, 3)
        start_ns = time.monotonic_ns()
        self._wait(seconds)
        end_ns = time.monotonic_ns()
        return [Window(end_ns, start_ns, device, name, settled_s=settled_s) for device in devices]

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._watch is not None:
                self._watch.pump()
            time.sleep(min(TICK_S, left))


def watched_devices(plan: Plan, inventory: Inventory, replayed: bool) -> list[Accelerator]:
    """Return what telemetry looks at: the plan's devices; beside real GPUs also the other GPUs and the host's CPU.

    A neighbour's sensor shows a swapped one, and the CPU's is a part of the node's power.
    """
    planned = [a for a in inventory.accelerators if a.key in plan.devices]
    if replayed or any(a.simulated for a in planned) or not any(a.kind == "gpu" for a in planned):
        return planned
    return list(inventory.accelerators)
