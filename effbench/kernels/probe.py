"""Torch's own view of this machine as one line of JSON, for the cross-check of identities.

`python -m effbench.kernels.probe` runs in a child process with a deadline, because a call into a sick driver can block
for ever. It never fails: what goes wrong is the value of `error`.
"""

import json
import os
import sys
from typing import Any

from effbench.kernels.rig import first_line, import_torch
from effbench.model.error import SiteError


def view() -> dict[str, Any]:
    """Return torch's version, builds and devices. `cuda_absent` says why no GPU can be used, where that is so."""
    try:
        torch = import_torch()
    except SiteError as error:
        return {"error": str(error)}
    found: dict[str, Any] = {
        "torch": str(torch.__version__),
        "cuda_built": torch.version.cuda,
        "hip_built": torch.version.hip,
        "nccl": _nccl(torch),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "devices": [],
    }
    try:
        why = _why_no_gpu(torch)
        if why:
            found["cuda_absent"] = why
        else:
            found["devices"] = [_device(torch, i) for i in range(torch.cuda.device_count())]
    except (RuntimeError, AssertionError) as error:
        found["error"] = first_line(error)
    return {name: value for name, value in found.items() if value is not None}


def _why_no_gpu(torch: Any) -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch was built without CUDA"
    if torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return "torch.cuda.is_available() is False"


def _device(torch: Any, index: int) -> dict[str, Any]:
    """Facts of one device. Fields that this torch does not know are left out."""
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    facts = {
        "index": index,
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "sm_count": properties.multi_processor_count,
        "memory_bytes": total,
        "memory_free_bytes": free,
        "llc_bytes": getattr(properties, "L2_cache_size", None),
        "uuid": _uuid(getattr(properties, "uuid", None)),
        "pci_bus_id": _pci(properties),
        "architecture": getattr(properties, "gcnArchName", None),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _uuid(value: Any) -> str | None:
    """NVML writes `GPU-` before what torch gives bare."""
    text = str(value) if value is not None else ""
    return None if not text else text if text.startswith(("GPU-", "MIG-")) else f"GPU-{text}"


def _pci(properties: Any) -> str | None:
    """NVML's form: domain (8 hex digits), bus, device, function."""
    bus, device = getattr(properties, "pci_bus_id", None), getattr(properties, "pci_device_id", None)
    if not isinstance(bus, int) or not isinstance(device, int):
        return None
    return f"{getattr(properties, 'pci_domain_id', 0):08X}:{bus:02X}:{device:02X}.0"


def _nccl(torch: Any) -> str | None:
    try:
        version = torch.cuda.nccl.version()
    except (RuntimeError, AttributeError, ImportError):
        return None
    return ".".join(map(str, version)) if isinstance(version, tuple) else str(version)


def main() -> None:
    """Print the view on stdout as one line; whatever libraries print meanwhile goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    line = json.dumps(view(), allow_nan=False) + "\n"
    with os.fdopen(answer, "w", encoding="utf-8") as sink:
        sink.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
