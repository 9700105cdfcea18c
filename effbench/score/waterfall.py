"""The efficiency waterfall of one device: rated peak, peak at the held clock, best GEMM, training step, N devices."""

from collections.abc import Mapping, Sequence

import msgspec

from effbench.model.plan import Trial
from effbench.model.record import USABLE, Measurement
from effbench.model.scaling import Curve
from effbench.model.scorecard import Metric, Stage, Waterfall
from effbench.score import ceilings
from effbench.score.ceilings import Absent
from effbench.score.derive import Derived, Source

# Names of the clock-event reasons that mean heat or hardware, as `device.nvml_reasons` writes them into a record.
HARD = frozenset({"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})
CAPPED = "sw_power_cap"
PEAK_HELD = "Peak at the held clock"
PREFERENCE = ("bf16", "fp16", "tf32", "fp32", "fp64")


def waterfall(derived: Sequence[Derived], device: str) -> Waterfall | None:
    """Build the waterfall of `device` from its metrics; None when it measured no GEMM. Values in flop/s."""
    mine = [d for d in derived if d.source.accelerator.key == device and not d.source.trial.emulated]
    train = next((d for d in mine if d.metric.key == "train.step.mfu"), None)
    gemms = {
        d.output.peak: d
        for d in sorted(mine, key=lambda d: d.metric.quantity.value)
        if d.output.of == "flop" and d.output.peak and d.metric.key.startswith("compute.gemm.") and d.output.headline
    }
    dtype = train.output.peak if train and train.output.peak in gemms else None
    dtype = dtype or next((name for name in PREFERENCE if name in gemms), None)
    if dtype is None:
        return None
    best = gemms[dtype]
    stages = _peaks(best.source, dtype)
    stages.append(_gemm(best, stages))
    stages.append(_training(train, mine, best.metric.quantity.value))
    first = next((s.value for s in stages if s.value is not None), None)
    return Waterfall(device, dtype, [_shared(stage, first) for stage in stages])


def many_devices(fall: Waterfall, metrics: Sequence[Metric]) -> Waterfall:
    """Add the bar "N devices": what each of the most devices measured together keeps of the training step alone.

    `metrics` are those of teams (`scale.*.scaling_efficiency`); weak scaling counts first, because there one device
    does the same work at every count, and of several strategies the best, as a user would choose. Without any the
    waterfall stays as it is.
    """
    found = [m for m in metrics if m.key.endswith(".scaling_efficiency") and m.status in USABLE]
    found = [m for m in found if m.key.startswith("scale.weak.")] or found
    last = fall.stages[-1]
    if not found or last.value is None:
        return fall
    most = max(int(m.params["ranks"]) for m in found)
    best = max((m for m in found if m.params["ranks"] == most), key=lambda m: m.quantity.value)
    share, strategy = best.quantity.value, best.key.split(".")[3]
    text = (
        f"Of {most} together ({best.key.split('.')[1]} scaling, {strategy}) each keeps {share:.1%} of what one does "
        f"with {best.params['base']}: {_rest(share)}."
    )
    value = last.value * share
    before = last.share * share if last.share is not None else None
    stage = Stage("n_devices", _many(most, fall.device), text, value, before, best.key)
    return msgspec.structs.replace(fall, stages=[*fall.stages, stage])


def _many(ranks: int, device: str) -> str:
    """On a CPU a rank is a share of its cores and no device of its own."""
    return f"{ranks} {'ranks' if device == 'cpu' else 'devices'}"


def _rest(share: float) -> str:
    if share > 1:
        return "more than alone, so that the measurement of the one alone is to be suspected first"
    return "the rest is communication that is not hidden, and waiting for the slowest"


def of_teams(curves: Sequence[Curve], trials: Mapping[str, Trial]) -> Waterfall | None:
    """Build the waterfall of one rank from its scaling curve alone, for a run without a GEMM: peak, one rank, many.

    The weak curve from one rank of the first strategy that is held against a peak; None without such a curve. Values
    are flop/s of one rank, which on a CPU is the share of the cores that it was given.
    """
    for curve in curves:
        first, last = curve.points[0], curve.points[-1]
        trial = trials.get(first.trial)
        if (
            curve.scaling != "weak"
            or first.ranks != 1
            or first.of_peak is None
            or last.of_peak is None
            or trial is None
        ):
            continue
        value = trial.work.flop / first.time.value
        peak, kept = value / first.of_peak.value, last.of_peak.value / first.of_peak.value
        name, title = ("rated_peak", "Rated peak") if first.peak == "rated" else ("held_clock_peak", PEAK_HELD)
        ranks = "device" if first.peak == "rated" else "rank's cores"
        model = trial.params.get("config", "the model")
        stages = [
            Stage(name, title, f"What one {ranks} can do.", peak, 1.0),
            Stage(
                "train_step",
                "Training step",
                f"One rank alone, {curve.strategy}, {model}: it keeps {first.of_peak.value:.1%} of that.",
                value,
                first.of_peak.value,
            ),
            Stage(
                "n_devices",
                _many(last.ranks, trial.placement.devices[0]),
                f"Of {last.ranks} together each keeps {kept:.1%} of what one does alone: {_rest(kept)}.",
                peak * last.of_peak.value,
                last.of_peak.value,
                f"scale.weak.train_step.{curve.strategy}.n{last.ranks}.scaling_efficiency",
            ),
        ]
        return Waterfall(trial.placement.devices[0], str(trial.params.get("dtype", "")), stages)
    return None


def _shared(stage: Stage, first: float | None) -> Stage:
    share = stage.value / first if stage.value is not None and first else None
    return Stage(stage.name, stage.title, stage.explanation, stage.value, share, stage.metric)


def _peaks(source: Source, dtype: str) -> list[Stage]:
    stages = []
    rated = ceilings.rated(source.accelerator, dtype)
    if source.accelerator.kind == "gpu":
        if isinstance(rated, Absent):
            stages.append(Stage("rated_peak", "Rated peak", f"Absent: {rated.why}."))
        else:
            text = f"What the vendor sells: dense {dtype}, {rated.confidence} confidence."
            stages.append(Stage("rated_peak", "Rated peak", text, rated.value))
    held = ceilings.held(source.accelerator, source.measurement, dtype)
    if isinstance(held, Absent):
        stages.append(Stage("held_clock_peak", PEAK_HELD, f"Absent: {held.why}."))
    else:
        before = None if isinstance(rated, Absent) else rated.value
        text = _clock_sentence(source, held.value, before)
        stages.append(Stage("held_clock_peak", PEAK_HELD, text, held.value))
    return stages


def _clock_sentence(source: Source, held: float, rated: float | None) -> str:
    clock = source.measurement.clock_hz
    at = f"{clock.p50 / 1e9:.2f} GHz" if clock else "the clock"
    if source.accelerator.kind == "cpu":
        cores = source.accelerator.cpu.cores_usable if source.accelerator.cpu else 0
        return f"What {cores:g} cores can do at the {at} they held; a CPU has no other peak."
    if rated is None:
        return f"What the units can do at the {at} they held."
    change = held / rated - 1
    if change >= 0:
        return f"The clock held {at}, {change:.1%} above the one behind the rated peak."
    return f"The clock held {at}, {-change:.1%} below the one behind the rated peak: {_held_down(source.measurement)}."


def _held_down(measurement: Measurement) -> str:
    reasons = set(measurement.throttle_reasons)
    if reasons & HARD:
        return "held down by heat or hardware (" + ", ".join(sorted(reasons)) + ")"
    if CAPPED in reasons:
        return "held down by its power cap, which is normal for dense GEMM on recent parts"
    return "the driver gave no reason"


def _gemm(best: Derived, stages: Sequence[Stage]) -> Stage:
    value = best.metric.quantity.value
    above = stages[-1].value
    shape = "x".join(str(best.metric.params[name]) for name in ("m", "n", "k") if name in best.metric.params)
    library = best.source.measurement.texts.get("isa") or best.source.measurement.texts.get("library") or ""
    ran = f" ({library})" if library else ""
    if above:
        text = f"The best fixed GEMM, {shape}{ran}, keeps {value / above:.1%} of that: the rest is the kernel library."
    else:
        text = f"The best fixed GEMM, {shape}{ran}; the peak at the held clock is unknown."
    return Stage("best_gemm", "Best GEMM", text, value, metric=best.metric.key)


def _training(train: Derived | None, mine: Sequence[Derived], gemm: float) -> Stage:
    title = "Training step"
    if train is None or train.source.measurement.step_s is None:
        step = next((d for d in mine if d.metric.key == "train.step.tokens_per_s"), None)
        if step is None:
            return Stage("train_step", title, "Absent: the training step gave no valid figure.")
        train = step
    assert train.source.measurement.step_s is not None
    value = train.source.trial.work.flop / train.source.measurement.step_s.value
    model = train.source.trial.params.get("config", "the model")
    text = (
        f"A whole training step of {model} keeps {value / gemm:.1%} of the GEMM rate: the rest goes to memory-bound "
        "work (norms, softmax, the optimizer), smaller GEMMs and the framework."
    )
    return Stage("train_step", title, text, value, metric="train.step.mfu")
