"""What the tests of the command line share: one simulated run, made once."""

from pathlib import Path

import pytest

from tests.unit.command_line import FAKE, SUITE, call


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of four short trials."""
    path = tmp_path_factory.mktemp("suite") / "tiny.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, suite: Path) -> Path:
    """A finished run folder. Read it, never write into it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = call("run", suite, "--fake", FAKE, "-o", folder)
    assert done.code == 3, done.said
    return folder


@pytest.fixture
def copied(tmp_path: Path, finished: Path) -> Path:
    """A finished run folder of one's own, to be damaged."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in finished.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder
