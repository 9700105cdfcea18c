"""Owns `.venv`: creates it, installs effbench into it, and never replaces a torch that the system already has.

    python ci/install.py run|dev [--venv DIR] [--project WHEEL] [--plan] [--dry-run REPORT]

A GPU container ships its own build of torch (`2.9.0a0+nv`), matched to its driver and libraries. If the interpreter
that runs this file has one that satisfies pyproject.toml, the environment is made with `--system-site-packages` and
pip is told that exactly this torch, and the numpy that its ABI was built for, are the only ones there are. Otherwise
torch comes by ci/constraints-torch.txt. A stamp file makes a second call cost nothing. Needs no package.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = ".effbench-installed.json"
GENERATED = "effbench-constraints.txt"
VERSION = re.compile(r"^v?(\d+(?:\.\d+)*)(.*)$")


class InstallError(Exception):
    """Something a person can act on: what is wrong and what to type."""


@dataclass(frozen=True)
class SystemTorch:
    """The torch that the system's own Python sees, its numpy, and the names of everything that torch requires."""

    version: str
    numpy: str | None = None
    closure: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What will be installed: into what, for which interpreter, under which constraints."""

    flavour: str
    base: str
    base_version: str
    system_torch: SystemTorch | None
    constraints: list[str]
    note: str

    @property
    def digest(self) -> str:
        """Changes whenever an installed environment would no longer be the one that is asked for."""
        facts = [self.base, self.base_version, self.constraints, (ROOT / "pyproject.toml").read_text(), str(ROOT)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def canonical(name: str) -> str:
    """Spell a distribution's name as package indexes do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def at_least(version: str, floor: str) -> bool:
    """Is `version` at or above `floor` by PEP 440's order? A pre-release of the floor itself is below it.

    Raises:
        InstallError: one of the two is no version.
    """
    found, least = VERSION.match(version.strip()), VERSION.match(floor.strip())
    if not found or not least:
        raise InstallError(f"cannot compare the versions {version!r} and {floor!r}")
    width = max(len(found[1].split(".")), len(least[1].split(".")))
    have = [*map(int, found[1].split(".")), *[0] * width][:width]
    want = [*map(int, least[1].split(".")), *[0] * width][:width]
    early = re.match(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)", found[2], re.IGNORECASE)
    return have > want or (have == want and not early)


def floor_of(name: str) -> str:
    """The least version of a direct dependency, from pyproject.toml (`torch>=2.6` gives `2.6`).

    Raises:
        InstallError: the dependency is not there, or not of the form `name>=version`.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"]:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)", line)
        if match and canonical(match[1]) == name:
            return match[2]
    raise InstallError(f"pyproject.toml: no dependency of the form {name}>=VERSION; ci/install.py reads it there")


def version_of(name: str) -> str | None:
    """The version of an installed distribution, None when there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def closure_of(name: str) -> list[str]:
    """Names of everything installed that a distribution requires, directly or not, itself included."""
    seen: set[str] = set()
    todo = [canonical(name)]
    while todo:
        current = todo.pop()
        if current in seen or version_of(current) is None:
            continue
        seen.add(current)
        for line in importlib.metadata.requires(current) or []:
            match = re.match(r"[A-Za-z0-9._-]+", line)
            if match and "extra ==" not in line:
                todo.append(canonical(match[0]))
    return sorted(seen)


def system_torch() -> tuple[SystemTorch | None, str]:
    """Look for a torch in the interpreter that runs this file.

    Returns:
        The torch, or None, and a sentence about it.
    """
    version, floor = version_of("torch"), floor_of("torch")
    if version is None or importlib.util.find_spec("torch") is None:
        return None, "the system's Python has no torch; it comes by ci/constraints-torch.txt"
    if not at_least(version, floor):
        return (
            None,
            f"the system's torch {version} is older than {floor}; .venv gets its own, the system's stays as it is",
        )
    found = SystemTorch(version, version_of("numpy"), closure_of("torch"))
    return found, f"the system's torch {version} is used and left alone"


def pins(path: Path) -> dict[str, str]:
    """The `name==version` lines of a constraints file, by canonical name."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {canonical(re.split(r"[=<>!~;\s]", line)[0]): line for line in lines if line}


def constraints(flavour: str, torch: SystemTorch | None) -> list[str]:
    """Decide the constraint lines for pip.

    With the system's torch: that torch, its numpy, and no pin on anything it requires; the other pins only where the
    checks run (`dev`), so that `run` keeps whatever the container already has. Otherwise every pin of both files.
    """
    exact = pins(ROOT / "ci" / "constraints.txt")
    if torch is None:
        return [*exact.values(), *pins(ROOT / "ci" / "constraints-torch.txt").values()]
    kept = [f"torch=={torch.version}"]
    if torch.numpy is not None:
        floor = floor_of("numpy")
        kept.append(f"numpy=={torch.numpy}" if at_least(torch.numpy, floor) else f"numpy>={floor},<2")
    if flavour == "dev":
        foreign = {"torch", *torch.closure} | ({"numpy"} if torch.numpy is not None else set())
        kept += [line for name, line in exact.items() if name not in foreign]
    return kept


def own_environment() -> None:
    """Go on as the interpreter behind an activated environment, so that ours is built on the system's Python."""
    base = getattr(sys, "_base_executable", None)
    if sys.prefix != sys.base_prefix and base and base != sys.executable:
        sys.stdout.flush()
        os.execv(base, [base, *sys.argv])


