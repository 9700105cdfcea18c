"""`effbench compare`: one side of runs against another, one line per metric."""

from collections.abc import Sequence
from pathlib import Path

import click

from effbench import api
from effbench.cli import options


class _Sides(click.Command):
    """Lets `--against` take every word up to the next option, so that a shell's pattern may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give each of those words an `--against` of its own."""
        words, after = [], False
        for place, word in enumerate(args):
            if word == "--against" and not "".join(args[place + 1 : place + 2] or ["-"]).startswith("-"):
                after = True
                continue
            after = after and not word.startswith("-")
            words += ["--against", word] if after else [word]
        return super().parse_args(ctx, words)


@click.command("compare", cls=_Sides)
@click.argument("runs", type=click.Path(path_type=Path), metavar="A... [B]", nargs=-1, required=True)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="B...",
    multiple=True,
    help="Judge the runs A... against the runs B..., each side by its median.",
)
@click.option("--margin", type=float, metavar="X", help="Relative change that matters; 0.03 on GPUs, 0.10 on CPUs.")
@click.option("--strict", is_flag=True, help="Exit 4 when a metric is undecided and none is worse.")
@options.json_option
def command(
    runs: tuple[Path, ...], against: tuple[Path, ...], margin: float | None, strict: bool, as_json: bool
) -> int:
    """Compare run B against run A: worse, same, better or undecided, with the ratio B/A and its interval.

    With --against it is the other way round, as the words say: A... against B..., with the ratio A/B. The intervals
    hold for all metrics together. A figure that one run of a side lacks is not comparable.

    Exit codes: 0 nothing worse, 1 something worse, 2 unreadable or nothing comparable, 4 undecided with --strict.
    """
    if margin is not None and not 0 < margin < 1:
        raise api.InputError(f"--margin {margin:g} is not a fraction between 0 and 1, such as 0.05")
    if not against and len(runs) != 2:
        what = "Missing argument 'B'" if len(runs) == 1 else f"{len(runs)} runs and no --against"
        raise click.UsageError(f"{what}: give two runs, or several as `compare A... --against B...`")
    names = ("B", "A") if against else ("A", "B")
    before, after = (against, runs) if against else (runs[:1], runs[1:])
    sides = [[api.record_of(path) for path in side] for side in (before, after)]
    rows = api.compare_records(sides[0], sides[1], margin, names)
    outcomes = {row.outcome for row in rows}
    if as_json:
        options.emit_json(rows)
    else:
        options.emit("\n".join(_line(row) for row in rows))
        options.say(_verdict(rows, names))
    if outcomes <= {"not-comparable"}:
        options.say("effbench: nothing is comparable: the runs share no metric measured the same way")
        return 2
    if "worse" in outcomes:
        return 1
    return 4 if strict and "undecided" in outcomes else 0


def _line(row: api.Compared) -> str:
    ratio = f"{row.ratio:.3f}" if row.ratio is not None else "-"
    ends = f"[{row.low:.3f}, {row.high:.3f}]" if row.low is not None and row.high is not None else "-"
    note = row.note
    if row.outcome == "undecided" and row.resolution is not None:
        note = "; ".join(filter(None, [note, f"a change of {row.resolution:.0%} could be told"]))
    outcome = f"{row.outcome} ({note})" if note else row.outcome
    return f"{outcome}  {row.key}  {ratio} {ends}"


def _verdict(rows: Sequence[api.Compared], names: tuple[str, str]) -> str:
    counts = {name: sum(row.outcome == name for row in rows) for name in dict.fromkeys(row.outcome for row in rows)}
    resolutions = sorted(row.resolution for row in rows if row.resolution is not None)
    tail = ""
    if resolutions and {row.outcome for row in rows if row.resolution is not None} == {"undecided"}:
        tail = f"; no change of less than {resolutions[0]:.0%} could have been told: give several runs per side"
    elif resolutions:
        tail = f"; a change of {resolutions[len(resolutions) // 2]:.0%} is what these runs could tell from noise"
    return f"{names[1]} against {names[0]}: " + ", ".join(f"{n} {name}" for name, n in counts.items()) + tail
