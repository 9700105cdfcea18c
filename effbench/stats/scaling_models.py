"""Models of step time over the number of ranks: efficiency, Karp-Flatt, and fits of four forms with replicates.

Time is counted in units of the base: `n` is ranks over base ranks where a form speaks of devices (Amdahl, the
Universal Scalability Law), and ranks where it speaks of a ring (the mechanistic form). Forms, for weak scaling:
fitted T = Tc + u 2(n-1)/n (bandwidth-optimal ring), fitted_latency the same + v 2(n-1); amdahl T/T1 = 1 + s(n-1);
usl T/T1 = 1 + sigma(n-1) + kappa n(n-1). Strong: the compute part is a/n, and the laws are divided by n. No parameter
may be negative: without that bound the Universal Scalability Law fits saturating curves with nonsense.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from effbench.stats.collective_cost import REPLICATES, redrawn
from effbench.stats.non_negative import non_negative
from effbench.stats.quantile import normal_quantile

__all__ = ["FORMS", "Fitted", "Form", "Measured", "efficiency", "fit", "karp_flatt", "left_out"]

Array = NDArray[np.float64]
Form = Literal["fitted", "fitted_latency", "amdahl", "usl"]
Kind = Literal["weak", "strong"]
FORMS: tuple[Form, ...] = ("fitted", "fitted_latency", "amdahl", "usl")
_LAWS = ("amdahl", "usl")
PARAMETERS: dict[tuple[Form, Kind], tuple[str, ...]] = {
    ("fitted", "weak"): ("compute_s", "transfer_s"),
    ("fitted", "strong"): ("compute_s", "transfer_s"),
    ("fitted_latency", "weak"): ("compute_s", "transfer_s", "latency_s"),
    ("fitted_latency", "strong"): ("compute_s", "transfer_s", "latency_s"),
    ("amdahl", "weak"): ("serial_share",),
    ("amdahl", "strong"): ("serial_share",),
    ("usl", "weak"): ("sigma", "kappa"),
    ("usl", "strong"): ("sigma", "kappa"),
}


class Measured(msgspec.Struct, frozen=True):
    """One measured count: ranks, time of a step in s, its standard deviation in s."""

    ranks: int
    time_s: float
    sigma_s: float


class Fitted(msgspec.Struct, frozen=True):
    """A form fitted to a curve: parameters by name, and replicates (a row per parameter) that carry its uncertainty.

    `base_s` is the measured step at the base, with its own replicates: laws are relative to it. `contradicted` says
    that a measured point lies further off than noise explains at 95 % over all points; `untested` that there are no
    more points than parameters.
    """

    form: Form
    kind: Kind
    base: int
    parameters: dict[str, float]
    replicates: Array
    base_s: float
    base_replicates: Array
    worst_residual: float
    contradicted: bool
    untested: bool

    def time_s(self, ranks: int) -> float:
        """Return the step time at `ranks`, s."""
        values = np.array(list(self.parameters.values()))
        return float(self._times(ranks, values[:, None], np.array([self.base_s]))[0])

    def efficiency(self, ranks: int) -> tuple[float, float, float]:
        """Return (value, low, high) of the efficiency at `ranks`; ends are the 95 % range over the replicates."""
        value = efficiency(self.kind, self.base, self.base_s, ranks, self.time_s(ranks))
        times = self._times(ranks, self.replicates, self.base_replicates)
        spread = self.base_replicates / times * (1.0 if self.kind == "weak" else self.base / ranks)
        low, high = np.quantile(spread, (0.025, 0.975))
        return value, min(float(low), value), max(float(high), value)

    def _times(self, ranks: int, values: Array, base_s: Array) -> Array:
        constant, row = _row(self.form, self.kind, self.base, ranks)
        unit = base_s if self.form in _LAWS else np.ones_like(base_s)
        times: Array = (constant + row @ values) * unit
        return times


def efficiency(kind: Kind, base: int, base_s: float, ranks: int, time_s: float) -> float:
    """Return T_base / T (weak) or T_base base / (T ranks) (strong).

    Raises:
        ValueError: a time or a count is not above zero.
    """
    if min(base_s, time_s) <= 0 or min(base, ranks) < 1:
        raise ValueError(f"times and counts are above zero, not {base_s}, {time_s}, {base}, {ranks}")
    return base_s / time_s * (1.0 if kind == "weak" else base / ranks)


def karp_flatt(speed_up: float, n: float) -> float:
    """Return (1/S - 1/n) / (1 - 1/n), the serial share that explains a speed-up of S by n (Karp & Flatt 1990).

    Raises:
        ValueError: `n` is not above 1, or `speed_up` not above zero.
    """
    if n <= 1 or speed_up <= 0:
        raise ValueError(f"Karp-Flatt needs n above 1 and a speed-up above zero, not {n} and {speed_up}")
    return (1 / speed_up - 1 / n) / (1 - 1 / n)


def fit(
    form: Form, kind: Kind, base: Measured, others: Sequence[Measured], seed: int = 0, count: int = REPLICATES
) -> Fitted:
    """Fit one form to the base and the `others` (each with more ranks), by weighted least squares, none negative.

    The base is a point of the mechanistic forms when it is a single rank (which exchanges nothing) and is left out
    otherwise, because its links are of another class; for the laws it is the unit. `count` replicates are drawn.

    Raises:
        ValueError: there is no other count, one is not above the base's, or a time is not above zero.
    """
    if not others or min(p.ranks for p in others) <= base.ranks or min(p.time_s for p in [base, *others]) <= 0:
        raise ValueError("a curve needs counts above its base, and times above zero")
    rng = np.random.default_rng(seed)
    law = form in _LAWS
    used = list(others) if law or base.ranks > 1 else [base, *others]
    rows = [_row(form, kind, base.ranks, p.ranks) for p in used]
    constant, matrix = np.array([c for c, _ in rows]), np.stack([r for _, r in rows])
    sigma = _floored(used)
    drawn, units = redrawn(np.array([p.time_s for p in used]), sigma, rng, count), np.array([base.time_s])
    inside = not law and base.ranks == 1
    first = drawn[0] if inside else redrawn(units, _floored([base]), rng, count)[0]
    unit = base.time_s if law else 1.0
    times = np.array([p.time_s for p in used])
    found = non_negative(matrix, times / unit - constant, sigma / unit)
    replicates = non_negative(matrix, drawn / (first if law else 1.0) - constant[:, None], sigma / unit)
    fitted = (constant + matrix @ found) * unit
    noise = np.hypot(sigma, _floored([base])[0] * fitted / base.time_s) if law else sigma
    allowed = normal_quantile(0.95 ** (1 / len(used))) * noise
    return Fitted(
        form,
        kind,
        base.ranks,
        dict(zip(PARAMETERS[form, kind], map(float, found), strict=True)),
        replicates,
        base.time_s,
        first,
        float(np.max(np.abs(fitted / times - 1))),
        bool(np.any(np.abs(fitted - times) > allowed)),
        len(used) <= matrix.shape[1],
    )


def left_out(form: Form, kind: Kind, base: Measured, others: Sequence[Measured]) -> float | None:
    """Return the largest relative error of a step time when its count is left out of the fit; None below 3 others."""
    if len(others) < 3:
        return None
    errors = []
    for i, point in enumerate(others):
        found = fit(form, kind, base, [*others[:i], *others[i + 1 :]], count=1)
        errors.append(abs(found.time_s(point.ranks) / point.time_s - 1))
    return max(errors)


def _floored(points: Sequence[Measured]) -> Array:
    """Deviations, none below a millionth of the time, so that exact figures can be fitted."""
    return np.array([max(p.sigma_s, 1e-6 * p.time_s) for p in points])


def _row(form: Form, kind: Kind, base: int, ranks: int) -> tuple[float, Array]:
    """The constant and the factors of the parameters at `ranks`: time (laws: over the base's) = constant + row x."""
    n = ranks / base
    if form in _LAWS:
        over = 1.0 if kind == "weak" else 1 / n
        terms = [n - 1] if form == "amdahl" else [n - 1, n * (n - 1)]
        return over, np.array(terms) * over
    work = 1.0 if kind == "weak" else 1 / ranks
    terms = [work, 2 * (ranks - 1) / ranks]
    return 0.0, np.array(terms if form == "fitted" else [*terms, 2.0 * (ranks - 1)])
