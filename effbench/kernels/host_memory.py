"""Owns the kernel `host_memory`: bandwidth of the host's memory, one NUMA node's cores on the same node's memory.

Every accelerator is fed from the memory of some node; one that lacks a module is half as fast and no whole-machine
figure shows which. Threads are held to the node's cores, arrays are tied to its memory (mbind) or, where a container
forbids that, first touched from its cores; where the pages really are is read back, and pages elsewhere fail the trial.
Bytes follow the STREAM convention (McCalpin): copy 2 arrays, triad 3, read 1, write-allocate not counted.

OVERHEAD. Three arrays of `array_bytes`. FIELDS: `node` by its number in sysfs, `op`, `array_bytes` (at least four times
the last-level cache). EXAMPLE: `{kernel: host_memory, axes: {node: [0, 1]}}` yields
`host.memory.numa0.triad.bandwidth`. A machine with a single node has one row and says so.
"""

import contextlib
import mmap
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from effbench.device import cpu
from effbench.kernels import numa, scratch
from effbench.kernels.contract import Rig, Step, Support
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    import torch

VERSION = 1

ARRAYS = {"copy": 2, "triad": 3, "read": 1}
CACHE_MULTIPLE = 4  # STREAM's own rule for its array size
# A GPU's inventory row says nothing of the host's caches: 2 GiB is above four times the largest of them (384 MiB and
# more per socket, AMD EPYC 9004 data sheet).
ARRAY_BYTES = {"gpu": 2 << 30, "cpu": 1 << 26}
MEMORY_SHARE = 16  # one array takes at most this part of a CPU's memory
SCALAR = 3.0
PERIOD = 1009  # values repeat after a prime number of elements, so that a shifted array shows
ELSEWHERE_SHARE = 0.01


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which node, which operation; `array_bytes` is the size of one array, filled by `fit` when open."""

    node: Annotated[int, msgspec.Meta(ge=0, lt=numa.MASK_BITS)] = 0
    op: Literal["triad", "copy", "read"] = "triad"
    array_bytes: Annotated[int, msgspec.Meta(ge=4096, multiple_of=4096)] | None = None


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Choose the least power of two of at least 4x the last-level cache on a CPU; 2 GiB beside a GPU. Pure."""
    if params.array_bytes is not None:
        return params
    wanted = ARRAY_BYTES[accelerator.kind]
    if accelerator.kind == "cpu":
        wanted = max(wanted, CACHE_MULTIPLE * accelerator.llc_bytes)
    size = 1 << (wanted - 1).bit_length()
    while accelerator.kind == "cpu" and size > 1 << 20 and size > accelerator.memory_bytes // MEMORY_SHARE:
        size //= 2
    return msgspec.structs.replace(params, array_bytes=size)


def _size(params: Params) -> int:
    if params.array_bytes is None:
        raise ValueError("host_memory parameters are not fitted: array_bytes is open")
    return params.array_bytes


