"""Which row of the catalogue a device is: by its exact driver name and facts that agree, or not at all."""

import re
from collections.abc import Iterator

from effbench.catalog.parts import Catalog, Row, catalog, digest
from effbench.catalog.quantities import parse
from effbench.model.finding import Finding, Severity
from effbench.model.inventory import Accelerator, CpuFacts, Part

__all__ = ["catalog", "digest", "match"]

# A virtual GPU names its profile: "NVIDIA H100-80C", "GRID A100D-80C", "NVIDIA A40-12Q", "NVIDIA H100XM-4-40C".
_VGPU = re.compile(r"^GRID |-\d+[ABCQ]$|[- ]vGPU\b", re.IGNORECASE)
_MIG = re.compile(r"\bMIG\b")
# Drivers report GiB-based totals minus what ECC and the driver keep: 80 GB parts say 85.5e9 byte, 16 GB ones with ECC
# on GDDR 15.8e9, 141 GB ones 150.8e9. So anything from 10 % below the marketed GB to 3 % above as many GiB agrees.
_LEAST, _MOST = 0.90, 2**30 / 1e9 * 1.03


def match(accelerator: Accelerator) -> tuple[Part | None, list[Finding]]:
    """Return the part that a device is, and what a reader must know about that.

    A GPU needs the exact driver name *and* no contradiction in units (SMs), compute capability and memory size; facts
    that a view does not have (NVML has no SM count, torch may be missing) are not held against it. A MIG slice or a
    virtual GPU is never a whole one. A CPU is matched by vendor, family, model and flags.

    Findings: `part-unknown`, `identity-mismatch`, `mig-enabled`, `vgpu` (part is None); `part-low-confidence`.
    """
    if accelerator.kind == "cpu":
        return _match_cpu(accelerator, catalog())
    return _match_gpu(accelerator, catalog())


def _match_gpu(accelerator: Accelerator, rows: Catalog) -> tuple[Part | None, list[Finding]]:
    name = " ".join(accelerator.name.split())
    if accelerator.mig or _MIG.search(name):
        return None, [_finding("mig-enabled", accelerator, f"{name} is split by MIG; a slice is not held to the whole")]
    if _VGPU.search(name):
        return None, [_finding("vgpu", accelerator, f"{name} is a virtual GPU; a share is not held to the whole")]
    named = [row for row in rows.mentioning(f'"{name}"') if name in row.names]
    if not named:
        text = f"no row of the catalogue has the driver name {name!r}, so its peaks are unknown"
        return None, [_finding("part-unknown", accelerator, text)]
    contradictions = {row.id: list(_contradictions(row, accelerator)) for row in named}
    agreeing = [row for row in named if not contradictions[row.id]]
    if not agreeing:
        told = "; ".join(f"{part_id}: {', '.join(texts)}" for part_id, texts in contradictions.items())
        return None, [_finding("identity-mismatch", accelerator, f"{name} is not what its name says: {told}")]
    if len(agreeing) > 1:
        text = f"the name {name!r} fits {' and '.join(row.id for row in agreeing)}, and nothing known here decides"
        return None, [_finding("part-unknown", accelerator, text)]
    return _known(agreeing[0], accelerator, rows)


def _contradictions(row: Row, accelerator: Accelerator) -> Iterator[str]:
    if row.units and accelerator.sm_count and row.units != accelerator.sm_count:
        yield f"the part has {row.units} units (SM, CU), the device {accelerator.sm_count}"
    seen, expected = accelerator.compute_capability, row.compute_capability
    if seen and expected and seen != expected:
        yield f"the part has compute capability {expected}, the device {seen}"
    if row.memory.size and accelerator.memory_bytes:
        size = parse(row.memory.size).value
        if not size * _LEAST <= accelerator.memory_bytes <= size * _MOST:
            yield f"the part has {size / 1e9:g} GB of memory, the device {accelerator.memory_bytes / 1e9:.1f} GB"


def _match_cpu(accelerator: Accelerator, rows: Catalog) -> tuple[Part | None, list[Finding]]:
    cpu = accelerator.cpu
    if cpu is None:
        text = "the operating system does not say what CPU this is"
        return None, [_finding("part-unknown", accelerator, text)]
    for row in rows.mentioning("kind: cpu\n"):
        if _fits(row, cpu):
            return _known(row, accelerator, rows)
    text = f"no row of the catalogue fits {cpu.vendor} family {cpu.family} model {cpu.model} ({cpu.model_name})"
    return None, [_finding("part-unknown", accelerator, text)]


def _fits(row: Row, cpu: CpuFacts) -> bool:
    rule = row.match
    if rule is None or not rule.automatic or cpu.isa != rule.isa or cpu.vendor not in rule.vendors:
        return False
    if rule.families and cpu.family not in rule.families:
        return False
    if rule.models and not any(low <= cpu.model <= high for low, high in rule.models):
        return False
    flags = set(cpu.flags)
    return flags.issuperset(rule.flags) and flags.isdisjoint(rule.flags_absent)


def _known(row: Row, accelerator: Accelerator, rows: Catalog) -> tuple[Part | None, list[Finding]]:
    part = rows.part(row.id)
    if row.confidence != "low":
        return part, []
    text = f"the row {row.id} rests on weak evidence ({row.evidence}: {row.source}); its peaks are shown, not graded"
    return part, [_finding("part-low-confidence", accelerator, text)]


def _finding(code: str, accelerator: Accelerator, message: str) -> Finding:
    evidence: dict[str, str | int | float | bool] = {"name": accelerator.name, "memory_bytes": accelerator.memory_bytes}
    if accelerator.sm_count is not None:
        evidence["sm_count"] = accelerator.sm_count
    if accelerator.compute_capability:
        evidence["compute_capability"] = accelerator.compute_capability
    severity: Severity = "error" if code == "identity-mismatch" else "warning"
    return Finding(code, severity, message, device=accelerator.key, evidence=evidence)
