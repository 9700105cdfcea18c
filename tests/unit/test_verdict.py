"""The last verdict of a node: what holds, what does not, its one line, and what Slurm is told because of it."""

import os
import platform
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench.launch import slurm_drain
from effbench.launch.slurm_drain import State, decide
from effbench.model.error import InputError, SiteError
from effbench.model.grade import Verdict
from effbench.report.one_line import LENGTH_MAX, line
from effbench.run.site import survey
from effbench.score.identity import identity
from effbench.store.verdicts import Demands, Last, last_in, last_of, refuse_open
from tests import factory
from tests.unit.command_line import call
from tests.unit.stored_verdicts import METRIC, stored

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTHING: Mapping[str, str] = {}


def demands(max_age: timedelta | None = 24 * HOUR, policy: str = "", now: Mapping[str, str] = NOTHING) -> Demands:
    return Demands(NOW, max_age, policy, lambda _: now)


def ask(site: Path, **more: Any) -> Last:
    return last_of(site, ["n1"], demands(**more))


def test_the_newest_verdict_counts_whatever_its_folder_is_called(tmp_path: Path) -> None:
    stored(tmp_path / "n1" / "z-older", "fail", NOW - 3 * HOUR, "n1")
    run = stored(tmp_path / "n1" / "a-newer", "pass", NOW - HOUR, "n1.example")
    os.utime(tmp_path / "n1" / "z-older" / "grade.json")  # copied since: the document says when it was decided
    found = ask(tmp_path)
    assert (found.verdict, found.why, found.run) == ("pass", "", str(run))


def test_a_folder_per_node_may_be_the_run_itself(tmp_path: Path) -> None:
    stored(tmp_path / "n1", "pass", NOW - HOUR, "n1")
    assert ask(tmp_path).verdict == "pass"


@pytest.mark.parametrize("later", ["not_rated", "undecided"])
def test_a_fail_stands_until_a_pass(tmp_path: Path, later: Verdict) -> None:
    stored(tmp_path / "n1" / "a", "fail", NOW - 3 * HOUR, "n1")
    stored(tmp_path / "n1" / "b", later, NOW - 2 * HOUR, "n1")
    assert ask(tmp_path).verdict == "fail"
    stored(tmp_path / "n1" / "c", "pass", NOW - HOUR, "n1")
    assert ask(tmp_path).verdict == "pass"
    stored(tmp_path / "n1" / "d", later, NOW, "n1")
    assert ask(tmp_path).verdict == later


@pytest.mark.parametrize(
    ("verdict", "at", "card", "more", "asked", "word"),
    [
        ("pass", NOW - 25 * HOUR, {}, {}, {}, "older than 24 hours"),
        ("fail", NOW - 25 * HOUR, {}, {}, {}, "older than 24 hours"),
        ("pass", NOW + HOUR, {}, {}, {}, "has not come yet"),
        ("pass", NOW, {}, {"scorecard_digest": "sha256:0"}, {}, "does not belong"),
        ("pass", NOW, {"node": "n2"}, {}, {}, "is of the node n2"),
        ("pass", NOW, {"simulated": True}, {}, {}, "no measurement"),
        ("fail", NOW, {"simulated": True}, {}, {}, "no measurement"),
        ("pass", NOW, {"imported": "superbench"}, {}, {}, "no measurement"),
        ("pass", NOW, {"subject": "device"}, {}, {}, "not of the whole node"),
        ("pass", NOW, {}, {}, {"policy": "other"}, "not other"),
        ("pass", NOW, {}, {"decided_at": "once"}, {}, "does not say when"),
        ("pass", NOW, {}, {"rated_until": "2026-11-20"}, {}, "held until 2026-11-20"),
        ("pass", NOW, {}, {"rated_until": None}, {}, "does not say"),
        ("pass", NOW, {}, {"rerate_on": ["driver"], "rated_for": {"driver": "1"}}, {}, "not known"),
        ("pass", NOW, {}, {"rerate_on": ["driver"], "rated_for": {"driver": "1"}}, {"now": {"driver": "2"}}, "changed"),
    ],
)
def test_what_does_not_hold_is_not_rated(
    tmp_path: Path, verdict: Verdict, at: datetime, card: Any, more: Any, asked: Any, word: str
) -> None:
    stored(tmp_path / "n1" / "a", verdict, at, "n1", card, **more)
    found = ask(tmp_path, **asked)
    assert found.verdict == "not_rated" and word in found.why, found.why


