"""The scorecard in Prometheus' text exposition format, for a textfile collector: base units, no timestamps.

One family per metric pattern, named by its fixed segments and its unit; the segments that vary are the label
`variant`. Without `device` a sample is the node's aggregate, its worst device. A node that is not rated has its
verdict here and no grade: an alert looks at `effbench_verdict`.
"""

import re

import msgspec

from effbench.model.grade import EXIT_CODES, Grade
from effbench.model.record import Record
from effbench.model.scorecard import Metric, Scorecard
from effbench.report import format, words
from effbench.report.view import scrubbed

MEDIA_TYPE = "text/plain; version=0.0.4"
FILENAME: str | None = "metrics.prom"

# Unit as stored -> suffix of the family's name (prometheus.io/docs/practices/naming: base units, plural, spelled out).
SUFFIXES = {
    "s": "seconds",
    "byte": "bytes",
    "flop": "flops",
    "byte/s": "bytes_per_second",
    "flop/s": "flops_per_second",
    "W": "watts",
    "J": "joules",
    "Hz": "hertz",
    "degC": "celsius",
    "token/s": "tokens_per_second",
    "flop/J": "flops_per_joule",
    "J/token": "joules_per_token",
    "byte/J": "bytes_per_joule",
    "token/J": "tokens_per_joule",
    "J*s": "joule_seconds",
    "kg": "kilograms",
    "1/s": "per_second",
}
# Last segments that only name the unit: the suffix says it already.
UNIT_WORDS = ("flops", "bytes", "tokens_per_s", "flops_per_joule", "joules_per_token", "tokens_per_joule", "flop")


class Line(msgspec.Struct, frozen=True):
    """One sample of a family."""

    labels: dict[str, str]
    value: float


def escaped(text: str, quotes: bool = True) -> str:
    """Escape a label's value, or with `quotes=False` a HELP text."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def number(value: float) -> str:
    """Write a value so that reading it back gives the same float."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def family(key: str, pattern: str, unit: str) -> tuple[str, str]:
    """Return the family's name and the `variant` of one metric key."""
    segments, places = key.split("."), pattern.split(".")
    fits = len(segments) == len(places)
    fixed = [place for place in places if place != "*"] if fits else segments
    varies = [segment for segment, place in zip(segments, places, strict=False) if place == "*"] if fits else []
    suffix = "ratio" if unit == "1" and format.is_fraction(key) else SUFFIXES.get(unit, "")
    if fixed[-1] in UNIT_WORDS and suffix:
        fixed = fixed[:-1]
    name = "_".join(["effbench", *fixed])
    if suffix and not name.endswith(suffix) and not segments[-1].startswith(f"{suffix}_"):  # joules_per_step
        name = f"{name}_{suffix}"
    return re.sub(r"[^a-zA-Z0-9_]", "_", name), ".".join(varies)


def _labels(metric: Metric, varies: str) -> dict[str, str]:
    labels = {"key": metric.key, "variant": varies, "device": metric.device or "", "status": metric.status}
    if metric.device is None and metric.params.get("worst_device"):
        labels["worst_device"] = str(metric.params["worst_device"])
    return {name: value for name, value in labels.items() if value}


class Families:
    """Collects families in order of their names; the first help text of a family stays."""

    def __init__(self, common: dict[str, str]) -> None:
        self._common = common
        self._lines: dict[str, list[Line]] = {}
        self._help: dict[str, str] = {}

    def add(self, name: str, help_text: str, value: float, labels: dict[str, str] | None = None) -> None:
        """Add one sample."""
        self._help.setdefault(name, help_text)
        self._lines.setdefault(name, []).append(Line((labels or {}) | self._common, value))

    def text(self) -> str:
        """Write all families, each with its HELP and TYPE once, before its samples."""
        written = []
        for name in sorted(self._lines):
            written += [f"# HELP {name} {escaped(self._help[name], quotes=False)}", f"# TYPE {name} gauge"]
            for line in self._lines[name]:
                pairs = ",".join(f'{label}="{escaped(value)}"' for label, value in line.labels.items())
                written.append(f"{name}{f'{{{pairs}}}' if pairs else ''} {number(line.value)}")
        return "\n".join(written) + "\n"


