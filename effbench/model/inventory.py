"""What a node is made of, as its drivers and its operating system describe it."""

from typing import Literal

import msgspec

Confidence = Literal["high", "medium", "low"]
# What lies between two GPUs on PCIe: nvmlGpuTopologyLevel_t, from one board to across NUMA nodes.
Hop = Literal["internal", "single", "multiple", "hostbridge", "node", "system"]


class CpuFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A CPU as a measuring program needs it. `cores_usable` already honours affinity and the cgroup quota.

    `affinity` are the logical CPUs that may be used, one of every core before a second of any.
    """

    vendor: str
    family: int
    model: int
    model_name: str
    flags: list[str]
    cores_usable: float
    cores_physical: int
    threads_logical: int
    affinity: list[int]
    cgroup_quota_cores: float | None = None
    virtual: bool = False
    nominal_hz: float | None = None
    governor: str | None = None
    isa: str = "x86_64"


class Pcie(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The PCIe link of a device: as it is now and as it could be."""

    generation: int | None = None
    width: int | None = None
    generation_max: int | None = None
    width_max: int | None = None


class NvLinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The NVLinks of a GPU: how many it has and how many of them are up.

    Of those that are up, `switched` end at a switch and `peers` counts those that end at another GPU, by its PCI bus
    id; a virtual machine may hide where a link ends. `version` is NVML's number of the protocol.
    """

    links: int
    active: int
    switched: int = 0
    peers: dict[str, int] = {}
    version: int | None = None


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The catalogue's row for a device, frozen into the plan so that old records stay scoreable.

    Attributes:
        id: catalogue row, for example `nvidia-h200-sxm` or `cpu-zen4`.
        peak_flops: dense rated peak per dtype, flop/s (GPU rows); keys as in the catalogue (`bf16`, `fp64_tensor`).
        flops_per_clock: dense flop per clock and unit per dtype; a unit is an SM (GPU) or a core (CPU).
        emulated: dtypes that torch runs here without a hardware unit; never held against a peak.
        memory_bandwidth: rated, byte/s; absent when unknown.
        clock_hz: the clock behind the rated peaks, where the catalogue knows it.
        row_digest: digest of the catalogue row, part of every trial key.
    """

    id: str
    title: str
    confidence: Confidence
    source: str
    as_of: str
    row_digest: str
    peak_flops: dict[str, float] = {}
    peak_confidence: dict[str, Confidence] = {}
    flops_per_clock: dict[str, float] = {}
    emulated: list[str] = []
    memory_bandwidth: float | None = None
    memory_bytes: float | None = None
    clock_hz: float | None = None
    sm_count: int | None = None
    power_w: float | None = None
    notes: str = ""


class Accelerator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One device to be measured. Joined across views by `uuid` and `pci_bus_id`, never by an index.

    `key` is effbench's own name for it (`gpu0`, `cpu`); `torch_device` is what a worker, which is shown this device
    alone, opens (`cuda:0`, `cpu`, `fake`). `part` is absent when the catalogue does not know the device. `hops` says
    what lies on PCIe between this GPU and each other one of the node, by its key; what the driver hides is absent.
    """

    key: str
    kind: Literal["gpu", "cpu"]
    vendor: str
    name: str
    torch_device: str
    memory_bytes: int
    llc_bytes: int
    simulated: bool = False
    uuid: str = ""
    pci_bus_id: str = ""
    compute_capability: str = ""
    sm_count: int | None = None
    clock_max_hz: float | None = None
    memory_clock_max_hz: float | None = None
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    ecc: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None
    vbios: str = ""
    serial: str = ""
    numa: int | None = None
    pcie: Pcie | None = None
    nvlink: NvLinks | None = None
    hops: dict[str, Hop] = {}
    cpu: CpuFacts | None = None
    part: Part | None = None
    health: dict[str, float] = {}
    other_pids: list[int] = []


class Inventory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The node: its accelerators and the software that drives them. `env` holds allow-listed variables only.

    `firmware` is the machine's own (maker and version), empty where the kernel does not tell, as in many guests.
    """

    node: str
    accelerators: list[Accelerator]
    os: str = ""
    kernel: str = ""
    python: str = ""
    torch: str = ""
    cuda: str = ""
    driver: str = ""
    nccl: str = ""
    firmware: str = ""
    host_memory_bytes: int = 0
    host_memory_available_bytes: int = 0
    container_digest: str = ""
    env: dict[str, str] = {}
    findings: list[str] = []
