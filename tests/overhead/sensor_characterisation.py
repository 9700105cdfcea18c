"""Prints what the square wave finds of power sensors whose truth is known, seeded.

Run it from the checkout: `python tests/overhead/sensor_characterisation.py`. The sensors are simulated; the plan of the
wave, the fit and the refusals are the real ones. `held` counts the seeds in which the 95 % range of the window holds
the true one.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from effbench.energy.characterise import Characterised, characterise
from tests.unit.wave_sensors import card, in_ns, telemetry, wave

SEEDS = 10
# A load whose power takes 50 ms to rise and 100 ms to fall, and grows by 5 % as the chip warms.
SLOW = {"up_s": 0.05, "down_s": 0.1, "warming": 0.05}
# name, window, update, lag (s), kind, polls a second, noise in W on a rise of 560 W (-1: no rise, -2: SLOW)
CASES = [
    ("Hopper/GA100 instant 25/100", 0.025, 0.1, 0.0, "instant", 97, 2),
    ("  the same, 40 ms late", 0.025, 0.1, 0.04, "instant", 97, 2),
    ("  the same, 50 W of noise", 0.025, 0.1, 0.0, "instant", 97, 50),
    ("  the same, 50 polls a second", 0.025, 0.1, 0.0, "instant", 50, 2),
    ("Ada/Ampere instant 100/100", 0.1, 0.1, 0.0, "instant", 97, 2),
    ("average 1000/100", 1.0, 0.1, 0.0, "instant", 97, 2),
    ("Volta/Pascal 10/20", 0.01, 0.02, 0.0, "instant", 97, 2),
    ("  25/100, load of 50/100 ms", 0.025, 0.1, 0.0, "instant", 97, -2),
    ("counter 100/100", 0.1, 0.1, 0.0, "counter", 97, 2),
    ("counter that sees 25 %", 0.025, 0.1, 0.0, "counter", 97, 2),
    ("RAPL, 1 ms", 0.001, 0.001, 0.0, "counter", 97, 2),
    ("10 polls a second", 0.025, 0.1, 0.0, "instant", 10, 2),
    ("no load reaches it", 0.025, 0.1, 0.0, "instant", 97, -1),
]


def one(seed: int, window: float, update: float, lag: float, kind: str, hz: float, noise: float) -> Characterised:
    """Characterise one simulated sensor."""
    edges = wave(seed)
    more = {"noise_w": noise} if noise >= 0 else {"rise_w": 0.0} if noise == -1 else SLOW
    lines = telemetry(
        edges, window_s=window, update_s=update, lag_s=lag, hz=hz, seed=seed, counter=kind == "counter", **more
    )
    return characterise(in_ns(edges), lines, card(kind))


def figure(values: list[float | None], truth: float) -> str:
    """Median and range in ms beside the truth; a dash where nothing was found."""
    known = [v * 1e3 for v in values if v is not None]
    if not known:
        return f"{truth * 1e3:7.1f}        -              "
    return f"{truth * 1e3:7.1f} {statistics.median(known):8.1f} [{min(known):6.1f},{max(known):7.1f}]"


def main() -> None:
    """Print the table."""
    print(f"{SEEDS} seeds each; true, median found [least, most], ms")
    print(f"{'sensor':<31}{'update':^33} {'window':^33} {'lag':^33} found  held")
    for name, window, update, lag, kind, hz, noise in CASES:
        found = [one(seed, window, update, lag, kind, hz, noise) for seed in range(SEEDS)]
        told = [f for f in found if f.window_s is not None]
        held = sum(f.window_low_s <= window <= f.window_high_s for f in told)
        columns = [
            figure([f.update_s for f in found], update),
            figure([f.window_s for f in found], window),
            figure([f.lag_s for f in found], lag),
        ]
        print(f"{name:<31}{columns[0]} {columns[1]} {columns[2]} {len(told):>3}/{SEEDS} {held:>3}/{len(told)}")
        if len(told) < SEEDS:
            print(f"    refused: {next(f.reason for f in found if f.window_s is None)}")


if __name__ == "__main__":
    main()
