"""Synthetic nodes with power: sensors, ledgers, idles, a chain with unknown links, money as ranges. All invented."""

import math
from typing import Any

import msgspec

from effbench.model.chain import Boundary, Chain, CostLine, Economics, Link, Range
from effbench.model.energy import Energy, EnergyStatus, Held, Idle, LedgerRow, Sensor, Slice, Trust
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Record, TimelinePoint
from effbench.model.scorecard import Better, Metric
from effbench.model.unit import Unit
from tests.factory import HOSTILE, Case, cpu_node, gpu_node

FIELD_186 = "NVML field 186, scope GPU"
MATRIX = "public measurements of more than 70 GPUs, 2023"
RAPL_ABSENT = "energy_uj of the package is readable by root only"
RAPL_REMEDY = "Let the user read /sys/class/powercap, or start effbench as root."
SHORT_WINDOW = "window 2.0 s < 10 s"
SHORT_REMEDY = "Measure with node/standard, which holds windows of 10 s."
WINDOWS = [("gemm-bf16", 70.0, 694.0), ("stream", 145.0, 512.0), ("train_step", 220.0, 655.0), ("decode", 300.0, 304.0)]


def sensors() -> list[Sensor]:
    """The cards of a node of two H200 with a wall meter: some sensors read, some are absent."""
    cards = []
    for gpu in ("gpu0", "gpu1"):
        known: dict[str, Any] = {"basis": "published", "basis_source": MATRIX, "uncertainty": 0.05}
        known["uncertainty_source"] = "no meter was ever put on this part; 5 % is typical of boards that were metered"
        cards += [
            Sensor(
                key=f"{gpu}.counter",
                device=gpu,
                kind="counter",
                scope="gpu",
                unit="J",
                reading="energy_j",
                source="nvmlDeviceGetTotalEnergyConsumption",
                update_s=0.1,
                granularity_j=0.001,
                coverage=1.0,
                **(known | {"basis": "measured", "basis_source": "square-wave test of this run"}),
            ),
            Sensor(
                key=f"{gpu}.instant",
                device=gpu,
                kind="instant",
                scope="gpu",
                unit="W",
                reading="power_w",
                source=FIELD_186,
                window_s=0.025,
                update_s=0.1,
                coverage=0.25,
                lag_s=0.05,
                **known,
            ),
            Sensor(
                key=f"{gpu}.module",
                device=gpu,
                kind="instant",
                scope="module",
                unit="W",
                reading="module_power_w",
                source="NVML field 186, scope module",
                absent="the driver answers NotSupported",
                remedy="Nothing to do: only boards that share a module with a CPU have it.",
            ),
        ]
    cards.append(
        Sensor(
            "cpu.package",
            "cpu",
            "counter",
            "package",
            "J",
            "energy_j",
            "powercap",
            absent=RAPL_ABSENT,
            remedy=RAPL_REMEDY,
        )
    )
    cards.append(
        Sensor(
            key="node.meter",
            device="node",
            kind="meter",
            scope="node",
            unit="W",
            reading="node_power_w",
            source="pdu.csv, column active_power",
            update_s=1.0,
            window_s=1.0,
            coverage=1.0,
            basis="given",
            basis_source="the log's header, 2026-11-20",
            uncertainty=0.01,
            uncertainty_source="the user, 2026-11-20",
            calibrated=True,
            gain=1.004,
            offset_w=-2.0,
        )
    )
    return cards


def ledger(device: str, joules: float, apart: float) -> list[LedgerRow]:
    """Counter, integral and meter of one window; the integral differs by `apart`."""
    return [
        LedgerRow(f"{device}.counter", "counter", "gpu", joules, 600, primary=True),
        LedgerRow(f"{device}.instant", "instant", "gpu", joules * (1 + apart), 600, apart, 0.05),
        LedgerRow(f"{device}.average", "average", "gpu", note="NotSupported"),
        LedgerRow("node.meter", "meter", "node", joules * 1.52, 60, note="another scope: shown, not compared"),
    ]


