"""Owns the manifest by which Kubernetes qualifies nodes: a Job, the nodes' labels, and a condition of theirs.

Each pod leaves its node's verdict on the node itself: a feature file, of which Node Feature Discovery makes labels, and
a file that the plugin of Node Problem Detector reads. So no pod needs rights to change nodes. Pure, and like
`kubernetes` held against the published schemas, never run on a cluster by effbench's own tests.
"""

import json
from typing import Annotated

import msgspec
import yaml

from effbench.launch.kubernetes import Manifest, amounts, apart, check, labels, metadata

__all__ = ["Qualification", "render"]

HOST = "/var/lib/effbench"
# Node Feature Discovery's local source (its customization guide): files here become labels, dot files are ignored, and
# `# +expiry-time` ends them.
FEATURES = "/etc/kubernetes/node-feature-discovery/features.d"
# Where Node Problem Detector's pod has the ConfigMap mounted.
PLUGIN = "/effbench"
CONDITION = "EffbenchFailed"

# Arguments: recipe, device, hours. A pod succeeds when it has a verdict, whatever it is; one without changes neither
# label nor condition, and the old ones end with their age. A fail stands until a pass, as everywhere.
SCRIPT = r"""
umask 022
run=/host/runs/$(date -u +%Y%m%dT%H%M%SZ)-$$
mkdir -p /host/runs && mkdir "$run" || exit 2
effbench qualify "$1" --device "$2" -o "$run"
test -s "$run/grade.json" || { echo "no verdict: label and condition stay as they are until they end"; exit 3; }
text=$(effbench verdict "$run" --max-age "$3"); code=$?
case $code in 0) word=pass ;; 1) word=fail ;; 4) word=undecided ;; *) word=not_rated ;; esac
case $(head -n 1 /host/verdict 2>/dev/null):$code in
1:3 | 1:4) echo "$text; the fail before it stands"; exit 0 ;;
esac
now=$(date +%s)
end=$(date -u -d "@$((now + $3 * 3600))" +%Y-%m-%dT%H:%M:%SZ) || exit 3
printf '%s\n%s\n%s\n' "$code" "$now" "$text" > /host/.verdict && mv /host/.verdict /host/verdict || exit 3
printf '# +expiry-time=%s\neffbench.io/verdict=%s\n' "$end" "$word" > /features/.effbench || exit 3
mv /features/.effbench /features/effbench && echo "$text"
"""
# Node Problem Detector's own codes: 0 no problem, 1 problem, anything else unknown. Only a fresh pass is 0, only a
# fresh fail is 1. Arguments: the file, hours.
CHECK = r"""#!/bin/sh
unknown() { echo "effbench: $*"; exit 2; }
test -r "$1" || unknown "no verdict of this node"
{ read -r code; read -r at; read -r text; } < "$1"
case $at in '' | *[!0-9]*) unknown "the verdict says no time" ;; esac
age=$(($(date +%s) - at))
test "$age" -ge -300 || unknown "the verdict has not come yet: a clock is wrong"
test "$age" -le $(($2 * 3600)) || unknown "the verdict is older than $2 hours"
echo "$text"
case $code in 0) exit 0 ;; 1) exit 1 ;; *) exit 2 ;; esac
"""

Hours = Annotated[int, msgspec.Meta(ge=1)]


class Qualification(msgspec.Struct, frozen=True):
    """How nodes are qualified: `job.suite` is the recipe, `job.claim` is not used; a verdict counts for `hours`."""

    job: Manifest
    hours: Hours = 168


def render(wanted: Qualification) -> str:
    """Return the manifest as YAML, the Job and the ConfigMap, under a comment that says how to use it.

    Raises:
        InputError: a name, quantity or count that Kubernetes would refuse, or that means nothing.
    """
    check(wanted.job)
    return _comment(wanted) + yaml.safe_dump_all([_job(wanted), _plugin(wanted)], sort_keys=False, width=1000)


