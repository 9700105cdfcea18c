"""`effbench doctor`: what would disturb a measurement here, and what to do."""

import click

from effbench import api
from effbench.catalog.findings import explain
from effbench.cli import options


@click.command("doctor")
@click.option("--fake", metavar="PART[*N]", help="Examine simulated devices of the catalogue.")
@options.json_option
def command(fake: str | None, as_json: bool) -> int:
    """Look at this node for two seconds and say what would disturb a measurement."""
    options.say("watching this node for 2 seconds; leave it as it will be when it is measured")
    inventory, findings = api.diagnose(options.environment(), fake)
    if as_json:
        options.emit_json({"inventory": inventory, "findings": findings})
        return 0
    lines = [f"{a.key}: {a.part.title if a.part else a.name}" for a in inventory.accelerators]
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
