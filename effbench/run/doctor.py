"""What would disturb a measurement on this node: pure rules over the inventory and two seconds of telemetry."""

from collections.abc import Iterator, Sequence

from effbench.device.disturb import judge
from effbench.model.energy import Sensor
from effbench.model.finding import Finding, Severity
from effbench.model.inventory import Accelerator, Inventory
from effbench.run.watch import Watched

WATCH_S = 2.0
MEMORY_SHORT = 0.25  # standard fills a quarter of what is available; less than that free is worth a word


def examine(inventory: Inventory, seen: Watched) -> list[Finding]:
    """Return what was found, worst first, of a node and a few seconds of watching it while it is otherwise idle."""
    findings: list[Finding] = []
    for accelerator in inventory.accelerators:
        rules = _gpu if accelerator.kind == "gpu" else _cpu
        findings += rules(accelerator)
        mine = [t for t in seen.telemetry if t.device == accelerator.key]
        findings += [_on(f, accelerator.key) for f in judge(accelerator.kind, mine).findings]
        cards = [card for card in seen.sensors if card.device == accelerator.key]
        told = {"power_w", *(card.reading for card in cards)} if cards else set()
        unread = seen.absent.get(accelerator.key, {}).items()
        texts = [f"{name} cannot be read: {why}" for name, why in unread if name not in told]
        texts += _powerless(cards)
        findings += [Finding("sensor-absent", "info", text, device=accelerator.key) for text in texts]
    findings += _host(inventory)
    rank: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda f: rank[f.severity])


def _powerless(cards: Sequence[Sensor]) -> Iterator[str]:
    """Say which power sensors cannot be read, why, and what to do; those of one reason together."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for card in cards:
        if card.absent:
            grouped.setdefault((card.absent, card.remedy), []).append(card.key)
    for (why, remedy), keys in grouped.items():
        yield f"{', '.join(keys)} cannot be read: {why}" + (f". To do: {remedy}" if remedy else "")


def _on(finding: Finding, device: str) -> Finding:
    return Finding(finding.code, finding.severity, finding.message, device, None, finding.evidence)


def _gpu(gpu: Accelerator) -> Iterator[Finding]:
    if gpu.other_pids:
        text = f"{len(gpu.other_pids)} other processes use {gpu.key}: PIDs {', '.join(map(str, gpu.other_pids))}"
        yield Finding("other-processes", "warning", text, device=gpu.key)
    if gpu.persistence is False:
        text = f"persistence mode of {gpu.key} is off: each context start initialises the device anew"
        yield Finding("persistence-off", "warning", text, device=gpu.key)
    if gpu.mig:
        text = f"MIG is enabled on {gpu.key}: a slice is never held against the whole part"
        yield Finding("mig-enabled", "warning", text, device=gpu.key)
    link = gpu.pcie
    if link is not None and link.width and link.width_max and link.width < link.width_max:
        text = f"{gpu.key} runs on {link.width} of {link.width_max} PCIe lanes"
        yield Finding("pcie-narrow", "warning", text, device=gpu.key)


def _cpu(device: Accelerator) -> Iterator[Finding]:
    cpu = device.cpu
    if cpu is None:
        return
    if cpu.governor is not None and cpu.governor != "performance":
        text = f"the frequency governor is {cpu.governor!r}, so clocks ramp up late"
        yield Finding("governor", "warning", text, device=device.key)
    if cpu.virtual:
        text = "a virtual machine: neighbours on the host are invisible but for steal time"
        yield Finding("virtual-topology", "info", text, device=device.key)


def cores_kept_from(accelerator: Accelerator) -> Iterator[Finding]:
    """Name a quota and an affinity mask: both are part of the node, which is rated with the cores that they leave."""
    cpu = accelerator.cpu
    if cpu is None:
        return
    if cpu.cgroup_quota_cores is not None and cpu.cgroup_quota_cores < len(cpu.affinity):
        text = f"a cgroup quota allows {cpu.cgroup_quota_cores:g} of {len(cpu.affinity)} cores, and throttles above it"
        yield Finding("cgroup-quota", "warning", text, device=accelerator.key)
    if len(cpu.affinity) < cpu.threads_logical:
        text = f"an affinity mask leaves {len(cpu.affinity)} of the {cpu.threads_logical} logical CPUs that are online"
        yield Finding("cpu-affinity", "warning", text, device=accelerator.key)


def power_kept_from(accelerator: Accelerator) -> Iterator[Finding]:
    """Name an enforced power limit below the part's default: it is part of the node, which is rated under it."""
    limit, default = accelerator.power_limit_w, accelerator.power_limit_default_w
    if limit is not None and default is not None and limit < default:
        text = f"{accelerator.key} is limited to {limit:.0f} W, {default - limit:.0f} W below its default"
        yield Finding("power-limit-low", "warning", text, device=accelerator.key)


def _host(inventory: Inventory) -> Iterator[Finding]:
    total, free = inventory.host_memory_bytes, inventory.host_memory_available_bytes
    if total and free and free < MEMORY_SHORT * total:
        text = f"only {free / total:.0%} of the host's memory is available"
        yield Finding("memory-short", "warning", text, evidence={"available_bytes": free, "total_bytes": total})
    for sentence in inventory.findings:
        yield Finding("sensor-absent", "info", sentence)
