"""`effbench render`: manifests for engines that effbench does not drive itself. Prints; nothing is started."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from effbench import api, resources
from effbench.cli import options
from effbench.launch import kubernetes_qualification
from effbench.launch.kubernetes import Manifest, render
from effbench.launch.kubernetes_qualification import Qualification
from effbench.model.error import InputError
from effbench.store import documents

F = TypeVar("F", bound=Callable[..., Any])
AT_LEAST_0, AT_LEAST_1 = click.IntRange(min=0), click.IntRange(min=1)


@click.group("render")
def command() -> None:
    """Print what another engine needs to run a suite."""


def _node_options(function: F) -> F:
    """Add what both manifests ask of a node, by the names of `Manifest`'s fields, and where they are written."""
    for option in reversed(
        [
            click.option("--image", required=True, metavar="IMAGE", help="A container image that has effbench in it."),
            click.option("--nodes", default=1, show_default=True, type=AT_LEAST_1, help="Pods, each on its own node."),
            click.option("--gpus", default=8, show_default=True, type=AT_LEAST_0, help="GPUs of a node; 0: its CPU."),
            click.option("--name", default="", metavar="NAME", help="Name of the job; that of what it runs otherwise."),
            click.option("--namespace", default="", metavar="NAME", help="Namespace; that of kubectl otherwise."),
            click.option("--cpu", default="", metavar="QUANTITY", help="CPUs of a pod, for example 16."),
            click.option("--memory", default="", metavar="QUANTITY", help="Memory of a pod, for example 64Gi."),
            click.option(
                "--shm", "shared_memory", default="8Gi", show_default=True, metavar="QUANTITY", help="Size of /dev/shm."
            ),
            click.option(
                "--time", "time_limit_s", default=3600, show_default=True, type=AT_LEAST_1, help="Seconds at most."
            ),
            click.option(
                "-o", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write there, not stdout."
            ),
        ]
    ):
        function = option(function)
    return function


@command.command("kubernetes")
@click.argument("suite", metavar="SUITE")
@click.option("--claim", required=True, metavar="NAME", help="A volume claim that all nodes may write to, for results.")
@_node_options
def kubernetes(suite: str, claim: str, file: Path | None, **pod: Any) -> int:
    """Print an Indexed Job and its headless service that run SUITE on several nodes.

    Each pod measures its own node and leaves its run folder on the claim; `effbench score DIR --subject cluster` joins
    them. The manifest is checked against the published schemas; effbench's own tests do not run it on a cluster.
    """
    _built_in("suite", suite, resources.names("workloads"))
    api.load_suite(suite)
    _give(render(Manifest(suite=suite, claim=claim, **pod)), file)
    return 0


@command.command("qualification")
@click.argument("recipe", metavar="RECIPE")
@click.option("--max-age", "hours", default=168, show_default=True, type=AT_LEAST_1, help="Hours a verdict counts.")
@_node_options
def qualification(recipe: str, hours: int, file: Path | None, **pod: Any) -> int:
    """Print a Job that qualifies nodes by RECIPE, their labels, and a condition for Node Problem Detector.

    Each pod leaves the verdict on its node: Node Feature Discovery makes `effbench.io/verdict` of it, the plugin of
    Node Problem Detector a condition that is never healthy without a fresh pass. effbench's own tests do not run it on
    a cluster.
    """
    _built_in("recipe", recipe, resources.names("recipes"))
    job = Manifest(suite=recipe, claim="", **pod)
    _give(kubernetes_qualification.render(Qualification(job, hours)), file)
    return 0


def _built_in(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        choose = ", ".join(known)
        raise InputError(
            f"{name!r} is no built-in {what}, and a pod has only those of its image; choose one of: {choose}"
        )


def _give(text: str, file: Path | None) -> None:
    """Print a manifest, or write it."""
    if file is None:
        options.emit(text)
    else:
        documents.write(file, text.encode())
        options.say(f"wrote {file}")
