"""The node that faults are put into: eight simulated H200 and the trials of shipped suites that policies look at."""

import functools

import msgspec

from effbench import kernels, resources
from effbench.catalog import parts, suites
from effbench.catalog.accelerators import match
from effbench.device import fake
from effbench.kernels import virtual
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Plan, Trial
from effbench.run import plan as planning

__all__ = ["PART", "Bench", "bench"]

# The part with the most references, so that as much as possible is held against something absolute.
PART, DEVICES = "nvidia-h200-sxm", 8
# One trial for each figure that a shipped policy asks of a GPU, by the start of its id; the rest would cost time only.
CHOSEN = {
    "node/standard": (
        *("gemm-bf16:bf16-m8192n8192k8192", "gemm:tf32-m8192n8192k8192", "gemm:fp32-m8192n8192k8192"),
        *("stream:triad", "memory-fill", "train-step", "prefill:4b-b1", "decode:4b-b8-", "host-copy:h2d-pinned"),
        "host-copy:d2h-pinned",
    ),
    "node/full": (*("gemm-bf16:bf16-m8192n8192k8192", "gemm:tf32-m8192n8192k8192", "stream:triad", "memory-fill"),),
}


class Bench(msgspec.Struct, frozen=True):
    """A plan on the simulated node, and the time of one healthy step of each trial, s."""

    plan: Plan
    inventory: Inventory
    step_s: list[float]

    def trials(self, *starts: str) -> list[int]:
        """Return the places of the trials that one of `starts` begins; of all without any."""
        return [i for i, t in enumerate(self.plan.trials) if not starts or t.id.startswith(starts)]


@functools.cache
def bench(suite: str = "node/standard") -> Bench:
    """Plan `suite` on the simulated node, reduced to the trials that policies ask for."""
    known = {name: kernels.load(name).Params for name in kernels.names()}
    asked = suites.load_suite(resources.find("workloads", suite), known)
    devices = [_named(a) for a in fake.accelerators(f"{PART}*{DEVICES}")]
    inventory = Inventory("simulated", devices)
    made = planning.make(asked, inventory, devices, parts.digest(), None, [], 1)
    kept = [t for t in made.trials if t.id.startswith(CHOSEN[suite]) and t.scope == "device" and not t.skipped]
    times = {a.key: a for a in devices}
    return Bench(
        msgspec.structs.replace(made, trials=kept),
        inventory,
        [_healthy_s(t, times[t.placement.devices[0]]) for t in kept],
    )


def _named(accelerator: Accelerator) -> Accelerator:
    return msgspec.structs.replace(accelerator, part=match(accelerator)[0])


def _healthy_s(trial: Trial, accelerator: Accelerator) -> float:
    """One step as the simulated device takes it: the slowest of compute, memory, link and launch."""
    return virtual.duration_s(trial.work, trial.outputs, accelerator)
