"""Owns the dates of a run: one reading of the machine's date, the rest by the monotonic clock, and what tells a jump.

Everything that is measured goes by the monotonic clock, which nobody sets. The date is read once, when a command
starts, so that the end never lies before the start; a second look at the end says whether it was set in between.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from effbench.model.event import Ended, Event, Started
from effbench.model.finding import Finding

__all__ = ["JUMP_S", "ended", "jumps", "stamp"]

# Slewing moves both clocks alike (clock_gettime(2)), so they drift apart by steps only: a leap second, a date that was
# set, or a machine that stood still (suspended, or a guest that was paused).
JUMP_S = 2.0


def stamp(utc_ns: int) -> str:
    """Write a date, ns since 1970 UTC, as ISO 8601 in whole seconds."""
    return datetime.fromtimestamp(utc_ns // 10**9, UTC).isoformat(timespec="seconds")


def ended(started: Started, outcome: str, overhead_s: float) -> Ended:
    """Return the last line of the command that `started` began: its date is the first one plus the time that passed."""
    t_ns, utc_ns = time.monotonic_ns(), time.time_ns()
    passed = timedelta(microseconds=(t_ns - started.t_ns) // 1000)
    ended_at = (datetime.fromtimestamp(started.utc_ns // 10**9, UTC) + passed).isoformat(timespec="seconds")
    return Ended(t_ns, ended_at, outcome, overhead_s=overhead_s, utc_ns=utc_ns)


def jumps(events: Sequence[Event]) -> list[Finding]:
    """Say where the machine's date moved otherwise than the time that passed, one finding per command.

    Commands whose end was not written, and journals from before the second look, say nothing of it.
    """
    found, began = [], None
    for event in events:
        if isinstance(event, Started):
            began = event
        elif isinstance(event, Ended) and began is not None and began.utc_ns and event.utc_ns:
            jump_s = ((event.utc_ns - began.utc_ns) - (event.t_ns - began.t_ns)) * 1e-9
            if abs(jump_s) > JUMP_S:
                found.append(_finding(jump_s, began))
            began = None
    return found


def _finding(jump_s: float, began: Started) -> Finding:
    way = "forward" if jump_s > 0 else "back"
    text = (
        f"the machine's date went {way} by {abs(jump_s):.0f} s beside the time that passed; times and rates go by a "
        f"clock that nobody sets and stand, the dates of this run go by the one at its start, {began.started_at}"
    )
    return Finding("clock-jumped", "warning", text, evidence={"jump_s": round(jump_s, 3), "limit_s": JUMP_S})
