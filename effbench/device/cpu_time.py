"""Who used our cores since the last look: this benchmark, somebody else, or the hypervisor.

Processor time of strangers = busy time of the cores we may use - time of our own processes. Both come in ticks of
10 ms, so one short look can be off by a tick either way; what is below zero is carried to the next look instead of
being cut off, because a mean over cut-off noise would show load where there is none.
"""

import os
import time
from pathlib import Path

import msgspec

from effbench.device.files import OpenFile

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# What may be carried below zero: a few ticks of rounding for every core, and no debt that would hide real load.
_CARRY_S_PER_CPU = 0.05
_NEVER = -1


class Shares(msgspec.Struct, frozen=True):
    """Fractions of the time of all our cores since the last look."""

    utilisation: float
    steal: float
    foreign: float


class _Process(msgspec.Struct):
    stat: OpenFile
    children: OpenFile | None
    parent: int
    ticks: int


class ProcessTree:
    """Our own processes: those we were told to watch and their descendants, as far as the kernel lists children."""

    def __init__(self, pids: list[int], root: Path = Path("/")) -> None:
        """Begin to watch `pids`; what they used before does not count."""
        self._root = root
        self._processes: dict[int, _Process] = {}
        self._sum = 0
        self._looked_at_tick = _NEVER
        self.watch(pids)
        self.spent_s()

    def watch(self, pids: list[int]) -> None:
        """Add processes and their children; one born since the last look counts from its birth, unknown ones do not."""
        for pid in pids:
            self._add(pid)
        self.find_children()

    def pids(self) -> list[int]:
        """List the processes that were alive at the last look."""
        return sorted(self._processes)

    def spent_s(self) -> float:
        """Sum the processor time that the tree used since the last call, seconds; all cores, all threads.

        Children are read before their parents: the time of one that is reaped in between is then seen twice for a
        moment, never missed, and the next look takes it back.
        """
        total = 0
        for pid in reversed(list(self._processes)):
            total += self._ticks(pid)
        spent, self._sum = total - self._sum, total
        self._looked_at_tick = _boot_ticks()
        return spent * TICK_S

    def close(self) -> None:
        """Close every file."""
        for pid in list(self._processes):
            self._drop(pid)

    def _ticks(self, pid: int) -> int:
        """Give the ticks of one process and of its reaped children; forget it when it is gone."""
        process = self._processes[pid]
        try:
            process.ticks, _, _ = _stat(process.stat.read())
        except (OSError, ValueError):
            # Its time is now in its parent's children's time; where nobody watches the parent, it leaves the sum.
            if process.parent not in self._processes:
                self._sum -= process.ticks
            self._drop(pid)
            return 0
        return process.ticks

    def find_children(self) -> None:
        """Add the children, as far down as there are any, that the kernel lists now."""
        waiting = list(self._processes.values())
        while waiting:
            file = waiting.pop().children
            try:
                found = [] if file is None else file.read().split()
            except OSError:
                continue
            waiting.extend(process for pid in found if (process := self._add(int(pid))) is not None)

    def _add(self, pid: int) -> _Process | None:
        """Begin to watch a process; None when it is watched already, or gone."""
        if pid in self._processes:
            return None
        folder = self._root / f"proc/{pid}"
        try:
            stat = OpenFile(folder / "stat")
        except OSError:
            return None
        try:
            ticks, parent, started = _stat(stat.read())
        except (OSError, ValueError):
            stat.close()
            return None
        try:
            children: OpenFile | None = OpenFile(folder / f"task/{pid}/children")
        except OSError:
            children = None
        self._processes[pid] = _Process(stat, children, parent, ticks)
        if started < self._looked_at_tick or self._looked_at_tick == _NEVER:
            self._sum += ticks
        return self._processes[pid]

    def _drop(self, pid: int) -> None:
        process = self._processes.pop(pid)
        process.stat.close()
        if process.children is not None:
            process.children.close()


class CpuTime:
    """The cores we may use: busy, stolen, and used by strangers, from /proc/stat and our own processes' times."""

    def __init__(self, cpus: list[int], pids: list[int], root: Path = Path("/")) -> None:
        """Look for the first time.

        Raises:
            OSError: /proc/stat cannot be read.
        """
        # Lines of 60 bytes per CPU, then interrupts, of which nothing is needed.
        self._stat = OpenFile(root / "proc/stat", size=160 * (max(cpus) + 2))
        self._names = {f"cpu{cpu}".encode() for cpu in cpus}
        self.tree = ProcessTree(pids, root)
        self._busy, self._steal = self._totals()
        self._t_ns = time.monotonic_ns()
        self._carry_s = 0.0

    def look(self, t_ns: int) -> Shares | None:
        """Give the shares since the last look; None when the kernel's counters ran backwards.

        A look within two ticks of the last is None too, and counts with the next one.
        """
        if t_ns - self._t_ns < 2 * TICK_S * 1e9:
            return None
        busy, steal = self._totals()
        own_s = self.tree.spent_s()
        busy_s, steal_s = (busy - self._busy) * TICK_S, (steal - self._steal) * TICK_S
        core_s = (t_ns - self._t_ns) * 1e-9 * len(self._names)
        self._busy, self._steal, self._t_ns = busy, steal, t_ns
        if busy_s < 0 or steal_s < 0:
            return None
        foreign_s = busy_s - own_s + self._carry_s
        self._carry_s = max(min(foreign_s, 0.0), -_CARRY_S_PER_CPU * len(self._names))
        return Shares(min(busy_s / core_s, 1.0), min(steal_s / core_s, 1.0), min(max(foreign_s, 0.0) / core_s, 1.0))

    def close(self) -> None:
        """Close every file."""
        self._stat.close()
        self.tree.close()

    def _totals(self) -> tuple[int, int]:
        """Sum busy and stolen ticks over our cores (proc_stat: user nice system idle iowait irq softirq steal)."""
        busy = steal = 0
        for line in self._stat.read().split(b"\n"):
            fields = line.split()
            if not fields or fields[0] not in self._names:
                continue
            ticks = [int(field) for field in fields[1:9]]
            busy += sum(ticks[:3]) + sum(ticks[5:7])
            steal += ticks[7] if len(ticks) > 7 else 0
        return busy, steal


def _stat(data: bytes) -> tuple[int, int, int]:
    """Parse /proc/PID/stat: ticks of the process and of its reaped children; its parent; the tick it started at.

    The name in parentheses may hold anything, so the fields are counted from behind the last parenthesis.

    Raises:
        ValueError: the line is not whole.
    """
    fields = data[data.rindex(b")") + 1 :].split()
    if len(fields) < 20:
        raise ValueError("the line of /proc/PID/stat is cut off")
    return sum(map(int, fields[11:15])), int(fields[1]), int(fields[19])


def _boot_ticks() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) / TICK_S)
