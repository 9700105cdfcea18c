"""`effbench doctor`: what would disturb a measurement here, and what to do."""

import click

from effbench import api
from effbench.catalog.findings import explain
from effbench.cli import options


@click.command("doctor")
@click.option("--fake", metavar="PART[*N]", help="Examine simulated devices of the catalogue.")
@options.json_option
def command(fake: str | None, as_json: bool) -> int:
    """Look at this node for two seconds and say what would disturb a measurement, and which power sensors answer."""
    options.say("watching this node for 2 seconds; leave it as it will be when it is measured")
    inventory, sensors, findings = api.diagnose(options.environment(), fake)
    if as_json:
        options.emit_json({"inventory": inventory, "sensors": sensors, "findings": findings})
        return 0
    lines = []
    for device in inventory.accelerators:
        answering = ", ".join(card.key for card in sensors if card.device == device.key and not card.absent)
        power = f"power by {answering}" if answering else "no power sensor answers"
        lines.append(f"{device.key}: {device.part.title if device.part else device.name}; {power}")
    told: set[str] = set()
    for finding in findings:
        lines += ["", f"{finding.severity}: {finding.message} [{finding.code}]"]
        if finding.code not in told:
            lines.append(f"  do: {explain(finding.code).do}")
            told.add(finding.code)
    disturbing = sum(f.severity != "info" for f in findings)
    lines += [
        "",
        f"{disturbing} thing{'s' if disturbing > 1 else ''} would disturb a measurement here"
        if disturbing
        else "Nothing found that would disturb a measurement.",
    ]
    options.emit("\n".join(lines))
    return 0
