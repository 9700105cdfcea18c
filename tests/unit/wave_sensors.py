"""Synthetic power sensors under a square-wave load: true window, update and lag are known, so what is found can be held
against them."""

import random

import numpy as np

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
    up_s=0.0015,
    down_s=0.0015,
    warming=0.0,
    counter=False,
):
    """Readings of a sensor with this window, update and lag.

    The load's power rises and falls exponentially with `up_s` and `down_s`, and its rise grows by the share `warming`
    until the end; integrated in steps of half a millisecond, by none of the formulas of the fit.
    """
    draw = np.random.default_rng(seed)
    first, last = edges[0][0] - 4.0, edges[-1][1] + 2.0
    count = int((last - first) / update_s)
    renewed = first + draw.uniform(0, update_s) + np.cumsum(update_s * (1 + drift * draw.standard_normal(count)))
    at, energy = joules(edges, first, last, rest_w, rise_w, up_s, down_s, warming)
    until = np.interp(renewed - lag_s, at, energy)
    watts = (until - np.interp(renewed - lag_s - window_s, at, energy)) / window_s
    watts = watts + noise_w * draw.standard_normal(count)
    values = np.round(np.cumsum(watts * update_s) if counter else watts, 3)
    lines = []
    for t in poll_times(edges, hz, seed):
        at = int(np.searchsorted(renewed, t, side="right")) - 1
        if at >= 0:
            name = "energy_j" if counter else "power_w"
            lines.append(Telemetry(t_ns=int(t * NS), device="gpu0", **{name: float(values[at])}))
    return lines


def joules(edges, first, last, rest_w, rise_w, up_s, down_s, warming):
    """Times and the energy spent until then, J, by stepping through the power."""
    step = 0.0005
    count = int((last - first) / step)
    busy = np.zeros(count, dtype=bool)
    for start, end in edges:
        busy[int((start - first) / step) : int((end - first) / step)] = True
    aims = (rest_w + np.where(busy, rise_w * (1 + warming * np.arange(count) / count), 0.0)).tolist()
    quick = {True: 1 - np.exp(-step / up_s), False: 1 - np.exp(-step / down_s)}
    power, now = [], rest_w
    for aim in aims:
        now += (aim - now) * quick[aim > now]
        power.append(now)
    return first + np.arange(count + 1) * step, np.concatenate([[0.0], np.cumsum(power) * step])


def card(kind="instant", **more):
    """The published card of a GPU's sensor."""
    reading, unit = {"counter": ("energy_j", "J"), "instant": ("power_w", "W")}.get(kind, ("power_average_w", "W"))
    plain = {"key": f"gpu0.{kind}", "device": "gpu0", "kind": kind, "scope": "gpu", "unit": unit, "reading": reading}
    return Sensor(**{**plain, "source": "test", "basis": "published", "basis_source": "a table", **more})


def in_ns(edges):
    """The edges as the journal has them."""
    return [(int(start * NS), int(end * NS)) for start, end in edges]