def energy(
    device: str, start_s: float, watts: float, status: EnergyStatus = "valid", seconds: float = 60.0, **more: Any
) -> Energy:
    """One energy over a window of `seconds`, in three sub-windows; invalid ones keep their ledger and no figure."""
    joules, third = watts * seconds, seconds / 3
    spread = (-0.004, 0.001, 0.003)
    slices = [Slice(start_s + i * third, third, watts * third * (1 + e), 100.0) for i, e in enumerate(spread)]
    fields: dict[str, Any] = {
        "sensor": f"{device}.counter",
        "window_s": seconds,
        "windows": 1,
        "steps": 300.0,
        "ledger": ledger(device, joules, 0.31 if status == "invalid" else -0.012),
        "slices": slices,
        "temperature_degc": [52.0, 68.0],
    }
    if status in ("valid", "suspect"):
        fields |= {
            "trust": "B",
            "energy": Quantity(joules, Unit.JOULE),
            "energy_interval": Interval(joules * 0.948, joules * 1.052, method="sensor+window+granularity+spread"),
            "power": Quantity(watts, Unit.WATT),
            "power_interval": Interval(watts * 0.948, watts * 1.052, method="sensor+window+granularity+spread"),
            "components": {"sensor": 0.05, "window": 0.0033, "granularity": 0.0001, "spread": 0.013},
            "held": [Held("sw_power_cap", 0.7 * seconds, 0.7 * joules)] if watts > 600 else [],
            "idle_w": 78.4,
            "idle_name": "bare",
            "net": Quantity(joules - 78.4 * seconds, Unit.JOULE),
        }
    return Energy(device=device, status=status, **fields | more)


def idles(device: str, start_s: float = 0.0) -> list[Idle]:
    """Both idles, never mixed; that with a context open is longer after its start."""
    trust: Trust = "C"
    return [
        Idle("bare", device, energy(device, start_s, 78.4, seconds=20.0, trust=trust, net=None), 61.0),
        Idle("context", device, energy(device, start_s + 25, 113.1, seconds=20.0, trust=trust, net=None), 5.0),
    ]


def _timeline(devices: list[str]) -> list[TimelinePoint]:
    """Watts once a second: idle, context, then each workload of the table, warm-up included."""
    points = []
    for t in range(380):
        busy = next(((name, watts) for name, start, watts in WINDOWS if start - 6 <= t < start + 62), None)
        rest = 78.4 if t < 22 else 113.1
        for d, device in enumerate(devices):
            watts = (busy[1] * (1 + 0.012 * math.sin(t * 1.3 + d)) if busy else rest + math.sin(t * 2.1)) - 5 * d
            clock = 1.755e9 if busy else 1.98e9
            name = f"{busy[0]}@{device}" if busy else ""
            points.append(TimelinePoint(float(t), device, clock, watts, 44 + min(t, 60) * 0.4, name))
        load = busy[1] * 2 if busy else 2 * rest
        points.append(TimelinePoint(float(t), "node", power_w=load * 1.2 + 520 + 6 * math.sin(t)))
    return points


def metric(
    key: str, value: float, unit: Unit, trials: list[str], device: str | None = None, better: Better = "higher"
) -> Metric:
    """One figure of the power domain with the interval of its sensor."""
    interval = Interval(value * 0.948, value * 1.052, method="sensor+window+granularity+spread")
    params = {} if device else {"worst_device": "gpu1"}
    return Metric(key, Quantity(value, unit), better, "valid", trials, device, interval, params=params)


def _metrics(record: Record) -> list[Metric]:
    found: list[Metric] = []
    rows: dict[str, list[tuple[str, float, Unit, Better]]] = {
        "gemm-bf16": [
            ("gemm.bf16.flops_per_joule", 1.11e12, Unit.FLOP_PER_J, "higher"),
            ("gemm.bf16.watts", 694.0, Unit.WATT, "lower"),
            ("gemm.bf16.fraction_of_limit", 0.991, Unit.ONE, "lower"),
            ("gemm.bf16.joules_per_step", 0.991, Unit.JOULE, "lower"),
            ("gemm.bf16.energy_delay", 1.41e-3, Unit.JOULE_SECOND, "lower"),
        ],
        "stream": [
            ("stream.copy.bytes_per_joule", 8.4e9, Unit.BYTE_PER_J, "higher"),
            ("stream.copy.watts", 512.0, Unit.WATT, "lower"),
        ],
        "train_step": [
            ("train_step.flops_per_joule", 0.698e12, Unit.FLOP_PER_J, "higher"),
            ("train_step.watts", 655.0, Unit.WATT, "lower"),
            ("train_step.joules_per_token", 0.01085, Unit.J_PER_TOKEN, "lower"),
            ("train_step.joules_per_step", 177.7, Unit.JOULE, "lower"),
        ],
        "decode": [
            ("decode.b8.tokens_per_joule", 11.2, Unit.TOKEN_PER_J, "higher"),
            ("decode.b8.watts", 304.0, Unit.WATT, "lower"),
            ("decode.b8.joules_per_token", 0.0893, Unit.J_PER_TOKEN, "lower"),
        ],
    }
    for workload, mine in rows.items():
        trials = [m.trial for m in record.measurements if m.trial.startswith(workload)]
        for key, value, unit, better in mine:
            found.append(metric(f"power.{key}", value, unit, trials, None, better))
            for device, slow in (("gpu0", 1.0), ("gpu1", 0.985 if better == "higher" else 1.015)):
                own = [trial for trial in trials if trial.endswith(device)]
                if workload == "decode" and device == "gpu1":
                    continue  # its energy is invalid: it has no figure
                found.append(metric(f"power.{key}", value * slow, unit, own, device, better))
    found.append(metric("power.device.proportionality", 0.83, Unit.ONE, trials))
    return found