def test_what_is_the_same_still_holds(tmp_path: Path) -> None:
    stored(tmp_path / "n1" / "a", "pass", NOW, "n1", rerate_on=["driver"], rated_for={"driver": "1"})
    assert ask(tmp_path, now={"driver": "1"}).verdict == "pass"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": "effbench.grade/9"}', b"[]"])
@pytest.mark.parametrize("name", ["grade.json", "scorecard.json"])
def test_a_damaged_run_hides_the_pass_before_it(tmp_path: Path, damage: bytes, name: str) -> None:
    stored(tmp_path / "n1" / "a", "pass", NOW - 2 * HOUR, "n1")
    broken = stored(tmp_path / "n1" / "b", "pass", NOW - HOUR, "n1") / name
    broken.write_bytes(damage)
    os.utime(broken, ((NOW - HOUR).timestamp(),) * 2)
    found = ask(tmp_path)
    assert found.verdict == "not_rated" and name in found.why


def test_a_run_that_has_not_ended_does_not_count(tmp_path: Path) -> None:
    stored(tmp_path / "n1" / ".7-qualify", "pass", NOW, "n1")
    (tmp_path / "n1" / "empty").mkdir()
    assert ask(tmp_path).why == f"no verdict of n1 in {tmp_path}"
    with pytest.raises(InputError, match="no such folder"):
        ask(tmp_path / "no")
    for name in ("..", "a/b", ""):
        with pytest.raises(InputError, match="no node's name"):
            last_of(tmp_path, [name], demands())


def test_a_folder_that_everybody_writes_decides_nothing(tmp_path: Path) -> None:
    run = stored(tmp_path / "n1" / "a", "pass", NOW, "n1")
    refuse_open(tmp_path, "n1")
    refuse_open(tmp_path, "n2")
    for place in (run, run.parent, tmp_path):
        place.chmod(0o777)
        with pytest.raises(InputError, match="everybody may write"):
            refuse_open(tmp_path, "n1")
        place.chmod(0o755)


def test_the_line_says_what_where_and_by_how_much_and_never_changes(tmp_path: Path) -> None:
    run = stored(tmp_path / "n1" / "a", "fail", NOW - HOUR, "n1")
    found = last_in(run, demands())
    text = line(found.verdict, found.grade, found.why)
    assert text == f"effbench: {METRIC} 61.0 % on gpu3, required at least 75.0 %"
    stale = Demands(NOW + 30 * HOUR, 24 * HOUR, "", dict)
    later = Demands(NOW + 31 * HOUR, 24 * HOUR, "", dict)
    assert line("not_rated", None, last_in(run, stale).why) == line("not_rated", None, last_in(run, later).why)


def test_lines_are_one_short_printable_line_of_ascii() -> None:
    for case in factory.cases().values():
        for why in ("", "a\nb\x1b[31m\u202e×" * 60):
            if case.grade is not None:
                text = line(case.grade.verdict, case.grade, why)
                assert text.startswith("effbench: ") and text.isascii() and text.isprintable(), text
                assert len(text) <= LENGTH_MAX


IDLE, OURS = State("n1", "idle"), State("n1", "drained", "effbench: slow")
THEIRS, LOST = State("n1", "draining", "fan replaced"), State("n1", "down*", "Not responding")
BLAMED = State("n1", "down", "broken board")


