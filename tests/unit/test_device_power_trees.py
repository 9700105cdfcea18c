"""RAPL and the ACPI meters from recorded trees: sums over sockets are whole or absent, and nothing is counted twice."""

import os
import shutil

import device_trees as trees
import pytest

from effbench.device import cpu_power
from effbench.device.cpu_telemetry import CpuObserver

SECOND = 10**9
ZONES = "sys/class/powercap/intel-rapl"
STAT = "cpu  0 0 0 900 0 0 0 0 0 0\n" + "\n".join(f"cpu{n} 0 0 0 900 7 0 0 0 0 0" for n in range(16)) + "\nintr 1"
NAMES = ["cpu.package", "cpu.dram", "cpu.hwmon", "cpu.module"]


def zone(number, name, uj, range_uj=65_532_610_987):
    folder = f"{ZONES}:{number}"
    return {f"{folder}/name": name, f"{folder}/energy_uj": str(uj), f"{folder}/max_energy_range_uj": str(range_uj)}


def xeon(root):
    return trees.put(trees.xeon_two_sockets(root), {"proc/stat": STAT, "proc/pressure/cpu": "some total=0"})


def observed(root):
    """Two readings a second apart, and the cards by name; each card has a reading, or a reason and a remedy."""
    observer = CpuObserver([], root)
    first, second = observer.read(observer._last_ns), observer.read(observer._last_ns + SECOND)
    cards = observer.sensors()
    observer.close()
    assert [card.key for card in cards] == NAMES
    for card in cards:
        value = getattr(second, card.reading, None) or second.sensors.get(card.reading)
        assert (value is None) == bool(card.absent) == bool(card.remedy), card
    return first, second, {card.key.partition(".")[2]: card for card in cards}


def test_packages_are_summed_and_their_parts_are_not(tmp_path):
    root = trees.put(
        xeon(tmp_path),
        zone("0:0", "core", 7_000_000)
        | zone("0:1", "uncore", 9_000_000)
        | zone("2", "psys", 90_000_000)
        | {"sys/class/powercap/intel-rapl-mmio:0/name": "package-0"}
        | {"sys/class/powercap/intel-rapl-mmio:0/energy_uj": "1000000"}
        | {"sys/class/powercap/intel-rapl-mmio:0/max_energy_range_uj": "262143328850"},
    )
    first, _, cards = observed(root)
    assert first.energy_j == pytest.approx(2.0)
    package = cards["package"]
    assert (package.kind, package.scope, package.unit, package.update_s) == ("counter", "package", "J", 0.001)
    assert "seconds" in package.basis_source
    assert cards["dram"].absent.startswith("no DRAM zone")
    assert "CPU Power" in cards["hwmon"].absent
    assert "meter" in cards["hwmon"].remedy


def test_dram_is_beside_the_package_and_wraps_on_its_own(tmp_path):
    root = trees.put(xeon(tmp_path), zone("0:1", "dram", 65_532_000_000) | zone("1:1", "dram", 3_000_000))
    observer = CpuObserver([], root)
    start = observer._last_ns
    first = observer.read(start)
    trees.put(root, zone("0:1", "dram", 389_013))
    second = observer.read(start + SECOND)
    assert first.sensors["dram_energy_j"] == pytest.approx(65_532 + 3)
    assert second.sensors["dram_energy_j"] - first.sensors["dram_energy_j"] == pytest.approx(1.0)
    assert second.energy_j == first.energy_j == pytest.approx(2.0)
    assert not next(card for card in observer.sensors() if card.key == "cpu.dram").absent
    observer.close()


def test_memory_of_one_socket_is_no_sum(tmp_path):
    _, second, cards = observed(trees.put(xeon(tmp_path), zone("0:1", "dram", 1_000_000)))
    assert "1 of 2" in cards["dram"].absent
    assert second.sensors == {}


def test_dies_are_summed(tmp_path):
    root = xeon(tmp_path)
    shutil.rmtree(root / "sys/class/powercap")
    names = {"0": "package-0-die-0", "1": "package-0-die-1", "2": "package-1-die-0", "3": "package-1-die-1"}
    for number, name in names.items():
        trees.put(root, zone(number, name, 1_000_000) | zone(f"{number}:0", "dram", 500_000))
    first, _, _ = observed(root)
    assert first.energy_j == pytest.approx(4.0)
    assert first.sensors["dram_energy_j"] == pytest.approx(2.0)


def test_dies_under_a_package_that_has_its_own_zone_are_not_counted_twice(tmp_path):
    dies = zone("2", "package-0-die-0", 400_000) | zone("2:0", "dram", 100_000) | zone("3", "package-1-die-0", 400_000)
    first, _, cards = observed(trees.put(xeon(tmp_path), dies))
    assert first.energy_j == pytest.approx(2.0)
    assert "no DRAM zone" in cards["dram"].absent


def test_a_socket_without_a_zone_leaves_no_figure(tmp_path):
    root = xeon(tmp_path)
    shutil.rmtree(root / f"{ZONES}:1")
    first, second, cards = observed(root)
    assert first.energy_j is second.energy_j is None
    assert second.power_w is None
    assert "1 of 2 sockets" in cards["package"].absent


@pytest.mark.parametrize(
    ("file", "text", "phrase"),
    [
        ("max_energy_range_uj", "0", "where the counter wraps"),
        ("max_energy_range_uj", "many", "where the counter wraps"),
        ("energy_uj", "<none>", "does not answer with a number"),
    ],
)
def test_one_unusable_zone_leaves_no_figure(tmp_path, file, text, phrase):
    first, _, cards = observed(trees.put(xeon(tmp_path), {f"{ZONES}:1/{file}": text}))
    assert first.energy_j is None
    assert phrase in cards["package"].absent


