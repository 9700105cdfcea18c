"""Suites, policies, templates and catalogue are found from a wheel, an sdist, an editable install and a checkout."""

import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

KINDS = {"workloads": "workloads", "templates": "reports/templates", "recipes": "ci/recipes", "policies": "ci/policies"}
LOOK = f"""
KINDS = {list(KINDS)!r}
import json, pathlib
import effbench.resources as resources, effbench.catalog as catalog
package = pathlib.Path(resources.__file__).parent
print(json.dumps({{
    "package": str(package),
    "typed": (package / "py.typed").exists(),
    "names": {{kind: resources.names(kind) for kind in KINDS}},
    "folders": {{kind: str(resources.folder(kind)) for kind in KINDS}},
    "catalog": sorted(path.name for path in (package / "catalog").glob("*.yaml")),
}}))
"""


def expected(checkout: Path) -> dict[str, list[str]]:
    """The names of every resource in the source tree, found without effbench's own code."""
    found = {}
    for kind, place in KINDS.items():
        root, suffixes = checkout / place, {".j2", ".css"} if kind == "templates" else {".yaml"}
        files = [path.relative_to(root) for path in root.rglob("*") if path.suffix in suffixes]
        found[kind] = sorted((path if kind == "templates" else path.with_suffix("")).as_posix() for path in files)
    return found


def agree(answer: str, checkout: Path) -> dict[str, object]:
    """Check what an installed effbench answered against the source tree; return the answer."""
    seen = json.loads(answer)
    assert seen["names"] == expected(checkout)
    assert seen["catalog"] == sorted(path.name for path in (checkout / "effbench" / "catalog").glob("*.yaml"))
    assert seen["typed"]
    return seen


def test_there_is_something_to_travel(checkout):
    found = expected(checkout)
    assert {"node/quick", "node/standard", "node/full"} <= set(found["workloads"])
    assert "node-2026" in found["policies"]
    assert {"scorecard.html.j2", "style.css"} <= set(found["templates"])
    catalogue = {path.stem for path in (checkout / "effbench" / "catalog").glob("*.yaml")}
    assert {"accelerators", "metrics", "references", "findings", "xids"} <= catalogue


def test_wheel(wheel, environment, checkout, run_words, tmp_path):
    run_words(environment, "-m", "pip", "install", "-q", "--no-deps", wheel)
    seen = agree(run_words(environment, "-I", "-c", LOOK, cwd=tmp_path), checkout)
    assert "site-packages" in seen["package"]
    assert all("_data" in place for place in seen["folders"].values())
    assert "run" in run_words(environment.parent / "effbench", "--help", cwd=tmp_path)


def test_sdist(sdist, environment, checkout, run_words, tmp_path):
    run_words(environment, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", sdist)
    agree(run_words(environment, "-I", "-c", LOOK, cwd=tmp_path), checkout)


def test_editable(environment, checkout, run_words, tmp_path):
    run_words(environment, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", checkout)
    seen = agree(run_words(environment, "-I", "-c", LOOK, cwd=tmp_path), checkout)
    assert seen["package"] == str(checkout / "effbench")
    assert seen["folders"]["workloads"] == str(checkout / "workloads")


def test_plain_checkout(environment, checkout, run_words):
    seen = agree(run_words(environment, "-c", LOOK, cwd=checkout), checkout)
    assert seen["package"] == str(checkout / "effbench")


def test_a_wheel_without_its_data_says_so(wheel, environment, run_words, tmp_path):
    """The failure that the rule exists for, seen: the resolver must not answer with an empty list."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked", [name for name in archive.namelist() if "/_data/" not in name])
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import effbench.resources as resources\n"
        "from effbench.model.error import InputError\n"
        "try:\n    resources.folder('workloads')\nexcept InputError as error:\n    print(error)\n"
    )
    assert "Install effbench again" in run_words(environment, "-c", code, tmp_path / "unpacked", cwd=tmp_path)


def test_wheel_contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in metadata
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"effbench"}
    assert not any("published" in name or "recordings" in name or name.endswith(".pyc") for name in names)


def test_sdist_contents(sdist, checkout):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("LICENSE", "README.md", "Makefile", "pyproject.toml", "ci/check.sh", "ci/constraints.txt"):
        assert needed in names
    assert not any("__pycache__" in name or name.startswith("reports/runs") for name in names)


@pytest.mark.parametrize("kind", ["recipes", "policies"])
def test_a_missing_source_folder_fails_the_build_by_name(kind, checkout, tmp_path, run_words):

    broken = tmp_path / "broken"
    shutil.copytree(checkout, broken)
    shutil.rmtree(broken / "ci" / kind)
    with pytest.raises(AssertionError, match=f"ci/{kind}"):
        run_words(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, broken)
