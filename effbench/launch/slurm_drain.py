"""Drains a Slurm node for a verdict and undrains it: what is to be done is decided by a pure rule, then done.

Only what effbench drained is undrained: its reasons begin with `effbench:`, and a reason of anybody else is never
written over. Between a look and an act lie milliseconds in which an administrator may act too: Slurm has no update on
condition, so that gap stays.
"""

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from effbench.launch.slurm_queue import call, said
from effbench.model.error import SiteError
from effbench.model.grade import Verdict

__all__ = ["MARK", "Act", "State", "decide", "drain", "look", "undrain"]

MARK = "effbench:"
# A health check has 60 s for everything (slurm.conf, HealthCheckProgram).
DEADLINE_S = 12.0
# sinfo(1), NODE STATE CODES. Flags follow: `*` does not answer, `~#!%$@^-` are power, boot and maintenance.
_DRAINED = ("drained", "draining")
_WORKS = ("idle", "mixed", "allocated", "completing", "planned", "reserved", "maint", "blocked")
# Reasons that slurmctld gives a node that it lost; such a node comes back by itself and must not come back into work.
_LOST = ("not responding", "node unexpectedly rebooted")

Action = Literal["drain", "undrain", "nothing"]


class State(msgspec.Struct, frozen=True):
    """A node as Slurm has it: its state in sinfo's words, and the reason, empty when there is none."""

    node: str
    state: str
    reason: str = ""

    @property
    def drained(self) -> bool:
        """Does it take no new jobs?"""
        return self.state.startswith(_DRAINED)

    @property
    def ours(self) -> bool:
        """Was it drained by effbench?"""
        return self.drained and self.reason.startswith(MARK)


class Act(msgspec.Struct, frozen=True):
    """What is to be done with a node, and why, in words. `held`: the node is kept out of work for its verdict."""

    action: Action
    why: str
    held: bool = False


def decide(verdict: Verdict, here: State, drains_on: Collection[Verdict] = ()) -> Act:
    """Say what a verdict means for a node. Pure.

    A node that is drained already, by whomever, is left as it is: its reason does not change from check to check. Only
    `pass` undrains.

    Args:
        verdict: the last one of the node, as it holds today.
        here: the node as Slurm has it.
        drains_on: what the site drains on beside `fail`: `not_rated`, `undecided`.
    """
    if verdict == "pass":
        if here.ours:
            return Act("undrain", "it was drained by effbench, and passes now")
        other = f"{here.state}, by somebody else: {here.reason or 'without a reason'}"
        return Act("nothing", f"left as it is: {other}" if here.drained else "passes and takes jobs")
    if verdict != "fail" and verdict not in drains_on:
        return Act("nothing", f"{verdict}: the site keeps such a node as it is ({here.state})")
    if here.ours:
        return Act("nothing", f"{here.state} by effbench already: {here.reason}", held=True)
    if here.drained:
        return Act("nothing", f"{here.state} by somebody else already: {here.reason or 'without a reason'}", held=True)
    if here.state.startswith(_WORKS):
        return Act("drain", f"was {here.state}", held=True)
    if here.state.startswith("down") and (not here.reason or here.reason.lower().startswith(_LOST)):
        return Act("drain", f"was {here.state}", held=True)
    return Act("nothing", f"{here.state}, which is somebody else's: {here.reason or 'without a reason'}", held=True)


def look(node: str, environment: Mapping[str, str]) -> State:
    """Ask Slurm for one node.

    Raises:
        SiteError: sinfo is absent, does not answer, or knows no such node.
    """
    words = ["sinfo", "-h", "-N", "-n", node, "-o", "%N|%T|%E"]
    answer = call(words, environment, deadline_s=DEADLINE_S)
    if answer.returncode:
        raise SiteError(f"sinfo does not answer: {said(words, answer)}")
    for line in answer.stdout.splitlines():
        name, state, reason = (*line.strip().split("|", 2), "", "")[:3]
        if name == node and state:
            return State(node, state.lower(), "" if reason.lower() == "none" else reason.strip())
    raise SiteError(f"Slurm knows no node {node!r}; `sinfo -N` lists its nodes")


def drain(node: str, reason: str, environment: Mapping[str, str]) -> State:
    """Drain `node` with `reason`, which begins with `effbench:`, and see that it took; return the node after it.

    Raises:
        SiteError: Slurm refused, or the node takes jobs all the same.
        ValueError: the reason would not be known again as ours.
    """
    if not reason.startswith(MARK) or not reason.isprintable():
        raise ValueError(f"a reason begins with {MARK!r} and is one printable line, not {reason!r}")
    _update(node, ["State=DRAIN", f"Reason={reason}"], environment)
    after = look(node, environment)
    if not after.drained:
        raise SiteError(f"Slurm took the order to drain {node}, but has it as {after.state}")
    return after


def undrain(node: str, environment: Mapping[str, str]) -> State:
    """Let `node` take jobs again; what else it is (down, say) stays. Return the node after it.

    Raises:
        SiteError: Slurm refused, or the node is still drained.
    """
    _update(node, ["State=UNDRAIN"], environment)
    after = look(node, environment)
    if after.drained:
        raise SiteError(f"Slurm took the order to undrain {node}, but has it as {after.state}")
    return after


def _update(node: str, changes: list[str], environment: Mapping[str, str]) -> None:
    words = ["scontrol", "update", f"NodeName={node}", *changes]
    answer = call(words, environment, deadline_s=DEADLINE_S)
    if answer.returncode:
        raise SiteError(f"scontrol would not change {node}: {said(words, answer)}")
