"""Which trials a fault is looked for in, and the policy that asks for nothing else: ci-qualification, cut down."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from effbench import resources

SHIPPED = "ci-qualification"


class Part(NamedTuple):
    """Trials of a shipped suite, run with its own protocol, and the figures of theirs that are judged."""

    suite: str
    only: str
    gates: tuple[str, ...]
    domains: tuple[str, ...]
    figures: tuple[str, ...]


COMPUTE = Part(
    "node/quick",
    "gemm:fp32-*",
    ("health.wrong_results", "compute.gemm.fp32.fraction_of_reference"),
    ("compute",),
    ("compute.gemm.fp32.fraction_of_baseline",),
)
MEMORY = Part(
    "node/quick",
    "stream:triad-*",
    ("health.wrong_results", "memory.stream.triad.fraction_of_reference"),
    ("memory",),
    ("memory.stream.triad.fraction_of_baseline",),
)
# One command for both; a glob has no "or".
BOTH = Part(
    "node/quick",
    "[gs]*:[ft][pr][3i]*",
    tuple(dict.fromkeys([*COMPUTE.gates, *MEMORY.gates])),
    (*COMPUTE.domains, *MEMORY.domains),
    (*COMPUTE.figures, *MEMORY.figures),
)
READ = "storage.read.sequential.q8.bandwidth"
STORAGE = Part("node/system", "storage-read:sequential-*-q8-direct*", ("health.wrong_results",), (), ())


def policy(part: Part, folder: Path, healthy_read: float | None = None) -> Path:
    """Write the policy for a part: rules of ci-qualification alone, those for figures that its trials give.

    Storage has no share of a baseline, so its rule is a gate on bytes per second, at the share that ci-qualification
    asks of a baseline: of `healthy_read`, the median of the healthy runs.
    """
    path = resources.find("policies", SHIPPED + ".yaml")
    rules: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    cpu = rules["cpu"]
    gates = [gate for gate in cpu["gates"] if gate["metric"] in part.gates]
    domains = [
        {**one, "metrics": [rule for rule in one["metrics"] if set(rule["any_of"]) & set(part.figures)]}
        for one in cpu["domains"]
        if one["name"] in part.domains
    ]
    if healthy_read is not None:
        least = float(rules["ladder"][rules["pass_grade"]]) * healthy_read
        gates.append({"metric": READ, "threshold": f"{least / 1e6:.1f} MB/s"})
    missing = set(part.gates) - {gate["metric"] for gate in gates}
    if missing or len(domains) != len(part.domains) or not all(one["metrics"] for one in domains):
        raise ValueError(f"{SHIPPED} has no rule any more for {missing or part.figures}")
    rules |= {"name": "faults-" + "-".join(part.domains or ("storage",)), "cpu": {"gates": gates, "domains": domains}}
    written = folder / f"{rules['name']}.yaml"
    written.write_bytes(msgspec.yaml.encode(rules))
    return written
