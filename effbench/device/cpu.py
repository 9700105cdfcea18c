"""The CPU as a device of the inventory: which processor, how many of its cores are ours, caches, memory, governor.

Every reader takes a `root`, so that a recorded tree of /proc and /sys reads like a live one.
"""

from pathlib import Path

import msgspec

from effbench.device import cgroup, cpu_names
from effbench.device.cgroup import read_text
from effbench.model.error import SiteError
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, CpuFacts

KEY = "cpu"
_CPUS = "sys/devices/system/cpu"
_VIRTUAL_PRODUCTS = ("kvm", "qemu", "vmware", "virtualbox", "virtual machine", "google compute engine", "hvm domu")


class Memory(msgspec.Struct, frozen=True):
    """The host's memory in bytes: installed, available without swapping, and the control group's limit if any."""

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None


class Topology(msgspec.Struct, frozen=True):
    """Which logical CPUs there are and which of them share a core; cores are named by their set of siblings."""

    online: list[int]
    core_of: dict[int, str]
    known: bool

    def cores(self, cpus: list[int]) -> int:
        """Count the different physical cores behind these logical CPUs: siblings add no flops."""
        return len({self.core_of.get(cpu, str(cpu)) for cpu in cpus})

    def spread(self, cpus: list[int]) -> list[int]:
        """Order logical CPUs so that every core comes once before a core comes twice."""
        seen: dict[str, int] = {}
        turns = []
        for cpu in cpus:
            core = self.core_of.get(cpu, str(cpu))
            turns.append((seen.get(core, 0), cpu))
            seen[core] = seen.get(core, 0) + 1
        return [cpu for _, cpu in sorted(turns)]


def describe(root: Path = Path("/")) -> tuple[Accelerator, list[Finding]]:
    """Describe the CPU as a device with the key `cpu`, and say what could not be read.

    Raises:
        SiteError: there is no /proc/cpuinfo or /proc/meminfo, so this is not Linux.
    """
    name = cpu_names.read(root)
    if name is None:
        raise SiteError(f"{root / 'proc/cpuinfo'} cannot be read: effbench measures CPUs on Linux only")
    topology = _topology(root, name)
    affinity = own_cpus(root, topology.online)
    facts = _facts(root, name, topology, affinity)
    amount = memory(root)
    llc, llc_finding = last_level_cache_bytes(root, affinity, name.cache_bytes)
    nodes = numa_nodes(root, affinity)
    accelerator = Accelerator(
        key=KEY,
        kind="cpu",
        vendor=cpu_names.MAKERS.get(name.vendor, name.vendor.lower()),
        name=name.model_name,
        torch_device="cpu",
        memory_bytes=min(amount.total_bytes, amount.limit_bytes or amount.total_bytes),
        llc_bytes=llc,
        clock_max_hz=_kilohertz(root, affinity[0], "cpuinfo_max_freq"),
        numa=nodes[0] if len(nodes) == 1 else None,
        cpu=facts,
    )
    return accelerator, [*llc_finding, *_topology_findings(facts, topology)]


def memory(root: Path = Path("/")) -> Memory:
    """Read the host's memory; what is available is bounded by what the control group still allows.

    Raises:
        SiteError: /proc/meminfo cannot be read or lacks MemTotal.
    """
    lines = (read_text(root / "proc/meminfo") or "").splitlines()
    amounts = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if rest.strip()
    }
    if "MemTotal" not in amounts:
        raise SiteError(f"{root / 'proc/meminfo'} cannot be read: effbench measures on Linux only")
    # MemAvailable came with Linux 3.14; before it, free memory and the page cache are the best that is known.
    available = amounts.get("MemAvailable", amounts.get("MemFree", 0) + amounts.get("Cached", 0))
    left = cgroup.memory_left_bytes(root)
    return Memory(amounts["MemTotal"], min(available, available if left is None else left), _limit(root, amounts))


