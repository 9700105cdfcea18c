"""The words for a metric, a domain, a verdict or a finding code; longer texts live in the catalog."""

import msgspec

from effbench.catalog import findings, metrics
from effbench.report.format import clean

# (word, sign, tone). A tone names a colour of the style sheet and of the terminal; a sign goes where colour cannot.
OUTCOMES: dict[str, tuple[str, str, str]] = {
    "pass": ("pass", "✓", "good"),
    "fail": ("fail", "✗", "bad"),
    "not_rated": ("not rated", "–", "none"),
    "undecided": ("undecided", "?", "open"),
}
STATUSES: dict[str, tuple[str, str, str]] = {
    "valid": ("valid", "✓", "good"),
    "suspect": ("suspect", "!", "open"),
    "invalid": ("invalid", "–", "open"),
    "failed": ("failed", "✗", "bad"),
    "skipped": ("not applicable", "·", "none"),
}
SEVERITIES: dict[str, tuple[str, str, str]] = {
    "error": ("Errors", "✗", "bad"),
    "warning": ("Warnings", "!", "open"),
    "info": ("Notes", "i", "none"),
}
# How a figure came about, to its tone: of links, boundaries, money, and of a sensor's own facts.
BASES = {"measured": "good", "published": "good", "given": "fair", "assumed": "open", "unknown": "none"}
ENERGIES: dict[str, tuple[str, str, str]] = {
    "valid": ("valid", "✓", "good"),
    "suspect": ("suspect", "!", "open"),
    "invalid": ("invalid", "✗", "bad"),
    "absent": ("absent", "–", "none"),
}
# Trust grade of an energy figure -> (what it means, tone).
TRUSTS: dict[str, tuple[str, str]] = {
    "A": ("metered at the wall and reconciled with the board's own sensors", "best"),
    "B": ("the device's energy counter, reconciled with its power readings", "good"),
    "C": ("a single sensor that nothing else confirms", "open"),
    "D": ("estimated: no sensor read it; effbench itself never makes such a figure", "bad"),
}
GRADE_TONES = {"S": "best", "A": "good", "B": "fair", "C": "open", "F": "bad"}
DOMAINS = {
    "compute": "Compute",
    "memory": "Memory",
    "train": "Training",
    "infer": "Inference",
    "host": "Host link",
    "link": "Device links",
    "scale": "Scaling",
    "storage": "Storage",
    "power": "Power",
    "health": "Health",
    "quality": "Own accuracy",
}
SIMULATED = "SIMULATED"
SIMULATED_TEXT = (
    "No hardware was measured. Every figure here comes from a simulated device and says nothing of a real one."
)
OUTCOME_NOTES = {
    "interrupted": "The run was interrupted. What was measured until then is kept and shown; the rest is missing.",
    "budget": "The time budget ran out. What was measured until then is shown; the rest is missing.",
    "abandoned": "A driver stopped answering and the run was abandoned. What was measured until then is shown.",
    "truncated": "The journal of this run was cut off. Everything that is whole was salvaged; the rest is missing.",
}


class MetricWords(msgspec.Struct, frozen=True):
    """The texts of one metric: a title, what it means, what to do when it is bad, which direction is better."""

    title: str
    meaning: str
    when_low: str
    pattern: str
    better: str = "higher"


class FindingWords(msgspec.Struct, frozen=True):
    """The texts of one finding code: a title, what it is, why it matters, what to do."""

    title: str
    what: str
    why: str
    do: str


def metric(key: str) -> MetricWords:
    """Look up the texts of a metric; a key without a row is shown as it is."""
    row = metrics.lookup(key)
    if row is None:
        lower = key.startswith("health.") or key.endswith((".latency", ".time"))
        return MetricWords(clean(key), "", "", key, "lower" if lower else "higher")
    return MetricWords(clean(row.title), row.meaning, row.when_low, row.pattern, row.better)


def finding(code: str) -> FindingWords:
    """Look up the texts of a finding code; a code without a row is shown as it is."""
    if code not in findings.codes():
        return FindingWords(clean(code), "", "", "")
    row = findings.explain(code)
    return FindingWords(row.title, row.what, row.why, row.do)


def domain(name: str) -> str:
    """Write a domain's name for people."""
    return DOMAINS.get(name, name)


def grade_tone(grade: str | None) -> str:
    """Name the tone of a grade letter."""
    return GRADE_TONES.get(grade or "", "none")
