"""How many buffer sets a kernel rotates over, so that no repetition finds its inputs in a cache."""

import math

# Where a device states no last-level cache: 128 MiB, a little above the largest L2 of an NVIDIA part (126 MB).
LLC_ASSUMED_BYTES = 128 << 20
# Rotating over more sets than this gains nothing and makes tiny shapes slow to set up.
SETS_MAX = 1024
# Buffer sets take at most this share of what is free; the rest is the kernel library's workspace and the host's.
SHARE_OF_FREE = 0.5


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
