"""Cards and readings of a GPU's power sensors by scope, generation and mode, against the scripted NVML library."""

import pytest
from nvml.scripted import DRIVER, NEEDS_GCC, build, h200, has_gcc, play

pytestmark = pytest.mark.skipif(not has_gcc(), reason=NEEDS_GCC)
pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")

CARDS = "device = nvml.observe()[0]\nreading = device.read(1)\nshow(reading)\nshow(device.sensors())"
NAMES = ["gpu0.counter", "gpu0.instant", "gpu0.average", "gpu0.hbm", "gpu0.module"]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml-sensors"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml-sensors-old"), old_driver=True)


def look(library, folder, *lines, code=CARDS):
    reading, cards = play(library, folder, [*DRIVER, *h200(), *lines], code)
    assert [card["key"] for card in cards] == NAMES
    for card in cards:  # a card has a reading, or a reason and a remedy, and never both
        value = reading.get(card["reading"], reading.get("sensors", {}).get(card["reading"]))
        assert (value is None) == bool(card.get("absent")), card
        assert bool(card.get("absent")) == bool(card.get("remedy")), card
    return reading, {card["key"].partition(".")[2]: card for card in cards}


def test_cards_of_an_h200(library, tmp_path):
    _, cards = look(library, tmp_path)
    counter, instant, average, hbm, module = cards.values()
    assert (counter["source"], counter["unit"]) == ("nvmlDeviceGetTotalEnergyConsumption", "J")
    assert counter["update_s"] == 0.1
    assert "coverage" not in counter, "nobody has said what the counter sees"
    assert (instant["source"], instant["window_s"], instant["coverage"]) == ("nvml field 186", 0.025, 0.25)
    assert (average["source"], average["window_s"], average["coverage"]) == ("nvml field 185", 1.0, 1.0)
    assert "unverified" in instant["uncertainty_source"]
    assert (hbm["source"], hbm["scope"]) == ("nvml field 185 scope memory", "hbm")
    assert not {"basis", "uncertainty"} & hbm.keys(), "assumed, and its error was never published"
    assert module["scope"] == "module"
    assert "not supported" in module["absent"]


def test_cards_before_the_first_reading_are_the_same(library, tmp_path):
    code = "device = nvml.observe()[0]\nshow(device.sensors())\ndevice.read(1)\nshow(device.sensors())"
    before, after = play(library, tmp_path, [*DRIVER, *h200()], code)
    assert before == after


def test_the_module_of_a_grace_hopper_stands_beside_the_gpu(library, tmp_path):
    reading, cards = look(library, tmp_path, "gpu 0 field 186/1 uint 620000")
    assert reading["power_w"] == 412.0
    assert reading["sensors"]["module_power_w"] == 620.0
    assert "absent" not in cards["module"]


@pytest.mark.parametrize(("scope", "name"), [("185/2", "hbm"), ("186/1", "module")])
def test_zero_watts_of_a_scope_mean_no_sensor(library, tmp_path, scope, name):
    reading, cards = look(library, tmp_path, f"gpu 0 field {scope} uint 0")
    assert "0 W" in cards[name]["absent"]
    assert "counters" not in reading, "a sensor that is not there is no fault of the reading"


@pytest.mark.parametrize(("scope", "watts", "name"), [("185/2", 405000, "hbm"), ("186/1", 412000, "module")])
def test_a_driver_that_ignores_the_scope_is_found_out(library, tmp_path, scope, watts, name):
    _, cards = look(library, tmp_path, f"gpu 0 field {scope} uint {watts}")
    assert "ignores the scope" in cards[name]["absent"]


def test_a_binding_without_scopes_is_not_asked_for_them(library, tmp_path):
    code = "import pynvml\ndel pynvml.NVML_POWER_SCOPE_MEMORY\n" + CARDS
    reading, cards = look(library, tmp_path, code=code)
    assert "hbm_power_w" not in reading["sensors"]
    assert "does not know the scope" in cards["hbm"]["absent"]


def test_an_a100_has_no_average_and_sees_a_quarter(library, tmp_path):
    _, cards = look(
        library, tmp_path, "gpu 0 capability 8.0", "gpu 0 field 185 returns 3", "gpu 0 field 185/2 returns 3"
    )
    assert (cards["instant"]["coverage"], cards["instant"]["uncertainty"]) == (0.25, 0.06)
    assert "not supported" in cards["average"]["absent"]


@pytest.mark.parametrize(
    ("capability", "kind", "window_s"), [("9.0", "average", 1.0), ("8.6", "average", 1.0), ("8.0", "instant", 0.025)]
)
def test_power_usage_says_what_it_is(old_library, tmp_path, capability, kind, window_s):
    lines = ["gpu 0 field 186 returns 2", "gpu 0 field 185 returns 2", "gpu 0 field 185/2 returns 2"]
    reading, cards = look(old_library, tmp_path, *lines, f"gpu 0 capability {capability}")
    assert reading["power_w"] == 412.0
    instant = cards["instant"]
    assert (instant["source"], instant["kind"], instant["window_s"]) == ("nvmlDeviceGetPowerUsage", kind, window_s)


