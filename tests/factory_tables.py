"""The tables that the synthetic nodes of `tests.factory` are made of: parts, and one row per workload."""

from typing import Any, Literal, NamedTuple

from effbench.model.inventory import Part
from effbench.model.scorecard import Better
from effbench.model.unit import Unit

STARTED, ENDED = "2026-11-21T14:03:11Z", "2026-11-21T14:07:42Z"
H200_SOURCE, H200_DATE = "H200 datasheet via stas00/Lightning (compute identical to H100 SXM)", "2024-11-18"
H200 = Part(
    id="nvidia-h200-sxm",
    title="NVIDIA H200 SXM",
    confidence="high",
    source=H200_SOURCE,
    as_of=H200_DATE,
    row_digest="3f6c0f4de21b",
    peak_flops={"bf16": 989.4e12, "fp8": 1978.9e12, "tf32": 494.7e12, "fp32": 66.9e12, "fp64_tensor": 66.9e12},
    memory_bandwidth=4.8e12,
    memory_bytes=141e9,
    clock_hz=1.83e9,
    sm_count=132,
    power_w=700,
)
ZEN4 = Part(
    id="cpu-zen4",
    title="AMD Zen 4 core",
    confidence="medium",
    source="register-only loops on a Zen 4 VM",
    as_of="2026-11-10",
    row_digest="77aa0e51b3c9",
    flops_per_clock={"fp64": 16, "fp32": 32, "bf16": 64, "int8": 128},
    emulated=["fp16", "fp8"],
)
UNITS: dict[str, tuple[Unit, Better]] = {
    "flops": (Unit.FLOP_PER_S, "higher"),
    "bandwidth": (Unit.BYTE_PER_S, "higher"),
    "tokens_per_s": (Unit.TOKEN_PER_S, "higher"),
    "verified_bytes": (Unit.BYTE, "higher"),
    "time": (Unit.SECOND, "lower"),
    "time_to_first_token": (Unit.SECOND, "lower"),
    "inter_token_p50": (Unit.SECOND, "lower"),
    "inter_token_p99": (Unit.SECOND, "lower"),
    "latency": (Unit.SECOND, "lower"),
    "peak_memory_bytes": (Unit.BYTE, "lower"),
}


class Row(NamedTuple):
    """One workload of the table: its kernel, parameters, one repetition's work and time, and what it yields."""

    workload: str
    kernel: str
    params: dict[str, Any]
    step_s: float
    flop: float = 0.0
    memory_bytes: float = 0.0
    items: float = 0.0
    peak: str | None = None
    outputs: tuple[str, ...] = ()
    share: float | None = None  # of the reference, where there is one
    skipped: str | None = None
    emulated: bool = False
    mode: Literal["sustained", "burst", "latency", "once"] = "sustained"


def _gemm(dtype: str, n: int, rate: float, size: int, share: float | None, peak: str | None = "", **more: Any) -> Row:
    flop = 2.0 * n**3
    key = f"compute.gemm.{dtype}"
    return Row(
        f"gemm-{dtype}",
        "gemm",
        {"dtype": dtype, "m": n, "n": n, "k": n},
        flop / rate,
        flop,
        3.0 * n * n * size,
        peak=dtype if peak == "" else peak,
        outputs=(f"{key}.flops",),
        share=share,
        **more,
    )


def _stream(op: str, arrays: int, array_bytes: float, rate: float, share: float | None) -> Row:
    moved = arrays * array_bytes
    key = f"memory.stream.{op}.bandwidth"
    return Row("stream", "stream", {"op": op}, moved / rate, 0, moved, peak="bandwidth", outputs=(key,), share=share)


GPU_ROWS = [
    _gemm("bf16", 8192, 771e12, 2, 0.971),
    _gemm("fp8", 8192, 1402e12, 1, 0.965),
    _gemm("tf32", 8192, 381e12, 4, None),
    _gemm("fp32", 8192, 51.6e12, 4, 0.983),
    _gemm("fp64", 8192, 61.2e12, 8, None, "fp64_tensor"),
    _gemm("int8", 8192, 1, 1, None, skipped="not applicable: this torch build has no int8 kernel for the device"),
    _stream("triad", 3, 4.3e9, 4.31e12, 0.966),
    _stream("read", 1, 4.3e9, 4.42e12, None),
    Row("memory_fill", "memory_fill", {"share": 0.25}, 8.4, 0, 34.4e9, mode="once",
        outputs=("memory.capacity.verified_bytes", "memory.fill.read.bandwidth")),
    Row("attention", "attention", {"direction": "fwd", "head_dim": 128}, 0.00118, 5.5e11, 5.4e8, peak="bf16",
        outputs=("compute.attention.fwd.d128.flops",)),
    Row("train_step", "train_step", {"config": "1b", "batch": 8, "seq": 2048}, 0.2713, 1.24e14, 6.1e10, 16384, "bf16",
        ("train.step.mfu", "train.step.tokens_per_s", "train.step.time", "train.step.peak_memory_bytes"), 0.934),
    Row("prefill", "prefill_step", {"config": "3b", "batch": 1, "prompt": 2048}, 0.0271, 1.31e13, 6.9e9, 2048, "bf16",
        ("infer.prefill.b1.mfu", "infer.prefill.b1.tokens_per_s", "infer.prefill.b1.time_to_first_token"), 0.948),
    Row("decode", "decode_step", {"config": "3b", "batch": 8}, 0.00235, 5.4e10, 7.2e9, 8, "bandwidth",
        ("infer.decode.b8.tokens_per_s", "infer.decode.b8.fraction_of_bandwidth", "infer.decode.b8.inter_token_p50",
         "infer.decode.b8.inter_token_p99"), 0.941, mode="latency"),
    Row("host_copy", "host_copy", {"direction": "h2d", "memory": "pinned"}, 0.00484, 0, 2.68e8, peak=None,
        outputs=("host.copy.h2d.pinned.bandwidth",), share=0.998),
    Row("launch", "launch_latency", {"how": "sync"}, 5.9e-6, outputs=("host.launch.sync.latency",), mode="latency"),
]  # fmt: skip
CPU_ROWS = [
    _gemm("fp32", 2048, 181.3e9, 4, 0.968),
    _gemm("fp64", 2048, 71.9e9, 8, 0.972),
    _gemm("bf16", 2048, 411e9, 2, 0.981),
    _gemm("fp16", 512, 0.31e9, 2, None, None, emulated=True),
    _gemm("tf32", 2048, 1, 4, None, skipped="not applicable: a CPU has no tf32"),
    _stream("triad", 3, 2.7e8, 31.4e9, 0.951),
    Row("train_step", "train_step", {"config": "cpu-20m", "batch": 2, "seq": 128}, 0.412, 3.4e10, 9.1e8, 256, "bf16",
        ("train.step.mfu", "train.step.tokens_per_s", "train.step.time"), 0.94),
    Row("decode", "decode_step", {"config": "cpu-20m", "batch": 1}, 0.00412, 4.2e7, 8.3e7, 1, "bandwidth",
        ("infer.decode.b1.tokens_per_s", "infer.decode.b1.inter_token_p99"), 0.953, mode="latency"),
    Row("host_copy", "host_copy", {"direction": "h2d", "memory": "pinned"}, 1, outputs=(),
        skipped="not applicable: a CPU has no host link; a memcpy is not H2D"),
]  # fmt: skip
