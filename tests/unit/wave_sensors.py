"""Synthetic power sensors under a square-wave load: true window, update and lag are known, so what is found can be held
against them."""

import random

import numpy as np

from effbench.energy.boxcar import Load
from effbench.kernels import square_wave
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry

NS = 1_000_000_000
START_S = 1000.0


def wave(seed=0, **params):
    """Edges of the busy phases, seconds, as the kernel would run them: each starts and ends a little late."""
    draw = random.Random(seed)
    edges, end = [], START_S
    for phase in square_wave.phases(square_wave.Params(**params), seed):
        start = max(end + 1e-4, START_S + phase.start_s + draw.uniform(0, 3e-4))
        end = max(start + 0.004, START_S + phase.start_s + phase.busy_s + draw.uniform(0, 4e-3))
        edges.append((start, end))
    return edges


def poll_times(edges, hz, seed):
    """When the sampler reads: jittered by a tenth of its period, with a few hiccups of three periods."""
    draw, t, times = random.Random(f"{seed}:poll"), edges[0][0] - 1.0, []
    while t < edges[-1][1] + 1.0:
        times.append(t)
        t += (1 + draw.uniform(-0.1, 0.1)) / hz * (3 if draw.random() < 0.003 else 1)
    return times


def telemetry(
    edges,
    *,
    window_s,
    update_s,
    lag_s=0.0,
    hz=50.0,
    seed=0,
    rest_w=110.0,
    rise_w=560.0,
    noise_w=2.0,
    drift=1e-4,
    slope_s=0.003,
    counter=False,
):
    """Readings of a sensor with this window, update and lag. `slope_s`: the load's power rises and falls that fast."""
    draw = np.random.default_rng(seed)
    first, last = edges[0][0] - 4.0, edges[-1][1] + 2.0
    count = int((last - first) / update_s)
    renewed = first + draw.uniform(0, update_s) + np.cumsum(update_s * (1 + drift * draw.standard_normal(count)))
    load = Load(edges)
    # The mean of three shifted waves: power that takes `slope_s` to rise and to fall.
    shares = [load.share(renewed - lag_s - shift, window_s) for shift in (0.0, slope_s / 2, slope_s)]
    watts = rest_w + rise_w * np.mean(shares, axis=0) + noise_w * draw.standard_normal(count)
    values = np.round(np.cumsum(watts * update_s) if counter else watts, 3)
    lines = []
    for t in poll_times(edges, hz, seed):
        at = int(np.searchsorted(renewed, t, side="right")) - 1
        if at >= 0:
            name = "energy_j" if counter else "power_w"
            lines.append(Telemetry(t_ns=int(t * NS), device="gpu0", **{name: float(values[at])}))
    return lines


def card(kind="instant", **more):
    """The published card of a GPU's sensor."""
    reading, unit = {"counter": ("energy_j", "J"), "instant": ("power_w", "W")}.get(kind, ("power_average_w", "W"))
    plain = {"key": f"gpu0.{kind}", "device": "gpu0", "kind": kind, "scope": "gpu", "unit": unit, "reading": reading}
    return Sensor(**{**plain, "source": "test", "basis": "published", "basis_source": "a table", **more})


def in_ns(edges):
    """The edges as the journal has them."""
    return [(int(start * NS), int(end * NS)) for start, end in edges]
