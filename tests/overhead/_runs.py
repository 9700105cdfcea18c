"""Small runs for the benchmarks: a plan from words, carried out through the whole engine into a temporary folder."""

import os
import tempfile
from pathlib import Path

import msgspec

from effbench import api
from effbench.model.plan import Plan
from effbench.model.record import Record
from effbench.run.engine import Options, environment_for_children
from effbench.run.site import Site

HEAD = """
schema: effbench.suite/1
name: bench/{name}
purpose: a benchmark of effbench itself
rounds: {{gpu: {{min: {rounds}, max: {most}}}, cpu: {{min: {rounds}, max: {most}}}}}
budget_s: {{gpu: 600, cpu: 600}}
"""


class Silent:
    """A display that shows nothing."""

    def begin(self, *_: object) -> None: ...

    def trial(self, *_: object) -> None: ...

    def progress(self, *_: object) -> None: ...

    def closed(self, *_: object) -> None: ...

    def note(self, *_: object) -> None: ...


def plan_of(site: Site, name: str, workloads: str, rounds: int = 1, most: int | None = None, seed: int = 1) -> Plan:
    """Plan a suite given as YAML text, under its own seed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suite.yaml"
        path.write_text(HEAD.format(name=name, rounds=rounds, most=most or rounds) + workloads)
        suite = msgspec.structs.replace(api.load_suite(str(path)), seed=seed)
    return api.plan(suite, site)


def run(todo: Plan, site: Site, telemetry: bool = True, display: object | None = None) -> Record:
    """Carry a plan out and return its record."""
    options = Options(environment_for_children(os.environ), 600.0, api.tool(), telemetry=telemetry)
    with tempfile.TemporaryDirectory() as folder:
        record, _ = api.run(todo, site.inventory, Path(folder), display or Silent(), options)  # type: ignore[arg-type]
    return record