@pytest.mark.parametrize(
    ("verdict", "here", "action", "held"),
    [
        ("fail", IDLE, "drain", True),
        ("fail", State("n1", "mixed"), "drain", True),
        ("fail", State("n1", "idle", "effbench: left over"), "drain", True),
        ("fail", LOST, "drain", True),
        ("fail", BLAMED, "nothing", True),
        ("fail", OURS, "nothing", True),
        ("fail", THEIRS, "nothing", True),
        ("pass", OURS, "undrain", False),
        ("pass", State("n1", "draining*", "effbench: slow"), "undrain", False),
        ("pass", THEIRS, "nothing", False),
        ("pass", State("n1", "drained", "was effbench: slow"), "nothing", False),
        ("pass", IDLE, "nothing", False),
        *((verdict, here, "nothing", False) for verdict in ("not_rated", "undecided") for here in (IDLE, OURS, THEIRS)),
    ],
)
def test_only_a_fail_drains_and_only_a_pass_undrains_what_is_ours(
    verdict: Verdict, here: State, action: str, held: bool
) -> None:
    act = decide(verdict, here)
    assert (act.action, act.held) == (action, held)


@pytest.mark.parametrize("verdict", ["not_rated", "undecided"])
def test_a_site_may_drain_on_more(verdict: Verdict) -> None:
    assert decide(verdict, IDLE, [verdict]).action == "drain"
    assert decide(verdict, OURS, [verdict]).action == "nothing"
    assert decide(verdict, IDLE, ["not_rated" if verdict == "undecided" else "undecided"]).action == "nothing"


