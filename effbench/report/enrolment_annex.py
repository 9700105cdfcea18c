"""The annexes of the enrolment report that need no verdict: devices, software, and names in other standards."""

from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.report import enrolment_claim, format
from effbench.report.language import Messages

__all__ = ["devices", "software", "terms"]

# Only where both mean the same quantity; a throughput or a tail of latency depends on the other benchmark's scenario.
TERMS = (
    ("infer.prefill.", ".time_to_first_token", "time to first token (TTFT)", "MLPerf Inference"),
    ("quality.to_quality.", ".time", "time to train", "MLPerf Training"),
)


def terms(card: Scorecard, m: Messages) -> list[tuple[str, str, str]]:
    """Return the figures that another standard has a name of its own for."""
    return [
        (enrolment_claim.title(metric.key, m), term, standard)
        for metric in card.metrics
        for begin, end, term, standard in TERMS
        if metric.device is None and metric.key.startswith(begin) and metric.key.endswith(end)
    ]


def devices(record: Record | None) -> list[list[str]]:
    """Return a row for each device: key, part, units, memory, link, identity."""
    if record is None:
        return []
    rows = []
    for a in record.inventory_before.accelerators:
        units = a.sm_count if a.cpu is None else f"{a.cpu.cores_usable:g}"
        link = f"{a.pcie.generation or '?'}.0 x{a.pcie.width or '?'}" if a.pcie else "–"
        memory = format.quantity(float(a.memory_bytes), "byte")
        named = [a.key, a.part.title if a.part else a.name, str(units or "–"), memory, link, a.uuid or "–"]
        rows.append([format.clean(text) for text in named])
    return rows


def software(record: Record | None, m: Messages) -> list[tuple[str, str]]:
    """Return what drove the devices, name and version; what is not known is left out."""
    if record is None:
        return []
    seen = record.inventory_before
    named = [(m.text["driver"], seen.driver), ("VBIOS", ", ".join(sorted({a.vbios for a in seen.accelerators} - {""})))]
    named += [
        ("BIOS / UEFI", seen.firmware),
        ("OS", seen.os),
        ("Linux", seen.kernel),
        ("Python", seen.python),
        ("torch", seen.torch),
    ]
    named += [("CUDA", seen.cuda), ("effbench", record.tool.version)]
    return [(name, format.clean(text)) for name, text in named if text]
