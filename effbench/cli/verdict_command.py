"""`effbench verdict`: the last verdict of a node on one line, for health checks; with `--slurm` the node is drained."""

import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from effbench.cli import options
from effbench.launch import slurm_drain
from effbench.model.error import EffbenchError
from effbench.model.grade import EXIT_CODES, Verdict
from effbench.report.one_line import line
from effbench.run.site import survey
from effbench.score.identity import identity
from effbench.store import verdicts

OPEN = click.Choice(["not_rated", "undecided"])
HOURS = click.FloatRange(min=0, min_open=True)


@click.command("verdict")
@click.argument("run", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="[RUN]")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A site's runs, DIR/NODE/RUN: the last verdict of the node.",
)
@click.option("--node", metavar="NAME", help="Whose verdict; $SLURMD_NODENAME or this machine's name otherwise.")
@click.option("--max-age", "hours", type=HOURS, metavar="H", help="Hours after which a verdict holds no longer.")
@click.option("--policy", default="", metavar="NAME", help="Only a verdict under this policy counts.")
@click.option("--slurm", is_flag=True, help="Drain the node when it fails; undrain it when it passes again.")
@click.option("--drain-on", type=OPEN, multiple=True, help="With --slurm: drain on this verdict too.")
@options.json_option
def command(
    run: Path | None,
    folder: Path | None,
    node: str | None,
    hours: float | None,
    policy: str,
    slurm: bool,
    drain_on: tuple[Verdict, ...],
    as_json: bool,
) -> int:
    """Print the verdict of RUN, or the last one of a node with --folder, and end with its exit code.

    0 pass, 1 fail, 3 not rated, 4 undecided. No verdict, one that is older than --max-age, that has expired, or whose
    node has changed since is not rated; a fail stands until a pass. With --slurm a second line says what was done:
    only `fail` (and what --drain-on names) drains, only `pass` undrains, and only what effbench drained; a node that
    somebody else drained is left alone.
    """
    if (run is None) == (folder is None):
        raise click.UsageError("give either RUN or --folder DIR.")
    if slurm and folder is None:
        raise click.UsageError("--slurm needs --folder DIR: one run may be anybody's.")
    if drain_on and not slurm:
        raise click.UsageError("--drain-on needs --slurm.")
    environment = options.environment()
    name = node or environment.get("SLURMD_NODENAME") or platform.node()
    # The machine's own name is this node's too where nobody asked for another: Slurm may call it otherwise.
    names = [name] if node else list(dict.fromkeys([name, platform.node()]))
    max_age = None if hours is None else timedelta(hours=hours)
    demands = verdicts.Demands(datetime.now(UTC), max_age, policy, _today(environment))
    if folder is not None:
        if slurm:
            verdicts.refuse_open(folder, name)
        last = verdicts.last_of(folder, names, demands)
    else:
        assert run is not None
        last = verdicts.last_in(run, demands)
    told = line(last.verdict, last.grade, last.why)
    act = _acted(name, last.verdict, told, drain_on, environment) if slurm else {}
    if as_json:
        found: dict[str, Any] = {"node": name, "verdict": last.verdict, "line": told}
        found |= {key: value for key in ("run", "decided_at") if (value := getattr(last, key))}
        options.emit_json({**found, **({"slurm": act} if act else {})})
    else:
        options.emit(told + (f"\n{act['action']}: {name} {act['why']}" if act else ""))
    return EXIT_CODES[last.verdict]


def _today(environment: Mapping[str, str]) -> Callable[[str], Mapping[str, str]]:
    """Return what tells what a node is made of now: this machine, by its driver; nothing of any other."""

    def now(node: str) -> Mapping[str, str]:
        if not verdicts.same_node(node, platform.node()):
            return {}
        try:
            return {str(name): text for name, text in identity(survey(environment, None, "cpu").inventory).items()}
        except EffbenchError as error:
            options.say(f"effbench: what this node is made of cannot be told: {error}")
            return {}

    return now


def _acted(
    node: str, verdict: Verdict, told: str, drain_on: tuple[Verdict, ...], environment: Mapping[str, str]
) -> dict[str, str]:
    """Do in Slurm what the verdict asks for, and say it."""
    here = slurm_drain.look(node, environment)
    act = slurm_drain.decide(verdict, here, drain_on)
    if act.action == "drain":
        slurm_drain.drain(node, told, environment)
    elif act.action == "undrain":
        slurm_drain.undrain(node, environment)
    return {"action": "held" if act.held and act.action == "nothing" else act.action, "why": act.why}
