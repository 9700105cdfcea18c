"""The commands over stored documents: replay, score, grade, report, show, list, explain; and `--json` everywhere."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench import api, report
from effbench.cli import main
from effbench.model.grade import EXIT_CODES
from effbench.run import doctor
from tests.unit.command_line import FAKE, call, contents, policy


def test_replay_writes_every_artefact_again_byte_for_byte(finished: Path, tmp_path: Path) -> None:
    done = call("replay", finished, "-o", tmp_path / "again")
    assert done.code == 0
    assert contents(tmp_path / "again") == contents(finished)


def test_replay_in_place_changes_nothing_and_brings_back_what_was_lost(copied: Path) -> None:
    before = contents(copied)
    for name in set(before) - {"journal.jsonl.gz"}:
        (copied / name).unlink()
    assert call("replay", copied).code == 0
    assert contents(copied) == before


@pytest.mark.parametrize("command", [["replay"], ["redact", "-o", "elsewhere"]])
def test_what_needs_the_journal_says_so(
    copied: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (copied / "journal.jsonl.gz").unlink()
    done = call(command[0], copied, *command[1:])
    assert done.code == 2
    assert "journal.jsonl.gz: cannot read the journal: there is none" in done.err


@pytest.mark.parametrize("name", ["", "record.json", "journal.jsonl.gz"])
def test_score_gives_the_stored_scorecard(finished: Path, name: str) -> None:
    done = call("score", finished / name)
    assert done.code == 0
    assert done.out.encode() == (finished / "scorecard.json").read_bytes()


@pytest.mark.parametrize("name", ["", "record.json", "scorecard.json", "journal.jsonl.gz"])
def test_grade_gives_the_stored_grade_from_any_document(finished: Path, name: str) -> None:
    done = call("grade", finished / name, "--json")
    assert done.code == 3
    assert done.document == json.loads((finished / "grade.json").read_bytes())


def test_grade_ends_with_every_verdict(finished: Path, tmp_path: Path) -> None:
    card, _ = api.card_of(finished)
    seen = next(m for m in card.metrics if m.key == "memory.stream.triad.bandwidth" and m.device is None)
    asked = {"pass": "1 TB/s", "fail": "9 TB/s", "undecided": f"{seen.quantity.value / 1e12:.6f} TB/s"}
    for verdict, threshold in asked.items():
        done = call("grade", finished / "scorecard.json", "--policy", policy(tmp_path, threshold), "--json")
        assert done.document["verdict"] == verdict
        assert done.code == EXIT_CODES[verdict]
    assert call("grade", finished).code == EXIT_CODES["not_rated"]


@pytest.mark.parametrize("name", report.names())
@pytest.mark.parametrize("source", ["", "scorecard.json"])
def test_every_format_from_a_run_and_from_a_scorecard_alone(
    finished: Path, tmp_path: Path, name: str, source: str
) -> None:
    (tmp_path / "scorecard.json").write_bytes((finished / "scorecard.json").read_bytes())
    given = finished if not source else tmp_path / source
    done = call("report", given, "--format", name, "-o", tmp_path / "out")
    assert done.code == 0, done.said
    data = (tmp_path / "out").read_bytes()
    assert b"NVIDIA" in data or b"nvidia" in data or b"gpu0" in data
    if report.load(name).FILENAME and not source:
        stored = finished / report.load(name).FILENAME
        assert data == stored.read_bytes(), "the report is the one that the run wrote"
    assert call("report", given, "--format", name).code == 0


def test_an_unknown_format_lists_the_formats(finished: Path) -> None:
    done = call("report", finished, "--format", "pdf")
    assert done.code == 2
    assert all(name in done.err for name in report.names())


JSON = [
    ["plan", "SUITE", "--fake", FAKE],
    ["list", "suites"],
    ["list", "kernels"],
    ["list", "policies"],
    ["list", "metrics"],
    ["list", "accelerators"],
    ["list", "devices"],
    ["list", "runs", "--root", "ROOT"],
    ["explain", "clock-unknown"],
    ["explain", "compute.gemm.bf16.flops"],
    ["doctor", "--fake", FAKE],
    ["compare", "RUN", "RUN"],
    ["baseline", "RUN"],
    ["grade", "RUN"],
]


@pytest.mark.parametrize("words", JSON, ids=" ".join)
def test_json_is_one_document_on_stdout_and_plain_text_is_not(
    words: list[str], finished: Path, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "WATCH_S", 0.2)
    places = {"SUITE": str(suite), "RUN": str(finished), "ROOT": str(finished.parent)}
    given = [places.get(word, word) for word in words]
    done, plain = call(*given, "--json"), call(*given)
    assert done.document
    assert plain.out.strip()
    assert done.code == plain.code == (3 if words[0] == "grade" else 0)
    with pytest.raises(ValueError, match=r"Expecting|Extra data"):
        json.loads(plain.out)


def test_selftest_finds_the_truth_and_says_so_in_one_document(tmp_path: Path) -> None:
    suite = tmp_path / "truth.yaml"
    suite.write_text(
        "schema: effbench.suite/1\nname: truth\npurpose: a known time\n"
        "rounds: {gpu: {min: 1, max: 1}, cpu: {min: 1, max: 1}}\nbudget_s: {gpu: 30, cpu: 30}\n"
        "procedure: {warmup_s: 0.02, duration_s: 0.2}\n"
        "workloads:\n  - {id: truth, kernel: known_truth, params: {real: true, mean_s: 0.002}}\n"
    )
    done = call("selftest", "--suite", suite, "--json")
    assert set(done.document) == {"truth", "own", "ok"}
    assert done.code == (0 if done.document["ok"] else 3)
    assert done.document["truth"][0]["measured_s"] >= 0.002 * 0.999, "a busy wait is late, never early"


SHOWN = {
    "node-2026": "effbench.policy/1",
    "node/quick": "effbench.suite/1",
    "nvidia-h200-sxm": None,
    "": "effbench.record/1",
    "record.json": "effbench.record/1",
    "journal.jsonl.gz": "effbench.record/1",
    "scorecard.json": "effbench.scorecard/1",
    "grade.json": "effbench.grade/1",
    "lenient.yaml": "effbench.policy/1",
}


@pytest.mark.parametrize("name", SHOWN)
def test_show_prints_anything_by_name_or_file(copied: Path, name: str) -> None:
    policy(copied, "1 TB/s")
    place = copied / name
    done = call("show", place if place.exists() else name)
    assert done.code == 0, done.said
    assert done.document.get("schema") == SHOWN[name]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "holds until 2099-01-01"),
        ({"rerate_on": ["driver"], "rated_for": {"driver": "1"}}, "or the next change of driver"),
        ({"rated_until": "2026-01-01"}, "holds no longer: the rating held until 2026-01-01"),
        ({"verdict": "fail"}, ""),
    ],
)
def test_show_says_until_when_a_rating_holds(copied: Path, changes: dict[str, Any], words: str) -> None:
    file = copied / "grade.json"
    passed = {"verdict": "pass", "decided_at": "2026-01-01T00:00:00+00:00", "rated_until": "2099-01-01"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **passed, **changes}))
    done = call("show", file)
    assert (done.code, done.document["verdict"]) == (0, changes.get("verdict", "pass"))
    assert words in done.err and bool(done.err) == bool(words)


def test_a_damaged_record_is_shown_and_compared_by_its_journal(copied: Path, finished: Path) -> None:
    (copied / "record.json").write_bytes((finished / "record.json").read_bytes()[:3000])
    assert call("show", copied / "record.json").code == 0
    assert call("score", copied / "record.json").out.encode() == (finished / "scorecard.json").read_bytes()
    assert call("report", copied / "record.json").code == 0
    assert call("compare", finished, copied).code == 0


def test_a_grade_is_no_run(finished: Path) -> None:
    done = call("compare", finished / "grade.json", finished)
    assert done.code == 2
    assert "found effbench.grade/1" in done.err


def test_list_runs_names_the_unreadable_ones_too(copied: Path) -> None:
    broken = copied.parent / "broken"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    done = call("list", "runs", "--root", copied.parent)
    assert done.code == 0
    assert "test/tiny" in done.out
    assert "unreadable" in done.out
    assert "no runs found" in call("list", "runs", "--root", copied / "none").err


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_explains_itself_and_refuses_what_it_does_not_know(command: str) -> None:
    for flag in ("--help", "-h"):
        done = call(command, flag)
        assert done.code == 0
        assert done.out.startswith(f"Usage: effbench {command}")
    done = call(command, "--nonsense")
    assert done.code == 2
    assert "No such option" in done.err


def test_the_record_is_the_same_document_wherever_it_is_read(finished: Path) -> None:
    record = api.record_of(finished)
    assert api.encode(record) == (finished / "record.json").read_bytes()
    assert msgspec.json.decode(api.encode(record), type=type(record)) == record