def own_cpus(root: Path = Path("/"), online: list[int] | None = None) -> list[int]:
    """List the online logical CPUs that this process may run on; all of them if its mask cannot be read.

    The mask in /proc/self/status may name CPUs that could exist but do not, so it is held against those online.
    """
    online = _online(root) if online is None else online
    for line in (read_text(root / "proc/self/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            allowed = cpu_list(line.partition(":")[2])
            return [cpu for cpu in allowed if cpu in online] or allowed or online
    return online


def cpu_list(text: str) -> list[int]:
    """Expand the kernel's list notation, `0-3,8,10-11`."""
    cpus: list[int] = []
    for piece in text.strip().split(","):
        first, _, last = piece.strip().partition("-")
        if first.isdecimal():
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def last_level_cache_bytes(root: Path, cpus: list[int], fallback: int | None) -> tuple[int, list[Finding]]:
    """Add up the different last-level caches that these CPUs use: what a working set must exceed.

    Falls back to cpuinfo's "cache size" (exact on Intel, too small on AMD), then to 0, each with a finding.
    """
    caches: dict[str, int] = {}
    for cpu in cpus:
        found = _largest_level(root / _CPUS / f"cpu{cpu}/cache")
        if found is not None:
            caches[found[0]] = found[1]
    if caches:
        return sum(caches.values()), []
    how = f"taken as {fallback} bytes from /proc/cpuinfo" if fallback else "unknown"
    text = f"the size of the last-level cache cannot be read from {root / _CPUS}; it is {how}"
    return fallback or 0, [Finding("sensor-absent", "warning", text, device=KEY)]


def numa_nodes(root: Path, cpus: list[int]) -> list[int]:
    """List the memory nodes that these CPUs belong to."""
    nodes = []
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        if set(cpu_list(read_text(folder / "cpulist") or "")) & set(cpus):
            nodes.append(int(folder.name.removeprefix("node")))
    return sorted(nodes)


def _facts(root: Path, name: cpu_names.CpuName, topology: Topology, affinity: list[int]) -> CpuFacts:
    quota = cgroup.quota_cores(root)
    cores = topology.cores(affinity)
    return CpuFacts(
        vendor=name.vendor,
        family=name.family,
        model=name.model,
        model_name=name.model_name,
        flags=name.flags,
        cores_usable=float(cores if quota is None else min(cores, quota)),
        cores_physical=topology.cores(topology.online),
        threads_logical=len(topology.online),
        affinity=topology.spread(affinity),
        cgroup_quota_cores=quota,
        virtual=_virtual(root, name.flags),
        nominal_hz=_kilohertz(root, affinity[0], "base_frequency") or name.nominal_hz,
        governor=_governor(root, affinity),
        isa=name.isa,
    )


def _topology(root: Path, name: cpu_names.CpuName) -> Topology:
    online = _online(root) or sorted(name.places) or [0]
    core_of = {}
    for cpu in online:
        folder = root / _CPUS / f"cpu{cpu}/topology"
        siblings = read_text(folder / "core_cpus_list") or read_text(folder / "thread_siblings_list")
        if siblings:
            core_of[cpu] = siblings
        elif cpu in name.places:
            core_of[cpu] = "/".join(name.places[cpu])
    return Topology(online, core_of, len(core_of) == len(online))


def _online(root: Path) -> list[int]:
    return cpu_list(read_text(root / _CPUS / "online") or "")


def _topology_findings(facts: CpuFacts, topology: Topology) -> list[Finding]:
    findings = []
    if facts.virtual:
        text = (
            "this is a virtual machine: what it is shown of cores, threads and sockets says nothing of the host's, "
            "so two of its CPUs may share one core"
        )
        evidence: dict[str, str | int | float | bool] = {
            "cores": facts.cores_physical,
            "threads": facts.threads_logical,
        }
        findings.append(Finding("virtual-topology", "info", text, device=KEY, evidence=evidence))
    if not topology.known:
        text = "which logical CPUs share a core cannot be read, so each is counted as a core of its own"
        findings.append(Finding("sensor-absent", "warning", text, device=KEY))
    return findings


def _virtual(root: Path, flags: list[str]) -> bool:
    """Tell a guest: the CPUID flag on x86; Xen, the device tree and the firmware's product name elsewhere."""
    if "hypervisor" in flags or (root / "proc/device-tree/hypervisor").exists():
        return True
    if read_text(root / "sys/hypervisor/type"):
        return True
    product = (read_text(root / "sys/class/dmi/id/product_name") or "").lower()
    if "amazon" in (read_text(root / "sys/class/dmi/id/sys_vendor") or "").lower():
        return "metal" not in product
    return any(name in product for name in _VIRTUAL_PRODUCTS)


def _limit(root: Path, amounts: dict[str, int]) -> int | None:
    """Give the group's memory limit where it is tighter than the memory installed."""
    limit = cgroup.memory_limit_bytes(root)
    return limit if limit is not None and limit < amounts["MemTotal"] else None


def _largest_level(folder: Path) -> tuple[str, int] | None:
    """Find the cache of the highest level: a name that is the same for all CPUs sharing it, and its bytes."""
    best: tuple[int, str, int] | None = None
    for index in folder.glob("index[0-9]*"):
        level, kind, size = (read_text(index / name) or "" for name in ("level", "type", "size"))
        number = size.rstrip("KM")
        if kind == "Instruction" or not level.isdecimal() or not number.isdecimal():
            continue
        scale = {"K": 1024, "M": 1024**2}.get(size[-1], 1)
        shared = read_text(index / "shared_cpu_list") or str(folder)
        best = max(best or (0, "", 0), (int(level), shared, int(number) * scale))
    return best[1:] if best else None


def _governor(root: Path, cpus: list[int]) -> str | None:
    names = {read_text(root / _CPUS / f"cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus} - {None, ""}
    return " and ".join(sorted(str(name) for name in names)) or None


def _kilohertz(root: Path, cpu: int, name: str) -> float | None:
    text = read_text(root / _CPUS / f"cpu{cpu}/cpufreq/{name}") or ""
    return int(text) * 1e3 if text.isdecimal() and int(text) > 0 else None
