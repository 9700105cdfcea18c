"""Devices at once: each runs its own trials, a loss costs its own device, and nothing is taken for a run in turn."""

import os
from pathlib import Path

import msgspec
import pytest
from test_engine import SUITE, Quiet, go

from effbench import api
from effbench.model.error import CatalogError
from effbench.model.event import Closed, Ended, Opened
from effbench.model.plan import Plan
from effbench.run import journal
from effbench.run.duration import span_s
from effbench.run.site import Site


@pytest.fixture(scope="module")
def site() -> Site:
    return api.look(dict(os.environ), "nvidia-h200-sxm*2")


def planned(site: Site, folder: Path, text: str, devices: str = "all") -> Plan:
    path = folder / "suite.yaml"
    path.write_text(text)
    return api.plan(api.load_suite(str(path)), site, devices)


@pytest.fixture
def together(site: Site, tmp_path: Path) -> Plan:
    return planned(site, tmp_path, SUITE + "at_once: true\n")


def spans(folder: Path) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """Begin and end of every trial in ns, by device and round."""
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    began = 0
    for event in journal.read(folder / "journal.jsonl.gz").events:
        if isinstance(event, Opened):
            began = event.t_ns
        elif isinstance(event, Closed):
            found.setdefault((event.trial.rpartition("@")[2], event.round), []).append((began, event.t_ns))
    return found


def overlaps(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> bool:
    return any(a < d and c < b for a, b in one for c, d in other)


def test_devices_work_together_and_each_gives_all_its_figures(together: Plan, site: Site, tmp_path: Path) -> None:
    record = go(together, site, tmp_path / "run")
    assert record.outcome == "complete"
    assert [m.status for m in record.measurements] == ["valid"] * 8, [m.detail for m in record.measurements]
    when = spans(tmp_path / "run")
    assert overlaps(when["gpu0", 0], when["gpu1", 0]) and overlaps(when["gpu0", 1], when["gpu1", 1])
    assert not overlaps(when["gpu0", 0], when["gpu0", 1] + when["gpu1", 1])
    assert api.replay(tmp_path / "run") == record


def test_without_the_word_devices_work_in_turn(site: Site, tmp_path: Path) -> None:
    go(planned(site, tmp_path, SUITE), site, tmp_path / "run")
    when = spans(tmp_path / "run")
    assert not overlaps(when["gpu0", 0], when["gpu1", 0])


def test_what_was_measured_at_once_is_compared_with_its_like_only(together: Plan, site: Site, tmp_path: Path) -> None:
    alone = planned(site, tmp_path, SUITE)
    assert {t.id for t in alone.trials} == {t.id for t in together.trials}
    assert not {t.trial_key for t in alone.trials} & {t.trial_key for t in together.trials}
    one = planned(site, tmp_path, SUITE + "at_once: true\n", "gpu0")
    assert not one.at_once
    assert {t.trial_key for t in one.trials} == {t.trial_key for t in alone.trials if t.id.endswith("gpu0")}


def test_the_budget_is_one_devices_for_all(together: Plan, site: Site, tmp_path: Path) -> None:
    alone = planned(site, tmp_path, SUITE)
    assert (alone.budget_s, together.budget_s) == (120, 60)
    assert together.expected_s == pytest.approx(alone.expected_s / 2)


def test_the_span_of_devices_is_that_of_the_slowest_when_together(together: Plan) -> None:
    takes = {t.id: 5.0 if t.id.endswith("gpu0") else 1.0 for t in together.trials}
    assert span_s(together.trials, True, takes, 2.0) == 4 * 5.0 + 2.0
    assert span_s(together.trials, False, takes, 2.0) == 4 * 5.0 + 4 * 1.0 + 2 * 2.0


def test_a_worker_that_is_lost_costs_its_own_trials_alone(together: Plan, site: Site, tmp_path: Path) -> None:
    trials = [
        msgspec.structs.replace(t, deadline_s=2.0) if t.kernel == "stream" else t
        for t in together.trials
        if t.kernel != "stream" or t.id.endswith("gpu1")
    ]
    display = Quiet()
    record = go(
        msgspec.structs.replace(together, trials=trials), site, tmp_path / "run", display, stream={"hang_after": 5}
    )
    assert record.outcome == "complete"
    lost = [m.trial for m in record.measurements if m.status != "valid"]
    assert len(lost) == 1 and lost[0].endswith("gpu1") and lost[0].startswith("stream")
    assert "worker-hung" in {f.code for f in display.notes}


def test_an_interrupt_ends_every_worker_and_keeps_what_was_measured(together: Plan, site: Site, tmp_path: Path) -> None:
    display = Quiet()

    def interrupt(name: str) -> None:
        if len(display.closed_ids) == 3:
            raise KeyboardInterrupt

    display.on_trial = interrupt
    record = go(together, site, tmp_path / "run", display)
    assert record.outcome == "interrupted"
    assert sum(m.status == "valid" for m in record.measurements) == 3
    events = journal.read(tmp_path / "run" / "journal.jsonl.gz").events
    assert isinstance(events[-1], Ended)


@pytest.mark.parametrize(
    "text",
    [
        "idle: {bare_s: 1, context_s: 1}\n",
        "procedure: {duration_s: 1, energy: true}\n",
        "procedure: {duration_s: 1, telemetry_hz: 50}\n",
    ],
)
def test_what_is_of_one_device_alone_is_refused_at_once(site: Site, tmp_path: Path, text: str) -> None:
    plain = SUITE.replace("procedure: {warmup_s: 0.01, duration_s: 0.05, samples_min: 5}\n", "")
    with pytest.raises(CatalogError, match="of one device alone"):
        planned(site, tmp_path, plain + text + "at_once: true\n")
