"""A team: the processes that form one process group, what they are told, and what they say while they work."""

from typing import Literal

import msgspec

from effbench.model.inventory import Accelerator
from effbench.model.plan import Trial


class TeamSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Parent to every rank, as `team.json` in the team's folder: the same document for all.

    Attributes:
        ranks: size of the process group; nodes: over how many nodes.
        trials: what to do, in this order; every trial has `placement.ranks == ranks`.
        accelerators: the devices of one node; local rank `i` opens the `i`-th of them (a CPU is shared by cores).
        backend: `nccl`, `gloo` or `xccl`. interface: the network interface, chosen and recorded, empty for the default.
        token: names this launch, so that nothing stale is taken for it. deadline_s: of rendezvous and agreement.
    """

    token: str
    ranks: int
    trials: list[Trial]
    accelerators: list[Accelerator]
    seed: int
    round: int
    process: int
    backend: Literal["nccl", "gloo", "xccl"]
    nodes: int = 1
    interface: str = ""
    deadline_s: float = 60.0
    source_digest: str = ""


class RankNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line that a rank writes to `rank-<r>.jsonl`: where it is, so that a silent one can be named.

    `phase`: `start`, `joined`, `agreed`, `trial`, `step`, `closed`, `error`, `end`. `t_ns` is monotonic on its own
    node, `utc_ns` joins nodes.
    """

    t_ns: int
    utc_ns: int
    rank: int
    phase: str
    node: str = ""
    pid: int = 0
    trial: str = ""
    detail: str = ""