def test_a_zone_that_stops_answering_ends_the_sum(tmp_path):
    root = xeon(tmp_path)
    observer = CpuObserver([], root)
    assert observer.read(observer._last_ns).energy_j == pytest.approx(2.0)
    trees.put(root, {f"{ZONES}:1/energy_uj": ""})
    later = observer.read(observer._last_ns + SECOND)
    assert later.energy_j is None
    assert later.power_w is None
    assert not observer.sensors()[0].absent, "it answered once: that it stopped shows in the readings"
    observer.close()


def test_a_counter_set_back_is_no_wrap(tmp_path):
    root = xeon(tmp_path)
    observer = CpuObserver([], root)
    start = observer._last_ns
    observer.read(start)
    trees.put(root, {f"{ZONES}:0/energy_uj": "5"})
    assert observer.read(start + SECOND).energy_j < 2.0, "visible as a step back, not as 262 kJ"
    assert observer.counters()["rapl_wraps"] == 0
    observer.close()


def test_energy_is_read_at_every_reading_when_that_is_cheap(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_power.PowerFiles, "energy_cost_s", lambda self: 1e-5)
    observer = CpuObserver([], xeon(tmp_path))
    start = observer._last_ns
    assert all(observer.read(start + n * SECOND // 20).energy_j is not None for n in range(4))
    observer.close()
    monkeypatch.setattr(cpu_power.PowerFiles, "energy_cost_s", lambda self: 1e-3)
    observer = CpuObserver([], xeon(tmp_path))
    seen = [observer.read(start + n * SECOND // 20).energy_j is not None for n in range(12)]
    assert seen == [True, *[False] * 9, True, False]
    observer.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_root_only_energy_names_the_way_out(tmp_path):
    root = xeon(tmp_path)
    (root / f"{ZONES}:1/energy_uj").chmod(0)
    _, _, cards = observed(root)
    assert "root only" in cards["package"].absent
    assert "CVE-2020-8694" in cards["package"].remedy


def test_a_refusal_names_the_way_out_for_root_too(tmp_path, monkeypatch):
    def refuse(path, size=4096):
        return f"{path} may be read by root only"

    monkeypatch.setattr(cpu_power, "opened", refuse)
    found = cpu_power.find(xeon(tmp_path), False, "x86_64")
    package, dram, *_ = found.cards()
    assert "root only" in package.absent
    assert "chmod a+r" in package.remedy
    assert "CVE-2020-8694" in package.remedy
    assert dram.absent


def test_a_virtual_machine_has_no_rapl_even_where_zones_show(tmp_path):
    root = trees.put(trees.zen4_vm(tmp_path), zone("0", "package-0", 1_000_000) | {"proc/stat": STAT})
    _, second, cards = observed(root)
    assert second.energy_j is second.power_w is None
    for name in ("package", "dram"):
        assert "virtual machine" in cards[name].absent
        assert "effbench meter" in cards[name].remedy


def test_a_bare_machine_without_zones_is_told_of_the_driver(tmp_path):
    root = xeon(tmp_path)
    shutil.rmtree(root / "sys/class/powercap")
    _, _, cards = observed(root)
    assert "no RAPL package zone" in cards["package"].absent
    assert "intel_rapl_msr" in cards["package"].remedy


def grace(root):
    return trees.put(trees.grace(root), {"proc/stat": STAT})


def test_grace_has_a_socket_meter_and_a_module_meter_and_never_their_sum(tmp_path):
    interval = {"sys/class/hwmon/hwmon1/device/power1_average_interval": "50"}
    _, second, cards = observed(trees.put(grace(tmp_path), interval))
    assert second.power_w == pytest.approx(61.0)
    assert second.sensors == {"cpu_power_w": pytest.approx(61.0), "module_power_w": pytest.approx(90.0)}
    assert (cards["hwmon"].window_s, cards["hwmon"].update_s, cards["hwmon"].basis) == (0.05, 0.05, "published")
    assert cards["module"].scope == "module"
    assert cards["module"].window_s is None, "its firmware does not say"
    assert "no RAPL" in cards["package"].absent


def test_meters_of_two_sockets_are_summed_and_half_of_them_is_nothing(tmp_path):
    second_socket = {
        "sys/class/hwmon/hwmon2/device/power1_average": "59000000",
        "sys/class/hwmon/hwmon2/device/power1_oem_info": "CPU Power Socket 1",
        "sys/class/hwmon/hwmon3/device/power1_average": "59000000",
        "sys/class/hwmon/hwmon3/device/power1_oem_info": "CPU Power Socket 1",
    }
    root = trees.put(grace(tmp_path), second_socket)
    _, second, _ = observed(root)
    assert second.power_w == pytest.approx(120.0), "the same label twice is the same socket"
    trees.put(root, {"sys/class/hwmon/hwmon2/device/power1_average": "<none>"})
    _, second, cards = observed(root)
    assert second.power_w is None
    assert "gives no number" in cards["hwmon"].absent


def test_a_meter_that_says_zero_says_nothing(tmp_path):
    root = grace(tmp_path)
    observer = CpuObserver([], root)
    trees.put(root, {"sys/class/hwmon/hwmon1/device/power1_average": "0"})
    reading = observer.read(observer._last_ns + SECOND)
    assert reading.power_w is None
    assert "cpu_power_w" not in reading.sensors
    observer.close()