def chain(device: str = "gpu0", unknown: tuple[str, ...] = ("availability",), last: float = 1.0) -> Chain:
    """The whole chain; the links named in `unknown` have no share, and what comes after them is a bound."""
    rows: list[tuple[str, str, str, str, float, str, str]] = [
        ("rated_peak", "Rated peak", "hardware", "given", 1.0, "Dense bf16, by the vendor.", "data sheet, 2024-11-18"),
        (
            "held_clock",
            "Peak at the held clock",
            "hardware",
            "measured",
            0.959,
            "The 700 W limit held 1.755 of 1.830 GHz.",
            "",
        ),
        ("best_gemm", "Best GEMM", "algorithm", "measured", 0.813, "What the library makes of the held clock.", ""),
        ("train_step", "Training step", "algorithm", "measured", 0.593, "Attention, optimiser and launches.", ""),
        (
            "availability",
            "Availability",
            "system",
            "given",
            0.985,
            "Time in which the node can be used.",
            "site.yaml, 2026-10-31, ticket system",
        ),
        (
            "utilisation",
            "Utilisation",
            "system",
            "given",
            0.62,
            "Time in which it does useful work.",
            "site.yaml, 2026-10-31, scheduler",
        ),
        (
            "node_power",
            "Device in node power",
            "system",
            "measured",
            0.657,
            "Of the node's watts, those of its GPUs.",
            "pdu.csv",
        ),
        (
            "facility_power",
            "Node in facility power",
            "system",
            "given",
            0.769,
            "PUE 1.30.",
            "site.yaml, 2026-06-30, annual report",
        ),
        (
            "green_share",
            "Green share",
            "commercial",
            "assumed",
            0.4,
            "Location-based mix of the country.",
            "Ember, 2023",
        ),
    ]
    links, product = [], 1.0
    for name, title, group, basis, share, explanation, source in rows:
        fields: dict[str, Any] = {"name": name, "title": title, "group": group, "explanation": explanation}
        if name in unknown:
            links.append(Link(basis="unknown", **fields | {"explanation": f"site.yaml gives no {name}."}))
            continue
        share *= last if name == "best_gemm" else 1.0
        product *= share
        interval = Interval(share * 0.99, share * 1.01) if basis == "measured" else None
        links.append(Link(basis=basis, share=share, interval=interval, product=product, source=source, **fields))
    known = sorted((link for link in links if link.share is not None), key=lambda link: link.share or 1.0)
    weakest = known[0].name if known else ""
    return Chain(device, "bf16", links, product, bool(unknown), weakest, list(unknown))


