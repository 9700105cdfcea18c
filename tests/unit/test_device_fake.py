"""Simulated and replayed devices: made of catalogue rows, moving plausibly, failing on demand."""

import itertools

import msgspec
import pytest

from effbench.catalog.accelerators import catalog, match
from effbench.device import replay
from effbench.device.contract import Observer
from effbench.device.disturb import judge
from effbench.device.fake import FakeFaults, FakeObserver, accelerators
from effbench.model.error import InputError
from effbench.model.event import Closed, Noted, Opened, Sample, Telemetry
from effbench.model.finding import Finding

H200 = "nvidia-h200-sxm"
SECOND = 10**9


def watched(faults=FakeFaults(), seconds=60, spec=H200, hz=10):  # noqa: B008
    observer = FakeObserver(accelerators(spec)[0], faults)
    return observer, [observer.read(5 * SECOND + i * SECOND // hz) for i in range(seconds * hz)]


def test_devices_differ_and_match_their_row():
    devices = accelerators(f"{H200}*3")
    assert [device.key for device in devices] == ["gpu0", "gpu1", "gpu2"]
    assert len({device.uuid for device in devices}) == len({device.pci_bus_id for device in devices}) == 3
    for device in devices:
        assert device.simulated
        assert device.torch_device == "fake"
        assert device.part is None, "naming the part is the parent's"
        part, findings = match(device)
        assert part.id == H200
        assert findings == []
    assert devices == accelerators(f"{H200}*3"), "the same spec makes the same devices"


@pytest.mark.parametrize("part_id", catalog().ids())
def test_every_row_makes_a_device(part_id):
    (device,) = accelerators(part_id)
    assert device.simulated
    assert device.memory_bytes > 0
    part, _ = match(device)
    row = catalog().row(part_id)
    if row.kind == "cpu" and row.match and row.match.automatic:
        assert part is not None


@pytest.mark.parametrize("spec", ["", "*2", f"{H200}*0", f"{H200}*65", f"{H200}*x", "NVIDIA H200", "a b", "../x"])
def test_specs_that_cannot_be_read(spec):
    with pytest.raises(InputError, match="nvidia-h200-sxm\\*2"):
        accelerators(spec)


def test_unknown_row_suggests_near_ones():
    with pytest.raises(InputError, match=r"did you mean .*nvidia-h200-sxm"):
        accelerators("nvidia-h200-sxn")


def test_readings_move_like_a_device_under_load():
    observer, points = watched()
    assert isinstance(observer, Observer)
    watts = [p.power_w for p in points]
    assert watts[0] < 200 < 500 < max(watts) <= 700
    temperatures = [p.temperature_degc for p in points]
    assert 25 < temperatures[0] < 35
    assert 55 < temperatures[-1] < 80
    assert all(later.energy_j >= earlier.energy_j for earlier, later in itertools.pairwise(points))
    integral = sum(p.power_w * 0.1 for p in points[1:])
    assert points[-1].energy_j == pytest.approx(integral, rel=0.01)
    assert {p.reasons for p in points} <= {0, 4}
    held = [p.clock_hz for p in points]
    assert max(held) <= observer.accelerator().clock_max_hz
    assert min(held) < max(held)
    observer.close()


def test_a_simulated_cpu_has_no_gpu_fields():
    observer, points = watched(spec="cpu-zen4", seconds=2)
    assert all(p.reasons is None and p.clock_hz is None for p in points)
    assert observer.counters() == {}


def test_stuck_energy():
    _, points = watched(FakeFaults(stuck_energy_s=2.0), seconds=5)
    assert len({p.energy_j for p in points[25:]}) == 1


def test_wrapped_and_reset_energy():
    _, wrapped = watched(FakeFaults(wrap_energy_j=1000.0), seconds=10)
    assert max(p.energy_j for p in wrapped) < 1000
    drops = [a for a, b in itertools.pairwise(wrapped) if b.energy_j < a.energy_j]
    assert len(drops) >= 3
    _, reset = watched(FakeFaults(reset_energy_s=3.0), seconds=10)
    drops = [a for a, b in itertools.pairwise(reset) if b.energy_j < a.energy_j]
    assert len(drops) == 1


def test_zero_watts_are_absent_and_counted():
    _, points = watched(FakeFaults(zero_power_every=5), seconds=2)
    lost = [p for p in points if p.power_w is None]
    assert len(lost) == 4
    assert lost[-1].counters["power_zero"] == 4


def test_lost_mid_run():
    observer, points = watched(FakeFaults(lost_s=1.0), seconds=2)
    assert points[5].power_w is not None
    assert points[-1].power_w is None
    assert points[-1].counters == {"device_lost": 1.0}
    assert observer.counters()["device_lost"] == 1.0


def test_errors_heat_and_strangers():
    observer, points = watched(FakeFaults(ecc_s=1.0, xid_s=1.0, hot_s=1.0, foreign=1.0), seconds=2)
    assert observer.counters()["ecc_uncorrected"] == 1.0
    assert points[-1].counters["xid_79"] == 1.0
    assert points[-1].clock_hz < 0.6 * points[0].clock_hz
    codes = {finding.code for finding in judge("gpu", points).findings}
    assert {"throttled-thermal", "other-processes"} <= codes


def test_a_reading_that_raises():
    observer = FakeObserver(accelerators(H200)[0], FakeFaults(raise_every=2))
    observer.read(0)
    with pytest.raises(RuntimeError, match="told to fail"):
        observer.read(SECOND)


def test_unknown_fault_is_refused():
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"melt": 1}, FakeFaults)


