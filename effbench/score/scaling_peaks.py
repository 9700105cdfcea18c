"""Owns what a team of ranks achieves over as many peaks. Ranks of a CPU are held against their own cores' peak."""

from typing import Literal

from effbench.model.quantity import Ceiling
from effbench.model.scaling import Ratio
from effbench.score import ceilings
from effbench.score.ceilings import Absent
from effbench.score.derive import ABOVE_PEAK
from effbench.score.scaling_groups import Step, time_of

__all__ = ["of_peak"]


def of_peak(step: Step) -> tuple[Ratio | None, Literal["", "rated", "held"]]:
    """Return FLOP/s of all ranks over as many peaks, and which peak; None where there is no peak or no count of work.

    `work` counts one rank's flop, and all ranks are alike, so that N cancels. A CPU has no rated peak: the cores of one
    rank at the clock they held. More than the units can do is no figure.
    """
    dtype, flop = str(step.trial.params.get("dtype", "")), step.trial.work.flop
    if step.trial.emulated or not dtype or flop <= 0:
        return None, ""
    if step.accelerator.kind == "gpu":
        found: Ceiling | Absent = ceilings.rated(step.accelerator, dtype)
        scale, kind = 1.0, "rated"
    else:
        found = ceilings.held(step.accelerator, step.measurement, dtype)
        scale, kind = _share_of_cores(step), "held"
    if isinstance(found, Absent) or scale <= 0:
        return None, ""
    peak, time = found.value * scale, time_of(step)
    if flop / time.value > ABOVE_PEAK * peak:
        return None, ""
    own = time.interval
    ends = None
    if own is not None and own.low > 0:
        ends = type(own)(
            flop / own.high / peak, flop / own.low / peak, own.level, own.method, own.n_processes, own.n_samples
        )
    return Ratio(flop / time.value / peak, ends), "rated" if kind == "rated" else "held"


def _share_of_cores(step: Step) -> float:
    """One rank's cores over those behind the accelerator's peak; 0 when they were not fixed."""
    cores = step.trial.placement.cores
    usable = step.accelerator.cpu.cores_usable if step.accelerator.cpu else 0.0
    return len(cores[0]) / usable if cores and usable > 0 else 0.0