def _comment(wanted: Qualification) -> str:
    title = wanted.job.title()
    lines = [
        f"{wanted.job.suite} on {wanted.job.nodes} nodes, one pod to a node. Verdicts count for {wanted.hours} hours.",
        "Checked against the published schemas; effbench's own tests have never run it on a cluster.",
        "",
        f"  kubectl replace --force -f THIS_FILE && kubectl wait --for=condition=complete job/{title}",
        "",
        f"Runs stay on their node under {HOST}/runs. Labels come by Node Feature Discovery: effbench.io/verdict is",
        "pass, fail, not_rated or undecided. A node without the label has no verdict, so let workloads ask for",
        "`effbench.io/verdict In [pass]`; never for NotIn [fail].",
        f"Condition {CONDITION} comes by Node Problem Detector (v0.8.21 or newer, whose skip_initial_status works):",
        f"mount ConfigMap {title}-npd at {PLUGIN} and the host's {HOST} at {HOST}, read-only, and start it with",
        f"--config.custom-plugin-monitor={PLUGIN}/effbench.json. True is a fail, Unknown a verdict that is absent,",
        "old, not rated or undecided, False a pass.",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _job(wanted: Qualification) -> dict[str, object]:
    job = wanted.job
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(job),
        "spec": {
            "completions": job.nodes,
            "parallelism": job.nodes,
            "backoffLimit": 0,
            "activeDeadlineSeconds": job.time_limit_s,
            "template": {"metadata": {"labels": labels(job)}, "spec": _pod(wanted)},
        },
    }


def _pod(wanted: Qualification) -> dict[str, object]:
    """One pod to a node. It is root without any capability: two folders of the host are root's, and it writes those."""
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "affinity": apart(wanted.job),
        "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(wanted)],
        "volumes": [
            {"name": "host", "hostPath": {"path": HOST, "type": "DirectoryOrCreate"}},
            {"name": "features", "hostPath": {"path": FEATURES, "type": "DirectoryOrCreate"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": wanted.job.shared_memory}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(wanted: Qualification) -> dict[str, object]:
    device = "all" if wanted.job.gpus else "cpu"
    return {
        "name": "effbench",
        "image": wanted.job.image,
        "command": ["sh", "-c", SCRIPT],
        "args": ["effbench", wanted.job.suite, device, str(wanted.hours)],
        "env": [{"name": "HOME", "value": "/tmp"}],
        **amounts(wanted.job),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "host", "mountPath": "/host"},
            {"name": "features", "mountPath": "/features"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _plugin(wanted: Qualification) -> dict[str, object]:
    """Node Problem Detector's configuration and the script that it runs."""
    named = {**metadata(wanted.job), "name": f"{wanted.job.title()}-npd"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": named,
        "data": {"effbench.json": json.dumps(_monitor(wanted), indent=2) + "\n", "effbench.sh": CHECK},
    }


def _monitor(wanted: Qualification) -> dict[str, object]:
    """A custom plugin monitor, by the fields of its config.go. The default reason is shown with Unknown too."""
    return {
        "plugin": "custom",
        "pluginConfig": {
            "invoke_interval": "60s",
            "timeout": "10s",
            "max_output_length": 200,
            "concurrency": 1,
            "enable_message_change_based_condition_update": True,
            # Its first status would be that all is well, before the plugin has looked.
            "skip_initial_status": True,
        },
        "source": "effbench",
        "metricsReporting": True,
        "conditions": [{"type": CONDITION, "reason": "EffbenchVerdict", "message": "effbench: pass"}],
        "rules": [
            {
                "type": "permanent",
                "condition": CONDITION,
                "reason": "EffbenchVerdictFail",
                # A mounted ConfigMap has no executable files unless its volume says so; sh needs none.
                "path": "/bin/sh",
                "args": [f"{PLUGIN}/effbench.sh", f"{HOST}/verdict", str(wanted.hours)],
                "timeout": "10s",
            }
        ],
    }