def test_the_counter_by_field(library, tmp_path):
    lines = ["call nvmlDeviceGetTotalEnergyConsumption returns 3", "gpu 0 field 83 ull @energy"]
    reading, cards = look(library, tmp_path, *lines)
    assert reading["energy_j"] == 5000.0
    assert cards["counter"]["source"] == "nvml field 83"


def test_a_gpu_of_unknown_generation_has_no_figures_on_its_cards(library, tmp_path):
    _, cards = look(library, tmp_path, "call nvmlDeviceGetCudaComputeCapability returns 3")
    assert "window_s" not in cards["instant"]
    assert "uncertainty" not in cards["counter"]
    assert "no class" in cards["instant"]["basis_source"]


def test_zero_milliwatts_for_ever_are_no_sensor(library, tmp_path):
    _, cards = look(library, tmp_path, "gpu 0 power_mw 0")
    assert "0 W every time" in cards["instant"]["absent"]
    assert "meter" in cards["instant"]["remedy"]


NOTHING = [f"gpu 0 field {field} returns 3" for field in ("186", "185", "185/2", "83")]
NOTHING += [f"call nvmlDevice{call} returns 3" for call in ("GetPowerUsage", "GetTotalEnergyConsumption")]


def test_a_gpu_without_power_sensors_has_reasons_and_remedies_only(library, tmp_path):
    reading, cards = look(library, tmp_path, *NOTHING)
    assert all(card["absent"] for card in cards.values())
    assert reading["sensors"] == {"power_limit_w": 700.0}
    assert "meter" in cards["counter"]["remedy"]


def test_no_permission_has_its_own_remedy(library, tmp_path):
    lines = [line.replace("returns 3", "returns 4") for line in NOTHING]
    _, cards = look(library, tmp_path, *lines)
    assert "not permitted" in cards["counter"]["absent"]
    assert "NVIDIA_DRIVER_CAPABILITIES" in cards["counter"]["remedy"]


def test_wsl_is_named(library, tmp_path):
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("5.15.153.1-microsoft-standard-WSL2\n")
    code = f"from pathlib import Path\ndevice = nvml.observe(Path({str(tmp_path)!r}))[0]\n"
    _, cards = look(library, tmp_path, *NOTHING, code=code + CARDS.partition("\n")[2])
    assert "WSL2" in cards["counter"]["remedy"]


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("gpu 0 mig 1", "MIG: power exists for the whole GPU only"),
        ("gpu 0 virtualization 2", "virtual GPU"),
        ("at 1 gpu 0 lost yes", "fell off the bus"),
    ],
)
def test_power_that_is_not_this_devices_alone_has_no_card(library, tmp_path, line, phrase):
    code = "device = nvml.observe()[0]\ndevice.read(1)\nat(2)\nshow(device.sensors())"
    (cards,) = play(library, tmp_path, [*DRIVER, *h200(), line], code)
    assert [card["key"] for card in cards] == NAMES
    assert all(phrase in card["absent"] and card["remedy"] for card in cards)


def test_a_sensor_that_stops_keeps_its_card_and_has_no_reading(library, tmp_path):
    stop = [f"at 1 {line}" for line in NOTHING]
    code = "device = nvml.observe()[0]\nshow(device.read(0))\nat(2)\nshow(device.read(2))\nshow(device.sensors())"
    first, later, cards = play(library, tmp_path, [*DRIVER, *h200(), *stop], code)
    assert first["power_w"] == 412.0
    assert not {"power_w", "power_average_w", "energy_j"} & later.keys()
    assert "absent" not in cards[0]
    assert "absent" not in cards[1]


def test_a_limit_changed_in_mid_run_is_seen_within_a_second(library, tmp_path):
    code = """
device = nvml.observe()[0]
for t in (0, 0.5, 1, 2): at(t); show(device.read(int(t * 10**9)).sensors.get("power_limit_w"))
"""
    assert play(library, tmp_path, [*DRIVER, *h200(), "at 1 gpu 0 limit_mw 350000"], code) == [700, None, 350, 350]


def test_times_held_are_dropped_when_they_cannot_be_times(library, tmp_path):
    lines = [f"gpu 0 field {field} ull 1000000" for field in range(74, 82)]
    lines += ["at 1 gpu 0 field 74 ull 1500000", "at 1 gpu 0 field 75 ull 0", "at 1 gpu 0 field 77 ull 900000000000"]
    code = "device = nvml.observe()[0]\nshow(device.counters())\nat(2)\nshow(device.counters())\nshow(device.absent())"
    before, after, absent = play(library, tmp_path, [*DRIVER, *h200(), *lines], code)
    held = {name for name in before if name.startswith("held_")}
    assert len(held) == 8
    assert before["held_below_base_clocks_s"] == pytest.approx(1e-3)
    assert held - after.keys() == {"held_thermal_s", "held_board_limit_s"}
    assert after["held_power_s"] == pytest.approx(1.5e-3)
    assert "ran backwards" in absent["held_thermal_s"]
    assert "faster than wall time" in absent["held_board_limit_s"]
    assert "documented nowhere" in absent["held_board_limit_s"]
