"""Health counters of a run: what the driver's error counters did between its start and its end. Pure."""

from collections.abc import Sequence

from effbench.catalog.xids import classify
from effbench.model.event import Telemetry
from effbench.model.finding import Finding, Severity

# INTERFACES section 8: XIDs that our own kill of a worker provokes are findings, never a gate.
OWN_KILL_XIDS = (13, 31, 43, 45)
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
    device, first, last = counted[0].device, counted[0].counters, counted[-1].counters
    figures = {name: max(r.counters.get(name, 0.0) for r in counted) for name in STATES if name in last}
    for name, key in GROWING.items():
        if name in first and name in last:
            figures[key] = max(0.0, last[name] - first[name])
    for name, key in RATES.items():
        if name in first and name in last and wall_s > 0:
            figures[key] = max(0.0, last[name] - first[name]) / wall_s
    xids = {name: last[name] - first.get(name, 0.0) for name in last if name.startswith("xid_")}
    if "xid_watch" in xids or any(name.startswith("xid_") for name in last):
        figures["xid_hardware"] = _xids(device, xids, killed, findings)
    return figures


def _xids(device: str, xids: dict[str, float], killed: bool, findings: list[Finding]) -> float:
    hardware = 0.0
    for name, count in sorted(xids.items()):
        code = name.removeprefix("xid_")
        if not code.isdigit() or count <= 0:
            continue
        row = classify(int(code))
        own = killed and int(code) in OWN_KILL_XIDS
        kind = row.kind if row is not None else "hardware"
        severity: Severity = "error" if kind == "hardware" and not own else "info"
        meaning = row.title if row is not None else "not in the catalogue, taken for a hardware error"
        tail = "; provoked by our own kill of a worker" if own else ""
        message = f"XID {code} came {count:g} times: {meaning}{tail}"
        findings.append(Finding("xid", severity, message, device=device, evidence={"xid": int(code), "count": count}))
        hardware += count if kind == "hardware" and not own else 0.0
    return hardware
