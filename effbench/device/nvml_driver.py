"""Owns NVML's view of the driver: its versions, its list of GPUs, and those that are out of reach."""

import importlib.metadata
from typing import Any

import msgspec

from effbench.device.nvml_read import (
    NO_PERMISSION,
    Guard,
    NvmlUnavailableError,
    attempt,
    initialise,
    load_binding,
)


class DriverFacts(msgspec.Struct, frozen=True):
    """The software under the GPUs. "" is unknown; `cuda` is the newest CUDA that the driver serves, as `13.0`.

    `refused` lists GPUs that the driver has and does not let this user or container touch, a sentence each.
    """

    driver: str = ""
    cuda: str = ""
    nvml: str = ""
    binding: str = ""
    refused: tuple[str, ...] = ()


def driver_facts() -> DriverFacts:
    """Ask the driver for its versions and for GPUs that are out of reach.

    Raises:
        NvmlUnavailableError: NVML cannot be used; `cause` says why.
    """
    binding = load_binding()
    initialise(binding)
    try:
        _, refused = open_handles(binding)
        return read_versions(binding, refused)
    finally:
        attempt(binding, "nvmlShutdown")


def open_handles(binding: Any) -> tuple[list[Guard], list[str]]:
    """Open every GPU: guards (one that cannot be opened is lost), and sentences about those that are not ours."""
    code, count, reason = attempt(binding, "nvmlDeviceGetCount")
    if code:
        raise NvmlUnavailableError("unknown", f"the driver cannot count its GPUs ({reason}): run nvidia-smi")
    guards, refused = [], []
    for index in range(count):
        code, handle, reason = attempt(binding, "nvmlDeviceGetHandleByIndex", index)
        if code == NO_PERMISSION:
            refused.append(f"NVML device {index}: {reason}")
            continue
        guard = Guard(binding, handle)
        guard.lost, guard.lost_code = (reason, code) if code else ("", 0)
        guards.append(guard)
    return guards, refused


def read_versions(binding: Any, refused: list[str]) -> DriverFacts:
    """Driver, CUDA, NVML and binding versions."""
    _, driver, _ = attempt(binding, "nvmlSystemGetDriverVersion")
    _, nvml, _ = attempt(binding, "nvmlSystemGetNVMLVersion")
    _, cuda, _ = attempt(binding, "nvmlSystemGetCudaDriverVersion_v2")  # 1000 * major + 10 * minor
    try:
        version = importlib.metadata.version("nvidia-ml-py")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return DriverFacts(
        driver=str(driver or ""),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        nvml=str(nvml or ""),
        binding=version,
        refused=tuple(refused),
    )
