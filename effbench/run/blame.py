"""Which rank is to blame for the end of a team, and what happened to it. Pure.

The earliest rank that tells of an error of its own is; else one that said nothing while others did; never the address
in the last message, for survivors report each other (measured: a silenced node's peers name innocent ones).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from effbench.model.team import RankNote

__all__ = ["Blame", "Kind", "blame"]

Kind = Literal["crashed", "hung", "error", "differ", "unformed"]
# What a rank says of itself before it ends; `peer` and `terminated` tell of another.
OWN = ("error", "problem")
LAST = ("error", "peer", "terminated", "end")


# SIGTERM as a return code of Python's, and as a shell's: an engine ends the others with it.
TOLD_TO_END = (-15, 143)


class Blame(msgspec.Struct, frozen=True):
    """What ended a team. `rank` is absent when no single one can be named; `signal` is what killed it."""

    kind: Kind
    detail: str
    rank: int | None = None
    node: str = ""
    signal: int | None = None


def blame(
    notes: Mapping[int, Sequence[RankNote]],
    ranks: int,
    returncodes: Mapping[int, int],
    alive: Mapping[int, bool],
    tails: Mapping[int, str],
    launcher: str,
    waited_s: float,
) -> Blame:
    """Name the culprit.

    Args:
        notes: what each rank wrote, in its order; rank -1 stands for processes that do not know their rank.
        ranks: size of the team. returncodes: of the ranks that the launcher knows to have ended, the earliest first.
        alive: which ranks' processes are still there, for those on this machine.
        tails: last line of each rank's log. launcher: last line that the launcher itself wrote.
        waited_s: how long the team was waited for.
    """
    own = _earliest(notes, OWN)
    if own is not None:
        return _error(own)
    silent = [rank for rank in range(ranks) if not any(n.phase in LAST for n in notes.get(rank, ()))]
    if (silent and len(silent) < ranks) or any(returncodes.get(rank) for rank in silent):
        fallen = [rank for rank, code in returncodes.items() if code and rank in silent]
        first = [rank for rank in fallen if returncodes[rank] not in TOLD_TO_END] or fallen
        dead = first or [rank for rank in silent if alive.get(rank) is False]
        return _silent((dead or silent)[0], notes, returncodes, alive, tails)
    if len(silent) == ranks and any(notes.get(rank) for rank in range(ranks)):
        stuck = min(silent, key=lambda rank: notes[rank][-1].utc_ns if notes.get(rank) else 0)
        return _silent(stuck, notes, returncodes, alive, tails)
    peer = _earliest(notes, ("peer", "terminated"))
    if peer is not None:
        kind: Kind = "error" if _joined(notes) else "unformed"
        return Blame(kind, f"rank {peer.rank}{_at(peer)}: {peer.detail or 'was told to end'}", peer.rank, peer.node)
    return Blame("unformed", f"no rank came up within {waited_s:.0f} s" + (f": {launcher}" if launcher else ""))


def _error(note: RankNote) -> Blame:
    if note.rank < 0:
        return Blame("unformed", note.detail, None, note.node)
    if note.detail.startswith("versions differ"):
        return Blame("differ", note.detail)
    kind: Kind = "error" if note.trial else "unformed"
    return Blame(kind, f"rank {note.rank}{_at(note)}: {note.detail}", note.rank, note.node)


def _silent(
    rank: int,
    notes: Mapping[int, Sequence[RankNote]],
    returncodes: Mapping[int, int],
    alive: Mapping[int, bool],
    tails: Mapping[int, str],
) -> Blame:
    """A rank that did not report: killed, ended, or stuck."""
    last = notes[rank][-1] if notes.get(rank) else None
    where = _at(last) if last is not None else ""
    code = returncodes.get(rank)
    tail = f": {tails[rank]}" if tails.get(rank) else ""
    if code is not None and code < 0:
        return Blame("crashed", f"rank {rank}{where} was killed by signal {-code}{tail}", rank, _node(last), -code)
    if code is not None or alive.get(rank) is False:
        how = f"ended with status {code}" if code is not None else "was killed or ended"
        return Blame("crashed", f"rank {rank}{where} {how} without a word{tail}", rank, _node(last))
    if last is None:
        return Blame("unformed", f"rank {rank} never came up{tail}", rank)
    doing = {"start": "starting", "joined": "joining", "agreed": "agreeing"}.get(last.phase, last.trial or last.phase)
    return Blame("hung", f"rank {rank}{where} did not report any more (last in: {doing}){tail}", rank, last.node)


def _earliest(notes: Mapping[int, Sequence[RankNote]], phases: Sequence[str]) -> RankNote | None:
    """The earliest note of these phases; a problem that the team outlived (its trial was closed) does not count."""
    found = []
    for one in notes.values():
        for place, note in enumerate(one):
            outlived = note.phase == "problem" and any(later.phase == "closed" for later in one[place:])
            if note.phase in phases and not outlived:
                found.append(note)
    return min(found, key=lambda note: note.utc_ns, default=None)


def _joined(notes: Mapping[int, Sequence[RankNote]]) -> bool:
    return any(note.phase == "agreed" for one in notes.values() for note in one)


def _at(note: RankNote) -> str:
    return f" (node {note.node})" if note.node else ""


def _node(note: RankNote | None) -> str:
    return note.node if note is not None else ""
