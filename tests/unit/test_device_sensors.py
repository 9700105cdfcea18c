"""Cards of power sensors from every source, over the protocol and to the run; faults of a simulated sensor."""

import itertools
import json
import os

import msgspec
import pytest

from effbench.catalog.accelerators import match
from effbench.device import sampler
from effbench.device.contract import Observer
from effbench.device.cpu_telemetry import CpuObserver
from effbench.device.fake import FakeFaults, FakeObserver, accelerators
from effbench.device.replay import ReplayObserver
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry
from effbench.run.watch import Watch

H200 = "nvidia-h200-sxm"
SECOND = 10**9
GPU_NAMES = ["gpu0.counter", "gpu0.instant", "gpu0.average", "gpu0.hbm", "gpu0.module"]


def fake(spec=H200, faults=FakeFaults()):  # noqa: B008 - frozen
    return FakeObserver(accelerators(spec)[0], faults)


def watched(faults, seconds=12.0, hz=20):
    observer = fake(faults=faults)
    return [observer.read(round(i * SECOND / hz)) for i in range(round(seconds * hz) + 1)]


def integral(points, name="power_w"):
    """Joules by the trapezoid over readings in W."""
    joules = 0.0
    for a, b in itertools.pairwise(points):
        joules += (getattr(a, name) + getattr(b, name)) / 2 * (b.t_ns - a.t_ns) * 1e-9
    return joules


def replayed(sensors=()):
    points = [Telemetry(i * SECOND, "gpu0", power_w=100.0, energy_j=100.0 * i) for i in range(3)]
    return ReplayObserver(accelerators(H200)[0], points, sensors=sensors)


@pytest.mark.parametrize("make", [fake, lambda: fake("cpu-zen4"), replayed, CpuObserver], ids=str)
def test_every_observer_has_a_card_or_a_reason_for_each_sensor(make):
    observer = make()
    assert isinstance(observer, Observer)
    points = [observer.read((i + 1) * SECOND) for i in range(2)]
    cards = observer.sensors()
    observer.close()
    key = observer.accelerator().key
    assert len({card.key for card in cards}) == len(cards) >= 4
    for card in cards:
        assert card.device == key
        assert card.key.startswith(f"{key}.")
        values = [getattr(p, card.reading, None) or p.sensors.get(card.reading) for p in points]
        assert any(value is not None for value in values) != bool(card.absent), card
        assert bool(card.absent) == bool(card.remedy)
        assert card.unit == ("J" if card.kind == "counter" else "W")
        assert msgspec.json.decode(msgspec.json.encode(card), type=Sensor) == card


def test_a_replay_shows_the_recorded_cards_and_no_others():
    known = Sensor("gpu0.counter", "gpu0", "counter", "gpu", "J", "energy_j", "nvml field 83", uncertainty=0.02)
    other = Sensor("gpu1.counter", "gpu1", "counter", "gpu", "J", "energy_j", "nvml field 83")
    assert replayed([known, other]).sensors() == [known]
    derived = {card.key: card for card in replayed().sensors()}
    assert list(derived) == GPU_NAMES
    assert derived["gpu0.instant"].window_s == 0.025
    assert "no such reading" in derived["gpu0.average"].absent


def ask(config):
    written = []
    one = sampler.Sampler(*sampler.open_observers(config), written.append)
    one.read()
    one.obey(sampler.Control(sensors=True))
    one.close()
    return json.loads(written[-1])["sensors"]


def test_the_sampler_answers_with_the_cards_of_all_devices():
    cards = ask(sampler.Config(devices=["gpu0", "gpu1", "gpu7"], source="fake", spec=f"{H200}*2"))
    assert [card["key"] for card in cards if card["device"] == "gpu0"] == GPU_NAMES
    assert sum(card["device"] == "gpu1" for card in cards) == 5
    (unopened,) = (card for card in cards if card["device"] == "gpu7")
    assert unopened["key"] == "gpu7.power"
    assert unopened["absent"] == "no such device here"
    assert "meter" in unopened["remedy"]


def test_a_device_whose_sensors_cannot_be_listed_says_so(monkeypatch):
    def fail(self):
        raise OSError("the driver is gone")

    monkeypatch.setattr(FakeObserver, "sensors", fail)
    (card,) = ask(sampler.Config(devices=["gpu0"], source="fake", spec=H200))
    assert card["key"] == "gpu0.power"
    assert "the driver is gone" in card["absent"]


