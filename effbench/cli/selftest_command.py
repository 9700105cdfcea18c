"""`effbench selftest`: does effbench measure what is known, what do the power sensors do, are faults caught?"""

import resource
import tempfile
from pathlib import Path

import click

from effbench import api
from effbench.cli import options, selftest_power
from effbench.cli.display import PlainDisplay
from effbench.model.error import InputError
from effbench.model.record import Measurement
from effbench.run.engine import Options, environment_for_children

# A spin loop ends at the first look at the clock after its time: it is late by one look, early never.
TOLERANCE = 0.01


@click.command("selftest")
@click.argument("what", type=click.Choice(["truth", "power", "faults"]), default="truth")
@click.option("--suite", metavar="NAME|FILE", help="Trials to run; selftest/truth or selftest/power by default.")
@click.option("--device", default="all", show_default=True, help="Whose power sensors: cpu, cuda:0,... or all.")
@click.option("--cases", type=int, metavar="N", help="Simulated nodes for each fault; 300 by default.")
@click.option("--seed", type=int, metavar="S", help="The same seed draws the same nodes.")
@click.option(
    "--output", "-o", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the table of faults here."
)
@options.json_option
def command(
    what: str,
    suite: str | None,
    device: str,
    cases: int | None,
    seed: int | None,
    file: Path | None,
    as_json: bool,
) -> int:
    """Measure times that are known through the whole engine, and effbench's own overhead.

    `selftest power` finds out what this node's power sensors do: a load goes on and off at known times for 50 s on each
    device, and update period, averaging window, coverage and lag follow from what the sensors make of it. Exit code 3
    when there is no sensor, or one that does not follow the load.

    `selftest faults` puts known faults into simulated nodes, judges them as real ones are judged, and prints how many
    are caught and how many healthy nodes fail. Exit code 3 when a target is missed or missing evidence passed.
    """
    if what == "faults":
        from effbench.cli import selftest_faults

        return selftest_faults.run(cases, seed, file, as_json)
    if cases is not None or seed is not None or file is not None:
        raise InputError("--cases, --seed and --output belong to `effbench selftest faults`")
    if what == "power":
        return selftest_power.run(suite or "selftest/power", device, as_json)
    return _truth(suite or "selftest/truth", as_json)


def _truth(suite: str, as_json: bool) -> int:
    """Measure the known truth on the CPU and print it."""
    asked = api.load_suite(suite, options.search_path(None))
    site = api.look(options.environment(), None, "cpu")
    todo = api.plan(asked, site, "cpu")
    settings = Options(environment_for_children(options.environment()), api.budget(todo, None), api.tool())
    with tempfile.TemporaryDirectory(prefix="effbench-selftest-") as folder:
        record, _ = api.run(todo, site.inventory, Path(folder), PlainDisplay(), settings)
    truths = {t.id: float(t.params["mean_s"]) for t in todo.trials}
    rows = [_row(m, truths[m.trial]) for m in record.measurements]
    own = {
        "wall_s": record.wall_s,
        "measured_s": record.measured_s,
        "overhead_s": record.overhead_s,
        "parent_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    ok = all(row["ok"] for row in rows) and bool(rows)
    if as_json:
        options.emit_json({"truth": rows, "own": own, "ok": ok})
    else:
        options.emit(_text(rows, own, ok))
    return 0 if ok else 3


def _row(measurement: Measurement, truth_s: float) -> dict[str, object]:
    """One trial: the truth, what was measured, and whether they agree within the interval or the tolerance."""
    row: dict[str, object] = {"trial": measurement.trial, "truth_s": truth_s, "ok": False}
    if measurement.step_s is None or measurement.interval is None:
        return {**row, "why": measurement.detail or "no figure"}
    low, high, found = measurement.interval.low, measurement.interval.high, measurement.step_s.value
    inside = low <= truth_s <= high
    return {
        **row,
        "measured_s": found,
        "low_s": low,
        "high_s": high,
        "inside": inside,
        "ok": inside or abs(found / truth_s - 1) <= TOLERANCE,
    }


def _text(rows: list[dict[str, object]], own: dict[str, float], ok: bool) -> str:
    lines = ["Known truth, measured through worker, engine, journal and record:"]
    for row in rows:
        if "measured_s" in row:
            lines.append(
                f"  {row['trial']}: truth {row['truth_s']:.6g} s, measured {row['measured_s']:.6g} s "
                f"[{row['low_s']:.6g}, {row['high_s']:.6g}]  {'ok' if row['ok'] else 'OFF'}"
            )
        else:
            lines.append(f"  {row['trial']}: no figure: {row['why']}")
    lines += [
        "Own overhead:",
        f"  {own['wall_s']:.1f} s in all, {own['measured_s']:.1f} s of them inside measured or soaking windows",
        f"  parent process: {own['parent_peak_bytes'] / 1e6:.0f} MB at its peak",
        "effbench measures what is true here."
        if ok
        else "effbench does NOT measure the truth here: do not use its figures.",
    ]
    return "\n".join(lines)
