"""Owns the window rules: how long a sensor must look before its reading may become a figure. Pure."""

from effbench.model.energy import Sensor

# A counter that moves every `update` seconds is uncertain by two updates over the window, so 100 updates bound the end
# effects at 2 %: 10 s for the 100 ms of data-centre GPUs (arithmetic). The same holds for on-chip watts.
CHIP_UPDATES = 100
# MLPerf Training's power rule asks for the longer of the run and 60 readings; a wall meter gives one each second.
METER_UPDATES = 60
# RAPL moves every millisecond, but the microcode after PLATYPUS lowered its resolution: trusted over seconds only.
LEAST_S = 1.0
# Nothing is known of the sensor: the window that the slowest usual chip sensor (100 ms) needs.
UNKNOWN_S = 10.0


def least_window_s(sensor: Sensor) -> float:
    """Return the shortest window, s, over which `sensor` yields a figure; anything shorter is absent, never scaled up.

    100 updates of a counter or of on-chip watts, 60 of a meter, never below 1 s, and 10 s while the update period is
    unknown.
    """
    if sensor.update_s is None or sensor.update_s <= 0:
        return UNKNOWN_S
    updates = METER_UPDATES if sensor.kind == "meter" else CHIP_UPDATES
    return max(LEAST_S, round(updates * sensor.update_s, 6))


def short_words(longest_s: float, least_s: float) -> str:
    """Say that a window is too short: `window 2.0 s < 10 s`."""
    return f"window {longest_s:.1f} s < {least_s:g} s"
