"""Owns how a test drives a sandbox of `ci/sandbox`, and what it does where a part is absent."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
PROGRAMS = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SYSTEM = os.environ.get("EFFBENCH_SYSTEM", "")


def need(*programs: str) -> None:
    """Skip where one of these is not installed; with REQUIRE=1 fail."""
    missing = [name for name in programs if shutil.which(name, path=PROGRAMS) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if missing and os.environ.get("REQUIRE"):
        pytest.fail(f"REQUIRE=1, but missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


class Sandbox:
    """One sandbox of `ci/sandbox/<program>.py` under a folder of its own."""

    def __init__(self, program: str, name: str) -> None:
        self.folder = Path(SYSTEM) / name
        self.words = [PYTHON, str(ROOT / "ci" / "sandbox" / f"{program}.py"), "--dir", str(self.folder)]

    def do(self, *words: object, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one of its commands, whatever comes of it."""
        line = [*self.words, *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT)

    def must(self, *words: object, timeout_s: float = 60.0) -> str:
        """Run one of its commands, which has to succeed; what it printed."""
        done = self.do(*words, timeout_s=timeout_s)
        assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
