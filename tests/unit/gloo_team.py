"""Starts a small team of ranks on gloo for tests, waits for it, and ends what is left of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("gloo_ranks.py")


def run(size: int, nodes: int, folder: Path, timeout_s: float = 120.0) -> list[dict[str, Any]]:
    """Run `gloo_ranks.py` on `size` ranks that believe to lie on `nodes` nodes; return what each rank wrote."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    words = [[sys.executable, str(PROGRAM), str(rank), str(size), str(nodes), str(folder)] for rank in range(size)]
    logs = [(folder / f"rank-{rank}.err").open("wb") for rank in range(size)]
    children = [
        subprocess.Popen(w, env=environment, cwd=PROGRAM.parents[2], stderr=log)
        for w, log in zip(words, logs, strict=True)
    ]
    try:
        codes = [child.wait(timeout_s) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
        for log in logs:
            log.close()
    said = "\n".join((folder / f"rank-{rank}.err").read_text() for rank in range(size))
    assert codes == [0] * size, said
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(size)]
