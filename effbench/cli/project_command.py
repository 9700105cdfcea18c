"""`effbench project`: what models of a run's scaling curves give for a number of ranks that was not measured."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.model.scaling import ModelProjection, Ratio

NOT_RATED = 3


@click.command("project")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--to", "to", type=click.IntRange(1, 10_000_000), required=True, metavar="N", help="Number of ranks.")
@click.option(
    "--force",
    is_flag=True,
    help="Go beyond 4 times the largest count and over links never measured; the answer is stamped.",
)
@options.json_option
def command(run: Path, to: int, force: bool, as_json: bool) -> int:
    """Project the scaling curves of RUN (a run folder or its record.json) to N ranks.

    A projection is a statement about models, never a measurement. It needs four different numbers of ranks.

    Exit codes: 0 at least one curve was projected, 2 wrong input, 3 none was.
    """
    found = api.project(api.record_of(run), to, force)
    if as_json:
        options.emit_json({"schema": "effbench.projection/1", "ranks": to, "projections": found})
    elif not found:
        options.emit("not enough points (0 of 4): this run has no scaling curve; `effbench run cluster/scaling` has")
    else:
        options.emit("\n\n".join(told(one) for one in found))
    return 0 if any(not one.refused for one in found) else NOT_RATED


def told(one: api.Projection) -> str:
    """Return one curve's projection, or why there is none, as lines of text."""
    counts = ", ".join(str(n) for n in one.measured)
    lines = [f"{one.scaling} scaling of {one.strategy}, measured at {counts} ranks; base: {one.base}"]
    if one.simulated:
        lines.append("SIMULATED: the points are no measurements")
    if one.refused or one.efficiency is None:
        return "\n".join([*lines, f"  no projection: {one.refused}"])
    lines += [f"  FORCED: {text}" for text in one.forced]
    lines.append(f"  PROJECTION to {one.ranks} ranks, not measured: efficiency {shown(one.efficiency)} ({one.primary})")
    lines.append(f"  all models together: {one.spread[0]:.3f} to {one.spread[1]:.3f}")
    lines += [row(model) for model in one.models]
    lines += [f"  note: {text}" for text in one.notes]
    return "\n".join(lines)


def row(model: ModelProjection) -> str:
    """Return one model's column as a line; a `*` marks those that count towards the interval."""
    mark = "*" if model.included else " "
    note = f"  {model.note}" if model.note else ""
    return f"  {mark} {model.title:<36}{shown(model.efficiency):<28}{model.time_s:.4g} s a step{note}"


def shown(figure: Ratio) -> str:
    """Return a share with its interval."""
    own = figure.interval
    return f"{figure.value:.3f}" + (f" [{own.low:.3f}, {own.high:.3f}]" if own is not None else "")
