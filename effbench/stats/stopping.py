"""The stop rule: after a round, is another one worth its time?"""

import math
from collections.abc import Mapping
from typing import Literal

Reason = Literal["target", "rounds_max", "budget"]


def look(
    rounds_done: int,
    rounds_min: int,
    rounds_max: int,
    relative_half_widths: Mapping[str, float],
    targets: Mapping[str, float],
    budget_left_s: float,
    round_s: float,
) -> Reason | None:
    """Decide after `rounds_done` rounds: None to go on, else why to stop. Pure.

    Looks are preset: after round `rounds_min` and each later one, never before (the answer is None there), so that a
    lucky early agreement cannot end a run. The reasons, first match wins:

    - `target`: every trial with a target has a half-width (relative to its centre) no wider than it. A target without
      a half-width is not met, and where no trial has a target there is nothing to meet.
    - `rounds_max`: as many rounds as the suite allows.
    - `budget`: the next round, expected to take `round_s` seconds, does not fit into `budget_left_s`.

    Raises:
        ValueError: not 1 <= rounds_min <= rounds_max, or a half-width, target or time is NaN or negative.
    """
    if not 1 <= rounds_min <= rounds_max:
        raise ValueError(f"rounds need 1 <= min <= max, not min {rounds_min}, max {rounds_max}")
    for what, numbers in (("half-width", relative_half_widths), ("target", targets), ("time", {"round_s": round_s})):
        for name, number in numbers.items():
            if math.isnan(number) or number < 0:
                raise ValueError(f"the {what} of {name} is {number}; it must not be negative")
    if math.isnan(budget_left_s):
        raise ValueError("budget_left_s is not a number")
    if rounds_done < rounds_min:
        return None
    if targets and all(relative_half_widths.get(name, math.inf) <= target for name, target in targets.items()):
        return "target"
    if rounds_done >= rounds_max:
        return "rounds_max"
    return "budget" if round_s > budget_left_s else None
