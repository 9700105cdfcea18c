"""A baseline given to a command: kept with the run, refused before anything is measured, the same in every later step;
and the enrolment report that a recipe asks for.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench import api
from effbench.model.baseline import Baseline
from effbench.score.baseline import baseline, sealed, seen
from effbench.store.baselines import save_baseline
from tests.unit.command_line import ARTEFACTS, FAKE, POLICY, RECIPE, Outcome, call, contents
from tests.unit.slowed_records import slowed, undisturbed

SHARE = "memory.stream.triad.fraction_of_baseline"
RULES = POLICY.replace("fraction_of_reference", "fraction_of_baseline").replace(
    'memory.stream.triad.bandwidth, threshold: "THRESHOLD"',
    'memory.stream.triad.fraction_of_reference, threshold: "0.01"',
)


@pytest.fixture
def place(tmp_path: Path, suite: Path, finished: Path) -> Path:
    """A folder with a suite, a policy that asks for a share of the baseline, and a baseline of four runs like it."""
    (tmp_path / "tiny.yaml").write_bytes(suite.read_bytes())
    (tmp_path / "lenient.yaml").write_text(RULES)
    real = undisturbed(api.record_of(finished))
    save_baseline(tmp_path / "b.json", baseline(seen(slowed(real, 1 + i / 500, f"n{i}")) for i in range(4)))
    return tmp_path


def run(place: Path, *words: str | Path, name: str = "run") -> Outcome:
    rules = ("--policy", place / "lenient.yaml")
    return call("run", place / "tiny.yaml", "--fake", FAKE, *rules, "-o", place / name, *words)


def changed(place: Path, **changes: Any) -> Path:
    document = msgspec.json.decode((place / "b.json").read_bytes(), type=Baseline)
    save_baseline(place / "other.json", sealed(msgspec.structs.replace(document, **changes)))
    return place / "other.json"


def test_a_run_is_held_against_a_baseline_and_every_later_step_says_the_same(place: Path) -> None:
    done = run(place, "--baseline", place / "b.json", "--json")
    assert (done.code, done.document["grade"]["verdict"]) == (0, "pass"), done.said
    assert SHARE in {m["key"] for m in done.document["metrics"]}
    kept = contents(place / "run")
    assert set(kept) == {*ARTEFACTS, "baseline.json"}
    again = ("--policy", place / "lenient.yaml")
    assert call("replay", place / "run", *again).code == 0
    assert contents(place / "run") == kept
    assert call("replay", place / "run", "-o", place / "copy", *again).code == 0
    assert contents(place / "copy") == kept
    assert call("grade", place / "run", *again).code == 0
    assert call("score", place / "run").out.encode() == kept["scorecard.json"]
    assert run(place, name="without").code == 3, "without a baseline there is no share of one"


def test_a_baseline_named_later_stands_in_for_the_one_that_was_kept(place: Path) -> None:
    assert run(place, "--baseline", place / "b.json").code == 0
    real = api.record_of(place / "run")
    faster = baseline(seen(slowed(real, 0.5, f"f{i}")) for i in range(4))
    save_baseline(place / "fast.json", faster)
    done = call("grade", place / "run", "--policy", place / "lenient.yaml", "--baseline", place / "fast.json")
    assert done.code == 1, done.said
    shown = call("report", place / "run", "--baseline", place / "fast.json", "--format", "json").document
    keys = Counter((m["key"], m.get("device")) for m in shown["metrics"])
    assert keys[SHARE, None] == 1 and max(keys.values()) == 1
    (share,) = (m for m in shown["metrics"] if m["key"] == SHARE)
    assert share["quantity"]["value"] == pytest.approx(0.5, rel=0.1)
    of_card = call("report", place / "run" / "scorecard.json", "--baseline", place / "fast.json")
    assert of_card.code == 2 and "by which trials" in of_card.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device_class": "cpu"}, "the baseline of cpu runs"),
        ({"simulated": False}, "the baseline's are measured"),
        ({"rows": []}, "no figure of the baseline comes from a trial of this plan"),
    ],
)
def test_a_baseline_that_does_not_fit_is_told_before_anything_is_measured(
    place: Path, changes: dict[str, Any], words: str
) -> None:
    done = run(place, "--baseline", changed(place, **changes))
    assert done.code == 2 and words in done.err
    assert contents(place / "run") == {}
    assert run(place, "--baseline", place / "none.json", name="b").code == 2


def test_a_recipe_names_a_baseline_beside_it(place: Path) -> None:
    recipe = place / "r.yaml"
    recipe.write_text(RECIPE + "baseline: b.json\n")
    done = call("qualify", recipe, "--fake", FAKE, "-o", place / "q")
    assert done.code == 0, done.said
    assert set(contents(place / "q")) == {*ARTEFACTS, "baseline.json", "qualification.json"}
    recipe.write_text(RECIPE + "baseline: none.json\n")
    gone = call("qualify", recipe, "--fake", FAKE, "-o", place / "g")
    assert gone.code == 2 and str(place / "none.json") in gone.err


def test_a_recipe_for_enrolment_writes_its_report_and_the_claim_counts(place: Path) -> None:
    recipe = place / "r.yaml"
    recipe.write_text(RECIPE + "baseline: b.json\nreport: enrolment\n")
    done = call("qualify", recipe, "--fake", FAKE, "-o", place / "q", "--lang", "zh-Hant", "--json")
    assert done.code == 0, done.said
    made = {"enrolment.html", "enrolment.md", "enrolment.json"}
    assert made < set(contents(place / "q"))
    assert 'lang="zh-Hant"' in (place / "q" / "enrolment.html").read_text()
    assert done.document["enrolment"] == json.loads((place / "q" / "enrolment.json").read_text())
    claimed = call("qualify", recipe, "--fake", FAKE, "-o", place / "c", "--claim", "8x NVIDIA H200")
    assert claimed.code == 3, "a simulated device proves no claim, whatever the policy takes"
    assert "Verdict: not_rated, exit code 3" in claimed.out and str(place / "c" / "enrolment.html") in claimed.out
    assert json.loads((place / "c" / "grade.json").read_text())["verdict"] == "pass"


@pytest.mark.parametrize("words", [("--claim", "8 of them"), ("--lang", "tlh")])
def test_what_is_wrong_with_a_claim_is_told_before_anything_is_measured(place: Path, words: tuple[str, str]) -> None:
    for text in (RECIPE, RECIPE + "report: enrolment\n"):
        (place / "r.yaml").write_text(text)
        assert call("qualify", place / "r.yaml", "--fake", FAKE, "-o", place / "q", *words).code == 2
    assert not (place / "q").exists()