def economics(given: bool = True) -> Economics:
    """Boundaries and money; without `given`, every line is absent and says what to give."""
    w = Unit.WATT
    device = Boundary(
        "device",
        "GPUs",
        "measured",
        "measured",
        "Both GPUs, by their counters.",
        Quantity(1310, w),
        Interval(1245, 1375),
        1.0,
    )
    ask = "site.yaml gives no price: add price.rent or price.purchase, with date and source"
    if not given:
        node = Boundary("node", "Node", "measured", "unknown", "No meter reads the node.")
        facility = Boundary("facility", "Facility", "measured", "unknown", "site.yaml gives no PUE.")
        lines = [
            CostLine(
                "energy.gemm.bf16",
                "Energy of compute",
                "energy",
                "currency per effective PFLOP-hour",
                "unknown",
                absent="site.yaml gives no tariff: add tariff, with date and source",
            ),
            CostLine(
                "total.gemm.bf16.bought", "Compute", "total", "currency per effective PFLOP-hour", "unknown", absent=ask
            ),
            CostLine(
                "carbon.train_step.location",
                "Training",
                "carbon",
                "gCO2e per 1M tokens",
                "unknown",
                absent="site.yaml gives no country and no grid intensity",
            ),
        ]
        return Economics("none", "", "", [device, node, facility], lines)
    pflop, tokens = "EUR per effective PFLOP-hour", "EUR per 1M tokens"
    lines = [
        CostLine(
            "energy.gemm.bf16",
            "Compute, bf16",
            "energy",
            pflop,
            "given",
            Range(0.281, 0.281),
            workings="1.31 kW x 1.52 x PUE 1.30 x 0.142 EUR/kWh / 1.310 PFLOP/s = 0.281 EUR",
        ),
        CostLine(
            "energy.train_step",
            "Training",
            "energy",
            tokens,
            "given",
            Range(0.00102, 0.00102),
            workings="0.01085 J x 1.52 x 1.30 x 1e6 / 3.6e6 x 0.142 EUR/kWh",
        ),
        CostLine(
            "total.gemm.bf16.bought",
            "Compute, bf16",
            "total",
            pflop,
            "given",
            Range(3.36, 5.71),
            "depreciation over 4 to 6 years",
            "(320000 EUR / life + energy + staff) / useful hours",
        ),
        CostLine(
            "total.train_step.bought",
            "Training",
            "total",
            tokens,
            "given",
            Range(0.0214, 0.0338),
            "depreciation over 4 to 6 years",
        ),
        CostLine("total.gemm.bf16.rented", "Compute, bf16", "total", pflop, "unknown", scenario="rent", absent=ask),
        CostLine(
            "carbon.train_step.location",
            "Training",
            "carbon",
            "gCO2e per 1M tokens",
            "assumed",
            Range(2.27, 2.27),
            workings="0.00596 kWh x 381 gCO2e/kWh",
        ),
        CostLine(
            "throughput.hours",
            "Useful throughput",
            "throughput",
            "effective PFLOP-hours per day",
            "given",
            Range(12.1, 12.1),
        ),
        CostLine(
            "tariff.shift",
            "Best shift of 6 h",
            "tariff",
            "EUR per day",
            "given",
            Range(1.84, 1.84),
            workings="6 h from 17:00 moved to 01:00",
        ),
    ]
    boundaries = [
        device,
        Boundary(
            "node",
            "Node",
            "measured",
            "measured",
            "At the wall, by the meter's log.",
            Quantity(1990, w),
            Interval(1970, 2010),
            1.52,
            "pdu.csv",
        ),
        Boundary(
            "facility",
            "Facility",
            "measured",
            "given",
            "The node times PUE 1.30.",
            Quantity(2590, w),
            None,
            1.98,
            "annual report, 2026-06-30",
        ),
        Boundary(
            "node",
            "Node",
            "provisioned",
            "given",
            "What the rack reserves for it.",
            Quantity(3400, w),
            None,
            2.6,
            "site.yaml, 2026-10-31",
        ),
        Boundary(
            "facility",
            "Facility",
            "provisioned",
            "given",
            "Reserved watts times PUE.",
            Quantity(4420, w),
            None,
            3.37,
            "annual report, 2026-06-30",
        ),
    ]
    rows = [
        ["PUE", "1.30", "2026-06-30", "annual report"],
        ["Utilisation", "0.62", "2026-10-31", "scheduler"],
        ["Country", "DE", "2026-11-20", "user"],
    ]
    return Economics("Hall 3", "77aa0e51b3c9", "EUR", boundaries, lines, rows)


def power_node(unknown: tuple[str, ...] = ("availability",)) -> Case:
    """Two H200 with counters and a wall meter: valid, suspect, invalid and absent energies, two idles, a full chain."""
    case = gpu_node(simulated=False)
    assert case.record is not None
    measured = []
    for m in case.record.measurements:
        hit = next(((start, watts) for name, start, watts in WINDOWS if m.trial.startswith(name)), None)
        own: Energy | None = None
        if m.trial.startswith("stream[op=read]") or m.trial.startswith("gemm-fp8"):
            own = Energy(m.device, "absent", SHORT_WINDOW, SHORT_REMEDY)
        elif hit and m.trial.startswith("decode") and m.device == "gpu1":
            reason = "counter and integral of gpu1.instant differ by 31 %, tolerance 5 %"
            own = energy(m.device, *hit, status="invalid", reason=reason, remedy="Repeat; if it stays, trust neither.")
        elif hit and m.trial.startswith("train_step") and m.device == "gpu1":
            own = energy(m.device, *hit, status="suspect", reason="another process ran on the device for 3 s")
        elif hit:
            own = energy(m.device, *hit, capped=m.trial.startswith("gemm"))
        measured.append(msgspec.structs.replace(m, energy=own))
    record = msgspec.structs.replace(
        case.record,
        measurements=measured,
        sensors=sensors(),
        idle=[*idles("gpu0"), *idles("gpu1")],
        timeline=_timeline(["gpu0", "gpu1"]),
    )
    card = msgspec.structs.replace(
        case.card,
        metrics=[*case.card.metrics, *_metrics(record)],
        chains=[chain("gpu0", unknown), chain("gpu1", unknown, 0.97)],
        economics=economics(),
    )
    return Case(card, case.grade, record)


