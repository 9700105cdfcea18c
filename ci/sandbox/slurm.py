"""Owns the command for a real Slurm on one machine: N virtual nodes, each in its own network and UTS namespace.

    slurm.py up [--nodes N] [--cpus C] [--gpus G] [--rate 1gbit] [--prolog P] [--epilog P] [--health P]
    slurm.py run CMD...          a command as a user would type it: run sinfo, run srun -N4 hostname
    slurm.py on NODE CMD...      a command on one node, outside Slurm
    slurm.py silence NODE        the node falls silent, as by a power cut: nothing of it answers any more
    slurm.py revive NODE         what was silent is ended, the daemon starts again
    slurm.py slow NODE SHARE     its tasks stand still for this share of the time, 20 ms apart; 0 ends that
    slurm.py shape NODE RATE     another rate for its link
    slurm.py down | status

Root, Debian's packages slurmctld slurmd slurm-client munge iproute2. A private munge key and socket, private
configuration, ports and state under `--dir DIR`; nothing in /etc is read or written. `down`, or the next `up`, ends
everything that an earlier one left, however it ended.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fabric
from ledger import Ledger, SandboxError, call, need_root, program_environment, tools_missing
from slurm_config import write_config

DEFAULT_DIR = Path("/tmp/effbench-sandbox/slurm")
PROGRAMS = ("slurmctld", "slurmd", "srun", "sbatch", "munged", "ip", "tc", "nsenter", "unshare")
PACKAGES = "slurmctld slurmd slurm-client munge iproute2 util-linux"
UP_S, DRAINED_S = 30.0, 5.0
KEPT = ("log", "lock")
SLOW_PERIOD_S = 0.02


class Cluster:
    """One sandbox, up or about to be: its ledger, and what its settings say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder)

    @property
    def nodes(self) -> list[str]:
        """The names of its nodes."""
        return [f"n{i}" for i in range(1, int(self.ledger.settings()["nodes"]) + 1)]

    def environment(self) -> dict[str, str]:
        """What a user's command is started with."""
        return {**program_environment(), **self.ledger.environment(), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def say(self, *words: str, timeout_s: float = 20.0) -> str:
        """Run one of Slurm's commands; what it printed, empty when it failed."""
        inside = fabric.entered(self.ledger, "fabric", words, "controller")
        try:
            done = subprocess.run(
                inside, env=self.environment(), capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def start_slurmd(self, node: str) -> None:
        """Start a node's daemon inside its namespace."""
        (self.folder / "spool" / node).mkdir(parents=True, exist_ok=True)
        conf = str(self.folder / "slurm.conf")
        words = fabric.entered(self.ledger, node, ["slurmd", "-D", "-N", node, "-f", conf])
        self.ledger.launch(f"slurmd-{node}", words, {"SLURM_CONF": conf}, node)

    def steps(self, node: str) -> list[int]:
        """Pids of a node's step daemons, which lose the mark that everything else carries."""
        return self.ledger.writing(self.folder / "log" / f"slurmd-{node}.log")

    def known(self, node: str) -> str:
        """Return the node's name.

        Raises:
            SandboxError: there is no such node.
        """
        if node not in self.nodes:
            raise SandboxError(f"no node {node!r}; there are {' '.join(self.nodes)}")
        return node


def up(cluster: Cluster, options: argparse.Namespace) -> None:
    """Start everything and wait until every node is idle.

    Raises:
        SandboxError: something is missing or did not start; all of it is ended again.
    """
    missing = tools_missing(PROGRAMS)
    if missing:
        raise SandboxError(f"{', '.join(missing)}: not installed; Debian, Ubuntu: apt-get install {PACKAGES}")
    with cluster.ledger.locked():
        clear(cluster)
        cluster.ledger.begin(nodes=options.nodes, cpus=options.cpus, gpus=options.gpus)
        try:
            start(cluster, options)
        except BaseException:
            clear(cluster)
            raise


def start(cluster: Cluster, options: argparse.Namespace) -> None:
    """Links, configuration, munged, slurmctld, one slurmd per node."""
    ledger, folder = cluster.ledger, cluster.folder
    for old in (folder / "log").iterdir():
        old.unlink()
    fabric.write_hosts(folder / "hosts", options.nodes, "controller")
    fabric.bridge(ledger, options.nodes, options.rate)
    write_config(folder, ledger, options)
    private = folder / "munge" / "private"
    private.mkdir(parents=True)
    (folder / "munge").chmod(0o755)
    private.chmod(0o700)
    key = private / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    socket, files = folder / "munge" / "socket", ("key", "pid", "seed", "log")
    words = ["munged", "--foreground", f"--socket={socket}", "--num-threads=4"]
    ledger.launch("munged", [*words, *(f"--{name}-file={private / name}" for name in files)], {})
    wait_for(cluster, socket.exists, ["munged"], "munged did not make its socket")
    conf = str(folder / "slurm.conf")
    controller = fabric.entered(ledger, "fabric", ["slurmctld", "-D", "-f", conf], "controller")
    ledger.launch("slurmctld", controller, {"SLURM_CONF": conf})
    for node in cluster.nodes:
        cluster.start_slurmd(node)
    daemons = ["slurmctld", *(f"slurmd-{node}" for node in cluster.nodes)]
    wait_for(cluster, lambda: idle(cluster) == len(cluster.nodes), daemons, "the nodes are not all idle")


def idle(cluster: Cluster) -> int:
    """How many nodes are idle."""
    return cluster.say("sinfo", "-hN", "-o", "%T").split().count("idle")


def wait_for(cluster: Cluster, done: Callable[[], bool], daemons: list[str], otherwise: str) -> None:
    """Wait until `done`, while the daemons live.

    Raises:
        SandboxError: one ended, or it took more than half a minute.
    """
    end = time.monotonic() + UP_S
    while not done():
        for name in daemons:
            if not cluster.ledger.alive(name):
                said = (cluster.folder / "log" / f"{name}.out").read_text(encoding="utf-8", errors="replace")
                raise SandboxError(f"{name} ended: {said.strip()[-400:] or 'without a word'}")
        if time.monotonic() > end:
            raise SandboxError(f"{otherwise} after {UP_S:g} s; see {cluster.folder / 'log'}")
        time.sleep(0.05)


def clear(cluster: Cluster) -> None:
    """End jobs, daemons, step daemons and tasks, delete namespaces and state; the logs stay. Call with the lock."""
    ledger = cluster.ledger
    if not ledger.exists():
        return
    for node in cluster.nodes:
        if (cluster.folder / "silent" / node).exists():
            end_silent(cluster, node)
    if ledger.alive("slurmctld"):
        jobs = sorted(set(cluster.say("squeue", "-h", "-o", "%A").split()))
        if jobs:
            cluster.say("scancel", "--signal=KILL", "--full", *jobs)
            cluster.say("scancel", *jobs)
            end = time.monotonic() + DRAINED_S
            while time.monotonic() < end and cluster.say("squeue", "-h"):
                time.sleep(0.1)
    ledger.stop([*(f"slurmd-{node}" for node in cluster.nodes), "slurmctld"])
    steps = [pid for node in cluster.nodes for pid in cluster.steps(node)]
    ledger.clear(steps)
    for path in cluster.folder.iterdir():
        if path.name in KEPT:
            continue
        call(["rm", "-rf", "--", str(path)])


def silence(cluster: Cluster, node: str) -> None:
    """As by a power cut: the link is cut, then nothing of the node moves; its connections stay half open."""
    (cluster.folder / "silent").mkdir(exist_ok=True)
    (cluster.folder / "silent" / node).touch()
    fabric.plug(cluster.ledger, int(node[1:]), up=False)
    for _ in range(2):
        for pid in {*cluster.ledger.marked(node), *cluster.steps(node)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)


def end_silent(cluster: Cluster, node: str) -> None:
    """End what `silence` stopped."""
    for pid in {*cluster.ledger.marked(node), *cluster.steps(node)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    (cluster.folder / "silent" / node).unlink(missing_ok=True)


def revive(cluster: Cluster, node: str) -> None:
    """End what was silent, plug the link in again and start the daemon."""
    if (cluster.folder / "silent" / node).exists():
        end_silent(cluster, node)
        fabric.plug(cluster.ledger, int(node[1:]), up=True)
    if not cluster.ledger.alive(f"slurmd-{node}"):
        cluster.start_slurmd(node)


def slow(cluster: Cluster, node: str, share: float) -> None:
    """Let a node's tasks stand still for a share of the time, until told otherwise."""
    if not 0 <= share < 1:
        raise SandboxError(f"a share of {share:g} is not in 0 to 1")
    name = f"slow-{node}"
    cluster.ledger.stop([name])
    if share:
        words = [sys.executable, __file__, "--dir", str(cluster.folder), "__brake", node, str(share)]
        cluster.ledger.launch(name, words, {})


def brake(cluster: Cluster, node: str, share: float) -> None:
    """Stop and continue the node's tasks (not its daemon) until killed; a TERM lets them go on first."""
    spared = {"slurmd", "slurmstepd"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    tasks: list[int] = []
    try:
        while True:
            tasks = [pid for pid in cluster.ledger.marked(node) if comm(pid) not in spared]
            for _ in range(25):
                send(tasks, signal.SIGSTOP)
                time.sleep(SLOW_PERIOD_S * share)
                send(tasks, signal.SIGCONT)
                time.sleep(SLOW_PERIOD_S * (1 - share))
    finally:
        send(tasks, signal.SIGCONT)


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal processes, those that have gone apart."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def comm(pid: int) -> str:
    """The name of a process, empty when it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def status(cluster: Cluster) -> int:
    """Print what runs and what Slurm says of it; 0 when every daemon runs."""
    good = True
    for name in ("munged", "slurmctld", *(f"slurmd-{node}" for node in cluster.nodes)):
        silent = (cluster.folder / "silent" / name.removeprefix("slurmd-")).exists()
        word = "silent" if silent else "runs" if cluster.ledger.alive(name) else "does not run"
        good = good and word == "runs"
        print(f"{name:14} {word}")
    print(cluster.say("sinfo", "-N", "-o", "%8N %.10T %.5c %.12G %E"), end="")
    print(cluster.say("squeue"), end="")
    return 0 if good else 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="ci/sandbox/slurm.py", description="A real Slurm with virtual nodes.")
    top.add_argument("--dir", type=Path, default=DEFAULT_DIR, help="where its ledger, state and logs lie")
    words = top.add_subparsers(dest="word", required=True)
    one = words.add_parser("up", help="start it and wait until every node is idle")
    one.add_argument("--nodes", type=int, default=4, choices=range(1, 61), metavar="N")
    one.add_argument("--cpus", type=int, default=2, help="of each node, as Slurm is told")
    one.add_argument("--gpus", type=int, default=0, help="null devices that Slurm takes for GPUs")
    one.add_argument("--rate", help="of every link, each way: 1gbit")
    one.add_argument("--silent-after", type=int, default=10, help="SlurmdTimeout, s: when a silent node counts as down")
    one.add_argument("--health-interval", type=int, default=10, help="s")
    for hook in ("prolog", "epilog", "health"):
        one.add_argument(f"--{hook}", type=Path, help="absolute path of a program")
    for name, what in (("run", "a user's command"), ("on", "a command on one node")):
        one = words.add_parser(name, help=what)
        if name == "on":
            one.add_argument("node")
        one.add_argument("words", nargs=argparse.REMAINDER)
    for name in ("silence", "revive", "slow", "shape", "__brake"):
        one = words.add_parser(name)
        one.add_argument("node")
        if name in ("slow", "__brake"):
            one.add_argument("share", type=float)
        elif name == "shape":
            one.add_argument("rate")
    for name in ("down", "status"):
        words.add_parser(name)
    return top


def dispatch(cluster: Cluster, options: argparse.Namespace) -> int:
    """Do what the first word says; returns the exit status."""
    node = cluster.known(options.node) if hasattr(options, "node") else ""
    if options.word == "up":
        up(cluster, options)
    elif options.word == "down":
        with cluster.ledger.locked():
            clear(cluster)
    elif options.word == "status":
        return status(cluster)
    elif options.word == "run":
        fabric.become(fabric.entered(cluster.ledger, "fabric", options.words, "controller"), cluster.environment())
    elif options.word == "on":
        env = {**cluster.environment(), **cluster.ledger.environment(node)}
        fabric.become(fabric.entered(cluster.ledger, node, options.words), env)
    elif options.word == "silence":
        silence(cluster, node)
    elif options.word == "revive":
        revive(cluster, node)
    elif options.word == "shape":
        fabric.shape(cluster.ledger, int(node[1:]), options.rate)
    elif options.word == "slow":
        slow(cluster, node, options.share)
    else:
        brake(cluster, node, options.share)
    return 0


def main() -> int:
    """Parse the arguments and do it."""
    options = parser().parse_args()
    try:
        need_root()
        return dispatch(Cluster(options.dir.resolve()), options)
    except SandboxError as error:
        print(f"slurm: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
