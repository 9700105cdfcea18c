"""Health counters of a run: what the driver's error counters did between its start and its end. Pure."""

from collections.abc import Mapping, Sequence

from effbench.catalog.xids import OWN_KILL, classify
from effbench.model.event import Telemetry
from effbench.model.finding import Finding, Severity

# The telemetry child adds this to every answer to a question for counters; single readings carry only what changed.
FULL_READING = "bad_readings"
STATES = ("row_remap_pending", "row_remap_failed", "device_lost")
GROWING = ("ecc_uncorrected", "retired_pages")
HELD = "held_"  # seconds that the driver counts under each reason for lower clocks (NVML fields 74 to 81)
RATES = {"ecc_corrected": "ecc_corrected_rate", "pcie_replay": "pcie_replay_rate"}
# Health figures above zero, and counters of remapped rows that changed, after which no energy of the device counts.
SPOILING = {
    "device_lost": "the device was lost",
    "xid_hardware": "the driver reported a hardware XID",
    "ecc_uncorrected": "an uncorrectable memory error occurred",
}
REMAPS = ("row_remap_pending", "row_remap_failed", "row_remap_uncorrected")


def health(readings: Sequence[Telemetry], wall_s: float, killed: bool, findings: list[Finding]) -> dict[str, float]:
    """Return the health figures of one device: states, errors as growth over the run, repaired ones per second.

    `killed` says that a worker on the device was killed in this run. A clean figure needs both ends: a counter that
    was not read at the start and at the end, or that went back (a driver reload), is absent, never 0. What was seen
    to be bad stands on a single reading.
    """
    counted = [r for r in readings if r.counters]
    ends = [r.counters for r in counted if FULL_READING in r.counters]
    whole = len(ends) >= 2
    first, last = (ends[0], ends[-1]) if whole else ({}, {})
    figures: dict[str, float] = {}
    for name in STATES:
        worst = max((r.counters[name] for r in counted if name in r.counters), default=None)
        if worst is not None and (worst > 0 or (whole and name in last)):
            figures[name] = worst
    if whole and set(last) - {"device_lost", FULL_READING}:
        figures.setdefault("device_lost", 0.0)  # it still answered at the end
    growth = {name: last[name] - first[name] for name in first if name in last and last[name] >= first[name]}
    figures |= {name: growth[name] for name in GROWING if name in growth}
    figures |= {name: value for name, value in growth.items() if name.startswith(HELD)}
    figures |= {key: growth[name] / wall_s for name, key in RATES.items() if name in growth and wall_s > 0}
    latest = {name: value for r in counted for name, value in r.counters.items() if name.startswith("xid_")}
    xids = {name: value - first.get(name, 0.0) for name, value in latest.items()}  # a code appears with its event
    if xids:
        hardware = _xids(counted[0].device, xids, killed, findings)
        if hardware > 0 or (whole and "xid_watch" in last):
            figures["xid_hardware"] = hardware
    return figures


def fault(readings: Sequence[Telemetry], figures: Mapping[str, float]) -> str:
    """Say what happened to a device, by its readings and their `health`, that makes its energy figures worthless.

    Empty when nothing was seen. What was wrong before the first reading is no change, and is not told here.
    """
    told = [words for name, words in SPOILING.items() if figures.get(name, 0.0) > 0]
    ends = [r.counters for r in readings if FULL_READING in r.counters]
    first, last = (ends[0], ends[-1]) if len(ends) >= 2 else ({}, {})
    if any(name in first and name in last and first[name] != last[name] for name in REMAPS):
        told.append("memory rows were remapped")
    return "; ".join(told)


def _xids(device: str, xids: dict[str, float], killed: bool, findings: list[Finding]) -> float:
    hardware = 0.0
    for name, count in sorted(xids.items()):
        code = name.removeprefix("xid_")
        if not code.isdigit() or count <= 0:
            continue
        row = classify(int(code))
        own = killed and int(code) in OWN_KILL
        counts = row.kind == "hardware" and not own
        severity: Severity = "error" if counts else "info"
        tail = "; provoked by our own kill of a worker" if own else ""
        message = f"XID {code} came {count:g} times: {row.text}{tail}"
        findings.append(Finding("xid", severity, message, device=device, evidence={"xid": int(code), "count": count}))
        hardware += count if counts else 0.0
    return hardware
