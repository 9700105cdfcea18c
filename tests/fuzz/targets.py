"""What reads files that others wrote, and what must hold whatever is in them: only an InputError, no pass unseen."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from effbench import api, resources
from effbench.catalog.claim import read_claim
from effbench.catalog.imports import formats
from effbench.catalog.lint import lint
from effbench.catalog.policies import load_policy
from effbench.catalog.recipes import load_recipe
from effbench.catalog.site import load_site
from effbench.catalog.suites import load_suite
from effbench.grade.verdict import grade
from effbench.importers.records import records
from effbench.importers.text import lines
from effbench.model.baseline import Baseline
from effbench.model.error import CatalogError, InputError
from effbench.model.grade import Grade
from effbench.model.imported import BadRecord, ImportedBaseline, ImportedRecord
from effbench.model.scorecard import Scorecard
from effbench.score.against_baseline import against_baseline
from effbench.score.baseline import baseline, sealed, seen
from effbench.score.imported import Fleet, scorecard
from effbench.score.imported_baseline import against, imported_baseline, sealed_import
from effbench.store import documents
from effbench.store.baselines import load_baseline, load_imported
from effbench.store.scorecard_lines import GradedLine, graded_lines
from effbench.store.verdicts import Demands, last_in
from tests.unit import test_importers as samples
from tests.unit.slowed_records import slowed

__all__ = ["Target", "targets"]

ROOT = Path(__file__).parents[2]
RECORDING = sorted((ROOT / "tests/recordings").glob("*/journal.jsonl.gz"))[0]


class Target(NamedTuple):
    """One reader: whole files that it takes, as text or as trees, and the check of what it makes of a damaged one."""

    name: str
    texts: list[bytes]
    trees: list[Any]
    check: Callable[[Path], None]


def targets() -> list[Target]:
    """Every reader, with the files that are shipped or that the unit tests use."""
    record = api.record_of(RECORDING)
    card = api.score(record)
    policy = load_policy(resources.find("policies", "node-2026"))
    base = baseline([seen(slowed(record, 1 + 0.01 * i, f"r{i}")) for i in range(5)])
    verdict = grade(card, policy)
    fleet = Fleet()
    nodes = [found for found in _read(samples.node(f"n{i}") for i in range(5)) if isinstance(found, ImportedRecord)]
    for node in nodes:
        fleet.add(node)
    common = imported_baseline(fleet, "superbench")
    cards = [msgspec.to_builtins(card), msgspec.to_builtins(msgspec.structs.replace(card, metrics=card.metrics[:9]))]
    return [
        *(Target(f"import {name}", _files(name), _trees(name), partial(_imported, name)) for name in formats()),
        _yaml("policy", "ci/policies", partial(_policy, card)),
        _yaml("recipe", "ci/recipes", lambda path: _made(load_recipe, path)),
        _yaml("suite", "workloads/node", lambda path: _made(load_suite, path)),
        _yaml("site", "tests/data", lambda path: _made(load_site, path)),
        Target("claim", [CLAIM], [yaml.safe_load(CLAIM)], lambda path: _made(_claim, path)),
        Target("claim in words", [b"8x NVIDIA H200", b"1 x nvidia-h100-sxm"], [], _words),
        _document("baseline", base, partial(_baseline, card, record)),
        _document("import's baseline", common, partial(_common, nodes[0])),
        _document("stored verdict", verdict, partial(_verdict, card)),
        Target("scorecard lines", [json.dumps(one).encode() for one in cards], cards, partial(_lines, policy)),
    ]


CLAIM = b'schema: effbench.claim/1\ncount: 8\npart: NVIDIA H200\nunits: 132\nmemory: "141 GB"\nlink_width: 16\n'


def _yaml(name: str, folder: str, check: Callable[[Path], None]) -> Target:
    texts = [path.read_bytes() for path in sorted((ROOT / folder).glob("*.yaml"))]
    return Target(name, texts, [json.loads(json.dumps(yaml.safe_load(text), default=str)) for text in texts], check)


def _document(name: str, document: msgspec.Struct, check: Callable[[Path], None]) -> Target:
    return Target(name, [msgspec.json.encode(document)], [msgspec.to_builtins(document)], check)


def _read(found: Iterable[dict[str, Any]]) -> list[ImportedRecord | BadRecord]:
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(json.dumps(node) + "\n" for node in found)
        file.flush()
        return list(records("superbench", [Path(file.name)]))


def _files(name: str) -> list[bytes]:
    """Whole files of a format."""
    found: dict[str, list[str]] = {
        "superbench": ["".join(json.dumps(samples.node(f"n{i}")) + "\n" for i in range(4))],
        "dcgm": [samples.DCGM3, json.dumps(samples.DCGM4)],
        "gpu-fryer": ["".join(json.dumps(event) + "\n" for event in samples.FRYER)],
        "nccl-tests": [samples.NCCL],
        "nvbandwidth": [samples.NVBANDWIDTH],
    }
    return [text.encode() for text in found[name]]


def _trees(name: str) -> list[Any]:
    return {"superbench": [samples.node()], "dcgm": [samples.DCGM4], "gpu-fryer": samples.FRYER[3:4]}.get(name, [])


def _imported(name: str, path: Path) -> None:
    """Every node is read or lost with its place; none of those read is rated, and each is written and read again."""
    fleet, lost = Fleet(), []
    for found in records(name, [path]):
        if not isinstance(found, ImportedRecord):
            assert found.where.startswith(str(path)) and found.problem
            lost.append(found)
            continue
        fleet.add(found)
        assert found.figures or found.checks
        assert msgspec.json.decode(msgspec.json.encode(found), type=ImportedRecord) == found
        assert grade(scorecard(found), _node_2026()).verdict in ("not_rated", "fail")
    summary = fleet.summary(name, [str(path)], lost)
    assert len(summary.nodes) == len(fleet) and summary.bad == lost
    assert all(node.verdict == "not_rated" for node in summary.nodes)
    msgspec.json.encode(summary)


def _node_2026() -> Any:
    return load_policy(resources.find("policies", "node-2026"))


def _policy(card: Any, path: Path) -> None:
    """The lint names a mistake in what does not load; what loads grades, and never passes a node without evidence."""
    told = lint(path)
    try:
        policy = load_policy(path)
    except CatalogError:
        assert any(remark.level == "mistake" for remark in told)
        raise
    empty = msgspec.structs.replace(card, metrics=[], coverage=0.0)
    assert grade(empty, policy).verdict != "pass"
    msgspec.json.encode(grade(card, policy))


def _made(load: Callable[[Path], Any], path: Path) -> None:
    """What loads can be written."""
    msgspec.json.encode(load(path))


def _claim(path: Path) -> Any:
    return read_claim(str(path))


def _words(path: Path) -> None:
    text = path.read_bytes().decode(errors="surrogateescape")
    claim = read_claim(text)
    assert claim.count >= 1 and claim.part


def _baseline(card: Any, record: Any, path: Path) -> None:
    """As it is, and with a digest that fits, as a forger would write it: then every share is a number."""
    _sealed_again(path, Baseline, sealed)
    made = against_baseline(card, record, load_baseline(path))
    msgspec.json.encode(made)
    assert len(made.metrics) >= len(card.metrics)


def _common(node: ImportedRecord, path: Path) -> None:
    """The same for a baseline of imports."""
    _sealed_again(path, ImportedBaseline, sealed_import)
    msgspec.json.encode(against(load_imported(path))(node))


def _sealed_again(path: Path, kind: type[Any], seal: Callable[[Any], Any]) -> None:
    with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
        path.write_bytes(msgspec.json.encode(seal(msgspec.json.decode(path.read_bytes(), type=kind))))


def _verdict(card: Scorecard, path: Path) -> None:
    """A verdict that is not whole does not hold, and is told."""
    run = path.with_suffix(".run")
    run.mkdir(exist_ok=True)
    (run / documents.SCORECARD).write_bytes(msgspec.json.encode(card))
    (run / documents.GRADE).write_bytes(path.read_bytes())
    at = datetime.fromisoformat(card.ended_at or card.started_at) + timedelta(hours=1)
    last = last_in(run, Demands(at, timedelta(days=1), "node-2026", lambda _: {}), [card.node])
    msgspec.json.encode(last)
    try:
        documents.read(path, Grade)
    except InputError:
        assert last.verdict == "not_rated" and last.why
        raise


def _lines(policy: Any, path: Path) -> None:
    """Each line is graded or lost."""
    found = list(graded_lines(lines(path), policy, path))
    given = [line.number for line in lines(path)]
    assert [one.line for one in found] == given
    for one in found:
        msgspec.json.encode(one.grade if isinstance(one, GradedLine) else one)
