"""`effbench render`: manifests for engines that effbench does not drive itself. Prints; nothing is started."""

from pathlib import Path

import click

from effbench import api, resources
from effbench.cli import options
from effbench.launch.kubernetes import Manifest, render
from effbench.model.error import InputError
from effbench.store import documents


@click.group("render")
def command() -> None:
    """Print what another engine needs to run a suite."""


@command.command("kubernetes")
@click.argument("suite", metavar="SUITE")
@click.option("--image", required=True, metavar="IMAGE", help="A container image that has effbench in it.")
@click.option("--claim", required=True, metavar="NAME", help="A volume claim that all nodes may write to, for results.")
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(min=1), help="Pods, each on its own node.")
@click.option("--gpus", default=8, show_default=True, type=click.IntRange(min=0), help="GPUs of a node; 0 for its CPU.")
@click.option("--name", default="", metavar="NAME", help="Name of the job; the suite's own otherwise.")
@click.option("--namespace", default="", metavar="NAME", help="Namespace; that of kubectl otherwise.")
@click.option("--cpu", default="", metavar="QUANTITY", help="CPUs of a pod, for example 16.")
@click.option("--memory", default="", metavar="QUANTITY", help="Memory of a pod, for example 64Gi.")
@click.option("--shm", default="8Gi", show_default=True, metavar="QUANTITY", help="Size of /dev/shm.")
@click.option("--time", "limit_s", default=3600, show_default=True, type=click.IntRange(min=1), help="Seconds at most.")
@click.option("-o", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write there instead of stdout.")
def kubernetes(
    suite: str,
    image: str,
    claim: str,
    nodes: int,
    gpus: int,
    name: str,
    namespace: str,
    cpu: str,
    memory: str,
    shm: str,
    limit_s: int,
    file: Path | None,
) -> int:
    """Print an Indexed Job and its headless service that run SUITE on several nodes.

    Each pod measures its own node and leaves its run folder on the claim; `effbench score DIR --subject cluster` joins
    them. The manifest is checked against the published schemas; effbench's own tests do not run it on a cluster.
    """
    if suite not in resources.names("workloads"):
        known = ", ".join(resources.names("workloads"))
        raise InputError(
            f"{suite!r} is no built-in suite, and a pod has only those of its image; choose one of: {known}"
        )
    api.load_suite(suite)
    text = render(Manifest(suite, image, nodes, claim, gpus, name, namespace, cpu, memory, shm, limit_s))
    if file is None:
        options.emit(text)
    else:
        documents.write(file, text.encode())
        options.say(f"wrote {file}")
    return 0