def _metrics(families: Families, card: Scorecard) -> None:
    for metric in card.metrics:
        text = words.metric(metric.key)
        name, varies = family(metric.key, text.pattern, metric.quantity.unit)
        labels = _labels(metric, varies)
        said = text.meaning or text.title
        families.add(name, said, metric.quantity.value, labels)
        if metric.interval is not None:
            percent = format.percent(metric.interval.level, 2)
            families.add(f"{name}_low", f"Low end of the {percent} interval. {said}", metric.interval.low, labels)
            families.add(f"{name}_high", f"High end of the {percent} interval. {said}", metric.interval.high, labels)


def _chains(families: Families, card: Scorecard) -> None:
    """Add the links that are known; an unknown one has no sample, and the products after it are labelled bounds."""
    for chain in card.chains:
        bound = False
        for link in chain.links:
            labels = {"device": chain.device, "dtype": chain.dtype, "link": link.name}
            labels |= {"group": link.group, "basis": link.basis}
            bound = bound or link.basis == "unknown" or link.share is None
            if link.basis == "unknown" or link.share is None:
                continue
            said = "Share that one link of the full chain keeps of what reaches it."
            families.add("effbench_chain_share_ratio", said, link.share, labels)
            if link.product is not None:
                said = "Running product of the full chain; an upper bound where its label says so."
                known = {"upper_bound": "true" if bound else "false"}
                families.add("effbench_chain_product_ratio", said, link.product, labels | known)


def _economics(families: Families, card: Scorecard) -> None:
    """Add money and carbon as both ends of their ranges; an absent line has no sample."""
    seen: set[tuple[str, str]] = set()
    for line in card.economics.lines if card.economics else []:
        if line.value is None or line.basis == "unknown" or (line.key, line.scenario) in seen:
            continue
        seen.add((line.key, line.scenario))
        labels = {"key": line.key, "kind": line.kind, "unit": line.unit, "basis": line.basis}
        labels |= {"scenario": line.scenario} if line.scenario else {}
        for end, value in (("low", line.value.low), ("high", line.value.high)):
            said = f"Money or carbon by the site's own figures, {end} end of the range; the unit is a label."
            families.add(f"effbench_economics_{end}", said, value, labels)


def _judged(families: Families, grade: Grade) -> None:
    for verdict in EXIT_CODES:
        families.add(
            "effbench_verdict", "The verdict: 1 on the one that holds.", verdict == grade.verdict, {"verdict": verdict}
        )
    if grade.grade is not None:
        families.add("effbench_grade", "The overall grade: 1 on the one that holds.", 1, {"grade": grade.grade})
    for domain in grade.domains:
        labels = {"domain": domain.name, "outcome": domain.outcome} | ({"grade": domain.grade} if domain.grade else {})
        families.add("effbench_domain_outcome", "How a domain came out, in its labels.", 1, labels)
        ends = {"": domain.share, "_low": domain.share_low, "_high": domain.share_high}
        for end, share in ends.items():
            if share is not None:
                said = "Share of the reference that a domain reaches, with the ends of its interval."
                families.add(f"effbench_domain_share_ratio{end}", said, share, {"domain": domain.name})
    for gate in grade.gates:
        labels = {"metric": gate.metric, "outcome": gate.outcome}
        families.add("effbench_gate_passed", "Hard gates: 1 when passed.", gate.outcome == "pass", labels)


def render(card: Scorecard, grade: Grade | None, record: Record | None) -> bytes:
    """Write the exposition, UTF-8. A simulated scorecard says so in a comment and in a label of every sample."""
    card, grade = scrubbed(card), None if grade is None else scrubbed(grade)
    simulated = card.simulated or bool(record and record.simulated)
    families = Families({"simulated": "true"} if simulated else {})
    policy = {"policy": grade.policy.name, "policy_version": str(grade.policy.version)} if grade else {}
    run = {"node": card.node, "suite": card.suite, "subject": card.subject, "outcome": card.outcome} | policy
    families.add("effbench_run_info", "The run that these figures come from, in its labels.", 1, run)
    families.add("effbench_coverage_ratio", "Share of the planned trials that gave a usable figure.", card.coverage)
    families.add("effbench_simulated", "1 when no hardware was measured.", simulated)
    for severity in words.SEVERITIES:
        amount = sum(finding.severity == severity for finding in card.findings)
        families.add("effbench_findings", "Findings of the run, by severity.", amount, {"severity": severity})
    if grade is not None:
        _judged(families, grade)
    _metrics(families, card)
    _chains(families, card)
    _economics(families, card)
    top = f"# {words.SIMULATED}: {words.SIMULATED_TEXT}\n" if simulated else ""
    return (top + families.text()).encode()
