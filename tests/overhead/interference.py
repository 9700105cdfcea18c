"""What telemetry and display cost a kernel: pairs of blocks with and without them, interleaved in one process.

Target: a slow-down of at most 0.5 %, its interval's upper end at most 1 %.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from effbench import api
from effbench.kernels.rig import TorchRig
from effbench.run.watch import Watch

PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 120
BLOCK_S = 0.5


def block(rig: TorchRig, a: object, b: object, out: object, n: int) -> float:
    """Seconds per multiplication over one block."""
    import torch

    return rig.time(lambda _: torch.mm(a, b, out=out), 0, n).host_s / n  # type: ignore[call-overload]


def main() -> None:
    """Print the slow-down with its bootstrap interval."""
    import torch

    site = api.look(dict(os.environ))
    cpu = next(a for a in site.inventory.accelerators if a.kind == "cpu")
    rig = TorchRig(cpu, 1)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    out = torch.empty(1024, 1024)
    n = max(1, int(BLOCK_S / block(rig, a, b, out, 20)))
    watch = Watch([cpu], dict(os.environ))
    watch.ours(os.getpid())
    reader = watch._handle.pid
    order = random.Random(1)
    ratios = []
    for _ in range(PAIRS):
        times = {}
        for on in order.sample([True, False], 2):
            os.kill(reader, signal.SIGCONT if on else signal.SIGSTOP)
            time.sleep(0.02)
            times[on] = block(rig, a, b, out, n)
            if on:
                watch.pump()
        ratios.append(times[True] / times[False])
    os.kill(reader, signal.SIGCONT)
    used = cpu_seconds(reader)
    watch.stop()
    logs = np.log(ratios)
    rng = np.random.default_rng(1)
    medians = np.median(rng.choice(logs, (4000, len(logs))), axis=1)
    low, high = np.exp(np.percentile(medians, [2.5, 97.5])) - 1
    slower = np.exp(np.median(logs)) - 1
    print(f"telemetry slows fp32 GEMM blocks of {BLOCK_S} s by {slower:+.2%} [{low:+.2%}, {high:+.2%}]")
    print(f"({PAIRS} interleaved pairs; target 0.5 %, upper end 1 %; the telemetry child used {used:.2f} s of CPU)")
    print(f"one redraw of the live display: {redraw_ms():.1f} ms of CPU, at most once a second, never inside a block")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def redraw_ms() -> float:
    """CPU milliseconds of one redraw, measured in a child with a terminal of its own."""
    script = (
        "import os, time\n"
        "from rich.console import Console\n"
        "from rich.live import Live\n"
        "from effbench.cli.display import LiveDisplay\n"
        "from effbench.run.wire import Progress\n"
        "d = LiveDisplay()\n"
        "d._console = Console(file=open(os.devnull, 'w'), force_terminal=True, width=100, height=40)\n"
        "d._live = Live(console=d._console, auto_refresh=False); d._live.start()\n"
        "d._facts = {'gemm': {'measuring': 'x'}}; d._recent = ['ok  a'] * 6\n"
        "p = Progress('gemm', 1.0, 5, 0.1, 0.09, 0.11, 3.6e9); d.progress(p, None)\n"
        "t = time.process_time()\n"
        "for i in range(50):\n    d._drawn = 0.0; d.progress(p, None)\n"
        "used = time.process_time() - t\n"
        "d.end(); print(used / 50 * 1e3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
