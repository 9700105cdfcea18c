"""The sandboxes themselves: links hold their rate and delay, everything ends however it began, /etc is left alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.system.sandboxes import Sandbox, need

FRAMES_OF_RATE = 1448 / 1514  # what tbf leaves of a rate for TCP's payload: it counts Ethernet frames


def received_bit_per_s(sandbox: Sandbox, sender: int, receiver: int) -> float:
    """A transfer of two seconds between two nodes by iperf3, bit/s at the receiver."""
    end = time.monotonic() + 30
    while True:
        server = subprocess.Popen(
            [*sandbox.words, "on", str(receiver), "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL
        )
        try:
            time.sleep(0.3)
            said = sandbox.do("on", sender, "iperf3", "-c", f"n{receiver}", "-t", 2, "-J").stdout
            received = json.loads(said or "{}").get("end", {}).get("sum_received")
            if received:
                return float(received["bits_per_second"])
            assert time.monotonic() < end, said
        finally:
            server.kill()
            server.wait()


def test_every_link_holds_its_rate_alone(links: Callable[..., Sandbox]) -> None:
    need("iperf3")
    sandbox = links(2, "--rate", "400mbit")
    assert 0.92 <= received_bit_per_s(sandbox, 1, 2) / 400e6 <= FRAMES_OF_RATE * 1.01
    sandbox.must("shape", 2, "100mbit")
    assert 0.90 <= received_bit_per_s(sandbox, 1, 2) / 100e6 <= FRAMES_OF_RATE * 1.03
    assert 0.90 <= received_bit_per_s(sandbox, 2, 1) / 100e6 <= FRAMES_OF_RATE * 1.03


def test_the_switch_delays_both_ways(links: Callable[..., Sandbox]) -> None:
    sandbox = links(2, "--rate", "1gbit", "--delay", "5ms")
    answer = Path(__file__).with_name("echo_program.py")
    server = subprocess.Popen([*sandbox.words, "on", "2", "python3", str(answer), "serve"])
    try:
        round_trip_s = float(sandbox.must("on", 1, "python3", answer, "ask", "n2", timeout_s=20))
    finally:
        server.kill()
        server.wait()
    assert 0.010 <= round_trip_s <= 0.0115


def test_what_a_killed_command_left_goes_with_the_next(tmp_path: Path) -> None:
    need("ip", "tc", "nsenter")
    sandbox = Sandbox("links", f"killed-{uuid.uuid4().hex[:6]}")
    tags = set()
    for after_s in (0.12, 0.2, 0.35):
        child = subprocess.Popen([*sandbox.words, "up", "40", "--rate", "1gbit"])
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        ledger = sandbox.folder / "ledger.json"
        if ledger.exists():
            tags |= set(json.loads(ledger.read_text())["namespaces"])
    assert tags, "nothing was noted before the kills"
    sandbox.must("up", 2)
    left = {path.name for path in Path("/run/netns").iterdir()}
    assert not tags & left
    sandbox.must("down")
    shutil.rmtree(sandbox.folder)


def test_two_sandboxes_do_not_meet(links: Callable[..., Sandbox]) -> None:
    one, two = links(2), links(2)
    one.must("down")
    assert two.must("on", 1, "hostname").strip() == "n1"
    assert one.do("on", 1, "hostname").returncode == 2


def test_a_rank_that_fails_ends_the_others(links: Callable[..., Sandbox]) -> None:
    sandbox = links(3)
    started = time.monotonic()
    done = sandbox.do("run", "--", "sh", "-c", "[ $RANK = 1 ] && exit 7; sleep 60 & wait")
    assert (done.returncode, time.monotonic() - started < 30) == (7, True)
    mark = json.loads((sandbox.folder / "ledger.json").read_text())["id"]
    assert not carrying(mark)


def carrying(mark: str) -> list[str]:
    """Processes with the sandbox's mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_slurm_comes_up_and_goes_without_a_trace() -> None:
    need("slurmctld", "slurmd", "srun", "munged", "ip")
    before = _listing(Path("/etc/slurm")) + _listing(Path("/etc/munge"))
    sandbox = Sandbox("slurm", "trace")
    sandbox.must("up", "--nodes", 4, "--gpus", 2, "--rate", "1gbit")
    mark = json.loads((sandbox.folder / "ledger.json").read_text())["id"]
    names = sandbox.must("run", "srun", "-N4", "hostname").split()
    assert sorted(names) == ["n1", "n2", "n3", "n4"]
    gpus = sandbox.must("run", "srun", "-N1", "-n2", "--gpus-per-task=1", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert len(gpus.split()) == 2
    sandbox.must("run", "sbatch", "-N2", "-o", "/dev/null", "--wrap", "sleep 300")
    for _ in range(100):
        if re.search(r"\bR\b", sandbox.must("run", "squeue", "-h", "-o", "%t")):
            break
        time.sleep(0.1)
    sandbox.must("down")
    assert not carrying(mark)
    assert not [path for path in Path("/run/netns").iterdir() if mark[:6] in path.name]
    assert _listing(Path("/etc/slurm")) + _listing(Path("/etc/munge")) == before
    shutil.rmtree(sandbox.folder)


def _listing(folder: Path) -> list[tuple[str, float]]:
    return sorted((str(path), path.stat().st_mtime) for path in folder.rglob("*")) if folder.exists() else []


def test_a_slow_node_is_slow_and_its_neighbour_is_not(slurm: Sandbox) -> None:
    work = "import time; a = time.process_time(); b = time.monotonic()\n"
    work += "while time.process_time() < a + 0.6: pass\nprint(time.monotonic() - b)"
    slurm.must("slow", "n2", 0.6)
    quick = float(slurm.must("run", "srun", "-w", "n1", "python3", "-c", work))
    late = float(slurm.must("run", "srun", "-w", "n2", "python3", "-c", work))
    slurm.must("slow", "n2", 0)
    assert late > 1.4 * quick


def test_a_silent_node_is_found_down_and_comes_back(slurm: Sandbox) -> None:
    slurm.must("silence", "n4")
    assert _state(slurm, "n4", "down", 45)
    assert slurm.must("run", "sinfo", "-hn", "n1,n2,n3", "-N", "-o", "%T").split() == ["idle"] * 3
    slurm.must("revive", "n4")
    assert _state(slurm, "n4", "idle", 20)


def _state(sandbox: Sandbox, node: str, wanted: str, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if wanted in sandbox.must("run", "sinfo", "-hN", "-n", node, "-o", "%T"):
            return True
        time.sleep(0.5)
    return False
