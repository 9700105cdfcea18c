"""How long a plan takes: worker starts, trials of devices in turn or at once, teams, idles. Expectations, no limits."""

from collections.abc import Mapping, Sequence

from effbench.model.plan import Trial
from effbench.model.suite import Suite

__all__ = ["SETUP_S", "START_S", "alone", "idle_s", "span_s"]

# What a trial costs beyond its warm-up and sampling: building buffers, three fingerprints, two verifications.
# Measured on a 2-core VM: 0.2-0.9 s for GEMM 2048^3, 1.5 s for train_step. A first guess for `plan`; the engine
# replaces it by what the first round took.
SETUP_S = {"cpu": 1.0, "gpu": 0.5}
START_S = {"cpu": 2.5, "gpu": 6.0}


def alone(trials: Sequence[Trial]) -> int:
    """How many devices are measured one after another, each by itself."""
    return len({device for trial in trials if trial.scope == "device" for device in trial.placement.devices})


def span_s(trials: Sequence[Trial], at_once: bool, takes: Mapping[str, float], start_s: float) -> float:
    """Seconds of `trials` that take `takes` by id: devices one after another or at once, then teams, starts included.

    Processes are started once per device, and once per size of team.
    """
    devices: dict[str, float] = {}
    teams: dict[int, float] = {}
    for trial in trials:
        if trial.scope == "device":
            for device in trial.placement.devices:
                devices[device] = devices.get(device, start_s) + takes[trial.id]
        elif trial.skipped is None:
            teams[trial.placement.ranks] = teams.get(trial.placement.ranks, start_s) + takes[trial.id]
    return (max if at_once and devices else sum)(devices.values()) + sum(teams.values())


def idle_s(suite: Suite, devices: int) -> float:
    """Seconds of doing nothing at the start: bare once for all devices together, with a context for each."""
    idle = suite.idle
    return 0.0 if idle is None else idle.settle_s + idle.bare_s + idle.context_s * devices
