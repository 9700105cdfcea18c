"""What will be done: trials with everything that scoring needs later, so that old records stay scoreable."""

from typing import Any, Literal

import msgspec

from effbench.model.finding import Finding
from effbench.model.quantity import finite
from effbench.model.suite import Idles, Procedure, Scope


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one repetition must do, counted analytically. One fused multiply-add is two flop.

    `items` counts tokens (or whatever the kernel's rate metric counts) per repetition; `hardware_flop` includes
    recomputation and is the numerator of HFU, `flop` is the model's own work and the numerator of MFU. Of a
    collective, `payload_bytes` is S (the numerator of algbw) and `link_bytes` is S times nccl-tests' factor (busbw).
    """

    flop: float = 0.0
    hardware_flop: float = 0.0
    memory_bytes: float = 0.0
    link_bytes: float = 0.0
    payload_bytes: float = 0.0
    items: float = 0.0

    def __post_init__(self) -> None:
        finite("Work", flop=self.flop, hardware_flop=self.hardware_flop, memory_bytes=self.memory_bytes)


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One metric family that a trial yields.

    Attributes:
        key: the metric's full key, for example `compute.gemm.bf16.m2048n2048k2048.flops`.
        of: what it is made of. `flop`, `hardware_flop`, `memory_bytes`, `link_bytes`, `payload_bytes`, `items`: that
            work count over the step time. `time`: the step time. `p50`, `p99`: its quantiles. `fact:NAME`: a figure
            the step reported. `fraction`: like `flop` over the peak, dimensionless (MFU); `hardware_fraction` (HFU).
        peak: the catalogue's dtype key for compute ceilings (`bf16`, `fp64_tensor`), `bandwidth` for memory
            ceilings, or absent when no ratio applies.
        headline: the key under which the best of several trials is repeated (`compute.gemm.bf16.flops`).
        fractions: True when `flops`/`bandwidth` metrics also yield their fractions of peak and reference.
    """

    key: str
    of: str
    peak: str | None = None
    headline: str | None = None
    fractions: bool = False


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a trial runs: the inventory keys of its devices, how many ranks, over how many nodes.

    On a GPU one rank is one device. On a CPU `cores` holds each rank's fixed set of cores: the same number of cores
    for every number of ranks, so that one rank and N ranks are comparable.
    """

    devices: list[str]
    ranks: int = 1
    nodes: int = 1
    cores: list[list[int]] = []


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One kernel with fixed parameters on fixed devices, measured once per round.

    `id` is `<workload>:<label>@<device>`, readable and unique in the plan. `trial_key` is the digest of what
    decides comparability (INTERFACES section 5). `rounds` bounds the rounds it takes part in. A `skipped` trial is not
    applicable here, says why, and does not count against coverage. With a `scope` other than `device` it is run by a
    team of `placement.ranks` processes that form one process group, also when that is a single one.
    """

    id: str
    workload: str
    kernel: str
    kernel_version: int
    params: dict[str, Any]
    placement: Placement
    procedure: Procedure
    work: Work
    outputs: list[Output]
    trial_key: str
    deadline_s: float
    expected_s: float
    emulated: bool = False
    skipped: str | None = None
    rounds: int | None = None
    scope: Scope = "device"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that one run will do. `digest` is over all other fields. `at_once`: its devices work together."""

    schema: Literal["effbench.plan/1"]
    digest: str
    suite: str
    suite_digest: str
    catalog_digest: str
    kernel_digests: dict[str, str]
    inventory_digest: str
    seed: int
    rounds_min: int
    rounds_max: int
    budget_s: float
    expected_s: float
    trials: list[Trial]
    devices: list[str]
    idle: Idles | None = None
    findings: list[Finding] = []
    at_once: bool = False
