"""The pipelines for GitHub and GitLab: valid by the published schemas, and the verdict's exit code comes through."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from effbench.catalog import recipes
from tests.unit.command_line import ROOT

PIPELINES = ROOT / "ci" / "pipelines"
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
REPORT = "# A report\n"


def checked(service: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against the schema that check-jsonschema carries with it; nothing is fetched."""
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[service], str(file)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def document(service: str) -> Any:
    return YAML(typ="safe").load(PIPELINES / f"{service}.yaml")


def script(service: str) -> str:
    """What the service's shell runs to qualify the node."""
    if service == "gitlab":
        return "\n".join(document(service)["effbench"]["script"])
    steps = document(service)["jobs"]["qualify"]["steps"]
    return str(next(step["run"] for step in steps if step.get("id") == "qualify"))


def ran(service: str, folder: Path, code: int, report: bool) -> subprocess.CompletedProcess[str]:
    """Run the script with an `effbench` that ends with `code` and leaves a report or none."""
    programs = folder / "bin"
    programs.mkdir()
    left = f"mkdir effbench-run; printf '{REPORT}' > effbench-run/report.md" if report else ":"
    (programs / "effbench").write_text(f'#!/bin/sh\necho "$@" > words\n{left}\nexit {code}\n')
    (programs / "effbench").chmod(0o755)
    (folder / "effbench-run").mkdir()
    (folder / "effbench-run" / "report.md").write_text("of an earlier job")
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "RECIPE": "node quick"}
    environment |= {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    # As both services start it: a shell that leaves at the first command that fails.
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script(service)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("service", SCHEMAS)
def test_it_is_valid_by_the_published_schema(service: str, tmp_path: Path) -> None:
    done = checked(service, PIPELINES / f"{service}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "broken.yaml"
    text = (PIPELINES / f"{service}.yaml").read_text()
    broken.write_text(text.replace("runs-on:", "runs-no:").replace("when: always", "when: sometimes"))
    assert checked(service, broken).returncode == 1, "the check can fail"


@pytest.mark.parametrize("service", SCHEMAS)
@pytest.mark.parametrize(("code", "report"), [(0, True), (1, True), (3, True), (4, True), (2, False), (130, False)])
def test_the_exit_code_is_kept_and_the_report_is_shown(tmp_path: Path, service: str, code: int, report: bool) -> None:
    done = ran(service, tmp_path, code, report)
    assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / "words").read_text() == "qualify node quick -o effbench-run\n"
    shown = (tmp_path / "summary").read_text() if service == "github" else done.stdout
    assert shown == REPORT if report else f"exit code {code}" in shown and "earlier" not in shown
    if service == "github":
        assert (tmp_path / "output").read_text() == f"exit-code={code}\n"


def test_artefacts_are_kept_whatever_the_verdict_on_a_runner_of_ones_own() -> None:
    upload = next(s for s in document("github")["jobs"]["qualify"]["steps"] if "upload-artifact" in s.get("uses", ""))
    assert upload["if"] == "${{ always() }}" and upload["with"]["path"] == "effbench-run/"
    inputs = [trigger["inputs"] for trigger in document("github")["on"].values()]
    assert all("self-hosted" in given["runner"]["default"] for given in inputs)
    job = document("gitlab")["effbench"]
    assert job["artifacts"]["when"] == "always" and job["artifacts"]["paths"] == ["effbench-run/"]
    assert job["artifacts"]["reports"]["junit"] == "effbench-run/junit.xml" and "allow_failure" not in job
    for name in (inputs[0]["recipe"]["default"], job["variables"]["RECIPE"]):
        assert recipes.load_recipe(ROOT / "ci" / "recipes" / f"{name}.yaml")


def test_actions_are_pinned_to_a_version() -> None:
    used = re.findall(r"uses: (\S+)", (PIPELINES / "github.yaml").read_text())
    assert used and all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action) for action in used)
