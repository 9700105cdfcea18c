"""`effbench qualify`: the verdict's exit code, every artefact, more rounds for what is undecided, and no false pass."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench import api
from effbench.cli import measured, qualify_command
from effbench.model.error import CatalogError
from effbench.model.event import Opened
from effbench.run import further as rounds_to_add
from effbench.run import journal
from tests.unit.command_line import ARTEFACTS, FAKE, Outcome, call, contents, recipe

TRIAD = "stream:triad-fp32-1024MiB@gpu0"
# The simulated triad is 4.32 TB/s with 2.1 % to each side after two rounds, which rests on an assumed spread between
# rounds, and 1 % after four. INSIDE both, at its centre, no number of rounds decides.
ABOVE, BELOW, INSIDE = "4.25 TB/s", "4.38 TB/s", "4.318 TB/s"


def qualify(folder: Path, *words: str | Path) -> Outcome:
    return call("qualify", folder / "site.yaml", "--fake", FAKE, "-o", folder / "r", *words)


def opened(folder: Path) -> Counter[tuple[str, int]]:
    """How often each trial was measured in each round."""
    events = journal.read(folder / "journal.jsonl.gz").events
    return Counter((event.trial, event.round) for event in events if isinstance(event, Opened))


def told(folder: Path) -> Any:
    """What qualification.json says; its verdict is that of the grade."""
    document = json.loads((folder / "r" / "qualification.json").read_text())
    grade = json.loads((folder / "r" / "grade.json").read_text())
    assert document["verdict"] == document["looks"][-1]["verdict"] == grade["verdict"]
    return document


@pytest.mark.parametrize(("threshold", "code", "verdict"), [("1 TB/s", 0, "pass"), ("9 TB/s", 1, "fail")])
def test_what_is_decided_at_once_is_looked_at_once(tmp_path: Path, threshold: str, code: int, verdict: str) -> None:
    recipe(tmp_path, threshold)
    done = qualify(tmp_path, "--json")
    assert done.code == code, done.said
    assert done.document["grade"]["verdict"] == verdict and done.document["run_dir"] == str(tmp_path / "r")
    assert set(contents(tmp_path / "r")) == {*ARTEFACTS, "qualification.json"}
    assert (told(tmp_path)["stopped"], len(told(tmp_path)["looks"])) == ("decided", 1)
    assert set(opened(tmp_path / "r").values()) == {1}


@pytest.mark.parametrize(("threshold", "code", "verdict"), [(ABOVE, 0, "pass"), (BELOW, 1, "fail")])
def test_what_is_undecided_is_measured_again_until_it_is_decided(
    tmp_path: Path, threshold: str, code: int, verdict: str
) -> None:
    recipe(tmp_path, threshold)
    done = qualify(tmp_path)
    assert done.code == code, done.said
    assert f"undecided after 2 rounds, {verdict} after 4 rounds" in done.out
    assert [(look["rounds"], look["verdict"]) for look in told(tmp_path)["looks"]] == [(2, "undecided"), (4, verdict)]
    rounds = {t.id: 0 for t in api.record_of(tmp_path / "r").plan.trials}
    for (trial, _), times in opened(tmp_path / "r").items():
        assert times == 1, "a round was measured twice"
        rounds[trial] += 1
    assert rounds.pop(TRIAD) == 4 and set(rounds.values()) == {2}, "only what could decide it is measured again"


def test_the_record_of_a_longer_run_is_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    path = recipe(tmp_path, ABOVE)
    qualify(tmp_path)
    before = contents(tmp_path / "r")
    assert call("replay", tmp_path / "r", "--policy", path.parent / "lenient.yaml").code == 0
    assert contents(tmp_path / "r") == before


def test_looks_come_to_an_end_and_undecided_is_no_pass(tmp_path: Path) -> None:
    recipe(tmp_path, INSIDE)
    done = qualify(tmp_path)
    assert done.code == 4, done.said
    assert [look["rounds"] for look in told(tmp_path)["looks"]] == [2, 4, 8]
    assert told(tmp_path)["stopped"] == "looks" and "Stays undecided" in done.out


@pytest.mark.parametrize(
    ("more", "words", "stopped"),
    [
        ("on_undecided: stop\n", (), "recipe"),
        ("budget_s: {gpu: 200}\n", (), "budget"),
        ("", ("--budget", "200"), "budget"),
    ],
)
def test_without_leave_or_time_it_stays_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, words: tuple[str, ...], stopped: str
) -> None:
    monkeypatch.setattr(rounds_to_add, "START_S", {"gpu": 300.0})  # whatever this machine takes, no round fits
    recipe(tmp_path, ABOVE, more)
    done = qualify(tmp_path, *words)
    assert done.code == 4, done.said
    assert (told(tmp_path)["stopped"], len(told(tmp_path)["looks"])) == (stopped, 1)
    assert told(tmp_path)["budget_s"] == {"recipe": 600, "budget": 200}[stopped]


def test_the_budget_is_for_each_device_and_for_its_class(tmp_path: Path) -> None:
    recipe(tmp_path, "1 TB/s", "budget_s: {gpu: 145, cpu: 7}\n")
    done = call("qualify", tmp_path / "site.yaml", "--fake", f"{FAKE}*2", "-o", tmp_path / "r")
    assert done.code == 0, done.said
    assert told(tmp_path)["budget_s"] == 290
    assert api.record_of(tmp_path / "r").plan.budget_s == 290


@pytest.mark.parametrize(
    ("faults", "code"),
    [({"wrong": True}, 1), ({"crash_after": 5}, 3), ({"error_after": 5}, 3), ({"nan_after": 0}, 3)],
)
def test_what_breaks_while_it_is_measured_again_is_never_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any], code: int
) -> None:
    """The first two rounds alone, and four sound ones, would not have failed: the later evidence counts."""
    recipe(tmp_path, ABOVE)
    text = (tmp_path / "lenient.yaml").read_text()
    gate = '    - {metric: health.wrong_results, threshold: "0"}\n'
    (tmp_path / "lenient.yaml").write_text(text.replace("  gates:\n", f"  gates:\n{gate}"))
    sound = measured.measured

    def breaking(work: measured.Job) -> measured.Result:
        if work.done:
            settings = msgspec.structs.replace(work.settings, faults={"stream": faults})
            work = msgspec.structs.replace(work, settings=settings)
        return sound(work)

    monkeypatch.setattr(measured, "measured", breaking)
    done = qualify(tmp_path)
    looks = told(tmp_path)["looks"]
    assert looks[0]["verdict"] == "undecided" and len(looks) == 2
    assert done.code == code, done.said


def test_an_interruption_is_130_and_takes_no_further_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe(tmp_path, INSIDE)
    sound = measured.measured

    def interrupted(work: measured.Job) -> measured.Result:
        return msgspec.structs.replace(sound(work), outcome="interrupted")

    monkeypatch.setattr(measured, "measured", interrupted)
    assert qualify(tmp_path).code == 130
    assert (told(tmp_path)["stopped"], len(told(tmp_path)["looks"])) == ("interrupted", 1)


def test_simulated_evidence_is_not_rated_by_a_shipped_policy(tmp_path: Path) -> None:
    recipe(tmp_path, "1 TB/s")
    text = (tmp_path / "site.yaml").read_text()
    (tmp_path / "site.yaml").write_text(text.replace("lenient.yaml", "node-2026"))
    assert qualify(tmp_path).code == 3
    assert told(tmp_path)["stopped"] == "decided"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("suite: tiny.yaml", "suite: absent.yaml", "there is no suite 'absent.yaml'"),
        ("policy: lenient.yaml", "policy: node-2025", "Did you mean node-2026?"),
        ("policy: lenient.yaml", "policy: tiny.yaml", "effbench.policy/1 is expected here"),
        ("purpose: for tests", "purpose: [1]", "site.yaml:3:10"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(tmp_path: Path, old: str, new: str, expected: str) -> None:
    recipe(tmp_path, "1 TB/s")
    text = (tmp_path / "site.yaml").read_text()
    (tmp_path / "site.yaml").write_text(text.replace(old, new))
    done = qualify(tmp_path)
    assert done.code == 2 and expected in done.err, done.said
    assert not (tmp_path / "r").exists()


def test_an_unknown_recipe_names_the_known_ones(tmp_path: Path) -> None:
    done = call("qualify", "node-quik", "--fake", FAKE, "-o", tmp_path / "r")
    assert done.code == 2 and "Did you mean node-quick?" in done.err and "node-full" in done.err


def test_recipes_are_listed_and_suites_in_the_same_folder_are_not_taken_for_one(tmp_path: Path) -> None:
    recipe(tmp_path, "1 TB/s")
    done = call("list", "recipes", "--workloads", tmp_path, "--json")
    assert done.code == 0, done.said
    assert {"site", "node-quick", "node-full"} <= {row["name"] for row in done.document}
    assert not {"tiny", "lenient"} & {row["name"] for row in done.document}


def test_slurm_outside_of_an_allocation_is_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from effbench.cli import slurm_run

    recipe(tmp_path, "1 TB/s", "launcher: slurm\n")
    placed = slurm_run.Placed("slurm", slurm_run.SlurmAsked(), submitted=True)
    monkeypatch.setattr(qualify_command.slurm_run, "placed", lambda launcher, given: placed)
    done = qualify(tmp_path)
    assert done.code == 2 and "salloc" in done.err
    assert not (tmp_path / "r").exists()


def test_a_site_with_mistakes_is_refused(tmp_path: Path) -> None:
    recipe(tmp_path, "1 TB/s")
    site = tmp_path / "figures.yaml"
    site.write_text("schema: effbench.site/1\nnonsense: 3\n")
    with pytest.raises(CatalogError):
        api.load_site(site)
    done = qualify(tmp_path, "--site", site)
    assert done.code == 2 and "nonsense" in done.err
    assert not (tmp_path / "r").exists()
