"""Nodes qualified by Kubernetes: the published schemas, and both scripts run by a real shell."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from effbench.launch.kubernetes import Manifest
from effbench.launch.kubernetes_qualification import CHECK, CONDITION, FEATURES, HOST, PLUGIN, SCRIPT, Qualification
from effbench.launch.kubernetes_qualification import render as rendered
from effbench.model.error import InputError
from tests.unit.command_line import call
from tests.unit.kubernetes_schemas import NODES, VERSIONS, refusals

JOB = Manifest("node-quick", "registry.example/effbench:1", 4, "")
WANTED = Qualification(JOB, 24)


def both(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    wanted = Qualification(msgspec.structs.replace(JOB, **changes), 24)
    job, plugin = yaml.safe_load_all(rendered(wanted))
    return job, plugin


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("changes", NODES)
def test_both_documents_keep_the_published_schemas(version: str, changes: dict[str, Any]) -> None:
    assert refusals(both(**changes), version) == []


def test_each_pod_has_a_node_of_its_own_and_no_more_rights_than_two_folders() -> None:
    job, _ = both(nodes=3, gpus=2)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (3, 3, 0)
    (apart,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert apart["labelSelector"]["matchLabels"] == job["spec"]["template"]["metadata"]["labels"]
    assert not pod["automountServiceAccountToken"]
    assert [v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v] == [HOST, FEATURES]
    (container,) = pod["containers"]
    assert container["args"] == ["effbench", "node-quick", "all", "24"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in json.dumps(pod)


def test_the_condition_keeps_the_rules_that_the_detector_checks_at_its_start() -> None:
    _, plugin = both()
    monitor = json.loads(plugin["data"]["effbench.json"])
    assert monitor["plugin"] == "custom" and monitor["pluginConfig"]["skip_initial_status"] is True
    (condition,), (rule,) = monitor["conditions"], monitor["rules"]
    assert rule["type"] == "permanent" and rule["condition"] == condition["type"] == CONDITION
    # The default reason stands beside Unknown too, so it must not say that all is well.
    assert condition["reason"] == "EffbenchVerdict"
    assert [rule["path"], *rule["args"]] == ["/bin/sh", f"{PLUGIN}/effbench.sh", f"{HOST}/verdict", "24"]
    assert float(rule["timeout"].rstrip("s")) <= float(monitor["pluginConfig"]["timeout"].rstrip("s"))
    assert plugin["data"]["effbench.sh"] == CHECK


def check(file: Path) -> tuple[int, str]:
    done = subprocess.run(["sh", "-c", CHECK, "sh", file, "24"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(("code", "status"), [("0", 0), ("1", 1), ("2", 2), ("3", 2), ("4", 2), ("", 2), ("x", 2)])
def test_only_a_pass_is_healthy_and_only_a_fail_is_a_problem(tmp_path: Path, code: str, status: int) -> None:
    file = tmp_path / "verdict"
    file.write_text(f"{code}\n{int(time.time())}\neffbench: memory 61 % on gpu3\n")
    assert check(file) == (status, "effbench: memory 61 % on gpu3")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "no verdict"),
        ("", "no time"),
        ("0\n", "no time"),
        ("0\n-1\nx\n", "no time"),
        ("0\nsoon\nx\n", "no time"),
        (f"0\n{int(time.time()) - 25 * 3600}\nx\n", "older than 24 hours"),
        (f"1\n{int(time.time()) - 25 * 3600}\nx\n", "older than 24 hours"),
        (f"0\n{int(time.time()) + 7200}\nx\n", "has not come yet"),
    ],
)
def test_without_a_fresh_verdict_the_condition_is_unknown(tmp_path: Path, text: str | None, word: str) -> None:
    file = tmp_path / "verdict"
    if text is not None:
        file.write_text(text)
    code, said = check(file)
    assert code == 2 and word in said


def pod(folder: Path, qualify: int, verdict: int, writes: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run the pod's script with an effbench that qualifies with one code and gives the verdict with the other."""
    for name in ("host", "features"):
        (folder / name).mkdir(exist_ok=True)
    tool = folder / "effbench"
    leave = 'eval "run=\\${$#}"; mkdir -p "$run"; echo {} > "$run/grade.json"; ' if writes else ""
    lines = [f"qualify) {leave}exit {qualify} ;;", f"verdict) echo effbench: said {verdict}; exit {verdict} ;;"]
    tool.write_text("\n".join(["#!/bin/sh", "case $1 in", *lines, "esac", ""]))
    tool.chmod(0o755)
    script = SCRIPT.replace("/host", str(folder / "host")).replace("/features", str(folder / "features"))
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    words = ["sh", "-c", script, "effbench", "node-quick", "all", "24"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("code", "word"), [(0, "pass"), (1, "fail"), (3, "not_rated"), (4, "undecided"), (9, "not_rated")]
)
def test_a_pod_leaves_its_verdict_for_label_and_condition(tmp_path: Path, code: int, word: str) -> None:
    assert pod(tmp_path, code, code).returncode == 0
    expiry, label = (tmp_path / "features" / "effbench").read_text().splitlines()
    assert label == f"effbench.io/verdict={word}" and expiry.startswith("# +expiry-time=20") and expiry.endswith("Z")
    status, said = check(tmp_path / "host" / "verdict")
    assert status == {0: 0, 1: 1}.get(code, 2) and said == f"effbench: said {code}"
    assert not list((tmp_path / "features").glob(".*")) and len(list((tmp_path / "host" / "runs").iterdir())) == 1


def test_a_crash_changes_nothing_and_fails_the_pod(tmp_path: Path) -> None:
    assert pod(tmp_path, 3, 0, writes=False).returncode == 3
    assert not list((tmp_path / "features").iterdir()) and not (tmp_path / "host" / "verdict").exists()


@pytest.mark.parametrize("later", [3, 4])
def test_a_fail_stands_until_a_pass(tmp_path: Path, later: int) -> None:
    for code, status in ((1, 1), (later, 1), (0, 0), (later, 2)):
        assert pod(tmp_path, code, code).returncode == 0
        assert check(tmp_path / "host" / "verdict")[0] == status
    assert "pass" not in (tmp_path / "features" / "effbench").read_text()


@pytest.mark.parametrize(
    "changes", [{"name": "Upper"}, {"image": "$(reboot)"}, {"suite": "node; reboot"}, {"nodes": 0}]
)
def test_what_kubernetes_would_refuse_is_refused_here(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        both(**changes)


def test_the_command_prints_or_writes_the_manifest(tmp_path: Path) -> None:
    words = ["render", "qualification", "node-quick", "--image", JOB.image, "--nodes", "4", "--max-age", "24"]
    done = call(*words)
    assert (done.code, done.out) == (0, rendered(WANTED))
    assert call(*words, "-o", tmp_path / "job.yaml").code == 0
    assert (tmp_path / "job.yaml").read_text() == rendered(WANTED)
    wrong = call("render", "qualification", "node/quick", "--image", "x")
    assert wrong.code == 2 and "no built-in recipe" in wrong.err and "node-quick" in wrong.err
    assert call(*words[:-1], "0").code == 2
