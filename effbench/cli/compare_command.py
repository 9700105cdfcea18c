"""`effbench compare`: B against A, one line per metric."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options


@click.command("compare")
@click.argument("a", type=click.Path(path_type=Path), metavar="A")
@click.argument("b", type=click.Path(path_type=Path), metavar="B")
@click.option("--margin", type=float, metavar="X", help="Relative change that matters; 0.03 on GPUs, 0.10 on CPUs.")
@click.option("--strict", is_flag=True, help="Exit 4 when a metric is undecided and none is worse.")
@options.json_option
def command(a: Path, b: Path, margin: float | None, strict: bool, as_json: bool) -> int:
    """Compare run B against run A: worse, same, better or undecided, with the ratio B/A and its interval.

    Exit codes: 0 nothing worse, 1 something worse, 2 unreadable or nothing comparable, 4 undecided with --strict.
    """
    if margin is not None and not 0 < margin < 1:
        raise api.InputError(f"--margin {margin:g} is not a fraction between 0 and 1, such as 0.05")
    rows = api.compare_records(api.record_of(a), api.record_of(b), margin)
    outcomes = {row.outcome for row in rows}
    if as_json:
        options.emit_json(rows)
    else:
        options.emit("\n".join(_line(row) for row in rows))
        options.say(_verdict(rows))
    if outcomes <= {"not-comparable"}:
        options.say("effbench: nothing is comparable: the runs share no metric measured the same way")
        return 2
    if "worse" in outcomes:
        return 1
    return 4 if strict and "undecided" in outcomes else 0


def _line(row: api.Compared) -> str:
    ratio = f"{row.ratio:.3f}" if row.ratio is not None else "-"
    ends = f"[{row.low:.3f}, {row.high:.3f}]" if row.low is not None and row.high is not None else "-"
    outcome = f"{row.outcome} ({row.note})" if row.note else row.outcome
    return f"{outcome}  {row.key}  {ratio} {ends}"


def _verdict(rows: list[api.Compared]) -> str:
    counts = {name: sum(row.outcome == name for row in rows) for name in dict.fromkeys(row.outcome for row in rows)}
    resolutions = sorted(row.resolution for row in rows if row.resolution is not None)
    tail = ""
    if resolutions:
        tail = f"; a change of {resolutions[len(resolutions) // 2]:.0%} is what these two could tell from noise"
    return "B against A: " + ", ".join(f"{n} {name}" for name, n in counts.items()) + tail
