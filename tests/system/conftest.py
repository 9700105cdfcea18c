"""Owns the fixtures of the tests on real engines: sandboxes that come up and go down.

Collected by `make test-system` only, which sets EFFBENCH_SYSTEM to the folder of the sandboxes.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.system.sandboxes import SYSTEM, Sandbox, need

collect_ignore_glob = [] if SYSTEM else ["test_*.py"]


@pytest.fixture
def links() -> Iterator[Callable[..., Sandbox]]:
    """Make shaped links: `links(4, "--rate", "1gbit")`; ended after the test."""
    need("ip", "tc", "nsenter", "unshare")
    made = []

    def up(*words: object) -> Sandbox:
        sandbox = Sandbox("links", f"links-{uuid.uuid4().hex[:6]}")
        made.append(sandbox)
        sandbox.must("up", *words)
        return sandbox

    yield up
    for sandbox in made:
        sandbox.must("down")
        shutil.rmtree(sandbox.folder)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Sandbox]:
    """A real Slurm with four virtual nodes, for the tests of one file."""
    need("slurmctld", "slurmd", "srun", "sbatch", "munged", "ip", "nsenter")
    sandbox = Sandbox("slurm", "slurm")
    sandbox.must("up", "--nodes", 4, "--silent-after", 5)
    yield sandbox
    sandbox.must("down")
