"""What every observed device offers to the telemetry child, whoever made it: NVML, the CPU's own files, a simulation.

A device module *is* the plugin: it has a function that returns observers, and each of them is joined to the rest of
a run by the `key`, `uuid` and `pci_bus_id` of its `Accelerator`, never by an index.
"""

from typing import Protocol, runtime_checkable

from effbench.model.energy import Sensor
from effbench.model.event import Telemetry
from effbench.model.inventory import Accelerator

# Cumulative health counters, by the names under which every device reports them. A device that cannot tell leaves the
# name out and says why in `absent()`; further names (`xid_79`, `retired_pages`) may be added by a device.
HEALTH_COUNTERS: tuple[str, ...] = (
    "ecc_uncorrected",
    "ecc_corrected",
    "row_remap_pending",
    "row_remap_failed",
    "pcie_replay",
    "device_lost",
)


@runtime_checkable
class Observer(Protocol):
    """One device that can be read while another process works on it."""

    def accelerator(self) -> Accelerator:
        """Describe the device for the inventory; `part` is left absent, matching is the parent's."""

    def read(self, t_ns: int) -> Telemetry:
        """Take one reading, stamped `t_ns` (time.monotonic_ns). What cannot be read is absent, never 0.

        Raises:
            Exception: anything; the sampler counts it as one bad reading and goes on.
        """

    def counters(self) -> dict[str, float]:
        """Read the cumulative counters (`HEALTH_COUNTERS`, `xid_<code>`), a name per known one; absent when unknown."""

    def absent(self) -> dict[str, str]:
        """Map each quantity that cannot be read here to the reason, in words for a person."""

    def sensors(self) -> list[Sensor]:
        """Return a card for every power and energy sensor that a device of this kind may have; absent ones say why.

        A card names the reading that holds its value; a sensor without a reading is absent with a reason and a remedy.
        One that answered once keeps its card: that it stopped shows in the readings.
        """

    def close(self) -> None:
        """Let go of handles and file descriptors. May be called twice."""
