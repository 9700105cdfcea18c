"""`effbench energy -- COMMAND`: runs a command of the user's and says what energy every device took meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from effbench.catalog.site import calibrated, load_site
from effbench.cli import options
from effbench.model.energy import Energy, Sensor
from effbench.model.error import InputError
from effbench.model.finding import Finding
from effbench.model.site import SiteFacts
from effbench.report import format as fmt
from effbench.run import metered, metering
from effbench.run.engine import environment_for_children
from effbench.score.spent import spent

NO_FIGURE = 3
STDERR = 2


@click.command("energy", context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
@options.json_option
@click.option("--require", is_flag=True, help="Exit 3 when no device gave a figure.")
@click.option("--device", default="all", show_default=True, metavar="KEYS", help="`all`, or gpu0,cuda:1,cpu.")
@click.option(
    "--meter",
    "log",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="LOG",
    help="A wall meter's CSV log that is written while the command runs.",
)
@click.option("--uncertainty", metavar="SHARE", help='Of the meter, such as "1 %", when the log does not say it.')
@click.option(
    "--site",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="site.yaml: calibrates the sensors, and adds electricity and carbon to what a person reads.",
)
def command(
    words: tuple[str, ...],
    as_json: bool,
    require: bool,
    device: str,
    log: Path | None,
    uncertainty: str | None,
    site: Path | None,
) -> int:
    """Run COMMAND and measure the energy of every GPU and the CPU while it runs.

    COMMAND keeps its stdin, stdout and stderr (with --json its stdout goes to stderr), Ctrl-C and SIGTERM are its own,
    and its exit status is this command's: 128+n for signal n, 127 when it is not found, 126 when it cannot be executed.
    """
    facts = load_site(site) if site is not None else None
    children = environment_for_children(options.environment())
    node = metered.look(children, device)
    stdout = STDERR if as_json else None
    order = metered.Order(list(words), options.environment(), children, stdout, _calibration(facts, node))
    done = metered.run(order, node)
    if log is not None and not done.refused:
        done = _with_meter(done, log, uncertainty)
    findings = _findings(done)
    if as_json:
        options.emit_json(_document(words, done, findings))
    if done.refused:
        options.say(f"effbench: {done.refused}")
        return done.exit_status
    if not as_json:
        options.say("\n".join(_lines(words, done, findings, facts)))
    if require and not any(energy.energy for energy in done.energies):
        options.say(f"effbench: no device gave a figure; the command itself ended with status {done.exit_status}")
        return NO_FIGURE
    return done.exit_status


def _with_meter(done: metered.Metered, log: Path, uncertainty: str | None) -> metered.Metered:
    """Join the meter's log; a log that cannot be used costs its figure and nothing else."""
    try:
        return metering.add_to_command(done, log, uncertainty)
    except InputError as error:
        told = Finding("meter-unusable", "warning", str(error), device="node")
        absent = Energy("node", "absent", str(error), "mend the log, then run the command again", scope="node")
        return msgspec.structs.replace(done, energies=[*done.energies, absent], findings=[*done.findings, told])


def _calibration(facts: SiteFacts | None, node: metered.Node) -> Callable[[list[Sensor]], list[Sensor]] | None:
    """Return what puts the site's gains and offsets into the sensors' cards; None when it gave none."""
    if facts is None or not facts.calibrations:
        return None
    uuids = {a.key: a.uuid for a in node.devices}
    return lambda sensors: calibrated(sensors, facts, uuids)


def _findings(done: metered.Metered) -> list[Finding]:
    """Return everything that was noticed, each once."""
    all_of = [*done.findings, *(finding for energy in done.energies for finding in energy.findings)]
    return [finding for i, finding in enumerate(all_of) if finding not in all_of[:i]]


def _sensor(energy: Energy, done: metered.Metered) -> str:
    """Name the sensor of a figure, or the one that should have given it."""
    mine = [card.key for card in done.sensors if card.device == energy.device]
    return energy.sensor or (mine[0] if mine else f"{energy.device}.power")


def _document(words: tuple[str, ...], done: metered.Metered, findings: list[Finding]) -> dict[str, Any]:
    return {
        "command": list(words),
        "exit_status": done.exit_status,
        "duration_s": round(done.duration_s, 6),
        "devices": [_entry(energy, _sensor(energy, done)) for energy in done.energies],
        "findings": findings,
    }


def _entry(energy: Energy, sensor: str) -> dict[str, Any]:
    """Describe one device: an absent figure has no key, and says why."""
    entry: dict[str, Any] = {"key": energy.device, "sensor": sensor}
    if energy.energy is not None and energy.energy_interval is not None:
        entry["energy"] = {"quantity": energy.energy, "interval": energy.energy_interval}
        if energy.power is not None and energy.power_interval is not None:
            entry["power"] = {"quantity": energy.power, "interval": energy.power_interval}
    if energy.reason:
        entry["reason"] = energy.reason
    if energy.remedy:
        entry["remedy"] = energy.remedy
    return entry


def _lines(
    words: tuple[str, ...], done: metered.Metered, findings: list[Finding], facts: SiteFacts | None
) -> list[str]:
    """Write the result for a person."""
    took = fmt.duration(done.duration_s)
    lines = [f"effbench: {fmt.clean(words[0])} took {took} and ended with status {done.exit_status}"]
    names = {a.key: a.name for a in done.devices} | {"node": "wall meter"}
    for energy in done.energies:
        lines += _device(energy, fmt.clean(names.get(energy.device, "")), _sensor(energy, done))
        lines += _site(energy, facts)
    if not done.energies:
        lines.append("  no device could be watched")
    if sum(energy.energy is not None for energy in done.energies) > 1:
        lines.append("  each figure is of its own sensor and scope; they are not added up, for scopes may overlap")
    lines += [f"{finding.severity}: {finding.message} [{finding.code}]" for finding in findings]
    return lines


def _device(energy: Energy, name: str, sensor: str) -> list[str]:
    head = f"  {energy.device} ({name})" if name else f"  {energy.device}"
    if energy.energy is None or energy.energy_interval is None:
        told = [f"{head}: {energy.status}: {energy.reason}"]
        return [*told, f"    do: {energy.remedy}"] if energy.remedy else told
    joules = fmt.measured(energy.energy.value, "J", energy.energy_interval)
    watts = fmt.measured(energy.power.value, "W", energy.power_interval) if energy.power is not None else "–"
    lines = [f"{head}: {joules}, mean {watts}, by {sensor} ({energy.scope}), trust {energy.trust or 'unknown'}"]
    if energy.status != "valid":
        lines.append(f"    {energy.status}: {energy.reason}")
    if energy.remedy:
        lines.append(f"    do: {energy.remedy}")
    return lines


def _site(energy: Energy, facts: SiteFacts | None) -> list[str]:
    """Write what the energy means by the site's figures, as ranges."""
    rows = spent(energy, facts) if facts is not None else []
    return [f"    {row.what}: {row.low:.3g} to {row.high:.3g} {row.unit} ({row.made_of})" for row in rows]
