"""A simulated GPU, a trial on it and a simulated step, for tests; imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from effbench.kernels import gemm
from effbench.kernels.contract import Step
from effbench.kernels.virtual import VirtualRig, fake_step
from effbench.model.inventory import Accelerator, Part
from effbench.model.plan import Output, Placement, Trial, Work
from effbench.model.suite import Procedure
from tests.unit.kernel_devices import SEED, gpu

PART = Part(
    "h", "h", "high", "s", "2026-01-01", "0", peak_flops={"bf16": 1e15, "fp64_tensor": 6e13}, memory_bandwidth=4e12
)
FAKE = msgspec.structs.replace(gpu(), simulated=True, torch_device="fake", part=PART)


def trial_of(kernel: str = "gemm", outputs: Sequence[Output] | None = None, **work: float) -> Trial:
    """A trial with these outputs and work counts; 1e12 flop of bf16 by default."""
    return Trial(
        id=f"{kernel}@gpu0",
        workload=kernel,
        kernel=kernel,
        kernel_version=1,
        params={},
        placement=Placement(["gpu0"]),
        procedure=Procedure(),
        work=Work(**(work or {"flop": 1e12})),
        outputs=list(outputs or [Output("compute.gemm.bf16.flops", "flop", "bf16")]),
        trial_key="",
        deadline_s=1.0,
        expected_s=1.0,
    )


def step_of(
    trial: Trial | None = None,
    faults: Mapping[str, Any] | None = None,
    round_number: int = 0,
    device: Accelerator = FAKE,
) -> tuple[VirtualRig, Step]:
    """A simulated rig in whose time nothing really passes, and a step on it."""
    rig = VirtualRig(device, SEED, round_number, real_share=0.0)
    return rig, fake_step(gemm, gemm.Params(), trial or trial_of(), rig, round_number, faults or {})
