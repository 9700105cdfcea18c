"""Puts the commands of a continued run on one clock: after a reboot monotonic time starts anew and may overlap. Pure.

Readings of the first boot would otherwise fall into windows of the second. Within a command nothing changes, and where
the times follow each other nothing is changed at all.
"""

from collections.abc import Sequence

import msgspec

from effbench.model.event import Event, Started, Window

__all__ = ["one_clock"]

# Further than any reader looks around a window (30 s around one of a slow meter).
APART_NS = 60_000_000_000


def one_clock(events: Sequence[Event]) -> list[Event]:
    """Return the events of a journal, those of a later command moved behind the earlier ones where they overlap."""
    moved: list[Event] = []
    last_ns, shift_ns = -1, 0
    for event in events:
        if isinstance(event, Started):
            shift_ns = last_ns + APART_NS - event.t_ns if event.t_ns <= last_ns else 0
        moved.append(_later(event, shift_ns) if shift_ns else event)
        last_ns = max(last_ns, event.t_ns + shift_ns)
    return moved


def _later(event: Event, shift_ns: int) -> Event:
    """The same event at another time; its date (`utc_ns`) is the same moment all the same."""
    if isinstance(event, Window):
        return msgspec.structs.replace(event, t_ns=event.t_ns + shift_ns, start_ns=event.start_ns + shift_ns)
    return msgspec.structs.replace(event, t_ns=event.t_ns + shift_ns)