def plan(flavour: str) -> Plan:
    """Work out what to install, from this interpreter, pyproject.toml and the two constraints files."""
    torch, note = system_torch()
    lines = constraints(flavour, torch)
    version = ".".join(map(str, sys.version_info[:3]))
    return Plan(flavour, sys.executable, version, torch, lines, note)


def installed(target: Path, wanted: Plan) -> bool:
    """Does the stamp say that `target` already holds what is wanted? A `dev` environment also serves `run`."""
    try:
        stamp = json.loads((target / STAMP).read_text(encoding="utf-8"))
        held = stamp["digests"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return held.get(wanted.flavour) == wanted.digest and (target / "bin" / "effbench").exists()


def usable(target: Path, wanted: Plan) -> bool:
    """Is `target` an environment of the wanted interpreter and kind, with a pip that starts?"""
    try:
        lines = (target / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    config = dict(line.split(" = ", 1) for line in lines if " = " in line)
    system = "true" if wanted.system_torch else "false"
    if config.get("include-system-site-packages") != system or config.get("version") != wanted.base_version:
        return False
    if Path(config.get("home", "")) != Path(wanted.base).parent:
        return False
    words = [str(target / "bin" / "python"), "-m", "pip", "--version"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def create(target: Path, wanted: Plan) -> None:
    """Make the environment anew.

    Raises:
        InstallError: a foreign folder is in the way, or this Python cannot make environments.
    """
    if target.is_dir() and any(target.iterdir()) and not (target / "pyvenv.cfg").exists():
        raise InstallError(f"{target} is no virtual environment; move it away, it will not be overwritten")
    if importlib.util.find_spec("ensurepip") is None:
        short = ".".join(map(str, sys.version_info[:2]))
        raise InstallError(
            f"{sys.executable} comes without ensurepip, so it cannot make virtual environments;"
            f" Debian, Ubuntu: apt-get install python{short}-venv, then the same command again"
        )
    system = wanted.system_torch is not None
    try:
        venv.create(target, clear=True, with_pip=True, symlinks=True, system_site_packages=system)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InstallError(f"cannot create {target}: {error}") from error


def pip_words(target: Path, project: str, wanted: Plan, report: str | None) -> list[str]:
    """The pip command. A checkout is installed editable, a wheel as it is; `report` makes it a dry run."""
    words = [str(target / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    words += [*([] if sys.stdout.isatty() else ["-q"]), "-c", str(target / GENERATED)]
    if report is not None:
        words += ["--dry-run", "--report", report]
    extra = "[dev]" if wanted.flavour == "dev" else ""
    return [*words, *([] if Path(project).is_file() else ["-e"]), project + extra]


def check_torch(target: Path, wanted: Plan) -> None:
    """Make sure that the environment sees the torch it was planned with.

    Raises:
        InstallError: it sees another one, or none.
    """
    code = "import importlib.metadata as m; print(m.version('torch'))"
    words = [str(target / "bin" / "python"), "-c", code]
    seen = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    if wanted.system_torch is not None and seen != wanted.system_torch.version:
        raise InstallError(
            f"{target} sees torch {seen or 'nowhere'}, not the system's {wanted.system_torch.version};"
            " remove the folder and repeat; if it stays, please report it"
        )


def install(target: Path, project: str, wanted: Plan, report: str | None) -> None:
    """Bring `target` to what is wanted.

    Raises:
        InstallError: the environment cannot be made, or pip failed (it has said why).
    """
    if not usable(target, wanted):
        print(f"install: creating {target} from {wanted.base} ({wanted.base_version})", flush=True)
        create(target, wanted)
    (target / GENERATED).write_text("".join(f"{line}\n" for line in wanted.constraints), encoding="utf-8")
    print(f"install: {wanted.note}", flush=True)
    print(f"install: installing effbench ({wanted.flavour}); a first time takes minutes, torch is large", flush=True)
    words = pip_words(target, project, wanted, report)
    status = subprocess.run(words, check=False, stdin=subprocess.DEVNULL).returncode
    if status != 0:
        raise InstallError(f"pip ended with {status}, see above; when the cause is mended, type the same command again")
    if report is None:
        check_torch(target, wanted)
        served = [wanted.flavour, "run"] if wanted.flavour == "dev" else [wanted.flavour]
        stamp = {"digests": {flavour: plan(flavour).digest for flavour in served}, "note": wanted.note}
        (target / STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")


def main() -> int:
    """Parse the arguments and install; 0 when the environment is as asked for."""
    parser = argparse.ArgumentParser(prog="ci/install.py", description="Create .venv and install effbench into it.")
    parser.add_argument("flavour", choices=["run", "dev"], help="run: what effbench needs; dev: and every check's tool")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment's folder")
    parser.add_argument("--project", default=str(ROOT), help="a built wheel instead of this checkout")
    parser.add_argument("--plan", action="store_true", help="print what would be done as JSON, and do nothing")
    parser.add_argument("--dry-run", metavar="REPORT", help="create the environment, then only let pip report")
    options = parser.parse_args()
    own_environment()
    try:
        wanted = plan(options.flavour)
        if options.plan:
            torch = wanted.system_torch.__dict__ if wanted.system_torch else None
            print(json.dumps({**wanted.__dict__, "system_torch": torch}, indent=1))
        elif options.dry_run or not installed(options.venv, wanted):
            install(options.venv, options.project, wanted, options.dry_run)
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
