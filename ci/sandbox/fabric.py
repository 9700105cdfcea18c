"""Owns shaped networks: one namespace per node, joined by a bridge with tbf, or by a user-space switch with a delay.

Addresses and host names exist only inside these namespaces; nothing is routed to or from the machine's own interfaces.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ledger import Ledger, SandboxError, bits_per_s, call

SUBNET = "10.213.77"
SWITCH_ADDRESS = f"{SUBNET}.254"
# Below two 64 KiB segments the bucket starves a sender, and the link carries half its rate (at 1 Gbit/s: 64 KiB 0.46,
# 128 KiB 0.93, 256 KiB 0.94 of it). Also at least two milliseconds' worth, for fast links.
BURST_BYTES, BURST_S = 256 << 10, 0.002


def burst_bytes(rate: str) -> int:
    """How much a link of this rate may send at once. Transfers smaller than that are not slowed down."""
    return max(BURST_BYTES, int(bits_per_s(rate) / 8 * BURST_S))


def address(index: int) -> str:
    """The address of node `index`, from 1."""
    return f"{SUBNET}.{index}"


def write_hosts(path: Path, nodes: int, host: str) -> None:
    """Write the hosts file that every namespace sees."""
    lines = ["127.0.0.1 localhost", f"{SWITCH_ADDRESS} {host}", *(f"{address(i)} n{i}" for i in range(1, nodes + 1))]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def bridge(ledger: Ledger, nodes: int, rate: str | None) -> None:
    """Join `nodes` namespaces by a bridge in one more, each link shaped both ways where a rate is given."""
    fabric = ledger.make_namespace("fabric")
    call(["ip", "-n", fabric, "link", "add", "br0", "type", "bridge"])
    call(["ip", "-n", fabric, "addr", "add", f"{SWITCH_ADDRESS}/24", "dev", "br0"])
    call(["ip", "-n", fabric, "link", "set", "br0", "up"])
    for i in range(1, nodes + 1):
        node = ledger.make_namespace(f"n{i}")
        call(["ip", "-n", fabric, "link", "add", f"p{i}", "type", "veth", "peer", "name", "eth0", "netns", node])
        call(["ip", "-n", fabric, "link", "set", f"p{i}", "master", "br0", "up"])
        call(["ip", "-n", node, "addr", "add", f"{address(i)}/24", "dev", "eth0"])
        call(["ip", "-n", node, "link", "set", "eth0", "up"])
        if rate is not None:
            shape(ledger, i, rate)


def shape(ledger: Ledger, index: int, rate: str) -> None:
    """Limit what node `index` sends and what it receives to `rate` each, like a full-duplex card."""
    ends = ((ledger.namespace(f"n{index}"), "eth0"), (ledger.namespace("fabric"), f"p{index}"))
    for namespace, device in ends:
        words = ["tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate]
        call([*words, "burst", str(burst_bytes(rate)), "latency", "50ms"])


def plug(ledger: Ledger, index: int, up: bool) -> None:
    """Take the link of node `index` out of the switch, or put it back."""
    call(["ip", "-n", ledger.namespace("fabric"), "link", "set", f"p{index}", "up" if up else "down"])


def switch(ledger: Ledger, nodes: int, rate_bps: float, delay_s: float, mtu: int) -> None:
    """Join `nodes` namespaces by the user-space switch, which adds a one-way delay without the kernel's netem.

    Raises:
        SandboxError: it did not start.
    """
    names = [ledger.make_namespace(f"n{i}") for i in range(1, nodes + 1)]
    ready = ledger.folder / "switch.ready"
    ready.unlink(missing_ok=True)
    program = [sys.executable, str(Path(__file__).with_name("switch.py"))]
    ledger.launch("switch", [*program, str(ready), str(rate_bps), str(delay_s), str(mtu), *names], {})
    end = time.monotonic() + 10
    while not ready.exists():
        if time.monotonic() > end or not ledger.alive("switch"):
            log = (ledger.folder / "log" / "switch.out").read_text(encoding="utf-8", errors="replace")
            raise SandboxError(f"the switch did not start: {log.strip().splitlines()[-1:] or 'it said nothing'}")
        time.sleep(0.02)


def entered(ledger: Ledger, name: str, words: Sequence[str], host: str | None = None) -> list[str]:
    """The command that runs `words` inside a namespace, with its host name and the sandbox's hosts file.

    Not by `ip netns exec`: that remounts /sys without the cgroup file systems, and slurmd then refuses to start.
    """
    namespace = f"--net=/run/netns/{ledger.namespace(name)}"
    script = 'mount --bind "$1" /etc/hosts && hostname "$2" && shift 2 && exec "$@"'
    isolated = [
        "nsenter",
        namespace,
        "unshare",
        "--mount",
        "--uts",
        "--propagation",
        "private",
        "--",
        "sh",
        "-c",
        script,
    ]
    return [*isolated, "sh", str(ledger.folder / "hosts"), host or name, *words]


def become(words: Sequence[str], env: dict[str, str]) -> None:
    """Go on as another program."""
    sys.stdout.flush()
    os.execvpe(words[0], list(words), env)
