"""Health counters of a run: what the driver's error counters did between its start and its end. Pure."""

from collections.abc import Sequence

from effbench.catalog.xids import OWN_KILL, classify
from effbench.model.event import Telemetry
from effbench.model.finding import Finding, Severity

STATES = ("row_remap_pending", "row_remap_failed", "device_lost")
GROWING = {"ecc_uncorrected": "ecc_uncorrected", "retired_pages": "retired_pages"}
RATES = {"ecc_corrected": "ecc_corrected_rate", "pcie_replay": "pcie_replay_rate"}


def health(readings: Sequence[Telemetry], wall_s: float, killed: bool, findings: list[Finding]) -> dict[str, float]:
    """Return the health figures of one device: states as they are at the end, errors as growth, corrected ones per s.

    `killed` says that a worker on the device was killed in this run. A counter that nobody could read is absent.
    """
    counted = [r for r in readings if r.counters]
    if not counted:
        return {}
    device = counted[0].device
    first = {name: value for reading in reversed(counted) for name, value in reading.counters.items()}
    last = {name: value for reading in counted for name, value in reading.counters.items()}
    figures = {name: max(r.counters.get(name, 0.0) for r in counted) for name in STATES if name in last}
    if set(counted[-1].counters) - {"device_lost", "bad_readings"}:
        figures.setdefault("device_lost", 0.0)  # it still answered at the end
    for name, key in GROWING.items():
        if name in first and name in last:
            figures[key] = max(0.0, last[name] - first[name])
    for name, key in RATES.items():
        if name in first and name in last and wall_s > 0:
            figures[key] = max(0.0, last[name] - first[name]) / wall_s
    baseline = counted[0].counters  # an XID's counter appears with its first event
    xids = {name: last[name] - baseline.get(name, 0.0) for name in last if name.startswith("xid_")}
    if xids:
        figures["xid_hardware"] = _xids(device, xids, killed, findings)
    return figures


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
