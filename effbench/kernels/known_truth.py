"""A kernel whose true time is known: the engine, its stop rule and its intervals are tested against it.

On a simulated device a repetition spends `mean_s` times a noise of known spread, correlation and offset between
rounds; with `real` it busy-waits `mean_s` on the host clock of any device, so that the whole timing path is real.

OVERHEAD: with `real`, one call costs about 0.2 us more than it waits. FIELDS: `Params`. Imports no torch, so that a
worker on a simulated device starts in 0.1 s.
"""

import time
from typing import Any, Protocol, runtime_checkable

import msgspec

from effbench.kernels.contract import Rig, Step, Support
from effbench.kernels.virtual import Noise
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work
from effbench.model.quantity import finite

VERSION = 1
# `effbench.kernels.virtual.fake_step` leaves the simulation of time to this kernel.
SIMULATES_TIME = True


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The truth.

    Attributes:
        mean_s: true time of one repetition, seconds.
        spread: relative standard deviation of one repetition.
        rho: correlation of neighbouring repetitions (AR(1)).
        round_spread: relative standard deviation between rounds.
        real: busy-wait on the host clock instead; the noise is then the machine's own.
    """

    mean_s: float = 0.001
    spread: float = 0.02
    rho: float = 0.5
    round_spread: float = 0.01
    real: bool = False

    def __post_init__(self) -> None:
        """Refuse a truth that cannot be."""
        finite("known_truth", mean_s=self.mean_s, spread=self.spread, rho=self.rho, round_spread=self.round_spread)
        if self.mean_s <= 0:
            raise ValueError("mean_s must be above zero")
        if not (0 <= self.rho < 1 and self.spread >= 0 and self.round_spread >= 0):
            raise ValueError("rho lies in [0, 1); spread and round_spread are not negative")


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Nothing is open."""
    return params


def work(params: Params) -> Work:
    """Count one item per repetition; there is no flop in waiting."""
    return Work(items=1.0)


def support(params: Params, accelerator: Accelerator) -> Support:
    """Without `real` only a simulated device can run it."""
    if params.real or accelerator.simulated:
        return Support()
    return Support(skip="not applicable: known_truth with simulated time needs a simulated device, or real: true")


def outputs(params: Params) -> list[Output]:
    """The time, to be held against `mean_s`."""
    return [Output("quality.known_truth.time", "time")]


def label(params: Params) -> str:
    """Name the mean in microseconds."""
    return f"{'real' if params.real else 'simulated'}-{params.mean_s * 1e6:g}us"


def build(params: Params, rig: Rig) -> Step:
    """Prepare the noise of this round.

    Raises:
        SiteError: simulated time was asked of a real device.
    """
    if params.real:
        return _RealStep(params)
    if not isinstance(rig, _Spends):
        raise SiteError("known_truth spends simulated time, which a real device has not; set `real: true`")
    return _SimulatedStep(params, rig)


@runtime_checkable
class _Spends(Protocol):
    seed: int
    round_number: int

    def spend(self, seconds: float) -> None:
        """Let simulated time pass."""


class _Step:
    """What both steps share: nothing to compute, so nothing to get wrong."""

    def __init__(self, params: Params) -> None:
        self._params = params

    def verify(self) -> Verify:
        """There is no result; waiting is right."""
        return Verify(ok=True, error=0.0, tolerance=0.0)

    def fingerprint(self) -> int | None:
        """There is no output."""
        return None

    def facts(self) -> dict[str, float]:
        """The truth, for whoever checks the interval."""
        return {"true_mean_s": self._params.mean_s}

    def texts(self) -> dict[str, str]:
        """Say which clock was used."""
        return {"clock": "host, busy-waiting" if self._params.real else "simulated"}

    def close(self) -> None:
        """There is nothing to let go of."""


class _SimulatedStep(_Step):
    """Spends simulated time on the rig."""

    def __init__(self, params: Params, rig: Any) -> None:
        super().__init__(params)
        self._rig = rig
        key = f"{rig.seed}:known_truth:{params}"
        self._noise = Noise(params.spread, params.rho, params.round_spread, key, rig.round_number)

    def run(self, i: int) -> None:
        """Spend one repetition."""
        self._rig.spend(self._params.mean_s * self._noise.factor())


class _RealStep(_Step):
    """Burns host time."""

    def run(self, i: int) -> None:
        """Busy-wait `mean_s`."""
        end = time.perf_counter() + self._params.mean_s
        while time.perf_counter() < end:
            pass
