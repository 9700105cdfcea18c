"""`effbench meter RUN LOG -o DIR`: a wall meter's log beside a run's own sensors, or a refusal with what to mend."""

import math
from pathlib import Path

import msgspec
import pytest

from effbench import api
from effbench.model.energy import Sensor
from effbench.model.event import Event, Sensed, Started, Telemetry, Window
from effbench.run import journal, metered, metering
from tests.unit.command_line import ARTEFACTS, call, contents

UTC_S = 1_795_000_000
S = 1_000_000_000
SECONDS = 120
JOURNAL = "journal.jsonl.gz"


def steps(t_s: float) -> float:
    return 500.0 if math.floor(t_s / 5) in {2, 3, 7, 9, 10, 14, 15, 16, 20, 23} else 100.0


def meter_log(folder: Path, lines: list[str] | None = None, *, ahead_s: float = 0.0, head: str = "") -> Path:
    path = folder / "wall.csv"
    times = [i / 2 for i in range(-4, 2 * SECONDS + 4)]
    lines = lines or [f"{UTC_S + t + ahead_s:.3f},{250 + steps(t - 0.1)}" for t in times]
    path.write_text("\n".join([f"{head}# uncertainty: 1 %", "epoch_s,power_w", *lines]) + "\n")
    return path


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A run that lasted two minutes of known power on a known clock, with one energy window."""
    events = journal.read(finished / JOURNAL).events
    first = next(e for e in events if isinstance(e, Started))
    readings = [Telemetry(first.t_ns + i * S // 10, "gpu0", power_w=steps(i / 10)) for i in range(SECONDS * 10)]
    window = Window(first.t_ns + 110 * S, first.t_ns + 10 * S, "gpu0", "idle.context", settled_s=2.0)
    kept = [e for e in events if not isinstance(e, Started | Telemetry)]
    known = msgspec.structs.replace(first, utc_ns=UTC_S * S)
    shifted = [*kept[:-1], *readings, window, msgspec.structs.replace(kept[-1], t_ns=first.t_ns + SECONDS * S)]
    folder = tmp_path / "timed"
    folder.mkdir()
    writer = journal.JournalWriter(folder / JOURNAL)
    for member in journal.members([known, *shifted]):
        writer.write(member)
    writer.close()
    return folder


def test_the_copy_holds_the_meter_and_the_original_is_untouched(run_folder: Path, tmp_path: Path) -> None:
    before = contents(run_folder)
    done = call("meter", run_folder, meter_log(tmp_path), "-o", tmp_path / "metered")
    assert done.code == 0, done.said
    assert contents(run_folder) == before
    assert set(contents(tmp_path / "metered")) == ARTEFACTS
    events = journal.read(tmp_path / "metered" / JOURNAL).events
    cards = [card for e in events if isinstance(e, Sensed) for card in e.sensors]
    assert [card.key for card in cards if card.device == "node"] == ["node.meter"]
    watts = [e.sensors["node_power_w"] for e in events if isinstance(e, Telemetry) and e.device == "node"]
    assert len(watts) == 2 * SECONDS + 5
    assert f"{len(watts)} readings" in done.out
    assert type(events[-1]).__name__ == "Ended"
    record = api.record_of(tmp_path / "metered")
    assert {f.code for f in record.findings} >= {"meter-clock"}
    assert "node.meter" in {card.key for card in record.sensors}
    assert record.measurements == api.record_of(run_folder).measurements


def test_the_copy_replays_byte_for_byte(run_folder: Path, tmp_path: Path) -> None:
    assert call("meter", run_folder, meter_log(tmp_path), "-o", tmp_path / "metered").code == 0
    assert call("replay", tmp_path / "metered", "-o", tmp_path / "again").code == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "metered")


def refused(run: Path, log: Path, target: Path, *words: str) -> str:
    done = call("meter", run, log, "-o", target, *words)
    assert done.code == 2, done.said
    assert not (target / JOURNAL).exists()
    return done.err


def test_a_clock_beyond_the_limit_is_refused(run_folder: Path, tmp_path: Path) -> None:
    said = refused(run_folder, meter_log(tmp_path, ahead_s=2.0), tmp_path / "m")
    assert "+2." in said or "+1.9" in said
    assert "beyond 0.8 s" in said


def test_a_log_of_another_time_is_refused(run_folder: Path, tmp_path: Path) -> None:
    said = refused(run_folder, meter_log(tmp_path, ahead_s=3600), tmp_path / "m")
    assert "do not overlap" in said
    assert "time zone" in said


def test_mistakes_in_the_log_come_with_file_and_line(run_folder: Path, tmp_path: Path) -> None:
    said = refused(run_folder, meter_log(tmp_path, ["1,5", f"{UTC_S},-5"]), tmp_path / "m")
    assert "wall.csv:3:1: 1 is not between 2000 and 2100" in said
    assert "wall.csv:4:12: -5 is negative" in said


def test_a_meter_is_added_once(run_folder: Path, tmp_path: Path) -> None:
    assert call("meter", run_folder, meter_log(tmp_path), "-o", tmp_path / "m").code == 0
    assert "has a meter already" in refused(tmp_path / "m", meter_log(tmp_path), tmp_path / "again")


def test_a_run_without_its_exact_time_takes_no_log(run_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    writer = journal.JournalWriter(old / JOURNAL)
    events = journal.read(run_folder / JOURNAL).events
    for member in journal.members(
        [msgspec.structs.replace(e, utc_ns=0) if isinstance(e, Started) else e for e in events]
    ):
        writer.write(member)
    writer.close()
    assert "did not note its time exactly" in refused(old, meter_log(tmp_path), tmp_path / "m")


def test_a_gap_in_a_window_leaves_no_reading_there_and_names_the_line(run_folder: Path, tmp_path: Path) -> None:
    whole = meter_log(tmp_path).read_text().splitlines()[2:]
    done = call("meter", run_folder, meter_log(tmp_path, whole[:60] + whole[80:]), "-o", tmp_path / "m")
    assert done.code == 0, done.said
    assert "line 63 of the meter's log" in done.err
    events = journal.read(tmp_path / "m" / JOURNAL).events
    window = next(e for e in events if isinstance(e, Window))
    times = [e.t_ns for e in events if isinstance(e, Telemetry) and e.device == "node"]
    assert times
    assert not [t for t in times if window.start_ns <= t <= window.t_ns]


def test_the_ledger_of_the_run_gains_the_meter(run_folder: Path, tmp_path: Path) -> None:
    card = Sensor("gpu0.instant", "gpu0", "instant", "gpu", "W", "power_w", "made up", update_s=0.1, coverage=1.0)
    real = tmp_path / "real"
    real.mkdir()
    writer = journal.JournalWriter(real / JOURNAL)
    for member in journal.members([*map(_unsimulated, journal.read(run_folder / JOURNAL).events)]):
        writer.write([*member[:-1], Sensed(member[-1].t_ns, [card]), member[-1]])
    writer.close()
    assert call("meter", real, meter_log(tmp_path), "-o", tmp_path / "m").code == 0
    (idle,) = api.record_of(tmp_path / "m").idle
    rows = {row.sensor: row for row in idle.energy.ledger}
    assert {row.sensor for row in rows.values() if row.joules is not None} == {"gpu0.instant", "node.meter"}
    gpu_j = sum(steps(10 + i / 10) / 10 for i in range(1000))
    assert rows["gpu0.instant"].joules == pytest.approx(gpu_j, rel=0.01)
    assert rows["node.meter"].joules == pytest.approx(gpu_j + 250 * 100, rel=0.02)
    assert rows["gpu0.instant"].primary and not rows["node.meter"].primary


def _unsimulated(event: Event) -> Event:
    if not isinstance(event, Started):
        return event
    parts = [msgspec.structs.replace(a, simulated=False) for a in event.inventory.accelerators]
    return msgspec.structs.replace(event, inventory=msgspec.structs.replace(event.inventory, accelerators=parts))


@pytest.mark.parametrize("name", ["node", "meter", "idle", "gpu", "W", "given", "node_power_w"])
def test_a_run_with_a_meter_is_redacted_whatever_its_node_is_called(
    run_folder: Path, tmp_path: Path, name: str
) -> None:
    assert call("meter", run_folder, meter_log(tmp_path), "-o", tmp_path / "m").code == 0
    events = [_named(event, name) for event in journal.read(tmp_path / "m" / JOURNAL).events]
    (tmp_path / "n").mkdir()
    writer = journal.JournalWriter(tmp_path / "n" / JOURNAL)
    for member in journal.members(events):
        writer.write(member)
    writer.close()
    done = call("redact", tmp_path / "n", "-o", tmp_path / "r")
    assert done.code == 0, done.said
    before, after = api.record_of(tmp_path / "n"), api.record_of(tmp_path / "r")
    assert after.idle == before.idle
    assert [(card.key, card.scope, card.reading) for card in after.sensors] == [
        (card.key, card.scope, card.reading) for card in before.sensors
    ]


def _named(event: Event, name: str) -> Event:
    if not isinstance(event, Started):
        return event
    return msgspec.structs.replace(event, inventory=msgspec.structs.replace(event.inventory, node=name))


# ---- a command and its meter ------------------------------------------------------------------------------------


def command(seconds: float) -> metered.Metered:
    window = (5 * S, round((5 + seconds) * S))
    return metered.Metered(0, seconds, [], [], [], window=window, utc_ns=UTC_S * S)


def command_log(folder: Path, seconds: float, head: str = "# skew: 0.1 s\n") -> Path:
    lines = [f"{UTC_S + i + 0.1:.3f},{300 + 100 * (i % 3)}" for i in range(-40, round(seconds) + 40)]
    return meter_log(folder, lines, head=head)


def test_a_command_gets_the_nodes_energy(tmp_path: Path) -> None:
    done = metering.add_to_command(command(90), command_log(tmp_path, 90), None)
    (node,) = done.energies
    assert (node.device, node.scope, node.sensor, node.trust) == ("node", "node", "node.meter", "C")
    assert node.energy is not None and node.energy_interval is not None
    assert node.energy.value == pytest.approx(90 * 400, rel=0.005)
    assert node.energy_interval.low < 90 * 400 < node.energy_interval.high
    assert node.energy_interval.half_width >= 0.01 * node.energy.value
    assert {f.code for f in done.findings} == {"meter-clock"}


def test_a_command_shorter_than_the_meter_resolves_gets_none(tmp_path: Path) -> None:
    (node,) = metering.add_to_command(command(20), command_log(tmp_path, 20), None).energies
    assert node.energy is None
    assert "20.0 s < 60 s" in node.reason


def test_a_gap_leaves_the_command_without_the_nodes_energy(tmp_path: Path) -> None:
    path = command_log(tmp_path, 90)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:60] + lines[70:]) + "\n")
    (node,) = metering.add_to_command(command(90), path, None).energies
    assert node.energy is None
    assert node.reason


def test_a_log_that_ends_early_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "TAIL_S", 0.1)
    path = command_log(tmp_path, 20)
    (node,) = metering.add_to_command(command(90), path, None).energies
    assert node.energy is None


def test_a_meters_log_that_cannot_be_used_costs_no_status(tmp_path: Path) -> None:
    path = meter_log(tmp_path, ["x,y"])
    done = call("energy", "--json", "--meter", path, "--", "sh", "-c", "exit 6")
    assert done.code == 6
    node = next(device for device in done.document["devices"] if device["key"] == "node")
    assert not {"energy", "power"} & set(node)
    assert "wall.csv:3:1" in node["reason"]
    assert "meter-unusable" in {finding["code"] for finding in done.document["findings"]}
    assert call("energy", "--meter", tmp_path / "none.csv", "--", "true").code == 2


def test_a_log_that_is_still_being_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = command_log(tmp_path, 90)
    whole = path.read_text()
    path.write_text("\n".join(whole.splitlines()[:60]) + "\n")
    monkeypatch.setattr("time.sleep", lambda seconds: path.write_text(whole))
    (node,) = metering.add_to_command(command(90), path, None).energies
    assert node.energy is not None
