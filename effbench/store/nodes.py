"""The folders of a campaign, one per node: each node's scorecard, grade and software, read once and checked.

The scorecard on disk is taken where it belongs to the record beside it; else it is made again, from the journal if need
be. 1,000 nodes are read in seconds, so the record itself is only looked at, not decoded. Every node is graded anew: a
verdict is the rules' and not what a file says.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from effbench.grade.cluster import policy_name
from effbench.grade.verdict import grade
from effbench.model.error import EffbenchError, InputError
from effbench.model.policy import Policy
from effbench.model.scorecard import Scorecard
from effbench.run.campaign import manifest
from effbench.score.cluster import Node, score_cluster
from effbench.store import documents
from effbench.store.runs import card_of, record_of

__all__ = ["CLUSTER", "cluster_card", "node_folders", "nodes_of"]

CLUSTER = "cluster.json"
_SOFTWARE = ("torch", "cuda", "driver", "nccl", "python", "kernel", "os")


class _Tool(msgspec.Struct):
    version: str
    source_digest: str


class _Plan(msgspec.Struct):
    suite_digest: str
    catalog_digest: str
    kernel_digests: dict[str, str] = {}


class _Glance(msgspec.Struct):
    """The few fields of a record that tell which scorecard belongs to it and which software made it."""

    schema: str
    digest: str
    tool: _Tool
    plan: _Plan
    inventory_before: dict[str, Any]


def node_folders(root: Path) -> list[Path]:
    """Return the folders below `root` that may hold a node's run, by name. Hidden ones are not a node's.

    Raises:
        InputError: `root` is no folder, is a single run's, or cannot be read.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds one folder per node")
    if (root / documents.JOURNAL).exists() or (root / documents.RECORD).exists():
        raise InputError(f"{root}: the folder of a single run; give the folder above, that holds one folder per node")
    try:
        return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"{root}: cannot be read: {error.strerror}") from error


def nodes_of(root: Path, policy: Policy) -> Iterator[Node]:
    """Read one node after the other and grade it. What cannot be read is a node with a `problem`, never left out.

    Raises:
        InputError: `root` is not a campaign's folder.
    """
    for folder in node_folders(root):
        try:
            yield _node(folder, policy)
        except (EffbenchError, OSError, msgspec.MsgspecError, ValueError) as error:
            yield Node(folder.name, problem=str(error).splitlines()[0] if str(error) else type(error).__name__)


def _node(folder: Path, policy: Policy) -> Node:
    glance = _tried(folder / documents.RECORD, _Glance)
    card = _tried(folder / documents.SCORECARD, Scorecard) if glance is not None else None
    if glance is None or card is None or card.record_digests != [glance.digest]:
        card, record = card_of(folder)
        if record is None:
            record = record_of(folder)
        glance = msgspec.convert(msgspec.to_builtins(record), type=_Glance)
    return Node(folder.name, card, grade(card, policy), "", _software(glance))


def _tried(path: Path, kind: Callable[..., Any]) -> Any:
    """Decode one document; None when it is absent, damaged or of another kind."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None


def _software(glance: _Glance) -> dict[str, str]:
    """Name what must be alike for figures to be comparable, and what a fleet should have alike."""
    here = {name: str(glance.inventory_before.get(name) or "") for name in _SOFTWARE}
    here["effbench"] = f"{glance.tool.version} ({glance.tool.source_digest[7:15]})"
    here["suite digest"] = glance.plan.suite_digest[7:15]
    here["catalogue"] = glance.plan.catalog_digest[7:15]
    return here


def cluster_card(root: Path, policy: Policy) -> Scorecard:
    """Score the campaign in `root` under `policy`.

    Raises:
        InputError: it is no campaign's folder, or not one node reported.
    """
    return score_cluster(root.resolve().name, list(nodes_of(root, policy)), manifest(root), policy_name(policy))
