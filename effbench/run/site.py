"""What this node is: asks the inventory child and torch's own view, cross-checks them, and names the parts."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from effbench.catalog.accelerators import match
from effbench.model.error import InputError, SiteError, WorkerError
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.record import Record
from effbench.run.child import ask
from effbench.run.doctor import cores_kept_from, power_kept_from

INSPECT_DEADLINE_S, PROBE_DEADLINE_S = 30.0, 120.0


class Site(msgspec.Struct, frozen=True):
    """The node and what was noticed while looking at it."""

    inventory: Inventory
    findings: list[Finding]


def survey(environment: Mapping[str, str], fake: str | None = None, devices: str = "all") -> Site:
    """Look at this node (or make up a simulated one from `fake`, a spec such as `nvidia-h200-sxm*2`).

    Raises:
        SiteError: a driver does not answer, torch is missing, or torch cannot use a GPU that the driver lists. When
            `devices` asks for the CPU alone, torch's view of the GPUs is not asked for.
    """
    question = msgspec.json.encode({"fake": fake} if fake else {})
    answer = ask("effbench.device.inspect", question, environment, INSPECT_DEADLINE_S)
    try:
        inventory = msgspec.json.decode(answer, type=Inventory)
    except msgspec.DecodeError as error:
        raise WorkerError(f"the inventory child answered nonsense: {error}") from error
    findings: list[Finding] = []
    accelerators = list(inventory.accelerators)
    if fake is None:
        inventory = msgspec.structs.replace(inventory, torch=_torch_version())
        gpus = [a for a in accelerators if a.kind == "gpu"]
        if gpus and devices != "cpu":
            inventory, accelerators = _cross_checked(inventory, accelerators, environment)
    named = []
    for accelerator in accelerators:
        part, noticed = match(accelerator)
        findings += [*noticed, *cores_kept_from(accelerator), *power_kept_from(accelerator)]
        named.append(msgspec.structs.replace(accelerator, part=part))
    return Site(msgspec.structs.replace(inventory, accelerators=named), findings)


def same_node(earlier: Record, site: Site) -> None:
    """Refuse to continue a run with devices other than those that it was begun with.

    Raises:
        InputError: a device of the run is another part, another piece, or simulated where this one is not.
    """
    here = {a.key: (a.name, a.uuid, a.simulated) for a in site.inventory.accelerators}
    for began in earlier.inventory_before.accelerators:
        then = (began.name, began.uuid, began.simulated)
        if began.key in earlier.plan.devices and here.get(began.key, then) != then:
            raise InputError(
                f"cannot continue: that run measured {began.key} = {began.name} {began.uuid} on "
                f"{earlier.inventory_before.node}, which is another device than {began.key} here"
            )


def _torch_version() -> str:
    """Version of the installed torch, without importing it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError as error:
        raise SiteError(
            "torch is not installed, so no kernel can run; `pip install 'torch>=2.6'` (or `make run`) installs it"
        ) from error


def _cross_checked(
    inventory: Inventory, accelerators: Sequence[Accelerator], environment: Mapping[str, str]
) -> tuple[Inventory, list[Accelerator]]:
    """Join the driver's view with torch's by UUID or PCI bus id; a GPU that torch cannot see ends the run."""
    view = _torch_view(environment)
    seen: list[dict[str, Any]] = view.get("devices", [])
    joined, unseen = [], []
    for accelerator in accelerators:
        if accelerator.kind != "gpu":
            joined.append(accelerator)
            continue
        mine = next((d for d in seen if _same(accelerator, d)), None)
        if mine is None:
            unseen.append(accelerator)
        else:
            joined.append(_enriched(accelerator, mine))
    if unseen:
        listed = ", ".join(f"{a.name} ({a.pci_bus_id})" for a in unseen)
        why = view.get("error") or view.get("cuda_absent") or f"it sees {len(seen)} devices"
        raise SiteError(
            f"the driver lists {listed}, but torch {view.get('torch', '?')} cannot use it: {why}. Install a torch "
            "built for this driver's CUDA, or measure the CPU on purpose with --device cpu"
        )
    cuda, nccl = str(view.get("cuda_built") or ""), str(view.get("nccl") or "")
    return msgspec.structs.replace(inventory, cuda=cuda or inventory.cuda, nccl=nccl), joined


def _torch_view(environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        answer = ask("effbench.kernels.probe", b"{}", environment, PROBE_DEADLINE_S)
        return msgspec.json.decode(answer, type=dict[str, Any])
    except (WorkerError, msgspec.DecodeError) as error:
        return {"error": str(error)}


def _same(accelerator: Accelerator, device: Mapping[str, Any]) -> bool:
    uuid = str(device.get("uuid") or "").removeprefix("GPU-").lower()
    if uuid and uuid == accelerator.uuid.removeprefix("GPU-").lower():
        return True
    bus = str(device.get("pci_bus_id") or "").lower()
    return bool(bus) and accelerator.pci_bus_id.lower().endswith(bus.split(":", 1)[-1])


def _enriched(accelerator: Accelerator, device: Mapping[str, Any]) -> Accelerator:
    """Add what only torch knows: SM count, compute capability, last-level cache."""
    return msgspec.structs.replace(
        accelerator,
        sm_count=int(device["sm_count"]) if device.get("sm_count") else accelerator.sm_count,
        compute_capability=str(device.get("compute_capability") or accelerator.compute_capability),
        llc_bytes=int(device.get("llc_bytes") or accelerator.llc_bytes),
        memory_bytes=accelerator.memory_bytes or int(device.get("memory_bytes") or 0),
    )
