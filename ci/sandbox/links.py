"""Owns the command for shaped links: N network namespaces with a known bottleneck, and programs started inside them.

    links.py up N [--rate 1gbit] [--delay 0.5ms [--mtu 9000]]   bridge and tbf; with --delay a user-space switch
    links.py shape I RATE                                       another rate for node I, while programs run
    links.py run [--ranks N] [--timeout S] [--pin 0,1] -- CMD...   CMD as every rank, with torchrun's variables
    links.py on I CMD...                                        a command on one node
    links.py down

Root. `--dir DIR` (before the word) keeps several apart. Nothing outside the namespaces is touched; `down`, or the next
`up`, ends everything that an earlier one left, however it ended.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import fabric
from ledger import Ledger, SandboxError, bits_per_s, need_root, program_environment, seconds, tools_missing

DEFAULT_DIR = Path("/tmp/effbench-sandbox/links")
PORT = 29500


def up(ledger: Ledger, options: argparse.Namespace) -> None:
    """Make the namespaces and their links."""
    missing = tools_missing(["ip", "tc", "nsenter", "unshare"])
    if missing:
        raise SandboxError(f"{', '.join(missing)}: not installed; Debian, Ubuntu: apt-get install iproute2 util-linux")
    with ledger.locked():
        ledger.clear()
        ledger.begin(nodes=options.nodes, rate=options.rate, delay=options.delay)
        try:
            fabric.write_hosts(ledger.folder / "hosts", options.nodes, "fabric")
            if options.delay is None:
                fabric.bridge(ledger, options.nodes, options.rate)
            else:
                rate_bps = bits_per_s(options.rate or "1gbit")
                fabric.switch(ledger, options.nodes, rate_bps, seconds(options.delay), options.mtu)
        except BaseException:
            ledger.clear()
            raise


def rank_environment(ledger: Ledger, rank: int, ranks: int) -> dict[str, str]:
    """The variables torchrun would set for one rank per node, and the interface to use."""
    return {
        **program_environment(),
        **ledger.environment(f"n{rank + 1}"),
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "GROUP_RANK": str(rank),
        "MASTER_ADDR": fabric.address(1),
        "MASTER_PORT": str(PORT),
        "GLOO_SOCKET_IFNAME": "eth0",
        "OMP_NUM_THREADS": "1",
    }


def run(ledger: Ledger, options: argparse.Namespace) -> int:
    """Start the command as every rank; the first that fails ends the others. Returns its status, 124 for a time-out."""
    ranks = options.ranks or int(ledger.settings()["nodes"])
    if not 1 <= ranks <= int(ledger.settings()["nodes"]):
        raise SandboxError(f"--ranks {ranks}: there are {ledger.settings()['nodes']} nodes")
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cores = [int(word) for word in options.pin.split(",")] if options.pin else []
        for rank in range(ranks):
            pinned = ["taskset", "-c", str(cores[rank % len(cores)])] if cores else []
            words = fabric.entered(ledger, f"n{rank + 1}", [*pinned, *options.words])
            env = rank_environment(ledger, rank, ranks)
            children.append(subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, start_new_session=True))
        return _wait(children, options.timeout)
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _wait(children: list[subprocess.Popen[bytes]], timeout_s: float) -> int:
    end = time.monotonic() + timeout_s
    while True:
        states = [child.poll() for child in children]
        failed = [state for state in states if state]
        if failed:
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if all(state == 0 for state in states):
            return 0
        if time.monotonic() > end:
            late = ", ".join(f"rank {i}" for i, state in enumerate(states) if state is None)
            print(f"links: {late} did not end within {timeout_s:g} s", file=sys.stderr)
            return 124
        time.sleep(0.02)


def main() -> int:
    """Parse the arguments and do it."""
    parser = argparse.ArgumentParser(prog="ci/sandbox/links.py", description="Namespaces joined by shaped links.")
    parser.add_argument("--dir", type=Path, default=DEFAULT_DIR, help="where its ledger and logs lie")
    words = parser.add_subparsers(dest="word", required=True)
    one = words.add_parser("up", help="make the namespaces and their links")
    one.add_argument("nodes", type=int, choices=range(1, 61), metavar="N")
    one.add_argument("--rate", help="of every link, each way: 1gbit, 250mbit")
    one.add_argument("--delay", help="one way, by the user-space switch: 0.5ms")
    one.add_argument("--mtu", type=int, default=9000, help="of the user-space switch")
    one = words.add_parser("shape", help="another rate for one node")
    one.add_argument("node", type=int)
    one.add_argument("rate")
    one = words.add_parser("run", help="a command as every rank")
    one.add_argument("--ranks", type=int)
    one.add_argument("--timeout", type=float, default=120.0)
    one.add_argument("--pin", default="", help="cores for the ranks in turn: 0,1")
    one.add_argument("words", nargs="+")
    one = words.add_parser("on", help="a command on one node")
    one.add_argument("node", type=int)
    one.add_argument("words", nargs=argparse.REMAINDER)
    words.add_parser("down", help="end everything")
    options = parser.parse_args()
    ledger = Ledger(options.dir.resolve())
    try:
        need_root()
        return dispatch(ledger, options)
    except SandboxError as error:
        print(f"links: {error}", file=sys.stderr)
        return 2


def dispatch(ledger: Ledger, options: argparse.Namespace) -> int:
    """Do what the first word says; returns the exit status."""
    if options.word == "up":
        up(ledger, options)
    elif options.word == "down":
        with ledger.locked():
            ledger.clear()
    elif options.word == "shape":
        fabric.shape(ledger, options.node, options.rate)
    elif options.word == "run":
        return run(ledger, options)
    else:
        inside = fabric.entered(ledger, f"n{options.node}", options.words)
        fabric.become(inside, {**program_environment(), **ledger.environment(f"n{options.node}")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
