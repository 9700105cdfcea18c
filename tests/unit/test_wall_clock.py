"""The dates of a run: the end never before the start; a date that was set in between is told and moves nothing."""

import time
from datetime import datetime

import msgspec
import pytest

from effbench.grade.verdict import grade
from effbench.model.event import Ended, Event, Started
from effbench.model.finding import Finding
from effbench.model.policy import Policy
from effbench.model.record import Record
from effbench.run import wall_clock
from effbench.run.doctor import cores_kept_from
from effbench.run.journal import Journal
from effbench.run.record import build
from effbench.score.comparison import compare_records
from tests.factory import cpu_node

AT = 1_795_000_000 * 10**9  # 18 November 2026


def began(t_s: float = 100.0, utc_ns: int = AT) -> Started:
    """A command of two idle cores that began at `t_s` of the monotonic clock."""
    record = cpu_node().record
    first = Started(
        "effbench.journal/1", int(t_s * 1e9), wall_clock.stamp(utc_ns), record.tool, record.plan, inv(record)
    )
    return msgspec.structs.replace(first, utc_ns=utc_ns)


def inv(record: Record):
    return record.inventory_before


def end(first: Started, passed_s: float, jump_s: float, outcome: str = "complete") -> Ended:
    """Its end: `passed_s` later, when the date shows `jump_s` more than that."""
    utc_ns = first.utc_ns + int((passed_s + jump_s) * 1e9)
    return Ended(first.t_ns + int(passed_s * 1e9), "2026-11-18T00:00:00+00:00", outcome, utc_ns=utc_ns)


def told(*events: Event) -> list[tuple[str, float]]:
    """The jumps that the record of these events tells of."""
    found = build(Journal(list(events), [], "sha256:0")).findings
    return [(f.message, f.evidence["jump_s"]) for f in found if f.code == "clock-jumped"]


@pytest.mark.parametrize(("jump_s", "way"), [(3600.0, "forward by 3600 s"), (-3600.0, "back by 3600 s")])
def test_a_date_that_was_set_is_told_with_its_size_and_way(jump_s: float, way: str) -> None:
    first = began()
    ((message, size),) = told(first, end(first, 120, jump_s))
    assert way in message
    assert first.started_at in message
    assert size == jump_s


@pytest.mark.parametrize("jump_s", [0.0, 1.0, -1.0])
def test_a_steady_date_and_a_leap_second_are_nothing_to_tell(jump_s: float) -> None:
    first = began()
    assert told(first, end(first, 1800, jump_s)) == []


def test_commands_that_continue_a_run_are_looked_at_one_by_one() -> None:
    """Between two commands a reboot may have set both clocks anew; within the second one the date went back."""
    first, second = began(), began(5.0, AT + 86_400 * 10**9)
    assert told(first, end(first, 60, 0), second, end(second, 60, 0)) == []
    ((_, size),) = told(first, end(first, 60, 0), second, end(second, 60, -30))
    assert size == -30


def test_an_end_without_a_second_look_says_nothing() -> None:
    first = began()
    assert told(first, msgspec.structs.replace(end(first, 60, 3600), utc_ns=0)) == []
    assert told(first) == []
    assert told(msgspec.structs.replace(first, utc_ns=0), end(first, 60, 3600)) == []


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_the_end_is_the_start_and_the_time_that_passed(monkeypatch: pytest.MonkeyPatch, jump_s: int) -> None:
    first = msgspec.structs.replace(began(), t_ns=time.monotonic_ns() - 90 * 10**9)
    monkeypatch.setattr(wall_clock.time, "time_ns", lambda: AT + (90 + jump_s) * 10**9)
    last = wall_clock.ended(first, "complete", 1.5)
    passed = datetime.fromisoformat(last.ended_at) - datetime.fromisoformat(first.started_at)
    assert 89 <= passed.total_seconds() <= 95
    assert (last.outcome, last.overhead_s, last.utc_ns) == ("complete", 1.5, AT + (90 + jump_s) * 10**9)


RULES = {"gates": [{"metric": "compute.gemm.fp32.fraction_of_reference", "threshold": "0.1"}], "domains": []}
POLICY = {
    "schema": "effbench.policy/1",
    "name": "p",
    "version": 1,
    "effective_from": "2026-11-01",
    "purpose": "passes nearly all",
    "ladder": {"S": "0.97", "C": "0.75"},
    "provisional_cap": "C",
    "gpu": RULES,
    "cpu": RULES,
}


@pytest.mark.parametrize(
    ("evidence", "decided", "until"),
    [
        ({"jump_s": 86_400.0}, "2026-11-21T12:00:00+00:00", "2026-12-21"),
        ({"jump_s": -3 * 86_400.0}, "2026-11-18T12:00:00+00:00", "2026-12-18"),
        ({"jump_s": "much"}, "", None),
        ({"jump_s": -1e300}, "", None),
    ],
)
def test_no_rating_is_newer_or_holds_longer_because_the_date_was_set(evidence, decided: str, until: str | None) -> None:
    """Forward: the date before it, which the end goes by. Back: the date after it. Unknown: none, and so no rating."""
    card = msgspec.structs.replace(cpu_node().card, ended_at="2026-11-21T12:00:00+00:00", findings=[])
    policy = msgspec.convert(POLICY, Policy)
    before = grade(card, policy)
    assert (before.verdict, before.rated_until) == ("pass", "2026-12-21")
    jumped = Finding("clock-jumped", "warning", "the date went", evidence=evidence)
    after = grade(msgspec.structs.replace(card, findings=[jumped]), policy)
    assert (after.verdict, after.decided_at, after.rated_until) == ("pass", decided, until)


def held(**changes: object):
    """The CPU of the node, with other facts."""
    cpu = cpu_node().record.inventory_before.accelerators[-1]
    return msgspec.structs.replace(cpu, cpu=msgspec.structs.replace(cpu.cpu, **changes))


def test_cores_that_are_kept_away_are_named() -> None:
    assert list(cores_kept_from(held())) == []
    (masked,) = cores_kept_from(held(affinity=[1], cores_usable=1.0))
    assert (masked.code, masked.device) == ("cpu-affinity", "cpu")
    assert "1 of the 2" in masked.message
    (limited,) = cores_kept_from(held(cgroup_quota_cores=1.0, cores_usable=1.0))
    assert limited.code == "cgroup-quota"
    assert list(cores_kept_from(held(cgroup_quota_cores=4.0))) == []


def test_a_comparison_says_when_the_sides_had_other_cores() -> None:
    whole = cpu_node().record
    less = msgspec.structs.replace(
        whole,
        journal_digest="another",
        inventory_before=msgspec.structs.replace(whole.inventory_before, accelerators=[held(cores_usable=1.0)]),
    )
    notes = {row.note for row in compare_records(whole, less) if row.ratio is not None}
    assert notes
    assert all("A could use 2 cores, B 1" in note for note in notes)
    same = msgspec.structs.replace(whole, journal_digest="another")
    assert not any("cores" in row.note for row in compare_records(whole, same))
