"""Nodes that cannot do what was asked: no torch, a torch that does not load, a GPU that torch cannot see. Exit 3."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nvml import scripted
from tests.unit.command_line import ARTEFACTS, FAKE, contents, ended, start

NO_MODULE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Blocked())
"""
NO_METADATA = """
import importlib.metadata as metadata
real = metadata.version
def version(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
"""


def without(folder: Path, *code: str) -> dict[str, str]:
    """The environment of a Python that lacks something: `sitecustomize` runs before anything else."""
    place = folder / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text("".join(code))
    return {"PYTHONPATH": str(place)}


def test_a_missing_torch_is_3_with_the_command_that_installs_it(tmp_path: Path, suite: Path) -> None:
    environment = without(tmp_path, NO_MODULE, NO_METADATA)
    done = ended(start("run", suite, "-o", tmp_path / "r", environment=environment))
    assert done.code == 3
    assert done.out == ""
    assert done.err.startswith("effbench: torch is not installed")
    assert "pip install 'torch>=2.6'" in done.err
    assert len(done.err.splitlines()) == 1
    assert contents(tmp_path / "r") == {}


def test_without_torch_everything_that_runs_no_kernel_works(tmp_path: Path, suite: Path, finished: Path) -> None:
    environment = without(tmp_path, NO_MODULE, NO_METADATA)
    done = ended(start("run", suite, "--fake", FAKE, "-o", tmp_path / "r", environment=environment))
    assert done.code == 3
    assert set(contents(tmp_path / "r")) == ARTEFACTS
    assert ended(start("replay", finished, "-o", tmp_path / "again", environment=environment)).code == 0
    assert contents(tmp_path / "again") == contents(finished)


def test_a_torch_that_does_not_load_costs_the_trials_and_keeps_the_run(tmp_path: Path, suite: Path) -> None:
    done = ended(start("run", suite, "--device", "cpu", "-o", tmp_path / "r", environment=without(tmp_path, NO_MODULE)))
    assert done.code == 3
    assert "torch does not load here (No module named 'torch')" in done.err
    assert "pip install 'torch>=2.6'" in done.err
    assert "Verdict: not_rated" in done.out
    assert set(contents(tmp_path / "r")) == ARTEFACTS


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a node whose driver lists one H200, with a torch that has no CUDA."""
    if not scripted.has_gcc():
        pytest.skip(scripted.NEEDS_GCC)
    import importlib.metadata

    if "+cpu" not in importlib.metadata.version("torch"):
        pytest.skip("this torch may have CUDA, so it is no example of one that has not")
    folder = tmp_path_factory.mktemp("driver")
    scripted.build(folder)
    (folder / "scenario.txt").write_text("\n".join([*scripted.DRIVER, *scripted.h200()]) + "\n")
    yield {"LD_LIBRARY_PATH": str(folder), "NVML_SCRIPT": str(folder / "scenario.txt")}


def test_a_gpu_that_torch_cannot_see_is_3_and_names_both_views(
    tmp_path: Path, suite: Path, driver: dict[str, str]
) -> None:
    done = ended(start("run", suite, "-o", tmp_path / "r", environment=driver))
    assert done.code == 3
    assert "the driver lists NVIDIA H200 (0000:1a:00.0)" in done.err
    assert "but torch 2." in done.err
    assert "built without CUDA" in done.err or "it sees 0 devices" in done.err
    assert "--device cpu" in done.err
    assert done.out == ""
    assert contents(tmp_path / "r") == {}


def test_the_cpu_of_such_a_node_is_measured_when_it_is_asked_for(suite: Path, driver: dict[str, str]) -> None:
    done = ended(start("plan", suite, "--device", "cpu", "--json", environment=driver))
    assert done.code == 0, done.err
    assert json.loads(done.out)["devices"] == ["cpu"]
