"""What all ranks must have in common before anything is measured, and how a difference is told. Pure but one digest."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["disagreement", "source_digest"]


def source_digest() -> str:
    """Return `sha256:<hex>` over this program's own source files and catalogue."""
    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")) + sorted((root / "catalog").glob("*.yaml")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return "sha256:" + total.hexdigest()


def disagreement(told: Sequence[tuple[str, Mapping[str, str]]], expected_source: str = "") -> str:
    """Say in what ranks differ, and which; empty when they agree.

    Args:
        told: node and facts of every rank, in rank order.
        expected_source: digest of the program that made the plan; empty when it is not to be checked.
    """
    names = list(dict.fromkeys(name for _, facts in told for name in facts))
    for name in names:
        holders: dict[str, list[int]] = {}
        for rank, (_, facts) in enumerate(told):
            holders.setdefault(facts.get(name, ""), []).append(rank)
        if len(holders) > 1:
            parts = [f"{_short(value)} on {_who(ranks, told)}" for value, ranks in holders.items()]
            return f"versions differ: {name} is " + ", ".join(parts) + "; install the same on all nodes"
    if expected_source and told and told[0][1].get("effbench", expected_source) != expected_source:
        return "versions differ: the ranks run another effbench than the one that made the plan; install the same"
    return ""


def _short(value: str) -> str:
    return value[:15] if value.startswith("sha256:") else value or "absent"


def _who(ranks: Sequence[int], told: Sequence[tuple[str, Mapping[str, str]]]) -> str:
    shown = ", ".join(f"rank {rank} ({told[rank][0]})" for rank in ranks[:3])
    return shown + (f" and {len(ranks) - 3} more" if len(ranks) > 3 else "")
