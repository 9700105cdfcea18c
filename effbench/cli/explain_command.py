"""`effbench explain`: what a finding code or a metric means, why it matters, and what to do."""

import difflib

import click

from effbench.catalog import findings, metrics
from effbench.cli import options
from effbench.model.error import InputError


@click.command("explain")
@click.argument("name", metavar="CODE|METRIC")
@options.json_option
def command(name: str, as_json: bool) -> int:
    """Explain a finding code (`clock-unknown`) or a metric key (`compute.gemm.bf16.flops`)."""
    lines: dict[str, str]
    if name in findings.codes():
        row = findings.explain(name)
        lines = {"finding": name, "title": row.title, "what": row.what, "why": row.why, "do": row.do}
    elif (metric := metrics.lookup(name)) is not None:
        lines = {
            "metric": name,
            "title": metric.title,
            "unit": str(metric.unit),
            "better": metric.better,
            "domain": metric.domain,
            "meaning": metric.meaning,
            "when low": metric.when_low,
        }
    else:
        known = [*findings.codes(), *(row.pattern for row in metrics.metrics())]
        near = difflib.get_close_matches(name, known, 3, 0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InputError(
            f"neither a finding nor a metric is called {name!r}{hint}; `effbench list metrics` lists the keys"
        )
    if as_json:
        options.emit_json(lines)
    else:
        options.emit("\n".join(f"{label:<10}{text}" for label, text in lines.items()))
    return 0