def machine():
    observer = CpuObserver()
    try:
        return observer.accelerator()
    finally:
        observer.close()


def listed(devices):
    watch = Watch(devices, dict(os.environ))
    try:
        cards = watch.sensors()
        assert watch.complaints() == []
    finally:
        watch.stop()
    return cards


def test_the_run_is_told_the_cards():
    devices = [msgspec.structs.replace(one, part=match(one)[0]) for one in accelerators(f"{H200}*2")]
    cards = listed(devices)
    assert [card.key for card in cards] == GPU_NAMES + [name.replace("gpu0", "gpu1") for name in GPU_NAMES]
    unnamed = listed(accelerators(H200))
    assert [card.key for card in unnamed] == ["gpu0.power"]
    assert all(card.absent and card.remedy for card in unnamed)


def test_the_run_is_told_of_this_machines_cpu_and_complains_when_nobody_answers():
    watch = Watch([machine()], dict(os.environ))
    try:
        assert [card.key for card in watch.sensors()] == ["cpu.package", "cpu.dram", "cpu.hwmon", "cpu.module"]
        assert watch.complaints() == []
    finally:
        watch.stop()
    assert watch.sensors() == []
    (complaint,) = watch.complaints()
    assert complaint.code == "telemetry-lost"
    assert "energy figure" in complaint.message


def test_counter_and_integrals_of_an_honest_simulation_agree():
    points = watched(FakeFaults())
    joules = points[-1].energy_j - points[0].energy_j
    assert integral(points) == pytest.approx(joules, rel=0.01)
    assert integral(points[60:], "power_average_w") == pytest.approx(
        points[-1].energy_j - points[60].energy_j, rel=0.02
    )


def test_a_gain_parts_the_counter_from_the_integral():
    points = watched(FakeFaults(gain=1.7))
    joules = points[-1].energy_j - points[0].energy_j
    assert joules / integral(points) == pytest.approx(1.7, rel=0.01)


def test_a_bias_is_in_every_watt_and_not_in_the_counter():
    honest, biased = watched(FakeFaults()), watched(FakeFaults(bias_w=40.0))
    assert [b.power_w - h.power_w for h, b in zip(honest, biased, strict=True)] == pytest.approx([40.0] * len(honest))
    assert biased[-1].power_average_w - honest[-1].power_average_w == pytest.approx(40.0)
    assert biased[-1].energy_j == honest[-1].energy_j


def test_not_supported_from_some_moment_on():
    points = watched(FakeFaults(not_supported_s=5.0))
    before, after = points[90], points[-1]
    assert None not in (before.power_w, before.power_average_w, before.energy_j)
    assert after.power_w is after.power_average_w is after.energy_j is None
    assert after.temperature_degc is not None


def test_a_stuck_counter_stays_where_it_was():
    joules = [p.energy_j for p in watched(FakeFaults(stuck_energy_s=2.0), seconds=5)]
    assert joules == sorted(joules), "it froze, it did not jump back"
    assert len(set(joules[41:])) == 1
    assert joules[-1] > 0


def test_a_part_time_sensor_does_not_see_a_load_in_step_with_it():
    """All or nothing ten times a second: at full power half of the time, never in the 25 ms before a tick."""
    points = watched(FakeFaults(part_time=True, square_hz=10.0))
    true_w = (points[-1].energy_j - points[0].energy_j) / 12.0
    assert true_w == pytest.approx(700 * (1 + 0.12) / 2, rel=0.01)
    assert {round(p.power_w) for p in points[10:]} == {84}, "the idle half alone"
    honest = watched(FakeFaults(square_hz=10.0), hz=400, seconds=2)
    assert integral(honest) == pytest.approx(honest[-1].energy_j, rel=0.03)


def test_a_part_time_sensor_averages_a_load_out_of_step():
    points = watched(FakeFaults(part_time=True, square_hz=1.7), seconds=60)
    joules = points[-1].energy_j - points[0].energy_j
    assert integral(points) == pytest.approx(joules, rel=0.05)
    card = next(c for c in fake(faults=FakeFaults(part_time=True)).sensors() if c.key == "gpu0.instant")
    assert (card.window_s, card.update_s, card.coverage) == pytest.approx((0.025, 0.1, 0.25))


def test_a_long_gap_costs_no_time():
    observer = fake()
    observer.read(0)
    assert observer.read(10**7 * SECOND).energy_j > 0
