"""What the doctor says of power sensors: which answer, why the others do not, and what to do, each once."""

from effbench.device import cards
from effbench.model.inventory import Accelerator, Inventory
from effbench.run.doctor import examine, power_kept_from
from effbench.run.watch import Watched

CPU = Accelerator("cpu", "cpu", "amd", "a CPU", "cpu", 1, 0)


def test_absent_power_sensors_are_told_once_per_reason_with_what_to_do() -> None:
    package, dram, hwmon, module = cards.blank("cpu")
    sensors = [cards.missing(package, "root only", "run as root"), cards.missing(dram, "root only", "run as root")]
    sensors += [cards.missing(hwmon, "no meter", ""), module]
    absent = {"cpu": {"energy_j": "root only", "power_w": "root only", "temperature_degc": "no hwmon"}}
    texts = [
        f.message for f in examine(Inventory("n", [CPU]), Watched([], absent, sensors)) if f.code == "sensor-absent"
    ]
    assert sorted(texts) == [
        "cpu.hwmon cannot be read: no meter",
        "cpu.package, cpu.dram cannot be read: root only. To do: run as root",
        "temperature_degc cannot be read: no hwmon",
    ]


def test_without_cards_what_cannot_be_read_is_still_told() -> None:
    found = examine(Inventory("n", [CPU]), Watched([], {"cpu": {"energy_j": "root only"}}, []))
    assert [f.message for f in found if f.code == "sensor-absent"] == ["energy_j cannot be read: root only"]


def test_a_power_cap_is_named_before_anything_runs() -> None:
    gpu = Accelerator("gpu0", "gpu", "nvidia", "H200", "cuda:0", 1, 0, power_limit_w=500.0, power_limit_default_w=700.0)
    (found,) = power_kept_from(gpu)
    assert found.code == "power-limit-low" and "500 W, 200 W below" in found.message
    assert list(power_kept_from(CPU)) == []