def work(params: Params) -> Work:
    """Count the arrays named in the operation."""
    return Work(memory_bytes=float(ARRAYS[params.op] * _size(params)))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Ask for the node, its cores and its memory. Looks at this machine, unless the device is simulated."""
    if (why := scratch.elsewhere(accelerator)) is not None:
        return Support(skip=why)
    if accelerator.simulated:
        return Support()
    why = _lacking(params.node, numa.nodes(), set(cpu.own_cpus()))
    return Support(skip=f"not applicable: {why}" if why else None)


def _lacking(number: int, known: list[numa.Node], own: set[int]) -> str:
    """What keeps a node from being measured; empty for nothing."""
    node = next((n for n in known if n.number == number), None)
    if node is None:
        have = ", ".join(str(n.number) for n in known)
        return f"this machine has no NUMA node {number}; it has {have}" + (" alone" if len(known) == 1 else "")
    if not node.memory:
        return f"NUMA node {number} has no memory"
    if not node.cpus:
        return f"NUMA node {number} has no cores of its own"
    if not own & set(node.cpus):
        return f"this process may use none of the cores of NUMA node {number}"
    return ""


def outputs(params: Params) -> list[Output]:
    """The bandwidth of the node."""
    return [Output(f"host.memory.numa{params.node}.{params.op}.bandwidth", "memory_bytes")]


def label(params: Params) -> str:
    """For example `node0-triad-64MiB`."""
    return f"node{params.node}-{params.op}-{_size(params) / (1 << 20):g}MiB"


def build(params: Params, rig: Rig) -> Step:
    """Hold the threads to the node and fill the arrays there.

    Raises:
        SiteError: too little memory is free, or the pages are not on the node.
    """
    return HostMemoryStep(params, rig)


class HostMemoryStep:
    """Arrays on one node, and the process held to its cores until `close`."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        self._params, self._rig, self._size = params, rig, _size(params)
        self._nodes = numa.nodes()
        own = set(cpu.own_cpus())
        if why := _lacking(params.node, self._nodes, own):
            raise SiteError(why)
        free = cpu.memory().available_bytes
        if 3 * self._size > free * 8 // 10:
            raise SiteError(f"host_memory needs {3 * self._size} bytes, {free} are available")
        node = next(n for n in self._nodes if n.number == params.node)
        self._cpus = sorted(own & set(node.cpus))
        self._before, self._threads_before = numa.threads(), torch.get_num_threads()
        self._regions: list[mmap.mmap] = []
        self._arrays: list[torch.Tensor] = []
        self._unbound, self._there = "", dict[int, int]()
        try:
            self._settle()
            self._fill()
        except BaseException:
            self.close()
            raise

    def _settle(self) -> None:
        """Threads to the node's cores; as many as it has, within what this process may use at once."""
        import torch

        numa.place_threads({thread: set(self._cpus) for thread in self._before})
        facts = self._rig.accelerator.cpu
        most = int(facts.cores_usable) if facts is not None else len(self._cpus)
        torch.set_num_threads(max(1, min(len(self._cpus), most)))

    def _fill(self) -> None:
        import torch

        for _ in range(3):
            region = mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with contextlib.suppress(OSError):
                region.madvise(mmap.MADV_HUGEPAGE)  # pages of 4 KiB would time address translation as well
            self._regions.append(region)
            self._unbound = numa.bind(region, self._params.node) or self._unbound
            self._arrays.append(torch.frombuffer(region, dtype=torch.float64))
        for array, value in zip(self._arrays, (0.0, 1.0, 2.0), strict=True):
            array.fill_(value)
        for number in (1, 2):
            _draw(self._arrays[number], number)
        self._there = numa.spread(array.data_ptr() for array in self._arrays)
        total = sum(self._there.values())
        away = total - self._there.get(self._params.node, 0)
        if total and away > ELSEWHERE_SHARE * total:
            raise SiteError(
                f"{away / total:.0%} of the arrays lie outside NUMA node {self._params.node}: it has too little free "
                f"memory, or memory cannot be tied to it here ({self._unbound or 'mbind was accepted'})"
            )
        if not total and len(self._nodes) > 1:
            raise SiteError("the kernel does not say on which NUMA node memory lies (/proc/self/numa_maps)")

    def run(self, i: int) -> None:
        """Do the operation once over the whole arrays."""
        import torch

        out, first, second = self._arrays
        if self._params.op == "triad":
            torch.add(first, second, alpha=SCALAR, out=out)
        elif self._params.op == "copy":
            out.copy_(first)
        else:
            torch.sum(first, dim=0, keepdim=True, out=out[:1])

    def verify(self) -> Verify:
        """Compare every element of a fresh result with the definition; all values are whole, so it is exact."""
        import torch

        out, first, second = self._arrays
        out.fill_(-1.0)
        self.run(0)
        if self._params.op == "read":
            wrong = int(float(out[0]) != _sum_of(first.numel(), 1))
            return _verdict(wrong, 1)
        wrong, step = 0, 1 << 20
        for low in range(0, out.numel(), step):
            want = first[low : low + step]
            want = want + SCALAR * second[low : low + step] if self._params.op == "triad" else want
            wrong += int(torch.count_nonzero(out[low : low + step] != want))
        return _verdict(wrong, out.numel())

    def fingerprint(self) -> int | None:
        """None: every element is compared."""
        return None

    def facts(self) -> dict[str, float]:
        """Nodes of the machine, cores and threads used, bytes of an array."""
        import torch

        return {
            "numa_nodes": float(len(self._nodes)),
            "cores": float(len(self._cpus)),
            "threads": float(torch.get_num_threads()),
            "array_bytes": float(self._size),
        }

    def texts(self) -> dict[str, str]:
        """Where threads and memory are."""
        single = "; this machine has a single NUMA node, so this is all of its memory" if len(self._nodes) == 1 else ""
        seen = ", ".join(f"node {n}: {size} bytes" for n, size in sorted(self._there.items()))
        tied = f"first touched from the node's cores ({self._unbound})" if self._unbound else "tied to the node (mbind)"
        return {
            "numa": f"node {self._params.node} of {len(self._nodes)}{single}",
            "memory": f"{tied}; found on {seen or 'the only node (the kernel does not list pages)'}",
            "bytes": f"STREAM convention: {ARRAYS[self._params.op]} arrays counted; write-allocate is not",
        }

    def close(self) -> None:
        """Let go of the arrays, and give every thread its cores back."""
        import torch

        self._arrays.clear()
        for region in self._regions:
            with contextlib.suppress(BufferError):  # unmapped with its last user instead
                region.close()
        self._regions.clear()
        torch.set_num_threads(self._threads_before)
        held = {thread: self._before.get(thread, set(cpu.own_cpus())) for thread in numa.threads()}
        widest = set[int]().union(*self._before.values())
        numa.place_threads({thread: self._before.get(thread, widest) for thread in held})


def _draw(array: "torch.Tensor", number: int) -> None:
    """Fill with whole numbers that repeat after a prime: the place modulo it, plus the array's number."""
    import torch

    row = torch.arange(PERIOD, dtype=torch.float64) + number
    whole = array.numel() // PERIOD * PERIOD
    array[:whole].view(-1, PERIOD).copy_(row)
    array[whole:] = row[: array.numel() - whole]


def _sum_of(elements: int, number: int) -> float:
    """The exact sum of an array that `_draw` filled."""
    whole, rest = divmod(elements, PERIOD)
    return float(whole * (PERIOD * (PERIOD - 1) // 2) + rest * (rest - 1) // 2 + elements * number)


def _verdict(wrong: int, of: int) -> Verify:
    detail = f"{wrong} of {of} elements are wrong" if wrong else ""
    return Verify(ok=wrong == 0, error=wrong / of, tolerance=0.0, detail=detail)
