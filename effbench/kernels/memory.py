"""How much memory is free for buffers on the host, and how many buffer sets a kernel should rotate over."""

import math
from pathlib import Path

# Where a device states no last-level cache: 128 MiB, a little above the largest L2 of an NVIDIA part (126 MB).
LLC_ASSUMED_BYTES = 128 << 20
# Rotating over more sets than this gains nothing and makes tiny shapes slow to set up.
SETS_MAX = 1024
# Buffer sets take at most this share of what is free; the rest is the kernel library's workspace and the host's.
SHARE_OF_FREE = 0.5
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"


def sets_needed(bytes_per_set: int, llc_bytes: int, free_bytes: int | None = None) -> int:
    """Return how many buffer sets to rotate over, so that none is found in the last-level cache again.

    Together they span at least twice the cache, and there are at least two; `free_bytes` caps them, down to one.

    Args:
        bytes_per_set: bytes that one repetition touches.
        llc_bytes: last-level cache of the device; 0 means unknown and is taken as 128 MiB.
        free_bytes: free memory, where it is known.
    """
    cache = llc_bytes if llc_bytes > 0 else LLC_ASSUMED_BYTES
    wanted = min(SETS_MAX, max(2, math.ceil(2 * cache / max(1, bytes_per_set))))
    if free_bytes is None:
        return wanted
    return max(1, min(wanted, int(free_bytes * SHARE_OF_FREE) // max(1, bytes_per_set)))


def host_free_bytes(root: Path = Path("/")) -> int:
    """Return memory that can be had without swapping, in bytes: MemAvailable, bounded by every cgroup limit above us.

    A page cache that belongs to the cgroup counts as free (`inactive_file`), as the kernel counts it in MemAvailable.
    """
    available = _meminfo(root).get("MemAvailable", 0)
    return max(0, min([available, *_cgroup_rooms(root)]))


def _meminfo(root: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def _cgroup_rooms(root: Path) -> list[int]:
    """Bytes left under each memory limit from this process's group up to the root, cgroup v2 and v1."""
    rooms: list[int] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            top, limit, used, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, used = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        group = top / path.strip("/")
        for folder in [group, *(parent for parent in group.parents if parent.is_relative_to(top))]:
            room = _room(folder / limit, folder / used, folder / "memory.stat", cache)
            rooms += [] if room is None else [room]
    return rooms


def _room(limit: Path, used: Path, stat: Path, cache: str) -> int | None:
    ceiling, now = _text(limit).strip(), _text(used).strip()
    if not ceiling.isdigit() or int(ceiling) >= _UNLIMITED:
        return None
    reclaimable = 0
    for line in _text(stat).splitlines():
        name, _, value = line.partition(" ")
        if name == cache and value.isdigit():
            reclaimable = int(value)
    return int(ceiling) - max(0, (int(now) if now.isdigit() else 0) - reclaimable)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
