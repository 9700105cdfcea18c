"""`make run` on a machine whose Python has a torch of its own, has one that is too old, or has none. No network."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fakes import put, shelve, site_of, system_python

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONTAINER = "2.9.0a0+nv"
PINNED = (ROOT / "ci" / "constraints-torch.txt").read_text(encoding="utf-8").split("torch==")[1].strip()


def pins() -> dict[str, str]:
    lines = (ROOT / "ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


@pytest.fixture(scope="module")
def install():
    """ci/install.py as a module."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "ci" / "install.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["install"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["install"]


@pytest.fixture
def system(tmp_path) -> Path:
    """A system Python without any package."""
    return system_python(tmp_path / "system")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """Wheels of every direct dependency at its pinned version, torch and a newer torch among them."""
    folder = tmp_path_factory.mktemp("shelf")
    exact = pins()
    for line in PROJECT["dependencies"]:
        name = re.split(r"[><=]", line)[0]
        if name != "torch":
            shelve(folder, name, exact[name])
    shelve(folder, "numpy", "1.26.4")
    shelve(folder, "torch", PINNED, ("numpy",))
    shelve(folder, "torch", "99.0", ("numpy",))
    shelve(folder, "effbench", "0.1.0", tuple(PROJECT["dependencies"]))
    return folder


def bootstrap(python: Path, *words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Call ci/bootstrap.sh as the Makefile does, with a system Python of the test's and no package index."""
    return subprocess.run(
        ["sh", ROOT / "ci" / "bootstrap.sh", *map(str, words)],
        env={
            "PATH": f"{python.parent}:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": "/dev/null",
            **(env or {}),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def reported(python: Path, shelf: Path, tmp_path: Path, **env: str) -> tuple[dict[str, str], list[str]]:
    """What pip would install, name to version, and the constraints it was given."""
    report, target = tmp_path / "report.json", tmp_path / "env"
    words = ["run", "--venv", target, "--project", shelf / "effbench-0.1.0-py3-none-any.whl", "--dry-run", report]
    done = bootstrap(python, *words, env={"PIP_FIND_LINKS": str(shelf), **env})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(report.read_text(encoding="utf-8"))["install"]
    given = (target / "effbench-constraints.txt").read_text(encoding="utf-8").splitlines()
    return {row["metadata"]["name"]: row["metadata"]["version"] for row in rows}, given


def planned(python: Path, flavour: str = "run", **env: str) -> dict:
    done = bootstrap(python, flavour, "--plan", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_containers_own_torch_is_never_touched(system, shelf, tmp_path):
    site = site_of(system)
    put(site, "torch", CONTAINER, ("numpy", "sympy==1.13.1"))
    put(site, "numpy", "1.26.4")
    put(site, "sympy", "1.13.1")
    before = sorted((path.as_posix(), path.stat().st_mtime_ns) for path in site.rglob("*"))
    wanted, given = reported(system, shelf, tmp_path)
    assert "torch" not in wanted
    assert "numpy" not in wanted
    assert wanted["effbench"] == "0.1.0"
    assert f"torch=={CONTAINER}" in given
    assert "numpy==1.26.4" in given
    assert sorted((path.as_posix(), path.stat().st_mtime_ns) for path in site.rglob("*")) == before
    seen = subprocess.run(
        [tmp_path / "env" / "bin" / "python", "-c", "import torch; print(torch.__version__, torch.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.split() == [CONTAINER, str(site / "torch" / "__init__.py")]


def test_a_torch_that_is_too_old_stays_and_ours_comes_by_the_constraint(system, shelf, tmp_path):
    site = site_of(system)
    put(site, "torch", "2.5.1", ("numpy",))
    put(site, "numpy", "1.26.4")
    wanted, given = reported(system, shelf, tmp_path)
    assert wanted["torch"] == PINNED
    assert wanted["numpy"] == pins()["numpy"]
    assert f"torch=={PINNED}" in given
    assert (site / "torch").exists()
    assert "include-system-site-packages = false" in (tmp_path / "env" / "pyvenv.cfg").read_text(encoding="utf-8")


def test_without_any_torch_the_constraint_decides(system, shelf, tmp_path):
    wanted, _ = reported(system, shelf, tmp_path)
    assert wanted["torch"] == PINNED, "a plain range would have taken the newest on the shelf"


def test_pip_would_replace_a_containers_torch_if_it_were_not_seen(system, shelf, tmp_path):
    """The danger itself: the same Python and shelf, without the constraint and the system's packages."""
    put(site_of(system), "torch", CONTAINER)
    report, target = tmp_path / "report.json", tmp_path / "plain"
    subprocess.run([system, "-m", "venv", target], check=True)
    words = [target / "bin" / "python", "-m", "pip", "install", "--no-index", "--find-links", shelf, "-q", "--dry-run"]
    words += ["--report", report, "effbench"]
    subprocess.run(
        words, check=True, env={"PIP_CONFIG_FILE": "/dev/null", "PATH": "/usr/bin:/bin"}, capture_output=True
    )
    rows = json.loads(report.read_text(encoding="utf-8"))["install"]
    assert "99.0" in [row["metadata"]["version"] for row in rows if row["metadata"]["name"] == "torch"]


def test_surroundings_do_not_leak_in(system, shelf, tmp_path):
    """A PYTHONPATH with another torch, a container's PIP_CONSTRAINT and an activated environment change nothing."""
    put(tmp_path / "elsewhere", "torch", "2.8.0")
    (tmp_path / "theirs.txt").write_text("torch==1.0\nclick==1.0\n", encoding="utf-8")
    wanted, _ = reported(
        system,
        shelf,
        tmp_path,
        PYTHONPATH=str(tmp_path / "elsewhere"),
        PIP_CONSTRAINT=str(tmp_path / "theirs.txt"),
        PIP_TARGET=str(tmp_path / "target"),
        PIP_USER="1",
        VIRTUAL_ENV=str(tmp_path / "elsewhere"),
    )
    assert wanted["torch"] == PINNED
    assert not (tmp_path / "target").exists()


def test_an_activated_environment_is_looked_through(system, tmp_path):
    put(site_of(system), "torch", CONTAINER)
    active = tmp_path / "active"
    subprocess.run([system, "-m", "venv", "--without-pip", active], check=True)
    plan = planned(active / "bin" / "python3", VIRTUAL_ENV=str(active))
    assert plan["base"] == str(system)
    assert plan["system_torch"]["version"] == CONTAINER


def test_the_checks_leave_what_torch_requires_to_torch(system):
    site = site_of(system)
    put(site, "torch", CONTAINER, ("jinja2", "numpy ; extra == 'x'"))
    put(site, "jinja2", "3.1.2", ("MarkupSafe>=2.0",))
    put(site, "markupsafe", "2.1.5")
    plan = planned(system, "dev")
    names = {line.split("==")[0].lower() for line in plan["constraints"]}
    assert plan["system_torch"]["closure"] == ["jinja2", "markupsafe", "torch"]
    assert "ruff" in names
    assert not names & {"jinja2", "markupsafe"}
    assert planned(system, "run")["constraints"] == [f"torch=={CONTAINER}"]


def test_a_numpy_below_the_floor_keeps_its_major_version(system):
    put(site_of(system), "torch", CONTAINER)
    put(site_of(system), "numpy", "1.24.4")
    assert "numpy>=1.26,<2" in planned(system)["constraints"]


@pytest.mark.parametrize(
    ("version", "floor", "enough"),
    [
        ("2.6", "2.6", True),
        ("2.6.0", "2.6", True),
        ("2.6.0+cu124", "2.6", True),
        ("2.6.0.post1", "2.6", True),
        ("2.9.0a0+nv", "2.6", True),
        ("2.10.0", "2.6", True),
        ("3", "2.6", True),
        ("2.6.0a0+df5bbc09d1.nv24.11", "2.6", False),
        ("2.6.0rc1", "2.6", False),
        ("2.6.0.dev20241112", "2.6", False),
        ("2.5.1+cu121", "2.6", False),
        ("1.13", "2.6", False),
    ],
)
def test_versions_compare_as_packages_do(install, version, floor, enough):
    from packaging.specifiers import SpecifierSet

    assert install.at_least(version, floor) is enough
    assert SpecifierSet(f">={floor}").contains(version, prereleases=True) is enough


def test_a_second_call_does_nothing(install, tmp_path):
    wanted = install.plan("dev")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "effbench").touch()
    assert not install.installed(tmp_path, wanted)
    stamp = {"digests": {"dev": wanted.digest, "run": install.plan("run").digest}}
    (tmp_path / install.STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    assert install.installed(tmp_path, wanted)
    assert install.installed(tmp_path, install.plan("run")), "what the checks need serves a run too"
    changed = install.Plan("dev", wanted.base, wanted.base_version, None, [*wanted.constraints, "x==1"], "")
    assert not install.installed(tmp_path, changed)


def test_a_foreign_folder_is_not_overwritten(system, tmp_path):
    target = tmp_path / "env"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work", encoding="utf-8")
    done = bootstrap(system, "run", "--venv", target)
    assert done.returncode == 1
    assert "no virtual environment" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]


def test_a_python_that_cannot_make_environments_says_what_to_install(system, tmp_path):
    library = next((system.parent.parent / "lib").iterdir())
    (library / "ensurepip").unlink()
    done = bootstrap(system, "run", "--venv", tmp_path / "env")
    assert done.returncode == 1
    assert "-venv" in done.stderr
    assert "Traceback" not in done.stderr


def old_python(folder: Path, name: str = "python3") -> Path:
    """A command that answers as a Python 3.8 does."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / name
    python.write_text('#!/bin/sh\necho old 3.8.18 "$0"\n', encoding="utf-8")
    python.chmod(0o755)
    return python


def test_a_python_that_is_too_old_is_named(tmp_path):
    python = old_python(tmp_path / "bin")
    done = bootstrap(python, "run", env={"PYTHON": str(python)})
    assert done.returncode == 1
    assert "3.8.18" in done.stderr
    assert "3.11" in done.stderr


def test_a_newer_python_beside_an_old_one_is_found(system, tmp_path):
    old_python(tmp_path / "old")
    (system.parent / "python3.11").symlink_to("python3")
    shell = {"PATH": f"{tmp_path / 'old'}:{system.parent}:/usr/bin:/bin"}
    done = bootstrap(system, "run", "--plan", env=shell)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["base"].startswith(str(system.parent))


def test_constraints_are_exact_and_hold_no_torch(install):
    exact = install.pins(ROOT / "ci" / "constraints.txt")
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in exact.values())
    assert not [name for name in exact if re.match(r"torch|nvidia-(?!ml-py)|cuda|triton", name)]
    assert list(install.pins(ROOT / "ci" / "constraints-torch.txt")) == ["torch"]
    direct = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    names = {install.canonical(re.split(r"[><=]", line)[0]) for line in direct} - {"torch"}
    assert names <= set(exact), "every direct dependency has a pin"
    assert install.at_least(PINNED, install.floor_of("torch"))
