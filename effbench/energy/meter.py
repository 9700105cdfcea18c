"""The log of a wall meter or PDU as a user supplies it: read, checked to the last line, and given a sensor card.

A CSV file (comma, semicolon or tab) with a header row, one time column (ISO 8601 with its offset, or seconds since
1970) and one power column that names its unit. Lines `# key: value` may give `uncertainty`, `skew`, `window`,
`resolution` and `serial`; the last two are for people. Joining the log to a run is `effbench.energy.meter_clock`'s.
"""

import hashlib
import itertools
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from effbench.energy.meter_rows import Point, Rows
from effbench.model.energy import Sensor
from effbench.model.error import CatalogError
from effbench.model.finding import Finding

__all__ = ["GAP_STEPS", "NODE", "READING", "Gap", "Meter", "Point", "read_log"]

NODE, READING = "node", "node_power_w"
MAX_BYTES = 32 << 20  # ten days at one reading a second
MAX_PROBLEMS = 20
GAP_STEPS = 3.0
# MLPerf's power rules allow 800 ms between the meter's clock and the node's (inference_policies, check.py).
SKEW_LIMIT_S = 0.8
LEAST_POINTS = 3

_PERCENT = re.compile(r"(?:\+/?-|±)?\s*(\d+\.?\d*|\.\d+)\s*%")
_SECONDS = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))\s*(ms|s)")


class Gap(msgspec.Struct, frozen=True):
    """A span without a reading, longer than three usual steps, and the line that ends it."""

    start_ns: int
    end_ns: int
    line: int


class Meter(msgspec.Struct, frozen=True):
    """A log that was read whole. `skew_s` is how far the meter's clock is ahead of the node's, where it was given."""

    path: str
    sensor: Sensor
    points: list[Point]
    gaps: list[Gap]
    findings: list[Finding]
    skew_s: float | None = None


def read_log(path: Path, uncertainty: str | None = None) -> Meter:
    """Read the log at `path`. `uncertainty` (`"1 %"`) overrides what the log says of itself.

    Raises:
        CatalogError: with every mistake as `file:line:column: text`: no such file, too large, empty, columns or units
            that are missing or wrong, numbers that are none or negative, local times without an offset, times that
            repeat or go back, no uncertainty, a clock that is given as more than 0.8 s off.
    """
    data = _bytes(path)
    log = Rows(str(path), data.decode("utf-8-sig", "replace").splitlines())
    log.read()
    if uncertainty is not None:
        log.facts["uncertainty"] = (0, uncertainty)
    given = _given(log)
    if not log.problems and len(log.points) < LEAST_POINTS:
        log.tell(
            max(1, len(log.lines)), 0, f"{len(log.points)} readings above zero; at least {LEAST_POINTS} are needed"
        )
    if log.problems:
        more = len(log.problems) - MAX_PROBLEMS
        rest = [f"{path}: and {more} mistakes more"] if more > 0 else []
        raise CatalogError([*log.problems[:MAX_PROBLEMS], *rest])
    step_s = statistics.median(_steps_s(log.points))
    gaps = _gaps(log.points, step_s)
    card = _card(given, step_s, hashlib.sha256(data).hexdigest())
    return Meter(str(path), card, log.points, gaps, _findings(gaps, step_s, log.zeros), given.get("skew"))


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CatalogError([f"{path}:1:1: larger than 32 MiB; cut the log to the time of the run"])
        return path.read_bytes()
    except FileNotFoundError:
        raise CatalogError([f"{path}:1:1: there is no such file"]) from None
    except OSError as error:
        raise CatalogError([f"{path}:1:1: cannot be read: {error.strerror or error}"]) from None


def _given(log: Rows) -> dict[str, float]:
    """Read the facts that the comments or the command line give; mistakes go to the log's problems."""
    given: dict[str, float] = {}
    line, text = log.facts.get("uncertainty", (0, ""))
    found = _PERCENT.fullmatch(text)
    if not text:
        log.tell(
            1, 1, 'no uncertainty: add a line `# uncertainty: 1 %` from the meter\'s sheet, or --uncertainty "1 %"'
        )
    elif found is None or not 0 < float(found[1]) <= 50:
        log.tell(line or 1, 1, f"uncertainty {text!r} is no share above 0 % and up to 50 %, such as `1 %`")
    else:
        given["uncertainty"] = float(found[1]) / 100
    for name in ("skew", "window"):
        if name not in log.facts:
            continue
        line, text = log.facts[name]
        spelt = _SECONDS.fullmatch(text)
        if spelt is None:
            log.tell(line, 1, f"{name} {text!r} is no time, such as `0.2 s` or `50 ms`")
            continue
        given[name] = float(spelt[1]) * (1e-3 if spelt[2] == "ms" else 1.0)
    if abs(given.get("skew", 0.0)) > SKEW_LIMIT_S:
        told = f"the meter's clock is {given['skew']:g} s off, beyond {SKEW_LIMIT_S:g} s"
        log.tell(log.facts["skew"][0], 1, f"{told}; set it by NTP and measure again")
    if given.get("window", 1.0) <= 0:
        log.tell(log.facts["window"][0], 1, "the averaging window must be longer than nothing")
    return given


def _steps_s(points: Sequence[Point]) -> list[float]:
    return [(later.utc_ns - earlier.utc_ns) * 1e-9 for earlier, later in itertools.pairwise(points)]


def _gaps(points: Sequence[Point], step_s: float) -> list[Gap]:
    pairs = itertools.pairwise(points)
    return [Gap(a.utc_ns, b.utc_ns, b.line) for a, b in pairs if (b.utc_ns - a.utc_ns) * 1e-9 > GAP_STEPS * step_s]


def _findings(gaps: Sequence[Gap], step_s: float, zeros: int) -> list[Finding]:
    """Name each gap (the first five) and the readings of 0 W, which are no readings."""
    findings = []
    for gap in gaps[:5]:
        seconds = (gap.end_ns - gap.start_ns) * 1e-9
        text = f"line {gap.line} of the meter's log: no reading for {seconds:.1f} s, usually one every {step_s:.3g} s"
        evidence: dict[str, str | int | float | bool] = {"line": gap.line, "seconds": round(seconds, 3)}
        findings.append(Finding("meter-gap", "warning", text, device=NODE, evidence=evidence))
    if zeros:
        text = f"{zeros} readings of 0 W in the meter's log were left out: a node that runs takes power"
        findings.append(Finding("meter-gap", "warning", text, device=NODE, evidence={"zeros": zeros}))
    return findings


def _card(given: dict[str, float], step_s: float, sha256: str) -> Sensor:
    """Make the card. The log is named by its digest: a file name may tell who measured where."""
    window_s = given.get("window")
    return Sensor(
        key=f"{NODE}.meter",
        device=NODE,
        kind="meter",
        scope="node",
        unit="W",
        reading=READING,
        source=f"wall meter's log, sha256 {sha256[:16]}",
        window_s=window_s,
        update_s=step_s,
        coverage=None if window_s is None else min(1.0, window_s / step_s),
        basis="given",
        basis_source="the log's own step between readings" + ("" if window_s is None else ", window as it says"),
        uncertainty=given["uncertainty"],
        uncertainty_source="given with the log",
    )