def recorded():
    return [Telemetry(100 * SECOND + i * SECOND, "gpu0", power_w=100.0 + i, counters={"xid_13": i}) for i in range(5)]


def test_replay_keeps_pace_and_marks_what_it_plays():
    device = msgspec.structs.replace(accelerators(H200)[0], simulated=False, torch_device="cuda:0")
    observer = replay.ReplayObserver(device, [*recorded(), Telemetry(0, "gpu1", power_w=1.0)])
    assert isinstance(observer, Observer)
    assert observer.accelerator().simulated
    played = [observer.read(7 * SECOND + i * SECOND // 2) for i in range(10)]
    assert [p.power_w for p in played] == [100, 100, 101, 101, 102, 102, 103, 103, 104, 104]
    assert [p.t_ns for p in played][:2] == [7 * SECOND, 7 * SECOND + SECOND // 2]
    assert observer.counters()["xid_13"] == 4
    assert "clock_hz" in observer.absent()
    assert "power_w" not in observer.absent()
    with pytest.raises(EOFError, match=r"ended after 5\.0 s"):
        observer.read(12 * SECOND)


def test_replay_may_loop():
    observer = replay.ReplayObserver(accelerators(H200)[0], recorded(), loop=True)
    assert [observer.read(i * SECOND).power_w for i in range(7)] == [100, 101, 102, 103, 104, 100, 101]
    with pytest.raises(ValueError, match="no telemetry of gpu0"):
        replay.ReplayObserver(accelerators(H200)[0], [])


def test_samples_are_grouped_by_trial_and_round():
    def sample(t):
        return Sample(t, 0.1, 0.1)

    note = Noted(3, Finding("drift", "info", "x", trial="a"))
    other = Noted(3, Finding("xid", "info", "x", device="gpu0"))
    events = [
        sample(0),
        Opened(1, "a", 0, 1, "cpu"),
        sample(2),
        note,
        other,
        sample(4),
        Closed(5, "a", 0, "done"),
        sample(6),
        Opened(7, "a", 1, 2, "cpu"),
        sample(8),
        Opened(9, "b", 1, 2, "cpu"),
        Closed(10, "b", 1, "lost"),
        Closed(11, "never-opened", 1, "lost"),
    ]
    trials = replay.by_trial_and_round(events)
    assert list(trials) == [("a", 0), ("a", 1), ("b", 1)]
    assert [s.t_ns for s in trials["a", 0].samples] == [2, 4]
    assert [f.code for f in trials["a", 0].findings] == ["drift"]
    assert trials["a", 0].closed.status == "done"
    assert [s.t_ns for s in trials["a", 1].samples] == [8]
    assert trials["a", 1].closed is None
    assert (trials["b", 1].samples, trials["b", 1].closed.status) == ([], "lost")
