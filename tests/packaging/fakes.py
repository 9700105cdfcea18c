"""Stand-ins for installation tests: a system Python of its own, packages in it, and a small shelf of wheels."""

import base64
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path


def system_python(target: Path) -> Path:
    """Make a Python that is its own system: this one's binary and standard library, and an empty site folder.

    A virtual environment would not do: one made from it would look through it, at the Python that is behind both.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    python = target / "bin" / "python3"
    python.parent.mkdir(parents=True)
    shutil.copy2(Path(getattr(sys, "_base_executable", sys.executable)).resolve(), python)
    library = target / "lib" / version
    library.mkdir(parents=True)
    for entry in Path(sysconfig.get_path("stdlib")).iterdir():
        if entry.name not in {"site-packages", "dist-packages", "EXTERNALLY-MANAGED"}:
            (library / entry.name).symlink_to(entry)
    (library / "site-packages").mkdir()
    return python


def site_of(python: Path) -> Path:
    """The folder where a system Python's packages are."""
    code = "import site; print(site.getsitepackages()[0])"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def metadata(name: str, version: str, requires: tuple[str, ...] = ()) -> str:
    """The METADATA of a distribution."""
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    return "\n".join(lines) + "\n"


def put(site: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Lay an installed package into a site folder: a module and its dist-info. Returns the module's folder."""
    module = site / name.replace("-", "_")
    module.mkdir(parents=True)
    (module / "__init__.py").write_text(f"__version__ = {version!r}\n", encoding="utf-8")
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(metadata(name, version, requires), encoding="utf-8")
    (info / "INSTALLER").write_text("a GPU container\n", encoding="utf-8")
    (info / "RECORD").write_text(f"{module.name}/__init__.py,,\n{info.name}/METADATA,,\n", encoding="utf-8")
    return module


def shelve(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Put an empty but valid wheel of a package on the shelf."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        f"{name.replace('-', '_')}/__init__.py": f"__version__ = {version!r}\n",
        f"{stem}.dist-info/METADATA": metadata(name, version, requires),
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text)}")
    files[f"{stem}.dist-info/RECORD"] = "\n".join([*rows, f"{stem}.dist-info/RECORD,,"]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
