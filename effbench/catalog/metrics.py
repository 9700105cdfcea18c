"""What each metric key means: unit, direction, domain, and words for people. The rows are in metrics.yaml."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from effbench.catalog.yaml import rows as load_rows
from effbench.model.unit import Unit

__all__ = ["BASELINE_SUFFIX", "DOMAINS", "REFERENCE_SUFFIX", "MetricRow", "lookup", "metrics"]

REFERENCE_SUFFIX, BASELINE_SUFFIX = ".fraction_of_reference", ".fraction_of_baseline"

# INTERFACES section 4, in the order in which reports show them.
Domain = Literal[
    "compute",
    "memory",
    "train",
    "infer",
    "host",
    "link",
    "scale",
    "storage",
    "power",
    "health",
    "quality",
]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

_FILE = Path(__file__).with_name("metrics.yaml")
_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_WORDS: dict[str, str] = {
    "fwd": "forward",
    "fwd_bwd": "forward and backward",
    "h2d": "host to device",
    "d2h": "device to host",
    "duplex": "both directions at once",
    "async": "queued only",
    "sync": "queued and awaited",
    "graph": "replayed from a graph",
    "no_fast_accum": "without fast accumulation",
    "weak": "Weak",
    "strong": "Strong",
    "train_step": "training step",
}
# A letter and a number is a parameter (b8, d128, n2, q32, w4, numa0); three of them a shape (m2048n2048k2048).
_SHAPE = re.compile(r"m(\d+)n(\d+)k(\d+)")
_PARAMETER = re.compile(r"(numa|[bdnqw])(\d+)")
_PARAMETER_WORDS = {
    "b": "batch {}",
    "d": "head size {}",
    "n": "{} ranks",
    "q": "{} in flight",
    "w": "{} workers",
    "numa": "node {}",
}


class MetricRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row. `when_low` says what to do when the figure is bad (for `better: lower` that is a high one)."""

    pattern: str
    unit: Unit
    better: Literal["higher", "lower"]
    domain: Domain
    title: str
    meaning: str
    when_low: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["effbench.metrics/1"]
    rows: list[MetricRow]


@functools.cache
def metrics() -> tuple[MetricRow, ...]:
    """Return every row as written, in the order of the file; titles keep their {1} {2} places."""
    return tuple(msgspec.convert(load_rows(_FILE), _File).rows)


@functools.lru_cache(maxsize=4096)
def lookup(key: str) -> MetricRow | None:
    """Return the most specific row for a metric key, its title filled with the key's own words; None if there is none.

    A pattern matches when every segment is equal or `*`. Of several, the one with the most equal segments wins, and
    among those the one whose first difference is the more literal. What has a share of a reference has a share of a
    baseline too, and its row is made from that one: a share without an absolute one beside it does not exist.
    """
    if not _KEY.fullmatch(key):
        return None
    if key.endswith(BASELINE_SUFFIX):
        beside = lookup(key.removesuffix(BASELINE_SUFFIX) + REFERENCE_SUFFIX)
        return None if beside is None else _of_baseline(beside)
    segments = key.split(".")
    fitting = [row for row in _by_shape().get((len(segments), segments[0]), ()) if _fits(row.pattern, segments)]
    if not fitting:
        return None
    best = min(fitting, key=_looseness)
    stars = [s for s, p in zip(segments, best.pattern.split("."), strict=True) if p == "*"]
    return msgspec.structs.replace(best, title=best.title.format("", *map(_words, stars)))


def _of_baseline(row: MetricRow) -> MetricRow:
    """The row of a share of a baseline, from that of the share of the reference."""
    return msgspec.structs.replace(
        row,
        pattern=row.pattern.removesuffix(REFERENCE_SUFFIX) + BASELINE_SUFFIX,
        title=f"{row.title.rpartition(', of ')[0] or row.title}, of the baseline",
        meaning="Share of the median of the runs that the baseline was made of, same work and same procedure. What all "
        "of them lack it cannot show; the share of the reference beside it can.",
        when_low="It did better in the runs of the baseline. Look at what changed since: driver, firmware, clocks, "
        "cooling, library versions, neighbours.",
    )


@functools.cache
def _by_shape() -> dict[tuple[int, str], list[MetricRow]]:
    """Rows by number of segments and domain, so that a lookup compares a handful."""
    found: dict[tuple[int, str], list[MetricRow]] = {}
    for row in metrics():
        segments = row.pattern.split(".")
        found.setdefault((len(segments), segments[0]), []).append(row)
    return found


def _fits(pattern: str, segments: Sequence[str]) -> bool:
    return all(p in ("*", s) for p, s in zip(pattern.split("."), segments, strict=True))


def _looseness(row: MetricRow) -> tuple[int, tuple[bool, ...]]:
    stars = tuple(p == "*" for p in row.pattern.split("."))
    return sum(stars), stars


def _words(segment: str) -> str:
    """Turn a key segment into words: `b8` is batch 8, `m2048n2048k2048` is 2048 x 2048 x 2048."""
    if segment in _WORDS:
        return _WORDS[segment]
    if shape := _SHAPE.fullmatch(segment):
        return " × ".join(shape.groups())
    if parameter := _PARAMETER.fullmatch(segment):
        words = _PARAMETER_WORDS[parameter[1]].format(parameter[2])
        return words.removesuffix("s") if parameter[2] == "1" else words
    return segment.replace("_", " ")
