"""`effbench list`: what there is, one line each."""

from pathlib import Path

import click

from effbench import api, kernels, resources
from effbench.catalog import metrics, parts
from effbench.catalog.recipes import load_recipe
from effbench.cli import options
from effbench.model.record import USABLE
from effbench.store import documents

KINDS = ("runs", "suites", "kernels", "devices", "policies", "recipes", "metrics", "accelerators")


@click.command("list")
@click.argument("kind", default="runs", type=click.Choice(KINDS), metavar="[" + "|".join(KINDS) + "]")
@click.option("--root", type=click.Path(path_type=Path), default=Path("reports/runs"), help="Where runs are.")
@options.workloads_option
@options.json_option
def command(kind: str, root: Path, workloads: Path | None, as_json: bool) -> int:
    """List runs (default), suites, kernels, devices, policies, recipes, metrics or accelerators."""
    rows = _rows(kind, root, options.search_path(workloads))
    if as_json:
        options.emit_json([{"name": name, "about": about} for name, about in rows])
        return 0
    if not rows:
        options.say(f"no {kind} found" + (f" in {root}" if kind == "runs" else ""))
        return 0
    width = min(48, max(len(name) for name, _ in rows))
    options.emit("\n".join(f"{name:<{width}}  {about}".rstrip() for name, about in rows))
    return 0


def _rows(kind: str, root: Path, extra: list[Path]) -> list[tuple[str, str]]:
    if kind == "runs":
        return [(str(path), _run(path)) for path in documents.runs(root)]
    if kind == "suites":
        return [(name, api.load_suite(name, extra).purpose) for name in resources.names("workloads", extra)]
    if kind == "policies":
        return [(name, api.load_policy(name, extra).purpose) for name in resources.names("policies", extra)]
    if kind == "recipes":
        files = {name: resources.find("recipes", name, extra) for name in resources.names("recipes", extra)}
        own = {name: file for name, file in files.items() if b"effbench.recipe/" in file.read_bytes()}
        return [(name, load_recipe(file).purpose) for name, file in own.items()]
    if kind == "kernels":
        return [(name, (kernels.load(name).__doc__ or "").split("\n")[0]) for name in kernels.names()]
    if kind == "metrics":
        return [(row.pattern, f"{row.title} [{row.unit}]") for row in metrics.metrics()]
    if kind == "accelerators":
        return [
            (part.id, f"{part.title} ({part.confidence} confidence)")
            for part in map(parts.catalog().part, parts.catalog().ids())
        ]
    site = api.look(options.environment())
    return [
        (a.key, f"{a.name}{f' = {a.part.id}' if a.part else ', not in the catalogue'}")
        for a in site.inventory.accelerators
    ]


def _run(path: Path) -> str:
    try:
        record = api.record_of(path)
    except api.DocumentError as error:
        return f"unreadable: {error}"
    done = sum(m.status in USABLE for m in record.measurements)
    return f"{record.plan.suite}, {record.started_at}, {record.outcome}, {done} of {len(record.measurements)} trials"
