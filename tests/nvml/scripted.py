"""Builds the scripted libnvidia-ml.so.1 and plays scenarios on it in child processes, through the real binding."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("scripted_nvml.c")
ROOT = Path(__file__).resolve().parents[2]
NEEDS_GCC = "gcc is not installed, so the scripted libnvidia-ml.so.1 cannot be built"

# What every child has at hand: `at(5)` moves the scenario's clock, `show(x)` hands a value to the test.
PRELUDE = """
import ctypes, json, msgspec
from effbench.device import nvml
def at(t): ctypes.CDLL("libnvidia-ml.so.1").scripted_nvml_at(ctypes.c_double(t))
def show(x): print(json.dumps(msgspec.to_builtins(x)), flush=True)
"""


def has_gcc() -> bool:
    return shutil.which("gcc") is not None


def build(folder: Path, *, old_driver: bool = False) -> Path:
    """Compile the library into `folder` and return the folder, for LD_LIBRARY_PATH. An old driver lacks symbols."""
    flags = ["-DOLD_DRIVER"] if old_driver else []
    command = ["gcc", "-std=c11", "-D_DEFAULT_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *flags]
    soname = "libnvidia-ml.so.1"
    subprocess.run([*command, f"-Wl,-soname,{soname}", "-o", folder / soname, SOURCE], check=True, timeout=60)
    return folder


def h200(index: int = 0, bus_id: str = "00000000:1A:00.0") -> list[str]:
    """The lines of one healthy H200: figures are plausible, not measured."""
    facts = f"""
        name "NVIDIA H200"
        uuid GPU-00000000-0000-0000-0000-{index:012d}
        serial 16500000000{index}
        vbios 96.00.BC.00.01
        bus_id {bus_id}
        memory_bytes 150754820096
        capability 9.0
        clock_1_mhz 1755
        clock_1_max_mhz 1980
        clock_2_mhz 3201
        clock_2_max_mhz 3201
        power_mw 412000
        field 186 uint @power_mw
        field 185 uint 405000
        field 185/2 uint 61000
        field 82 uint 52
        field 74 ull 5000000
        field 75 ull 7000000
        field 230 uint 0
        limit_mw 700000
        limit_default_mw 700000
        energy_mj 5000000
        temperature 47
        reasons 4
        utilisation 98 40
        ecc 1
        ecc_0_0 2
        ecc_1_0 0
        ecc_0_1 9
        ecc_1_1 1
        remapped 0 0 0 0
        mig 0
        persistence 1
        virtualization 0
        pcie_generation 5
        pcie_width 16
        pcie_generation_max 5
        pcie_width_max 16
        pcie_replay 3
        processes"""
    return [f"gpu {index} {line.strip()}" for line in facts.strip().splitlines()]


DRIVER = ["clock manual", "driver 580.65.06", "nvml 13.580.65", "cuda 13000"]


def environment(library: Path, script: Path) -> dict[str, str]:
    """The environment of a process that sees the scripted GPUs."""
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(library),
        "NVML_SCRIPT": str(script),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }


def start(library: Path, folder: Path, lines: Sequence[str], code: str) -> subprocess.Popen[str]:
    """Start a child that runs `code` after the prelude on the scenario `lines`."""
    script = folder / "scenario.txt"
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code],
        env=environment(library, script),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def play(library: Path, folder: Path, lines: Sequence[str], code: str) -> list:
    """Run `code` to its end and return what it showed. Fails with the child's stderr when it fails."""
    with start(library, folder, lines, code) as child:
        try:
            out, err = child.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    assert child.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]
