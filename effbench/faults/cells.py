"""The table of faults: what is done to a node, how the node is judged, and what must be said for it to be caught."""

from typing import Literal

import msgspec

from effbench.faults import inject
from effbench.faults.inject import Change, Slow

__all__ = ["CELLS", "Cell", "Judged", "Peers"]

# How a node is judged: by a baseline of peers, by a claim, after a soak, with a gate on energy beside the baseline.
Judged = Literal["baseline", "claim", "burn-in", "energy"]
# What the baseline is made of: healthy peers, peers as slow as the node, or two kinds of them.
Peers = Literal["healthy", "half", "two"]
COMPUTE = ("compute.", "train.", "infer.prefill")
GEMM = ("gemm-bf16:", "gemm:")
TIMED = ("gemm", "stream", "train-step", "prefill", "decode", "host-copy")
BOUND_BY_MEMORY = ("stream", "decode")
BOUND_BY_COMPUTE = (*GEMM, "train-step", "prefill")


class Cell(msgspec.Struct, frozen=True):
    """One row of the table.

    A fault is caught when the verdict is not pass and what stands against the node names it: a rule that was not met
    whose metric (of a claim: its subject) begins with one of `names`, on the sick device where the rule has one, or,
    with `says`, a finding or doubt that holds these words. `size` is the loss of speed where the fault is one.
    `missing`: evidence is missing, so a pass breaks an invariant. `target`: at least 99 % are to be caught; of
    healthy nodes at most 1 % may fail.
    """

    key: str
    title: str
    judged: Judged = "baseline"
    names: tuple[str, ...] = ()
    says: str = ""
    size: float | None = None
    slow: Slow | None = None
    change: Change | None = None
    peers: Peers = "healthy"
    between: Literal["nodes", "devices"] = "nodes"
    spreads: tuple[float, ...] = (0.01, 0.02)
    healthy: bool = False
    missing: bool = False
    target: bool = True


def _one(share: float, title: str, **more: str) -> Cell:
    names = ("compute.", "memory.", "train.", "infer.", "host.")
    between: Literal["nodes", "devices"] = "devices" if more.get("between") == "devices" else "nodes"
    return Cell(
        f"one-{share:.0%}".replace("%", "") + ("-devices" if between == "devices" else ""),
        title,
        names=names,
        size=share,
        slow=inject.slowed(share, *TIMED),
        between=between,
        target=share >= 0.1,
    )


