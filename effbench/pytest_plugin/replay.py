"""A trial's recorded samples into pytest-benchmark's results, with the figures that effbench made of them beside."""

import importlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from effbench.model.event import Closed, Opened, Sample
from effbench.model.plan import Trial
from effbench.model.record import Measurement
from effbench.model.scorecard import Metric
from effbench.qualification import Result
from effbench.run import journal
from effbench.store import documents

# Stored unit -> the unit in `extra_info` and what a value is divided by.
SHOWN = {"flop/s": ("TFLOP/s", 1e12), "byte/s": ("GB/s", 1e9), "token/s": ("token/s", 1.0)}


def samples_of(folder: Path) -> dict[str, list[Sample]]:
    """Return the accepted samples of each trial in the journal, from rounds that ended well.

    Raises:
        DocumentError: the journal cannot be read.
    """
    found: dict[str, list[Sample]] = defaultdict(list)
    waiting: list[Sample] = []
    for event in journal.read(folder / documents.JOURNAL).events:
        if isinstance(event, Opened):
            waiting = []
        elif isinstance(event, Sample):
            waiting.append(event)
        elif isinstance(event, Closed):
            if event.status == "done":
                found[event.trial] += [sample for sample in waiting if sample.accepted]
            waiting = []
    return dict(found)


def active(config: pytest.Config) -> bool:
    """Say whether pytest-benchmark is there and takes results."""
    session = getattr(config, "_benchmarksession", None)
    return session is not None and not session.skip and not session.disabled


def replay(item: Any, samples: Sequence[Sample], extra: dict[str, Any]) -> None:
    """Give the samples to pytest-benchmark as rounds of `item`, each the seconds of one repetition.

    The `benchmark` fixture is made as pytest-benchmark itself makes it, but with a timer that plays back what was
    recorded; `pedantic` then calls that timer twice a round. Without samples there is no result.
    """
    if not samples or not active(item.config):
        return
    fixture_of: Any = importlib.import_module("pytest_benchmark.fixture").BenchmarkFixture
    named: Any = importlib.import_module("pytest_benchmark.utils").NameWrapper
    session = item.config._benchmarksession
    times = _clock([sample.device_s / sample.inner_steps for sample in samples])

    def recorded() -> float:
        return next(times)

    options = {**session.options, "timer": named(recorded), "cprofile": False, "disable_gc": False}
    fixture = fixture_of(
        item,
        add_stats=session.benchmarks.append,
        logger=session.logger,
        warner=item.warn,
        disabled=session.disabled,
        group=item.trial.workload,
        **options,
    )
    fixture.extra_info.update(extra)
    item.funcargs["benchmark"] = fixture
    fixture.pedantic(lambda: None, rounds=len(samples), iterations=1)


def _clock(times: Sequence[float]) -> Iterator[float]:
    """The readings of a clock before and after each of `times`, s; every difference is exact."""
    for seconds in times:
        yield 0.0
        yield seconds


def extra_info(result: Result, trial: Trial) -> dict[str, Any]:
    """Return what effbench made of a trial: speed, fractions, watts, each only where there is one.

    Figures under `metrics` are in stored units; `W` is energy over its window by its sensor, `W (telemetry)` the mean
    of readings, which is no energy measurement. Two results may be compared where `trial_key` is the same.
    """
    found = next(m for m in result.record.measurements if m.trial == trial.id)
    info: dict[str, Any] = {
        "trial": trial.id,
        "trial_key": trial.trial_key,
        "device": found.device,
        "status": found.status,
        "verdict": result.verdict.verdict,
    }
    if result.card.simulated:
        info["simulated"] = True
    if found.interval is not None:
        info["interval_s"] = [found.interval.low, found.interval.high]
    keys = {output.key for output in trial.outputs}
    metrics = [m for m in result.card.metrics if trial.id in m.evidence and m.device in (found.device, None)]
    # A figure of the device itself, where there is one, before the node's, which is that of its worst device.
    own = {m.key: m for m in sorted(metrics, key=lambda m: m.device is not None) if _belongs(m, keys)}
    for metric in own.values():
        info = {**_named(metric), **info}
    info.update(_watts(found))
    info["metrics"] = {key: _figure(m) for key, m in own.items()}
    return info


def _belongs(metric: Metric, keys: set[str]) -> bool:
    """Whether the metric is one of the trial's outputs, or a fraction of one: not the headline of several trials."""
    stem, _, last = metric.key.rpartition(".")
    return metric.key in keys or (last.startswith("fraction_") and any(k.rpartition(".")[0] == stem for k in keys))


def _named(metric: Metric) -> dict[str, float]:
    """The metric under the short name that a person looks for."""
    last = metric.key.rpartition(".")[2]
    if last.startswith("fraction_") or last in ("mfu", "hfu"):
        return {last: metric.quantity.value}
    if str(metric.quantity.unit) in SHOWN:
        unit, divisor = SHOWN[str(metric.quantity.unit)]
        return {unit: metric.quantity.value / divisor}
    return {}


def _watts(found: Measurement) -> dict[str, float]:
    watts = {}
    if found.energy is not None and found.energy.status in ("valid", "suspect") and found.energy.power is not None:
        watts["W"] = found.energy.power.value
    if found.power_w is not None:
        watts["W (telemetry)"] = found.power_w.mean
    return watts


def _figure(metric: Metric) -> dict[str, Any]:
    figure: dict[str, Any] = {"value": metric.quantity.value, "unit": str(metric.quantity.unit)}
    if metric.interval is not None:
        figure |= {"low": metric.interval.low, "high": metric.interval.high}
    return figure