def no_sensor_node() -> Case:
    """A CPU with no power sensor at all and no site figures: every absence has its reason and its remedy."""
    case = cpu_node()
    assert case.record is not None
    cards = [
        Sensor(
            "cpu.package",
            "cpu",
            "counter",
            "package",
            "J",
            "energy_j",
            "powercap",
            absent="no RAPL domain: a hypervisor hides it",
            remedy="Measure on the host, or give a meter's log.",
        ),
        Sensor(
            "cpu.hwmon",
            "cpu",
            "meter",
            "package",
            "W",
            "cpu_power_w",
            "hwmon",
            absent="no hwmon chip has power1_average",
            remedy="Nothing to do on this machine.",
        ),
    ]
    none = Energy("cpu", "absent", "no sensor of cpu can be read", "Measure on the host, or give a meter's log.")
    measured = [msgspec.structs.replace(m, energy=none) if m.status == "valid" else m for m in case.record.measurements]
    idle = [Idle("bare", "cpu", none), Idle("context", "cpu", none)]
    record = msgspec.structs.replace(case.record, sensors=cards, measurements=measured, idle=idle)
    dark = ("availability", "utilisation", "node_power", "facility_power", "green_share", "rated_peak")
    card = msgspec.structs.replace(case.card, chains=[chain("cpu", dark)], economics=economics(given=False))
    return Case(card, case.grade, record)


def hostile_power() -> Case:
    """Power whose every name and reason tries to break out of the format that shows it."""
    case = power_node()
    assert case.record is not None and case.card.economics is not None
    sensor = msgspec.structs.replace(case.record.sensors[0], key=HOSTILE, source=HOSTILE, basis_source=HOSTILE)
    absent = msgspec.structs.replace(case.record.sensors[2], key=HOSTILE, absent=HOSTILE, remedy=HOSTILE)
    rows = [LedgerRow(HOSTILE, "counter", "gpu", 1.0, 1, primary=True, note=HOSTILE)]
    bad = energy("gpu0", 10, 400, "suspect", sensor=HOSTILE, ledger=rows, reason=HOSTILE, held=[Held(HOSTILE, 1.0)])
    first = msgspec.structs.replace(case.record.measurements[0], energy=bad, trial=HOSTILE)
    second = msgspec.structs.replace(case.record.measurements[1], energy=Energy("gpu0", "absent", HOSTILE, HOSTILE))
    link = Link(HOSTILE, HOSTILE, "system", "given", HOSTILE, 0.5, product=0.5, source=HOSTILE)
    dark = Link(HOSTILE, HOSTILE, "commercial", "unknown", HOSTILE)
    line = CostLine(HOSTILE, HOSTILE, "total", HOSTILE, "given", Range(1, 2), HOSTILE, HOSTILE)
    missing = CostLine(HOSTILE, HOSTILE, "carbon", HOSTILE, "unknown", absent=HOSTILE)
    bound = Boundary("node", HOSTILE, "measured", "given", HOSTILE, Quantity(1.0, Unit.WATT), source=HOSTILE)
    money = Economics(HOSTILE, HOSTILE, HOSTILE, [bound], [line, missing], [[HOSTILE] * 4])
    card = msgspec.structs.replace(
        case.card, chains=[Chain(HOSTILE, HOSTILE, [link, dark], weakest=HOSTILE)], economics=money
    )
    measured = [first, second, *case.record.measurements[2:]]
    record = msgspec.structs.replace(case.record, sensors=[sensor, absent], measurements=measured)
    return Case(card, case.grade, record)


def power_cases() -> dict[str, Case]:
    """Every sample of power by name."""
    plain = power_node(unknown=())
    return {
        "power": power_node(),
        "power-whole-chain": plain,
        "power-card-only": Case(plain.card, plain.grade, None),
        "no-sensor": no_sensor_node(),
        "power-hostile": hostile_power(),
    }
