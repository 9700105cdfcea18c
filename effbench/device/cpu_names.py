"""Who made a processor and which one it is, from /proc/cpuinfo on x86-64 and 64-bit Arm."""

import re
from pathlib import Path

import msgspec

from effbench.device.cgroup import read_text

# Vendor strings of CPUID as a catalogue spells the maker.
MAKERS = {
    "AuthenticAMD": "amd",
    "GenuineIntel": "intel",
    "HygonGenuine": "hygon",
    "CentaurHauls": "zhaoxin",
    "ARM": "arm",
    "Ampere": "ampere",
    "NVIDIA": "nvidia",
}
# "CPU implementer" and "CPU part" as Arm's manuals number them and lscpu (util-linux) names them.
_IMPLEMENTERS = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x51: "Qualcomm",
    0x61: "Apple",
    0x6D: "Microsoft",
    0xC0: "Ampere",
}
_PARTS = {
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x46, 0x001): "A64FX",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}
_NOMINAL = re.compile(r"@\s*([0-9.]+)\s*GHz", re.IGNORECASE)


class CpuName(msgspec.Struct, frozen=True):
    """The identity of a processor.

    `vendor` is CPUID's string on x86 and the implementer's name on Arm; `family` is the architecture number and
    `model` the part number on Arm (0xd4f is Neoverse V2). `nominal_hz` is what the maker prints, never a clock held.
    `cache_bytes` is cpuinfo's "cache size", which is the last level on Intel and the second on AMD.
    """

    vendor: str
    family: int
    model: int
    model_name: str
    flags: list[str]
    isa: str
    nominal_hz: float | None
    cache_bytes: int | None
    places: dict[int, tuple[str, str]]


def read(root: Path = Path("/")) -> CpuName | None:
    """Read the processor's name; None when there is no /proc/cpuinfo (not Linux)."""
    text = read_text(root / "proc/cpuinfo")
    if not text:
        return None
    blocks = [_fields(block) for block in text.split("\n\n")]
    places = {
        int(block["processor"]): (block["physical id"], block["core id"])
        for block in blocks
        if "physical id" in block and "core id" in block and block.get("processor", "").isdecimal()
    }
    first = {key: value for block in reversed(blocks) for key, value in block.items()}
    return _arm(first, places) if "CPU implementer" in first else _x86(first, places)


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def _x86(first: dict[str, str], places: dict[int, tuple[str, str]]) -> CpuName:
    flags = sorted(set(first.get("flags", first.get("isa", "")).split()))
    name = first.get("model name", "unknown processor")
    nominal = _NOMINAL.search(name)
    hertz = float(nominal[1]) * 1e9 if nominal else None
    if hertz is None and "hypervisor" in flags:
        # A guest is shown a constant, the host's nominal clock; on bare metal the same line follows the clock.
        hertz = _number(first.get("cpu MHz", ""), 1e6)
    return CpuName(
        vendor=first.get("vendor_id", "unknown"),
        family=_integer(first.get("cpu family", "")),
        model=_integer(first.get("model", "")),
        model_name=name,
        flags=flags,
        isa="x86_64" if "vendor_id" in first else "unknown",
        nominal_hz=hertz,
        cache_bytes=_kibibytes(first.get("cache size", "")),
        places=places,
    )


def _arm(first: dict[str, str], places: dict[int, tuple[str, str]]) -> CpuName:
    implementer, part = _integer(first["CPU implementer"]), _integer(first.get("CPU part", ""))
    vendor = _IMPLEMENTERS.get(implementer, f"implementer {implementer:#x}")
    return CpuName(
        vendor=vendor,
        family=_integer(first.get("CPU architecture", "")),
        model=part,
        model_name=_PARTS.get((implementer, part), first.get("model name", f"{vendor} part {part:#x}")),
        flags=sorted(set(first.get("Features", "").split())),
        isa="aarch64",
        nominal_hz=None,
        cache_bytes=None,
        places=places,
    )


def _integer(text: str) -> int:
    """Read a decimal or 0x number; 0 where the line is missing, which no real family or part is."""
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _number(text: str, scale: float) -> float | None:
    try:
        return float(text) * scale
    except ValueError:
        return None


def _kibibytes(text: str) -> int | None:
    amount = text.removesuffix("KB").strip()
    return int(amount) * 1024 if amount.isdecimal() else None
