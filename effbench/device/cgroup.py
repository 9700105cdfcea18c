"""What the control group of this process allows: processor quota and memory limit, in both versions of cgroups.

Every reader takes a `root`, so that a recorded tree of /proc and /sys reads like a live one.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

# Version 1 writes "no limit" as the largest multiple of the page size below 2^63.
_UNLIMITED_BYTES = 1 << 60


class Mount(msgspec.Struct, frozen=True):
    """A mounted hierarchy: where it is, which group its top is, and what it controls (empty for version 2)."""

    point: str
    top: str
    controllers: frozenset[str]


class Group(msgspec.Struct, frozen=True):
    """The folder of this process's group for one controller. `version` is 1 or 2; `top` ends the walk upwards."""

    folder: Path
    top: Path
    version: int

    def upwards(self) -> Iterator[Path]:
        """Yield the group's folder and those above it that are visible here; every one of them may limit."""
        folder = self.folder
        while True:
            yield folder
            if folder == self.top:
                return
            folder = folder.parent


def read_text(path: Path) -> str | None:
    """Read a small file of /proc or /sys without its last newline; None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def find(controller: str, root: Path = Path("/")) -> Group | None:
    """Find this process's group for `controller` (`cpu`, `memory`); None when no hierarchy is visible.

    A controller that a version 1 hierarchy holds is not in version 2 (mixed set-ups mount both).
    """
    paths = _own_paths(root)
    mounts = list(_mounts(root))
    owned = [mount for mount in mounts if controller in mount.controllers]
    for mount in owned or [mount for mount in mounts if not mount.controllers]:
        version = 1 if mount.controllers else 2
        path = paths.get(controller if version == 1 else "", "/")
        top = root / mount.point.lstrip("/")
        folder = top / _below(path, mount.top)
        while not folder.is_dir() and folder != top:
            folder = folder.parent
        if folder.is_dir():
            return Group(folder, top, version)
    return None


def quota_cores(root: Path = Path("/")) -> float | None:
    """Read the tightest processor quota that applies, in cores; None when there is none."""
    group = find("cpu", root)
    quotas = [] if group is None else [_quota(folder, group.version) for folder in group.upwards()]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Read the tightest memory limit that applies, in bytes; None when there is none."""
    group = find("memory", root)
    limits = [] if group is None else [_limit(folder, group.version) for folder in group.upwards()]
    return min((limit for limit in limits if limit is not None), default=None)


def memory_left_bytes(root: Path = Path("/")) -> int | None:
    """Read how much the group may still allocate, in bytes, page cache that can be dropped counted as free."""
    group = find("memory", root)
    left = [] if group is None else [_left(folder, group.version) for folder in group.upwards()]
    return min((n for n in left if n is not None), default=None)


def _own_paths(root: Path) -> dict[str, str]:
    """Map each controller (and "" for version 2) to the path of this process's group."""
    paths = {}
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    return paths


def _mounts(root: Path) -> Iterator[Mount]:
    """List the cgroup hierarchies in /proc/self/mountinfo (proc(5): fields before and after a lone dash)."""
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) < 5 or len(right) < 3 or right[0] not in ("cgroup", "cgroup2"):
            continue
        names = frozenset(right[2].split(",")) - {"rw", "ro"} if right[0] == "cgroup" else frozenset()
        yield Mount(left[4], left[3], names)


def _below(path: str, top: str) -> str:
    """Give the group's path below the mount, when the mount shows it; else the top itself (a foreign namespace)."""
    if top == "/":
        return "" if path.startswith("/..") else path.strip("/")
    return path[len(top) :].strip("/") if path == top or path.startswith(top + "/") else ""


def _quota(folder: Path, version: int) -> float | None:
    if version == 2:
        quota, _, period = (read_text(folder / "cpu.max") or "max").partition(" ")
    else:
        quota = read_text(folder / "cpu.cfs_quota_us") or "-1"
        period = read_text(folder / "cpu.cfs_period_us") or ""
    if not quota.isdecimal() or not period.isdecimal() or int(quota) <= 0 or int(period) <= 0:
        return None
    return int(quota) / int(period)


def _limit(folder: Path, version: int) -> int | None:
    text = read_text(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")) or "max"
    return int(text) if text.isdecimal() and int(text) < _UNLIMITED_BYTES else None


def _left(folder: Path, version: int) -> int | None:
    limit = _limit(folder, version)
    used = read_text(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
    if limit is None or used is None or not used.isdecimal():
        return limit
    key = "inactive_file" if version == 2 else "total_inactive_file"
    droppable = stat_value(read_text(folder / "memory.stat") or "", key) or 0
    return max(0, limit - int(used) + droppable)


def stat_value(text: str, key: str) -> int | None:
    """Find `key` in the lines `key value` of a cgroup's stat file."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdecimal():
            return int(value)
    return None
