"""Owns the manifest by which Kubernetes runs a suite on several nodes: an Indexed Job and its headless service.

Pure: it is printed, and nothing here speaks to a cluster. effbench's own tests hold it against the published schemas;
they have never run it on a cluster.
"""

import re
from typing import Annotated

import msgspec
import yaml

from effbench.model.error import InputError

__all__ = ["Manifest", "amounts", "apart", "check", "labels", "metadata", "render"]

# DNS-1123, and short enough that `<name>-<index>` is a host name of at most 63 characters (kubernetes.io, Jobs).
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
RESULTS = "/results"
# c10d's own default (torch.distributed.run); only pods of the job reach it.
PORT = 29400
# A pod has succeeded when a whole scorecard is written, whatever the verdict: else the first node that fails its policy
# would end the job on all others (backoffLimit 0). Exit code 2 is wrong input, and a scorecard then is an older one.
SCRIPT = (
    'effbench run "$1" --device "$3" -o "$2"; code=$?; '
    'echo "verdict: exit code $code"; test "$code" -ne 2 && test -s "$2/scorecard.json"'
)

Count = Annotated[int, msgspec.Meta(ge=0)]


class Manifest(msgspec.Struct, frozen=True):
    """What to run, on how many nodes, with what of each. `claim` names a ReadWriteMany volume claim for the results.

    `gpus` 0 measures the CPU. `cpu` and `memory` are Kubernetes quantities (`16`, `64Gi`), asked for and not exceeded.
    """

    suite: str
    image: str
    nodes: int
    claim: str
    gpus: Count = 8
    name: str = ""
    namespace: str = ""
    cpu: str = ""
    memory: str = ""
    shared_memory: str = "8Gi"
    time_limit_s: int = 3600

    def title(self) -> str:
        """Name of the job and its service: the given one, or the suite's."""
        return self.name or "effbench-" + re.sub(r"[^a-z0-9]+", "-", self.suite.lower()).strip("-")


def render(wanted: Manifest) -> str:
    """Return the manifest as YAML, two documents under a comment that says how to use it.

    Raises:
        InputError: a name, quantity or count that Kubernetes would refuse, or that means nothing.
    """
    check(wanted)
    if not wanted.claim:
        raise InputError("the results need a volume claim that all nodes may write to: give its name")
    documents = yaml.safe_dump_all([_service(wanted), _job(wanted)], sort_keys=False, width=1000)
    return _comment(wanted) + documents


def check(wanted: Manifest) -> None:
    """Refuse what Kubernetes would not take or what means nothing. Raises InputError naming it."""
    fields = [("name", wanted.title(), _NAME), ("suite", wanted.suite, _SUITE)]
    fields += [("image", wanted.image, _IMAGE), ("shared memory", wanted.shared_memory, _QUANTITY)]
    fields += [(n, v, _NAME) for n, v in (("namespace", wanted.namespace), ("claim", wanted.claim)) if v]
    fields += [(n, v, _QUANTITY) for n, v in (("cpu", wanted.cpu), ("memory", wanted.memory)) if v]
    for name, value, pattern in fields:
        if not pattern.fullmatch(value):
            raise InputError(f"{name} {value!r} is nothing that Kubernetes takes; it must match {pattern.pattern}")
    for name, count, least in (("nodes", wanted.nodes, 1), ("gpus", wanted.gpus, 0), ("time", wanted.time_limit_s, 1)):
        if count < least:
            raise InputError(f"{name} is {count}; it must be at least {least}")
    if len(f"{wanted.title()}-{wanted.nodes - 1}") > 63:
        raise InputError(f"name {wanted.title()!r} with an index is longer than the 63 characters of a host name")


def _comment(wanted: Manifest) -> str:
    title = wanted.title()
    lines = [
        f"{wanted.suite} on {wanted.nodes} nodes, one pod to a node, each index measuring its own node.",
        "Checked against the published schemas; effbench's own tests have never run it on a cluster.",
        "",
        f"  kubectl apply -f THIS_FILE && kubectl wait --for=condition=complete job/{title}",
        f"  effbench score {RESULTS}/{title} --subject cluster     (where the claim is mounted)",
        "",
        f"Results: one run folder per node under {title}/ of the claim {wanted.claim}; it must be empty before.",
        "A pod succeeds when it has written a whole scorecard, whatever the verdict in it.",
        f"Pods reach each other as {title}-INDEX.{title}; plain Jobs have no gang scheduling, so pods may start apart.",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def metadata(wanted: Manifest) -> dict[str, object]:
    """Name, namespace where one is given, and labels."""
    title = wanted.title()
    named: dict[str, object] = {"name": title}
    if wanted.namespace:
        named["namespace"] = wanted.namespace
    return {**named, "labels": labels(wanted)}


def labels(wanted: Manifest) -> dict[str, str]:
    """What tells the pods of this job from all others."""
    return {"app.kubernetes.io/name": "effbench", "app.kubernetes.io/instance": wanted.title()}


def _service(wanted: Manifest) -> dict[str, object]:
    """The headless service that gives every pod a name of its own."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(wanted),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels(wanted),
            "ports": [{"name": "rendezvous", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        },
    }


def _job(wanted: Manifest) -> dict[str, object]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(wanted),
        "spec": {
            "completions": wanted.nodes,
            "parallelism": wanted.nodes,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "activeDeadlineSeconds": wanted.time_limit_s,
            "template": {"metadata": {"labels": labels(wanted)}, "spec": _pod(wanted)},
        },
    }


def _pod(wanted: Manifest) -> dict[str, object]:
    """One pod to a node, no privileges, no token, results on the claim, scratch in memory."""
    return {
        "subdomain": wanted.title(),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "affinity": apart(wanted),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(wanted)],
        "volumes": [
            {"name": "results", "persistentVolumeClaim": {"claimName": wanted.claim}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": wanted.shared_memory}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def apart(wanted: Manifest) -> dict[str, object]:
    """The affinity that puts no two pods of this job on one node."""
    alone = {"labelSelector": {"matchLabels": labels(wanted)}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [alone]}}


def amounts(wanted: Manifest) -> dict[str, object]:
    """What a container asks for and may not exceed; empty where nothing is asked for."""
    asked = {"nvidia.com/gpu": str(wanted.gpus)} if wanted.gpus else {}
    asked |= {name: value for name, value in (("cpu", wanted.cpu), ("memory", wanted.memory)) if value}
    return {"resources": {"limits": asked, "requests": dict(asked)}} if asked else {}


def _container(wanted: Manifest) -> dict[str, object]:
    target = f"{RESULTS}/{wanted.title()}/$(NODE_NAME)"
    device = "all" if wanted.gpus else "cpu"
    return {
        "name": "effbench",
        "image": wanted.image,
        "workingDir": RESULTS,
        "command": ["sh", "-c", SCRIPT],
        "args": ["effbench", wanted.suite, target, device],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "HOME", "value": "/tmp"},
        ],
        "ports": [{"name": "rendezvous", "containerPort": PORT}],
        **amounts(wanted),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "results", "mountPath": RESULTS},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
