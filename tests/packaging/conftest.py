"""What the packaging tests share: a clean copy of the checkout, a wheel and an sdist of it, and small environments."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIRT = shutil.ignore_patterns(
    ".venv", ".git", ".*_cache", "__pycache__", "dist", "build", "runs", "published", "*.egg-info"
)


def words(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command without the network and return its stdout; its stderr is in the failure."""
    plain = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**plain, "PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1", **(env or {})},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def run_words() -> Callable[..., str]:
    """The runner of offline commands."""
    return words


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree as git has it, at a path of its own."""
    target = tmp_path_factory.mktemp("checkout") / "effbench"
    shutil.copytree(ROOT, target, ignore=DIRT)
    return target


@pytest.fixture(scope="session")
def dist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was made from that sdist, offline."""
    target = tmp_path_factory.mktemp("dist")
    words(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, checkout)
    return target


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    """The source distribution."""
    return next(dist.glob("*.tar.gz"))


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of a fresh environment that sees the libraries of this one, but nothing of effbench.

    A path line in a `.pth` file adds a folder without reading the `.pth` files in it, so an editable effbench there
    stays unseen.
    """
    target = tmp_path / "env"
    words(sys.executable, "-m", "venv", "--without-pip", target)
    site = next(target.glob("lib/python*/site-packages"))
    places = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    (site / "libraries.pth").write_text("".join(f"{place}\n" for place in places), encoding="utf-8")
    return target / "bin" / "python"
