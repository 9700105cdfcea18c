"""Options of `effbench run` that only Slurm understands, and when a run is submitted instead of done here."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import msgspec

from effbench.launch.slurm_batch import Asked

F = TypeVar("F", bound=Callable[..., Any])


class SlurmAsked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was said of Slurm on the command line. `nodes`: a list such as `n[1-4]`, `all`, or a number."""

    nodes: str = ""
    each: bool = False
    at_once: int | None = None
    partition: str = ""
    account: str = ""
    constraint: str = ""
    gres: str = ""
    time: str = ""
    exclusive: bool = True

    def asked(self) -> Asked:
        """What goes to sbatch as it is."""
        return Asked(self.partition, self.account, self.constraint, self.gres, self.time, self.exclusive)


def slurm_options(function: F) -> F:
    """Add `--nodes`, `--each` and what is passed on to sbatch."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--nodes", default="", metavar="LIST|all|N", help="Slurm: on these nodes (n[1-4]), all, or how many."),
    click.option("--each", is_flag=True, help="Slurm: one run on each node by itself, then all compared."),
    click.option("--at-once", type=click.IntRange(min=1), metavar="N", help="Slurm: with --each, N nodes at a time."),
    click.option("--partition", default="", metavar="NAME", help="Slurm: as sbatch takes it."),
    click.option("--account", default="", metavar="NAME", help="Slurm: as sbatch takes it."),
    click.option("--constraint", default="", metavar="FEATURES", help="Slurm: as sbatch takes it."),
    click.option("--gres", default="", metavar="LIST", help="Slurm: as sbatch takes it (gpu:8)."),
    click.option("--time", default="", metavar="LIMIT", help="Slurm: as sbatch takes it (30, 1:00:00)."),
    click.option("--exclusive/--shared", default=True, help="Slurm: whole nodes, or with others on them."),
)


def taken(given: Mapping[str, Any], launcher: str) -> SlurmAsked:
    """Check what was given against the launcher and itself.

    Raises:
        click.UsageError: an option that only Slurm understands without `--launcher slurm`, or a contradiction.
    """
    asked = SlurmAsked(**given)
    if launcher != "slurm":
        said = [f"--{name.replace('_', '-')}" for name in given if getattr(asked, name) != getattr(SlurmAsked(), name)]
        if said:
            raise click.UsageError(f"{', '.join(said)} needs --launcher slurm.")
        return asked
    if asked.each and (not asked.nodes or asked.nodes.isdigit()):
        raise click.UsageError("--each needs the nodes by name: --nodes all, or a list such as --nodes 'n[1-4],n7'.")
    if asked.at_once is not None and not asked.each:
        raise click.UsageError("--at-once is for a campaign: give --each too.")
    if asked.nodes == "0":
        raise click.UsageError("--nodes 0: a run needs at least one node.")
    return asked


def inside_slurm(environment: Mapping[str, str]) -> bool:
    """Say whether this process is in a Slurm allocation already."""
    return environment.get("SLURM_JOB_ID", "").isdigit() and bool(environment.get("SLURM_JOB_NODELIST"))


def sbatch_nodes(asked: SlurmAsked, hosts: Callable[[str], list[str]]) -> list[str]:
    """Return sbatch's words for where one run over nodes goes. `hosts` spells out a list of names."""
    if not asked.nodes:
        raise click.UsageError("--launcher slurm outside of an allocation needs --nodes (4, all, or n[1-4]).")
    if asked.nodes.isdigit():
        return [f"--nodes={asked.nodes}"]
    names = hosts(asked.nodes)
    return [f"--nodes={len(names)}", f"--nodelist={','.join(names)}"]
