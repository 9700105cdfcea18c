"""The inventory child: `python -m effbench.device.inspect`. Says what this node is made of, as one JSON line.

It reads one line from stdin, `{}` or `{"fake": "nvidia-h200-sxm*2"}` for a simulated node, and answers an `Inventory`:
every accelerator the driver lists, in PCI bus order, and always the CPU, last. It runs in a child because a call into
a sick driver may never return. Naming the parts is left to the parent.
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from effbench.device import cpu, fake
from effbench.device.cgroup import read_text
from effbench.model.error import EffbenchError
from effbench.model.inventory import Accelerator, Inventory

# Variables that change how kernels run or which devices they see; nothing else of the environment is recorded.
ENV_NAMES = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "CUDA_MPS_PIPE_DIRECTORY",
        "CUBLAS_WORKSPACE_CONFIG",
        "HIP_VISIBLE_DEVICES",
        "KMP_AFFINITY",
        "LD_PRELOAD",
        "MALLOC_CONF",
        "MKL_NUM_THREADS",
        "NVIDIA_TF32_OVERRIDE",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "ONEDNN_MAX_CPU_ISA",
        "ROCR_VISIBLE_DEVICES",
        "SLURM_JOB_ID",
        "SLURM_CPUS_PER_TASK",
        "SLURM_GPUS_ON_NODE",
    }
)
ENV_PREFIXES = ("OMP_", "GOMP_", "NCCL_", "GLOO_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_")
DIGEST_VARIABLE = "EFFBENCH_CONTAINER_DIGEST"
_CONTAINER_SIGNS = (("docker", "docker"), ("kubepods", "kubernetes"), ("libpod", "podman"), ("lxc", "lxc"))


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked: this node (nothing set), or a simulated one (`fake`: `PART[*N]`)."""

    fake: str = ""


def inspect(request: Request, environment: Mapping[str, str], root: Path = Path("/")) -> Inventory:
    """Describe the node. `findings` are sentences about what could not be read.

    Raises:
        SiteError: this is not Linux.
        InputError: `fake` names no row of the catalogue.
    """
    if request.fake:
        return Inventory(node="simulated", accelerators=fake.accelerators(request.fake), os="simulated")
    findings: list[str] = []
    driver, cuda, gpus = _gpus(root, findings)
    processor, noticed = cpu.describe(root)
    findings += [finding.message for finding in noticed if finding.severity != "info"]
    memory = cpu.memory(root)
    return Inventory(
        node=platform.node(),
        accelerators=[*gpus, processor],
        os=_os(root, environment),
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        driver=driver,
        firmware=_firmware(root),
        cuda=cuda,
        host_memory_bytes=min(memory.total_bytes, memory.limit_bytes or memory.total_bytes),
        host_memory_available_bytes=memory.available_bytes,
        container_digest=environment.get(DIGEST_VARIABLE, ""),
        env=allowed(environment),
        findings=findings,
    )


def allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """Keep the variables of the allow-list, sorted; an empty one is kept, for it hides devices too."""
    return {
        name: environment[name] for name in sorted(environment) if name in ENV_NAMES or name.startswith(ENV_PREFIXES)
    }


def _gpus(root: Path, findings: list[str]) -> tuple[str, str, list[Accelerator]]:
    """Ask NVML: driver version, newest CUDA it serves, GPUs. A node without an NVIDIA driver has none, silently."""
    from effbench.device import nvml

    try:
        facts = nvml.driver_facts()
        devices = nvml.observe(root)
    except EffbenchError as error:
        if _driver_present(root):
            findings.append(f"the node has an NVIDIA driver, but it cannot be asked: {error}")
        return "", "", []
    found = []
    for device in devices:
        try:
            found.append(device.accelerator())
            findings += device.notes()
        finally:
            device.close()
    findings += facts.refused
    return facts.driver, facts.cuda, found


def _firmware(root: Path) -> str:
    """Maker and version of the machine's firmware, as the kernel read them from its DMI table; "" without one."""
    facts = [read_text(root / "sys/class/dmi/id" / name) for name in ("bios_vendor", "bios_version")]
    return " ".join(fact for fact in facts if fact)


def _driver_present(root: Path) -> bool:
    return (root / "proc/driver/nvidia/version").exists() or any((root / "dev").glob("nvidia[0-9]*"))


def _os(root: Path, environment: Mapping[str, str]) -> str:
    """Name the distribution, and the kind of container around it if there is one."""
    lines = (read_text(root / "etc/os-release") or "").splitlines()
    facts = {name: value.strip().strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
    name = facts.get("PRETTY_NAME") or platform.system()
    container = _container(root, environment)
    return f"{name} in a {container} container" if container else name


def _container(root: Path, environment: Mapping[str, str]) -> str:
    """Tell the kind of container by its usual marks; "" when there is none to be seen."""
    if (root / "run/.containerenv").exists():
        return "podman"
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER"):
        return "apptainer"
    groups = read_text(root / "proc/self/cgroup") or ""
    return next((kind for sign, kind in _CONTAINER_SIGNS if f"/{sign}" in groups), "")


def main() -> int:
    """Answer one request. 0 with an answer, otherwise the exit code of the error, which goes to stderr."""
    line = sys.stdin.buffer.readline().strip() or b"{}"
    try:
        request = msgspec.json.decode(line, type=Request)
        inventory = inspect(request, os.environ)
    except msgspec.MsgspecError as error:
        sys.stderr.write(f"the inventory child cannot read its request: {error}\n")
        return 2
    except EffbenchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(msgspec.json.encode(inventory).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
