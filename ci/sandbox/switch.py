"""Owns the user-space switch: frames reach the owner of their address after a serialisation time and a fixed delay.

    switch.py READY_FILE RATE_BIT_PER_S DELAY_S MTU NAMESPACE...

Each namespace gets a TAP device `eth0`. A frame occupies its sender's link, then its receiver's, for its length over
the rate, and travels for DELAY. One process, one core while frames are in flight; good to about 1 Gbit/s.
"""

import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
FRAMES_AT_ONCE = 16
FRAME_MAX = 65536


def enter(path: str) -> None:
    """Move this process into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(path).open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")


def open_taps(namespaces: list[str], mtu: int) -> tuple[list[int], dict[bytes, int]]:
    """Make `eth0` in every namespace; returns their descriptors and which hardware address is whose."""
    from fabric import address

    taps, owners = [], {}
    for i, name in enumerate(namespaces, 1):
        enter(f"/run/netns/{name}")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
        mac = bytes([2, 0, 0, 0, 0, i])
        link = ["ip", "link", "set", "eth0", "address", mac.hex(":"), "mtu", str(mtu), "txqueuelen", "2000", "up"]
        subprocess.run(link, check=True)
        subprocess.run(["ip", "addr", "add", f"{address(i)}/24", "dev", "eth0"], check=True)
        taps.append(tap)
        owners[mac] = i - 1
    return taps, owners


class Links:
    """Frames under way: when each link is free again, and what is due where, by time."""

    def __init__(self, count: int, rate_bps: float, delay_s: float) -> None:
        self._rate_bps, self._delay_s = rate_bps, delay_s
        self._up, self._down = [0.0] * count, [0.0] * count
        self._due: list[tuple[float, int, int, bytes]] = []
        self._number = 0

    def take(self, sender: int, receivers: list[int], frame: bytes, now: float) -> None:
        """Put a frame on its way."""
        serial_s = len(frame) * 8 / self._rate_bps
        self._up[sender] = max(self._up[sender], now) + serial_s
        for receiver in receivers:
            self._down[receiver] = max(self._down[receiver] + serial_s, self._up[sender] + self._delay_s)
            self._number += 1
            heapq.heappush(self._due, (self._down[receiver], self._number, receiver, frame))

    def deliver(self, taps: list[int]) -> None:
        """Hand over everything that has arrived by now; a receiver whose queue is full loses the frame."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, receiver, frame = heapq.heappop(self._due)
            try:
                os.write(taps[receiver], frame)
            except BlockingIOError:
                continue

    def wait_ms(self) -> float:
        """How long to sleep. The grain of poll is a millisecond: shorter waits spin."""
        if not self._due:
            return 1000.0
        left = max(0.0, self._due[0][0] - time.monotonic()) * 1e3
        return left if left >= 1 else 0.0


def serve(taps: list[int], owners: dict[bytes, int], links: Links) -> None:
    """Forward frames until killed."""
    poll = select.poll()
    index = {}
    for i, tap in enumerate(taps):
        poll.register(tap, select.POLLIN)
        index[tap] = i
    while True:
        links.deliver(taps)
        for tap, _ in poll.poll(links.wait_ms()):
            sender = index[tap]
            for _ in range(FRAMES_AT_ONCE):
                try:
                    frame = os.read(tap, FRAME_MAX)
                except BlockingIOError:
                    break
                owner = owners.get(frame[:6])
                receivers = [owner] if owner is not None else [i for i in range(len(taps)) if i != sender]
                links.take(sender, receivers, frame, time.monotonic())


def main() -> None:
    """Open the devices, say so, forward."""
    ready, rate, delay, mtu = sys.argv[1:5]
    taps, owners = open_taps(sys.argv[5:], int(mtu))
    Path(ready).write_text("ready\n", encoding="ascii")
    serve(taps, owners, Links(len(taps), float(rate), float(delay)))


if __name__ == "__main__":
    main()
