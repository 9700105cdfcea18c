"""`effbench selftest power`, and the faster readings that it asks for."""

import time

import msgspec
import pytest

from effbench import api
from effbench.cli import selftest_power
from effbench.device import sampler
from effbench.energy.characterise import characterise
from effbench.model.event import Telemetry
from effbench.model.suite import Procedure
from effbench.run.watch import Watch
from tests.unit.command_line import call
from tests.unit.wave_sensors import card, in_ns, telemetry, wave


def test_without_a_sensor_there_is_a_reason_a_remedy_and_exit_3(monkeypatch):
    monkeypatch.setattr(selftest_power, "_cards", lambda todo, site: [])
    monkeypatch.setattr(selftest_power, "_measured", None)  # the load is not even started
    done = call("selftest", "power", "--device", "cpu", "--json")
    assert done.code == 3 and done.document["ok"] is False
    (row,) = done.document["sensors"]
    assert row["sensor"] == "cpu.power" and row["reason"] and "effbench" in row["remedy"]
    assert "measured" not in row and "published" not in row and "least_window_s" not in row
    plain = call("selftest", "power", "--device", "cpu")
    assert plain.code == 3 and "reason" in plain.out and "remedy" in plain.out and "No figure of power" in plain.out


def test_an_absent_sensor_says_its_own_reason(monkeypatch):
    gone = card(key="cpu.package", device="cpu", absent="energy_uj is readable by root only", remedy="chmod it")
    monkeypatch.setattr(selftest_power, "_cards", lambda todo, site: [gone])
    done = call("selftest", "power", "--device", "cpu", "--json")
    assert done.code == 3
    assert done.document["sensors"] == [
        {"sensor": "cpu.package", "kind": "instant", "reason": gone.absent, "remedy": gone.remedy}
    ]


def under_load(monkeypatch, *found, trouble=()):
    monkeypatch.setattr(selftest_power, "_cards", lambda todo, site: [one.published for one in found])
    monkeypatch.setattr(selftest_power, "_measured", lambda todo, site: (list(found), list(trouble)))


def characterised(**more):
    edges = wave(0)
    published = card(device="cpu", key="cpu.instant", window_s=0.1, update_s=0.1, coverage=1.0, uncertainty=0.05)
    lines = telemetry(edges, hz=97, **{"window_s": 0.025, "update_s": 0.1, **more})
    lines = [msgspec.structs.replace(one, device="cpu") for one in lines]
    return characterise(in_ns(edges), lines, published)


def test_published_and_measured_stand_side_by_side_with_what_follows(monkeypatch):
    under_load(monkeypatch, characterised())
    done = call("selftest", "power", "--device", "cpu", "--json")
    assert done.code == 0, done.said
    (row,) = done.document["sensors"]
    assert row["published"] == {"update_s": 0.1, "window_s": 0.1, "coverage": 1.0}
    assert row["measured"]["window_s"] == pytest.approx(0.025, abs=0.003)
    assert row["measured"]["coverage"] == pytest.approx(0.25, abs=0.03)
    assert row["least_window_s"] == pytest.approx(10.0, rel=0.01)
    assert row["error_at_10_s"] == pytest.approx((0.05**2 + 0.02**2) ** 0.5, rel=0.01)
    assert row["error_at_60_s"] < row["error_at_10_s"]
    assert any("published for its class" in note for note in done.document["notes"])
    plain = call("selftest", "power", "--device", "cpu").out
    for words in ("published  update 100 ms", "measured   update 100 ms", "sees 25% of the time", "at least 10"):
        assert words in plain


def test_a_sensor_that_does_not_follow_the_load_is_exit_3(monkeypatch):
    flat = characterised(rise_w=0.0)
    under_load(monkeypatch, flat)
    done = call("selftest", "power", "--device", "cpu", "--json")
    assert done.code == 3 and "no load change visible" in done.document["sensors"][0]["reason"]
    assert "measured" not in done.document["sensors"][0]
    under_load(monkeypatch, characterised(), flat)
    assert call("selftest", "power", "--device", "cpu").code == 3
    under_load(monkeypatch, characterised(), trouble=["square-wave: no round was completed"])
    assert call("selftest", "power", "--device", "cpu").code == 3


def test_wrong_words_are_exit_2():
    assert call("selftest", "speed").code == 2
    assert call("selftest", "power", "--device", "gpu7").code == 2
    assert call("selftest", "power", "--suite", "no/such").code == 2


def test_a_parent_may_ask_for_another_rate_and_for_the_ordinary_one():
    site = api.look({}, "nvidia-h200-sxm")
    watch = Watch(site.inventory.accelerators, {})

    def rate():
        watch.collect()
        time.sleep(0.6)
        lines = watch.collect()
        return len(lines) / 0.6

    try:
        watch.rate(5)
        time.sleep(0.3)
        assert rate() < 15
        watch.rate(None)
        time.sleep(0.3)
        assert rate() > 20
    finally:
        watch.stop()


def test_a_rate_out_of_bounds_is_brought_into_them():
    one = sampler.Sampler({}, {}, lambda data: None)
    for asked, kept in ((1000.0, 100.0), (0.01, 0.1), (50.0, 50.0), (0.0, None)):
        assert one.obey(sampler.Control(hz=asked)) and one.hz == kept
    with pytest.raises(ValueError, match="telemetry_hz"):
        Procedure(telemetry_hz=200)


def test_telemetry_lines_are_what_the_wave_bench_makes():
    """The bench's own sensors: a quarter of the time is seen, and the mean power is right all the same."""
    lines = telemetry(wave(0), window_s=0.025, update_s=0.1, hz=97)
    assert all(isinstance(one, Telemetry) for one in lines)
    mean = sum(one.power_w for one in lines) / len(lines)
    assert 300 < mean < 480
