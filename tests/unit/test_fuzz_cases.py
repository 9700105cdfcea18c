"""What fuzzing broke a reader with, kept as it was found, made small; and that the fuzzing itself finds things.

`python tests/fuzz/run.py` looks for more. Those it found in importers and policies before are in the tests of these.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench import api, resources
from effbench.catalog.policies import load_policy
from effbench.grade.verdict import grade
from effbench.importers.text import lines
from effbench.model.baseline import Baseline
from effbench.model.error import CatalogError, DocumentError, InputError
from effbench.model.scorecard import Scorecard
from effbench.score.against_baseline import against_baseline
from effbench.score.baseline import baseline, sealed, seen
from effbench.stats.center import Center, share_of
from effbench.stats.compare import Side
from effbench.store import documents
from effbench.store.baselines import load_baseline
from effbench.store.scorecard_lines import GradedLine, LostLine, graded_lines
from tests.fuzz.run import Tally, hunt
from tests.fuzz.targets import Target
from tests.unit.slowed_records import slowed

NODE_2026 = resources.find("policies", "node-2026")
RECORDING = sorted((Path(__file__).parents[1] / "recordings").glob("*/journal.jsonl.gz"))[0]


@pytest.fixture(scope="module")
def card() -> Scorecard:
    """The recording's scorecard, which passes."""
    return api.score(api.record_of(RECORDING))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rated_for_days: 30", "rated_for_days: 3000000"),
        ("rated_for_days: 30", f"rated_for_days: {2**53}"),
        ("weight: 2\n", "weight: 1.0e+308\n"),
        ("weight: 2\n", "weight: 5.0e-324\n"),
    ],
)
def test_numbers_that_no_date_and_no_mean_can_hold(tmp_path: Path, old: str, new: str) -> None:
    path, text = tmp_path / "p.yaml", NODE_2026.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CatalogError, match=r"at most 1000000|a weight is from"):
        load_policy(path)


def test_a_rating_from_the_end_of_time_has_no_end(card: Scorecard) -> None:
    late = msgspec.structs.replace(card, ended_at="9999-12-30T00:00:00Z")
    verdict = grade(late, load_policy(NODE_2026))
    assert verdict.verdict == "pass" and verdict.rated_until is None, "which no reader takes for one that holds"


@pytest.mark.parametrize("metrics", ["[]", "[{any_of: [host.copy.h2d.pinned.fraction_of_reference], required: false}]"])
def test_a_required_domain_without_a_figure_is_not_rated_and_says_so(
    card: Scorecard, tmp_path: Path, metrics: str
) -> None:
    path = tmp_path / "p.yaml"
    section = f"{{gates: [], domains: [{{name: host, metrics: {metrics}}}]}}"
    path.write_text(f"""\
schema: effbench.policy/1
name: hollow
version: 1
effective_from: "2026-11-01"
purpose: a domain of which nothing is asked
ladder: {{B: "0.85", C: "0.75"}}
gpu: {section}
cpu: {section}
""")
    verdict = grade(msgspec.structs.replace(card, coverage=1.0), load_policy(path))
    assert verdict.verdict == "not_rated" and "domain host has not one figure" in verdict.summary


@pytest.mark.parametrize("level", ["0.0", "1", "-0.5", "1e308"])
def test_an_interval_that_is_sure_or_holds_nothing_is_none(card: Scorecard, tmp_path: Path, level: str) -> None:
    path = tmp_path / "cards.jsonl"
    text = msgspec.json.encode(card)
    path.write_bytes(text.replace(b'"level":0.95', b'"level":' + level.encode(), 1) + b"\n" + text)
    lost, kept = graded_lines(lines(path), load_policy(NODE_2026), path)
    assert isinstance(lost, LostLine) and "Interval.level is" in lost.problem
    assert isinstance(kept, GradedLine) and kept.grade.verdict == "pass"


@pytest.mark.parametrize("field", ["mad", "median", "lowest", "highest"])
@pytest.mark.parametrize("value", [1e308, 1e-300])
def test_a_baseline_has_only_figures_that_runs_can_have(tmp_path: Path, field: str, value: float) -> None:
    record = api.record_of(RECORDING)
    made = baseline([seen(slowed(record, 1 + 0.01 * i, f"r{i}")) for i in range(5)])
    path, raw = tmp_path / "baseline.json", msgspec.to_builtins(made)
    documents.write(path, documents.encode(made))
    assert load_baseline(path).rows
    row = next(row for row in raw["rows"] if row["mad"] > 0)
    row[field] = value
    if (field, value) == ("mad", 1e-300):
        documents.write(path, documents.encode(sealed(msgspec.convert(raw, Baseline))))
        assert against_baseline(api.score(record), record, load_baseline(path)).metrics
        return
    path.write_bytes(msgspec.json.encode(raw))
    with pytest.raises(DocumentError, match=r"needs figures above zero|no run is as far|outside"):
        load_baseline(path)


def test_a_share_of_runs_that_agree_on_nothing_is_an_interval_of_numbers() -> None:
    at, side = Center(1.0, 1e200, 5), Side(1.0, 0.9, 1.1, 3, 0.01)
    share, low, high = share_of(side, at, "higher", 0.05, own=False)
    assert share == 1.0 and 0 < low < 1e-40 and 1e40 < high < 1e200


def unsound(path: Path) -> None:
    """A reader with two mistakes and one refusal."""
    text = path.read_bytes()
    if b"NaN" in text:
        raise KeyError("a")
    if b"[" in text:
        raise InputError("no lists here")
    assert b"*a" not in text


def test_the_fuzzing_finds_what_is_wrong_and_makes_it_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally, target = Tally(), Target("unsound", [b"schema: x\n"], [{"a": [1, 2.5, "b"]}], unsound)
    for number in range(5):
        hunt(target, tmp_path / "file", number, tally, examples=60)
    found: dict[str, Any] = {place.split(" in ")[0]: text for place, (text, _) in tally.findings.items()}
    assert set(found) == {"KeyError", "AssertionError"} and all(len(text) < 60 for text in found.values())
    assert tally.counts["refused"] and tally.counts["taken"] and "unsound: KeyError in" in capsys.readouterr().out