# Stands for both commands: `state` holds what Slurm knows of n1, `calls` notes every change.
SLURM = r"""#!/bin/sh
cd "$STATE" || exit 9
case $(basename "$0") in
  sinfo) [ -e silent ] && { echo "Unable to contact slurm controller" >&2; exit 1; }; cat state ;;
  scontrol)
    echo "$*" >> calls
    [ -e deaf ] && exit 0
    [ -e refuse ] && { echo "Invalid user id" >&2; exit 1; }
    case "$3" in State=DRAIN) echo "n1|drained|${4#Reason=}" > state ;; State=UNDRAIN) echo "n1|idle|none" > state ;;
    esac ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scripted commands of Slurm that know the node n1, idle; what is asked of them is in `calls`."""
    for name in ("sinfo", "scontrol"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(SLURM)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "state").write_text("n1|idle|none\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(tmp_path))
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    (tmp_path / "site" / "n1").mkdir(parents=True)
    return tmp_path


def calls(cluster: Path) -> list[str]:
    path = cluster / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_the_command_drains_once_and_undrains_after(cluster: Path) -> None:
    now, words = datetime.now(UTC), ("verdict", "--folder", cluster / "site", "--max-age", "24", "--slurm")
    stored(cluster / "site" / "n1" / "a", "fail", now - HOUR, "n1")
    first, second = call(*words), call(*words)
    assert (first.code, second.code) == (1, 1)
    assert first.out.splitlines()[1] == "drain: n1 was idle"
    assert second.out.splitlines()[1].startswith("held: n1 drained by effbench already: effbench: ")
    reason = first.out.splitlines()[0]
    assert calls(cluster) == [f"update NodeName=n1 State=DRAIN Reason={reason}"]
    stored(cluster / "site" / "n1" / "b", "pass", now, "n1")
    good = call(*words, "--json")
    assert (good.code, good.document["slurm"]["action"], good.document["verdict"]) == (0, "undrain", "pass")
    assert calls(cluster)[1:] == ["update NodeName=n1 State=UNDRAIN"]
    assert call(*words).out.splitlines()[1] == "nothing: n1 passes and takes jobs"
    assert len(calls(cluster)) == 2


@pytest.mark.parametrize("verdict", ["fail", "pass"])
def test_what_an_administrator_drained_stays(cluster: Path, verdict: Verdict) -> None:
    (cluster / "state").write_text("n1|drained|fan replaced\n")
    stored(cluster / "site" / "n1" / "a", verdict, datetime.now(UTC), "n1")
    assert "fan replaced" in call("verdict", "--folder", cluster / "site", "--slurm").out
    assert calls(cluster) == []


def test_no_verdict_keeps_a_node_unless_the_site_chose(cluster: Path) -> None:
    words = ("verdict", "--folder", cluster / "site", "--slurm")
    kept = call(*words)
    assert kept.code == 3 and "the site keeps" in kept.out and calls(cluster) == []
    assert call(*words, "--drain-on", "not_rated").code == 3
    assert [text.partition(" Reason")[0] for text in calls(cluster)] == ["update NodeName=n1 State=DRAIN"]


@pytest.mark.parametrize("trouble", ["silent", "refuse", "deaf"])
def test_slurm_that_does_not_do_it_is_an_error_and_no_verdict(cluster: Path, trouble: str) -> None:
    stored(cluster / "site" / "n1" / "a", "fail", datetime.now(UTC), "n1")
    (cluster / trouble).touch()
    done = call("verdict", "--folder", cluster / "site", "--slurm")
    assert done.code == 3 and done.out == "" and done.err.startswith("effbench: ")
    assert (cluster / "state").read_text() == "n1|idle|none\n"


def test_a_crash_drains_nothing(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(cluster / "site" / "n1" / "a", "fail", datetime.now(UTC), "n1")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("effbench.store.verdicts.last_of", broken)
    done = call("verdict", "--folder", cluster / "site", "--slurm", "--drain-on", "not_rated")
    assert done.code == 3 and "a bug of effbench" in done.err and calls(cluster) == []


def test_an_unknown_node_or_open_folder_is_refused(cluster: Path) -> None:
    stored(cluster / "site" / "n2" / "a", "fail", datetime.now(UTC), "n2")
    done = call("verdict", "--folder", cluster / "site", "--node", "n2", "--slurm")
    assert done.code == 3 and "knows no node 'n2'" in done.err
    (cluster / "site").chmod(0o777)
    assert call("verdict", "--folder", cluster / "site", "--slurm").code == 2
    assert calls(cluster) == []


def test_a_reason_that_would_not_be_known_again_is_never_set(cluster: Path) -> None:
    for reason in ("slow", "effbench: a\nb", " effbench: a"):
        with pytest.raises(ValueError, match="a reason begins with"):
            slurm_drain.drain("n1", reason, dict(os.environ))
    with pytest.raises(SiteError, match="knows no node"):
        slurm_drain.look("n9", dict(os.environ))


def test_the_command_reads_one_run_and_this_node_as_it_is(tmp_path: Path) -> None:
    seen = {str(k): v for k, v in identity(survey(dict(os.environ), None, "cpu").inventory).items()}
    node, now = platform.node(), datetime.now(UTC)
    asked: dict[str, Any] = {"rerate_on": ["topology"], "rated_for": seen}
    assert call("verdict", stored(tmp_path / "a", "pass", now, node, **asked)).code == 0
    other = {**asked, "rated_for": {"topology": "eight of them"}}
    changed = call("verdict", stored(tmp_path / "b", "pass", now, node, **other))
    assert changed.code == 3 and "topology changed from eight of them to" in changed.out
    away = call("verdict", stored(tmp_path / "c", "pass", now, "elsewhere", **asked))
    assert away.code == 3 and "not known" in away.out
    assert call("verdict", stored(tmp_path / "d", "undecided", now, node)).code == 4


@pytest.mark.parametrize(
    "words", [(), ("RUN", "--folder", "RUN"), ("RUN", "--slurm"), ("--folder", "RUN", "--drain-on", "undecided")]
)
def test_wrong_words_are_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = call("verdict", *(str(tmp_path) if word == "RUN" else word for word in words))
    assert done.code == 2 and done.out == ""


def test_documents_of_the_test_hold_together(tmp_path: Path) -> None:
    """The helper above writes what effbench reads; else every test here would pass for the wrong reason."""
    found = last_in(stored(tmp_path / "a", "pass", NOW, "n1"), demands(), ["n1"])
    assert found == msgspec.structs.replace(found, verdict="pass", why="")
