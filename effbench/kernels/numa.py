"""Owns what this machine's NUMA nodes are and how memory and threads are put on one of them (Linux only).

The kernel's own interfaces are used: sysfs for the nodes, sched_setaffinity(2) for threads, mbind(2) for memory, and
/proc/self/numa_maps for where the pages really are.
"""

import ctypes
import mmap
import os
import platform
from collections.abc import Iterable
from pathlib import Path

import msgspec

from effbench.device.cpu import cpu_list

__all__ = ["Node", "bind", "nodes", "place_threads", "spread", "threads"]

SYSFS = Path("/sys/devices/system/node")
MPOL_BIND = 2  # linux/mempolicy.h
MBIND = {"x86_64": 237, "aarch64": 235}  # system call numbers, asm/unistd.h
MASK_BITS = 1024


class Node(msgspec.Struct, frozen=True):
    """One NUMA node: its number, the CPUs that belong to it, and whether it has memory."""

    number: int
    cpus: list[int]
    memory: bool


def nodes(root: Path = SYSFS) -> list[Node]:
    """Return the online nodes; a machine that names none has one, with every CPU of this process."""
    try:
        online = cpu_list((root / "online").read_text(encoding="ascii"))
        with_memory = set(cpu_list((root / "has_memory").read_text(encoding="ascii")))
        return [
            Node(n, cpu_list((root / f"node{n}" / "cpulist").read_text(encoding="ascii")), n in with_memory)
            for n in online
        ]
    except (OSError, ValueError):
        return [Node(0, sorted(os.sched_getaffinity(0)), True)]


def threads() -> dict[int, set[int]]:
    """Return the CPUs that every thread of this process may use, by thread."""
    found: dict[int, set[int]] = {}
    for entry in Path("/proc/self/task").iterdir():
        try:
            found[int(entry.name)] = os.sched_getaffinity(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


def place_threads(wanted: dict[int, set[int]]) -> None:
    """Put threads on CPUs; threads that are made later inherit from the one that makes them. One that ended is skipped.

    Raises:
        OSError: the system refused for a living thread.
    """
    for thread, cpus in wanted.items():
        try:
            os.sched_setaffinity(thread, cpus)
        except ProcessLookupError:
            continue


def bind(region: mmap.mmap, number: int) -> str:
    """Tie a fresh anonymous mapping to one node's memory before it is touched. Returns why not, empty when done."""
    call = MBIND.get(platform.machine())
    if call is None:
        return f"no system call number for mbind is known on {platform.machine()}"
    mask = (ctypes.c_ulong * (MASK_BITS // 64))()
    mask[number // 64] |= 1 << number % 64
    start = ctypes.c_char.from_buffer(region)
    address, length = ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_ulong(len(region))
    libc = ctypes.CDLL(None, use_errno=True)
    bits = ctypes.c_ulong(MASK_BITS)
    answer = libc.syscall(ctypes.c_long(call), address, length, ctypes.c_int(MPOL_BIND), mask, bits, ctypes.c_uint(0))
    del start
    return "" if answer == 0 else f"mbind: {os.strerror(ctypes.get_errno())}"


def spread(addresses: Iterable[int], maps: Path = Path("/proc/self/numa_maps")) -> dict[int, int]:
    """Return bytes per node of the mappings that hold `addresses`; empty where the kernel does not say.

    A mapping is the last one that begins at or before the address (numa(7)).
    """
    try:
        lines = maps.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    starts = [(int(line.split(" ", 1)[0], 16), line) for line in lines]
    holding = {max((s for s in starts if s[0] <= address), default=None) for address in addresses}
    found: dict[int, int] = {}
    for held in holding:
        words = held[1].split() if held is not None else []
        size = next((int(w.split("=")[1]) for w in words if w.startswith("kernelpagesize_kB=")), 4) * 1024
        for word in words:
            name, _, count = word.partition("=")
            if name[:1] == "N" and name[1:].isdigit() and count.isdigit():
                found[int(name[1:])] = found.get(int(name[1:]), 0) + int(count) * size
    return found
