"""Simulated devices made of catalogue rows, and telemetry for them that moves as a real one's does, faults included.

Everything made here is marked `simulated`; nothing simulated is ever rated.
"""

import difflib
import math
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from effbench.catalog.sensors import as_class, sensor_class
from effbench.device import cards
from effbench.device.fake_load import PART_UPDATE_NS, PART_WINDOW_NS, FakeLoad
from effbench.device.nvml_reasons import HW_THERMAL_SLOWDOWN, SW_POWER_CAP
from effbench.model.energy import Sensor
from effbench.model.error import InputError
from effbench.model.event import Telemetry
from effbench.model.inventory import Accelerator, CpuFacts, Part, Pcie

if TYPE_CHECKING:
    from effbench.catalog.parts import Row

MOST_DEVICES = 64
_SPEC = re.compile(r"^(?P<part>[a-z0-9][a-z0-9._-]*)(?:\*(?P<count>\d{1,3}))?$")
_NAMESPACE = uuid.UUID("6f0f7f1e-64c1-5f6e-9b1d-3c1c0f6d2a11")
# What rows do not say, as ordinary parts have it. Only to make simulated devices look whole.
_LLC_BYTES = {"gpu": 50 << 20, "cpu": 32 << 20}
_MEMORY_BYTES = {"gpu": 80_000_000_000, "cpu": 64 << 30}
_POWER_W, _CLOCK_HZ, _CORES = 300.0, 1.7e9, 8
# Temperature follows power with a first-order lag of a quarter of a minute.
_HEAT_LAG_S = 15.0
_AMBIENT_DEGC, _HOT_DEGC = 28.0, 72.0
_CAP_SHARE = 0.97


class FakeFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shall go wrong in simulated telemetry, s after the first reading (`*_every`: each n-th reading); -1 never.

    `stuck_energy_s` freezes the energy counter, `reset_energy_s` sets it back to zero once, `wrap_energy_j` makes it
    wrap at that many J, `gain` is its factor over the truth. `bias_w` is added to every reading in W, `part_time` makes
    the instant one see 25 ms of every 100 ms, `square_hz` makes the load all or nothing that often, `not_supported_s`
    ends every power and energy reading. `zero_power_every` loses watts as a 0 mW answer does, `raise_every` fails the
    whole reading. `hot_s` adds a thermal reason and a lower clock, `lost_s` loses the device, `ecc_s` adds an
    uncorrected error, `xid_s` an XID 79. `foreign` is the share that strangers use.
    """

    stuck_energy_s: float = -1
    reset_energy_s: float = -1
    wrap_energy_j: float = -1
    gain: float = 1.0
    bias_w: float = 0.0
    part_time: bool = False
    square_hz: float = 0.0
    not_supported_s: float = -1
    zero_power_every: int = -1
    raise_every: int = -1
    hot_s: float = -1
    lost_s: float = -1
    ecc_s: float = -1
    xid_s: float = -1
    foreign: float = 0.0


def accelerators(spec: str) -> list[Accelerator]:
    """Make the devices of a spec such as `nvidia-h200-sxm*2`: a catalogue row, and how many of it.

    Raises:
        InputError: the spec cannot be read, or the catalogue has no such row.
    """
    found = _SPEC.match(spec)
    count = int(found["count"] or 1) if found else 0
    if found is None or not 1 <= count <= MOST_DEVICES:
        raise InputError(
            f"{spec!r} is not a simulated node: write a catalogue row and how many of it, 1 to {MOST_DEVICES}, "
            "for example nvidia-h200-sxm*2"
        )
    from effbench.catalog.parts import catalog

    rows = catalog()
    if found["part"] not in rows.ids():
        near = difflib.get_close_matches(found["part"], rows.ids(), n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InputError(f"the catalogue has no accelerator {found['part']!r}{hint} (`effbench list accelerators`)")
    row, part = rows.row(found["part"]), rows.part(found["part"])
    if row.kind == "cpu":
        return [_cpu(row)]
    return [_gpu(row, part, number) for number in range(count)]


def _gpu(row: "Row", part: Part, number: int) -> Accelerator:
    name = row.names[0] if row.names else row.title
    power_w = part.power_w or _POWER_W
    return Accelerator(
        key=f"gpu{number}",
        kind="gpu",
        vendor=row.vendor,
        name=name,
        torch_device="fake",
        memory_bytes=int(part.memory_bytes or _MEMORY_BYTES["gpu"]),
        llc_bytes=_LLC_BYTES["gpu"],
        simulated=True,
        uuid=f"GPU-{uuid.uuid5(_NAMESPACE, f'{row.id}/{number}')}",
        pci_bus_id=f"0000:{0x19 + 8 * number & 0xFF:02x}:00.0",
        compute_capability=row.compute_capability,
        sm_count=row.units,
        clock_max_hz=part.clock_hz or _CLOCK_HZ,
        power_limit_w=power_w,
        power_limit_default_w=power_w,
        ecc=True,
        mig=False,
        persistence=True,
        pcie=Pcie(5, 16, 5, 16),
        health={"ecc_uncorrected": 0.0, "ecc_corrected": 0.0, "row_remap_pending": 0.0, "row_remap_failed": 0.0},
    )


def _cpu(row: "Row") -> Accelerator:
    wanted = row.match
    vendor = wanted.vendors[0] if wanted and wanted.vendors else row.vendor
    facts = CpuFacts(
        vendor=vendor,
        family=wanted.families[0] if wanted and wanted.families else 0,
        model=wanted.models[0][0] if wanted and wanted.models else 0,
        model_name=row.title,
        flags=sorted(wanted.flags) if wanted else [],
        cores_usable=float(_CORES),
        cores_physical=_CORES,
        threads_logical=_CORES,
        affinity=list(range(_CORES)),
        isa=wanted.isa if wanted else "x86_64",
    )
    return Accelerator(
        key="cpu",
        kind="cpu",
        vendor=row.vendor,
        name=row.title,
        torch_device="fake",
        memory_bytes=_MEMORY_BYTES["cpu"],
        llc_bytes=_LLC_BYTES["cpu"],
        simulated=True,
        cpu=facts,
    )


class FakeObserver:
    """A simulated device being watched: load swings, power and temperature follow with their lags, energy adds up."""

    def __init__(self, accelerator: Accelerator, faults: FakeFaults = FakeFaults()) -> None:  # noqa: B008 - frozen
        """Start cold; time begins with the first reading."""
        self._accelerator = accelerator
        self._faults = faults
        self._limit_w = accelerator.power_limit_w or _POWER_W
        self._clock_hz = accelerator.clock_max_hz or _CLOCK_HZ
        self._start_ns: int | None = None
        self._last_ns = 0
        self._load = FakeLoad(self._limit_w, faults.square_hz)
        self._degc = _AMBIENT_DEGC
        self._lost_j = 0.0
        self._stuck_j: float | None = None
        self._readings = 0
        self._zeros = 0

    def accelerator(self) -> Accelerator:
        """Return the device as it was made."""
        return self._accelerator

    def read(self, t_ns: int) -> Telemetry:
        """Take one reading of the simulated device at monotonic `t_ns`.

        Raises:
            RuntimeError: the faults ask for it.
        """
        seconds = self._advance(t_ns)
        faults, gpu = self._faults, self._accelerator.kind == "gpu"
        if faults.raise_every > 0 and self._readings % faults.raise_every == 0:
            raise RuntimeError("this simulated reading was told to fail")
        if _since(faults.lost_s, seconds):
            return Telemetry(t_ns=t_ns, device=self._accelerator.key, counters={"device_lost": 1.0})
        hot, load = _since(faults.hot_s, seconds), self._load.load(t_ns - (self._start_ns or 0))
        zero = faults.zero_power_every > 0 and self._readings % faults.zero_power_every == 0
        self._zeros += zero
        bad = zero or _since(faults.not_supported_s, seconds)
        told, average_w = self._load.part_w if faults.part_time else self._load.power_w, self._load.mean_w()
        return Telemetry(
            t_ns=t_ns,
            device=self._accelerator.key,
            power_w=None if bad else round(told + faults.bias_w, 3),
            power_average_w=round(average_w + faults.bias_w, 3) if gpu and not bad else None,
            clock_hz=self._held_hz(hot) if gpu else None,
            temperature_degc=round(self._degc + (18.0 if hot else 0.0), 1),
            reasons=self._reasons(hot) if gpu else None,
            utilisation=round(load, 2),
            energy_j=self._counter_j(seconds),
            steal=None if gpu else 0.0,
            foreign=faults.foreign,
            counters=dict(self._errors(seconds)) | ({"power_zero": float(self._zeros)} if zero else {}),
        )

    def counters(self) -> dict[str, float]:
        """Return the health counters as the faults have them by now."""
        if self._accelerator.kind == "cpu":
            return {}
        seconds = (self._last_ns - (self._start_ns or self._last_ns)) * 1e-9
        steady = {"ecc_uncorrected": 0.0, "ecc_corrected": 0.0, "row_remap_pending": 0.0, "row_remap_failed": 0.0}
        steady |= {"pcie_replay": 0.0, "xid_watch": 1.0, "readings": float(self._readings)}
        return steady | dict(self._errors(seconds))

    def absent(self) -> dict[str, str]:
        """Name what a simulated device does not have."""
        return {"memory_temperature_degc": "a simulated device has no memory sensor"}

    def sensors(self) -> list[Sensor]:
        """Return the cards that the simulated part's sensors would have; a CPU has a package counter alone."""
        return [self._card(card) for card in cards.blank(self._accelerator.key, "simulated")]

    def close(self) -> None:
        """There is nothing to let go of."""

    def _card(self, card: Sensor) -> Sensor:
        name, capability = card.key.rpartition(".")[2], self._accelerator.compute_capability
        if name in ("hbm", "module", "dram", "hwmon"):
            return cards.missing(card, f"a simulated device has no {name} sensor", "measure a real device")
        gpu = self._accelerator.kind == "gpu"
        card = as_class(card, sensor_class("nvidia" if gpu else "rapl", card.kind, capability))
        if name != "instant" or not self._faults.part_time:
            return card
        window_s, update_s = PART_WINDOW_NS * 1e-9, PART_UPDATE_NS * 1e-9
        return msgspec.structs.replace(card, window_s=window_s, update_s=update_s, coverage=window_s / update_s)

    def _advance(self, t_ns: int) -> float:
        """Let the simulated device live until `t_ns`; the seconds since its first reading."""
        if self._start_ns is None:
            self._start_ns = self._last_ns = t_ns
        step, self._last_ns = max(0.0, (t_ns - self._last_ns) * 1e-9), t_ns
        seconds = (t_ns - self._start_ns) * 1e-9
        self._readings += 1
        before_j = self._load.energy_j
        self._load.advance(max(0, t_ns - self._start_ns))
        warm = _AMBIENT_DEGC + (_HOT_DEGC - _AMBIENT_DEGC) * self._load.power_w / self._limit_w
        self._degc += (warm - self._degc) * (1 - math.exp(-step / _HEAT_LAG_S))
        if _since(self._faults.reset_energy_s, seconds) and not _since(self._faults.reset_energy_s, seconds - step):
            self._lost_j = self._load.energy_j
        if self._stuck_j is None and _since(self._faults.stuck_energy_s, seconds):
            self._stuck_j = before_j
        return seconds

    def _held_hz(self, hot: bool) -> float:
        """The clock in steps of 15 MHz, as NVIDIA's is: lower under the power cap, half when slowed by heat."""
        share = 0.5 if hot else 1.0 - 0.12 * max(0.0, self._load.power_w / self._limit_w - 0.8) / 0.2
        return round(self._clock_hz * share / 15e6) * 15e6

    def _reasons(self, hot: bool) -> int:
        capped = SW_POWER_CAP if self._load.power_w > _CAP_SHARE * self._limit_w else 0
        return capped | (HW_THERMAL_SLOWDOWN if hot else 0)

    def _counter_j(self, seconds: float) -> float | None:
        """What the counter shows: the truth times its gain, wrapped, reset, frozen or gone as the faults say."""
        if _since(self._faults.not_supported_s, seconds):
            return None
        shown = ((self._load.energy_j if self._stuck_j is None else self._stuck_j) - self._lost_j) * self._faults.gain
        wrap = self._faults.wrap_energy_j
        return round(shown % wrap if wrap > 0 else shown, 3)

    def _errors(self, seconds: float) -> Iterator[tuple[str, float]]:
        if _since(self._faults.ecc_s, seconds):
            yield "ecc_uncorrected", 1.0
        if _since(self._faults.xid_s, seconds):
            yield "xid_79", 1.0
        if _since(self._faults.lost_s, seconds):
            yield "device_lost", 1.0


def _since(moment_s: float, seconds: float) -> bool:
    return 0 <= moment_s <= seconds