_DEVICES = "(the spread lies between devices)"
_SOAK, _ENERGY = inject.soak_of(), inject.power_sensors("")
_SPEED = [
    _one(0.05, "one GPU of 8 is 5 % slow"),
    _one(0.10, "one GPU of 8 is 10 % slow"),
    _one(0.10, f"one GPU of 8 is 10 % slow {_DEVICES}", between="devices"),
    _one(0.30, "one GPU of 8 is 30 % slow"),
    _one(2 / 3, "one GPU of 8 is 3 times as slow"),
    Cell(
        "half-bandwidth",
        "one GPU of 8 has half its memory bandwidth",
        names=("memory.stream", "infer.decode"),
        size=0.5,
        slow=inject.slowed(0.5, *BOUND_BY_MEMORY),
    ),
    Cell(
        "six-of-19",
        "one GPU of 8 reaches 6 of 19 TFLOP/s in every matrix product",
        names=COMPUTE,
        size=13 / 19,
        slow=inject.slowed(13 / 19, *GEMM),
    ),
    Cell(
        "six-of-19-fp32",
        "one GPU of 8 reaches 6 of 19 TFLOP/s in fp32 alone",
        names=("compute.gemm.fp32",),
        size=13 / 19,
        slow=inject.slowed(13 / 19, "gemm:fp32"),
    ),
    Cell(
        "power-capped",
        "one GPU of 8 is held to 0.8 of its speed by its power cap",
        names=COMPUTE,
        says="power cap",
        size=0.2,
        slow=inject.slowed(0.2, *BOUND_BY_COMPUTE),
        change=inject.capped,
    ),
    Cell(
        "half-link",
        "the host link of one GPU of 8 has half its lanes",
        names=("host.",),
        size=0.5,
        slow=inject.slowed(0.5, "host-copy"),
        change=inject.half_the_lanes,
    ),
]
_PARTS = [
    Cell("missing-gpu", "7 GPUs instead of 8, by the claim", "claim", ("count",), change=inject.without_a_device),
    Cell(
        "missing-gpu-baseline",
        "7 GPUs instead of 8, by the baseline",
        says="of 8 devices and this one is of 7",
        change=inject.without_a_device,
    ),
    Cell("half-memory", "one GPU of 8 has half its memory", "claim", ("memory",), change=inject.half_the_memory),
    Cell("half-lanes", "one GPU of 8 has half its lanes", "claim", ("link_width",), change=inject.half_the_lanes),
]
_SENSORS = [
    Cell(
        f"sensor-{how}",
        f"the power sensors of one GPU of 8 are {words}",
        "energy",
        ("power.",),
        says="gpu3.",
        change=inject.power_sensors(how),
        missing=True,
    )
    for how, words in (("stuck", "stuck"), ("zero", "at zero"), ("absent", "absent"))
]
_EVIDENCE = [
    *_SENSORS,
    Cell(
        "no-counters",
        "one GPU of 8 has no count of memory errors",
        names=("health.ecc",),
        change=inject.without_error_counters,
        missing=True,
    ),
    Cell(
        "no-reasons",
        "one GPU of 8 does not say why its clocks are low",
        "burn-in",
        ("compute.gemm.bf16.soak.throttle_share",),
        change=inject.soak_of(reasons=None),
        missing=True,
    ),
    Cell(
        "nan",
        "one trial on one GPU of 8 gives NaN",
        names=("compute.", "memory.", "train.", "infer.", "host."),
        change=inject.not_a_number,
        missing=True,
    ),
]
_LATE = [
    Cell(
        "throttled",
        "one GPU of 8 loses 10 % to heat in the last third of the soak",
        "burn-in",
        ("compute.gemm.bf16.soak",),
        size=0.1,
        change=inject.soak_of(0.1),
    ),
    Cell(
        "throttled-silent",
        "the same, and its driver does not say so",
        "burn-in",
        ("compute.gemm.bf16.soak",),
        size=0.1,
        change=inject.soak_of(0.1, reasons=False),
    ),
    Cell(
        "ecc-corrected",
        "one GPU of 8 repairs 0.2 to 10 memory errors a second",
        "burn-in",
        ("health.ecc_corrected_rate",),
        change=inject.joined(_SOAK, inject.corrected_errors),
    ),
    Cell(
        "ecc-uncorrected",
        "one GPU of 8 counts memory errors that it cannot repair",
        names=("health.ecc_uncorrected",),
        change=inject.uncorrected_errors,
    ),
]
_FLEETS = [
    Cell(
        "half-fleet",
        "the whole fleet runs at half speed",
        names=("compute.gemm.bf16.fraction_of_reference", "memory.stream.triad.fraction_of_reference"),
        size=0.5,
        slow=inject.slowed(0.5, *TIMED, device=None),
        peers="half",
    ),
    Cell(
        "two-kinds",
        "a fleet of two kinds, 100 and 93: a node of the slow kind",
        says="two kinds",
        size=0.07,
        slow=inject.slowed(0.07, *TIMED, device=None),
        peers="two",
        target=False,
    ),
]
_HEALTHY = [
    Cell("healthy", "a healthy node against its fleet", spreads=(0.01, 0.02, 0.04, 0.08), healthy=True),
    Cell(
        "healthy-devices",
        f"a healthy node against its fleet {_DEVICES}",
        between="devices",
        spreads=(0.01, 0.02, 0.04, 0.08),
        healthy=True,
    ),
    Cell("healthy-claim", "a healthy node, by the claim", "claim", healthy=True),
    Cell("healthy-soak", "a healthy node, after a soak", "burn-in", change=_SOAK, healthy=True),
    Cell("healthy-energy", "a healthy node, with its energy", "energy", change=_ENERGY, healthy=True),
]
CELLS: tuple[Cell, ...] = (*_SPEED, *_PARTS, *_EVIDENCE, *_LATE, *_FLEETS, *_HEALTHY)
