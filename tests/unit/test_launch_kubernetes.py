"""The manifest for Kubernetes: held against the published schemas, and its script run by a real shell."""

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from effbench.launch.kubernetes import SCRIPT, Manifest, render
from effbench.model.error import InputError
from tests.unit.command_line import call
from tests.unit.kubernetes_schemas import NODES, VERSIONS, refusals

WANTED = Manifest("node/quick", "registry.example/effbench:1", 4, "results")


def both(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    service, job = yaml.safe_load_all(render(msgspec.structs.replace(WANTED, **changes)))
    return service, job


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("changes", NODES)
def test_both_documents_keep_the_published_schemas(version: str, changes: dict[str, Any]) -> None:
    assert refusals(both(**changes), version) == []


def test_the_schemas_can_refuse() -> None:
    service, job = both()
    job["spec"]["completionMod"] = "Indexed"
    (only,) = refusals([service, job], "1.37")
    assert "completionMod" in only


def test_every_index_has_a_node_and_a_name_of_its_own() -> None:
    service, job = both(nodes=3, gpus=2)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (3, 3, "Indexed")
    assert spec["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
    assert service["spec"]["clusterIP"] == "None" and pod["subdomain"] == service["metadata"]["name"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    (apart,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["labelSelector"]["matchLabels"] == labels and apart["topologyKey"] == "kubernetes.io/hostname"
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert container["args"] == ["effbench", "node/quick", "/results/effbench-node-quick/$(NODE_NAME)", "all"]
    assert both(gpus=0)[1]["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "cpu"


def test_pods_have_no_privileges() -> None:
    pod = both()[1]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    inside = pod["containers"][0]["securityContext"]
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Upper"},
        {"name": "a" * 63},
        {"name": "-a"},
        {"claim": "a b"},
        {"image": "$(reboot)"},
        {"image": ""},
        {"suite": "node/quick; reboot"},
        {"memory": "lots"},
        {"namespace": "a/b"},
        {"nodes": 0},
        {"gpus": -1},
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        render(msgspec.structs.replace(WANTED, **changes))


@pytest.mark.parametrize(
    ("code", "writes", "succeeds"),
    [(0, True, True), (1, True, True), (3, True, True), (3, False, False), (2, True, False)],
)
def test_a_pod_succeeds_when_a_whole_scorecard_is_written(
    code: int, writes: bool, succeeds: bool, tmp_path: Path
) -> None:
    """A verdict of fail must not end the job on the other nodes; a scorecard of an earlier run is not this one's."""
    tool = tmp_path / "effbench"
    lines = ["#!/bin/sh", 'echo "$@" >&2']
    lines += [f'mkdir -p "{tmp_path}/out"', f'echo x > "{tmp_path}/out/scorecard.json"'] if writes else []
    tool.write_text("\n".join([*lines, f"exit {code}", ""]))
    tool.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", SCRIPT, "effbench", "node/quick", str(tmp_path / "out"), "all"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is succeeds, done.stderr
    assert f"run node/quick --device all -o {tmp_path}/out" in done.stderr
    assert f"verdict: exit code {code}" in done.stdout


def test_the_command_prints_or_writes_the_manifest(tmp_path: Path) -> None:
    words = ["render", "kubernetes", "node/quick", "--image", WANTED.image, "--claim", "results", "--nodes", "4"]
    done = call(*words)
    assert (done.code, done.out) == (0, render(WANTED))
    assert call(*words, "-o", tmp_path / "job.yaml").code == 0
    assert (tmp_path / "job.yaml").read_text() == render(WANTED)
    wrong = call("render", "kubernetes", "node/quik", "--image", "x", "--claim", "y")
    assert wrong.code == 2 and "no built-in suite" in wrong.err and "node/quick" in wrong.err
    assert call("render", "kubernetes", "node/quick", "--claim", "y").code == 2
