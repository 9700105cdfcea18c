"""The NVML device through NVIDIA's own binding, against a scripted libnvidia-ml.so.1 compiled here."""

import subprocess
import sys
import time

import pytest
from nvml.scripted import DRIVER, NEEDS_GCC, build, environment, h200, has_gcc, play, start

pytestmark = pytest.mark.skipif(not has_gcc(), reason=NEEDS_GCC)
pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")

READ = "device = nvml.observe()[0]\nshow(device.read(1))\nshow(device.absent())\nshow(device.counters())"
REFUSAL = """
try:
    nvml.observe()
except nvml.NvmlUnavailableError as error:
    show([error.cause, str(error), error.exit_code])
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml-old"), old_driver=True)


def test_a_healthy_gpu_is_described_whole(library, tmp_path):
    code = "device = nvml.observe()[0]\nshow(device.accelerator())\nshow(device.notes())\nshow(nvml.driver_facts())"
    accelerator, notes, facts = play(library, tmp_path, DRIVER + h200(), code)
    health = accelerator.pop("health")
    assert accelerator == {
        "key": "gpu0",
        "kind": "gpu",
        "vendor": "nvidia",
        "name": "NVIDIA H200",
        "torch_device": "cuda:0",
        "memory_bytes": 150754820096,
        "llc_bytes": 0,
        "uuid": "GPU-00000000-0000-0000-0000-000000000000",
        "pci_bus_id": "0000:1a:00.0",
        "compute_capability": "9.0",
        "clock_max_hz": 1.98e9,
        "memory_clock_max_hz": 3.201e9,
        "power_limit_w": 700.0,
        "power_limit_default_w": 700.0,
        "ecc": True,
        "mig": False,
        "persistence": True,
        "vbios": "96.00.BC.00.01",
        "serial": "165000000000",
        "pcie": {"generation": 5, "width": 16, "generation_max": 5, "width_max": 16},
    }
    assert health["ecc_uncorrected"] == 0
    assert health["ecc_corrected_aggregate"] == 9
    assert health["device_lost"] == 0
    assert notes == []
    assert (facts["driver"], facts["cuda"], facts["nvml"]) == ("580.65.06", "13.0", "13.580.65")


JOINED = """
for one in nvml.observe():
    gpu = one.accelerator()
    show([gpu.nvlink, gpu.hops, one.absent(), one.counters()["bad_calls"]])
"""


def test_links_to_a_switch_and_to_a_neighbour_are_told_apart(library, tmp_path):
    lines = DRIVER + h200() + h200(1, "00000000:1B:00.0") + h200(2, "00000000:9A:00.0")
    lines += [f"gpu 0 nvlink_{link} up switch" for link in range(3)] + ["gpu 0 nvlink_5 down", "gpu 0 nvlink_version 7"]
    lines += ["gpu 1 nvlink_0 up 00000000:9A:00.0", "gpu 1 nvlink_1 up 00000000:9A:00.0", "gpu 1 nvlink_2 up"]
    lines += ["gpu 0 hop_1 10", "gpu 0 hop_2 50", "gpu 1 hop_0 10", "gpu 1 hop_2 7"]
    first, second, third = play(library, tmp_path, lines, JOINED)
    assert first[0] == {"links": 4, "active": 3, "switched": 3, "version": 7}
    assert first[1] == {"gpu1": "single", "gpu2": "system"}
    # where the third link ends is hidden, and a level that nvml.h does not know is no level
    assert second[0] == {"links": 3, "active": 3, "peers": {"0000:9a:00.0": 2}}
    assert second[1] == {"gpu0": "single"} and "hops" not in second[2]
    assert third[:2] == [None, {}] and "not supported" in third[2]["nvlink"] and "not supported" in third[2]["hops"]
    assert [one[3] for one in (first, second, third)] == [0, 0, 0]


def test_a_driver_without_links_or_a_lost_gpu_has_none(library, tmp_path):
    lines = DRIVER + h200() + h200(1, "00000000:1B:00.0")
    lines += ["gpu 0 nvlink_0 up switch", "gpu 0 hop_1 10", "call nvmlDeviceGetNvLinkState returns 13"]
    (links, hops, absent, _), _ = play(library, tmp_path, lines, JOINED)
    assert links is None and hops == {"gpu1": "single"} and "older than this call" in absent["nvlink"]
    lines[-1] = "call nvmlDeviceGetNvLinkState returns 15"
    (links, hops, absent, _), _ = play(library, tmp_path, lines, JOINED)
    assert links is None and hops == {} and "fell off the bus" in absent["device"]


def test_one_reading_in_si_units(library, tmp_path):
    reading, absent, counters = play(library, tmp_path, DRIVER + h200(), READ)
    assert reading == {
        "type": "telemetry",
        "t_ns": 1,
        "device": "gpu0",
        "power_w": 412.0,
        "power_average_w": 405.0,
        "clock_hz": 1.755e9,
        "memory_clock_hz": 3.201e9,
        "temperature_degc": 47.0,
        "memory_temperature_degc": 52.0,
        "reasons": 4,
        "utilisation": 0.98,
        "energy_j": 5000.0,
        "sensors": {"hbm_power_w": 61.0, "power_limit_w": 700.0},
    }
    held = {"sync_boost", "board_limit", "low_utilisation", "reliability", "below_app_clocks", "below_base_clocks"}
    assert absent.keys() == {"retired_pages", "retired_pending", *(f"held_{cause}_s" for cause in held)}
    assert counters["held_power_s"] == 0.005
    assert counters["held_thermal_s"] == 0.007
    assert counters["pcie_replay"] == 3
    assert "retired_pages" not in counters


def test_what_is_not_supported_is_absent_with_its_reason(library, tmp_path):
    bare = [
        'gpu 0 name "GRID H200-141C"',
        "gpu 0 uuid GPU-1",
        "gpu 0 bus_id 00000000:02:00.0",
        "gpu 0 virtualization 2",
    ]
    code = READ + "\nshow(device.accelerator())\nshow(device.notes())\nshow(device.absent())"
    reading, _, counters, accelerator, notes, absent = play(library, tmp_path, DRIVER + bare, code)
    assert reading == {"type": "telemetry", "t_ns": 1, "device": "gpu0"}
    assert counters == {"device_lost": 0.0, "xid_watch": 1.0, "readings": 1.0, "bad_calls": 0.0, "power_zero": 0.0}
    assert accelerator["name"] == "GRID H200-141C"
    assert not {"ecc", "mig", "persistence", "power_limit_w", "pcie", "clock_max_hz"} & accelerator.keys()
    assert ["virtual GPU" in note for note in notes] == [True]
    for quantity in ("power_w", "power_instant_w", "energy_j", "clock_hz", "temperature_degc", "reasons", "ecc", "mig"):
        assert "not supported" in absent[quantity]


def test_a_call_that_is_not_permitted_says_so(library, tmp_path):
    lines = [*DRIVER, *h200(), "call nvmlDeviceGetTotalEccErrors returns 4", "call nvmlDeviceRegisterEvents returns 4"]
    _, absent, counters = play(library, tmp_path, lines, READ + "\n")
    assert "xid" in absent
    assert "not permitted" in absent["xid"]
    assert "ecc_uncorrected" not in counters
    assert counters["pcie_replay"] == 3


def test_a_quantity_that_never_answers_is_left_alone(library, tmp_path):
    lines = [*DRIVER, *h200(), "call nvmlDeviceGetClockInfo returns 3", "at 5 call nvmlDeviceGetClockInfo ok"]
    code = """
device = nvml.observe()[0]
for t in range(4): device.read(t)
at(6)
show(device.read(6)); show(device.absent()); show(device.counters())
"""
    reading, absent, counters = play(library, tmp_path, lines, code)
    assert "clock_hz" not in reading
    assert "not supported" in absent["clock_hz"]
    assert counters["bad_calls"] == 0


def test_a_refusal_now_and_then_is_counted_and_not_replaced(library, tmp_path):
    lines = [
        *DRIVER,
        *h200(),
        "at 1 call nvmlDeviceGetTotalEnergyConsumption returns 3",
        "at 1 gpu 0 field 186 returns 3",
        "at 1 call nvmlDeviceGetTemperatureV returns 999",
        "at 2 call nvmlDeviceGetTotalEnergyConsumption ok",
        "at 2 gpu 0 field 186 uint @power_mw",
        "at 2 call nvmlDeviceGetTemperatureV ok",
    ]
    code = """
device = nvml.observe()[0]
show(device.read(0)); at(1); show(device.read(1)); at(2); show(device.read(2)); show(device.absent())
"""
    first, second, third, absent = play(library, tmp_path, lines, code)
    assert first["power_w"] == third["power_w"] == 412.0
    assert "power_w" not in second  # GetPowerUsage would answer, with an average
    assert "energy_j" not in second
    assert "temperature_degc" not in second  # the older call would answer too, and need not mean the same
    assert second["counters"] == {"bad_calls": 3.0}
    assert "counters" not in third
    assert not {"power_w", "energy_j"} & absent.keys()


def test_a_lost_gpu_keeps_what_came_before(library, tmp_path):
    lines = [*DRIVER, *h200(0), *h200(1, "00000000:1B:00.0"), "at 3 gpu 1 xid 79", "at 3 gpu 1 lost yes"]
    code = """
well, sick = nvml.observe()
name = sick.accelerator().name
sick.read(0); at(4)
show(sick.read(4 * 10**9)); show(sick.counters()); show(sick.absent()["device"])
show(sick.accelerator()); show(sick.notes()); show(well.read(4)); sick.close(); sick.close(); show(well.read(5))
"""
    reading, counters, reason, accelerator, notes, well, later = play(library, tmp_path, lines, code)
    assert reading == {
        "type": "telemetry",
        "t_ns": 4 * 10**9,
        "device": "gpu1",
        "counters": {"device_lost": 1.0, "xid_79": 1.0},
    }
    assert counters["device_lost"] == 1
    assert counters["xid_79"] == 1
    assert "ecc_uncorrected" not in counters
    assert "fell off the bus" in reason
    assert accelerator["name"] == "NVIDIA H200"
    assert accelerator["health"]["device_lost"] == 1
    assert notes and "does not answer" in notes[0]
    assert well["power_w"] == later["power_w"] == 412.0


def test_a_gpu_lost_in_the_middle_of_a_reading_keeps_the_first_half(library, tmp_path):
    lines = [*DRIVER, *h200(), "at 1 call nvmlDeviceGetClockInfo returns 15"]
    reading = play(library, tmp_path, lines, "device = nvml.observe()[0]\nat(2)\nshow(device.read(2))")[0]
    assert reading["power_w"] == 412.0
    assert "temperature_degc" not in reading
    assert reading["counters"]["device_lost"] == 1


@pytest.mark.parametrize("line", ["gpu 0 reset_required yes", "at 1 gpu 0 reset_required yes"])
def test_a_gpu_that_needs_a_reset_is_lost_too(library, tmp_path, line):
    code = "device = nvml.observe()[0]\nat(2)\ndevice.read(2)\nshow(device.absent())\nshow(device.counters())"
    absent, counters = play(library, tmp_path, [*DRIVER, *h200(), line], code)
    assert counters["device_lost"] == 1
    assert counters["reset_required"] == 1
    assert "must be reset" in absent["device"]


def test_a_gpu_lost_before_the_start_is_listed_last(library, tmp_path):
    lines = [*DRIVER, *h200(0, "00000000:99:00.0"), *h200(1, "00000000:88:00.0"), "gpu 0 lost yes"]
    code = "show([d.accelerator() for d in nvml.observe()])"
    well, sick = play(library, tmp_path, lines, code)[0]
    assert (well["key"], well["pci_bus_id"]) == ("gpu0", "0000:88:00.0")
    assert sick["key"] == "gpu1"
    assert sick["name"] == "unidentified NVIDIA GPU"
    assert sick["health"] == {"device_lost": 1.0}


def test_keys_follow_the_pci_bus_and_not_nvmls_order(library, tmp_path):
    lines = [*DRIVER, *h200(0, "00000000:C1:00.0"), *h200(1, "00000000:1A:00.0"), "gpu 1 power_mw 100000"]
    code = "show([[d.key, d.pci_bus_id, d.uuid[-1], d.read(0).power_w] for d in nvml.observe()])"
    assert play(library, tmp_path, lines, code)[0] == [
        ["gpu0", "0000:1a:00.0", "1", 100.0],
        ["gpu1", "0000:c1:00.0", "0", 412.0],
    ]


def test_a_gpu_of_someone_else_is_named_and_left_out(library, tmp_path):
    lines = [*DRIVER, *h200(0), *h200(1, "00000000:1B:00.0"), "gpu 1 call nvmlDeviceGetHandleByIndex_v2 returns 4"]
    code = "show([d.key for d in nvml.observe()])\nshow(nvml.driver_facts().refused)"
    keys, refused = play(library, tmp_path, lines, code)
    assert keys == ["gpu0"]
    assert len(refused) == 1
    assert "not permitted" in refused[0]


@pytest.mark.parametrize(
    ("code", "cause", "phrase"),
    [
        (9, "driver-not-loaded", "modprobe nvidia"),
        (18, "version-mismatch", "reboot"),
        (4, "no-permission", "/dev/nvidiactl"),
        (999, "unknown", "nvidia-smi"),
    ],
)
def test_why_nvml_cannot_be_used(library, tmp_path, code, cause, phrase):
    lines = [*DRIVER, *h200(), f"call nvmlInitWithFlags returns {code}"]
    found, message, exit_code = play(library, tmp_path, lines, REFUSAL)[0]
    assert found == cause
    assert phrase in message
    assert "\n" not in message
    assert exit_code == 3


def test_every_gpu_out_of_reach_is_a_permission_problem(library, tmp_path):
    lines = [*DRIVER, *h200(), "call nvmlDeviceGetHandleByIndex_v2 returns 4"]
    assert play(library, tmp_path, lines, REFUSAL)[0][0] == "no-permission"


def test_no_library_is_its_own_cause(tmp_path):
    if any(play(tmp_path, tmp_path, [], "import ctypes.util\nshow(ctypes.util.find_library('nvidia-ml'))")):
        pytest.skip("this machine has a real libnvidia-ml.so.1")
    found, message, _ = play(tmp_path, tmp_path, [], REFUSAL)[0]
    assert found == "library-not-found"
    assert "libnvidia-ml.so.1" in message


def test_a_foreign_pynvml_package_is_found_out(tmp_path):
    (tmp_path / "pynvml.py").write_text("def nvmlInit(): pass\n")
    code = "import sys\nsys.path.insert(0, " + repr(str(tmp_path)) + ")" + REFUSAL
    found, message, _ = play(tmp_path, tmp_path, [], code)[0]
    assert found == "binding-shadowed"
    assert "pip uninstall pynvml" in message


def test_a_missing_binding_names_its_package(tmp_path):
    found, message, _ = play(tmp_path, tmp_path, [], "import sys\nsys.modules['pynvml'] = None" + REFUSAL)[0]
    assert found == "binding-missing"
    assert "pip install nvidia-ml-py" in message


def test_a_driver_older_than_the_binding(old_library, tmp_path):
    lines = ["clock manual", "driver 470.82.01", *h200(), "gpu 0 field 186 returns 2", "gpu 0 field 185 returns 2"]
    lines += ["gpu 0 processes 41"]
    code = READ + "\nshow(device.accelerator())\nimport pynvml"
    code += "\nshow(hasattr(pynvml, 'nvmlDeviceGetComputeRunningProcesses_v2'))"
    reading, absent, counters, accelerator, has_v2 = play(old_library, tmp_path, lines, code)
    assert reading["temperature_degc"] == 47.0  # by nvmlDeviceGetTemperature
    assert reading["reasons"] == 4  # by nvmlDeviceGetCurrentClocksThrottleReasons
    assert reading["power_w"] == 412.0  # by nvmlDeviceGetPowerUsage
    assert "1 s mean" in absent["power_instant_w"]
    assert "power_average_w" not in reading
    assert accelerator.get("other_pids") == ([41] if has_v2 else None)  # the binding's 12.535 has _v3 alone
    assert counters["bad_calls"] == 0


def test_a_function_the_driver_lacks_is_asked_once(old_library, tmp_path):
    code = """
import pynvml
device = nvml.observe()[0]
asked = []
def wrapped(handle, *rest):
    asked.append(1)
    raise pynvml.NVMLError(13)
pynvml.nvmlDeviceGetTemperatureV = wrapped
pynvml.nvmlDeviceGetTemperature = wrapped
for t in range(5): device.read(t)
show([len(asked), device.absent()["temperature_degc"]])
"""
    asked, reason = play(old_library, tmp_path, ["driver 470.82.01", *h200()], code)[0]
    assert asked == 2
    assert "older" in reason


def test_zero_watts_are_dropped_and_counted(library, tmp_path):
    lines = [*DRIVER, *h200(), "at 1 gpu 0 power_mw 0", "at 2 gpu 0 power_mw 300000"]
    code = "device = nvml.observe()[0]\nfor t in range(3):\n at(t); show(device.read(t))\nshow(device.absent())"
    first, second, third, absent = play(library, tmp_path, lines, code)
    assert first["power_w"] == 412.0
    assert "power_w" not in second
    assert second["counters"] == {"power_zero": 1.0}
    assert third["power_w"] == 300.0
    assert "power_w" not in absent


def test_a_sensor_that_only_says_zero_is_absent(library, tmp_path):
    reading, absent, _ = play(library, tmp_path, [*DRIVER, *h200(), "gpu 0 field 185 uint 0"], READ)
    assert "power_average_w" not in reading
    assert "0 W every time" in absent["power_average_w"]


ENERGY = """
from effbench.energy.integrate import amount
from effbench.energy.series import series
device = nvml.observe()[0]
card = next(one for one in device.sensors() if one.kind == "counter")
seen = []
for tenth in range(60):
    at(tenth / 10)
    seen.append(device.read(tenth * 10**8))
show(amount(series(card, seen), 0, 59 * 10**8, 0.0, 0.0))
"""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("gpu 0 energy runs", ""),
        ("gpu 0 energy stuck", "stood still"),
        ("at 2 gpu 0 energy stuck", "stood still"),
        ("at 3 gpu 0 energy reset", "ran backwards"),
        ("gpu 0 energy wrap 6000000", "ran backwards"),
    ],
)
def test_the_energy_counter_is_judged(library, tmp_path, line, problem):
    found = play(library, tmp_path, [*DRIVER, *h200(), line], ENERGY)[0]
    if problem:
        assert found["joules"] is None
        assert problem in found["problem"]
    else:
        assert found["problem"] == ""
        assert found["joules"] == pytest.approx(412 * 5.9, rel=0.02)


def test_energy_by_field_where_the_call_is_missing(library, tmp_path):
    lines = [*DRIVER, *h200(), "call nvmlDeviceGetTotalEnergyConsumption returns 3", "gpu 0 field 83 ull @energy"]
    assert play(library, tmp_path, lines, READ)[0]["energy_j"] == 5000.0


@pytest.mark.parametrize("kind", ["double", "uint", "ulong", "ull", "sll", "int"])
def test_fields_are_read_by_their_type(library, tmp_path, kind):
    lines = [*DRIVER, *h200(), f"gpu 0 field 186 {kind} 321000"]
    assert play(library, tmp_path, lines, READ)[0]["power_w"] == 321.0


def test_fields_that_moved_are_asked_only_of_the_same_branch(library, tmp_path):
    code = """
import importlib.metadata
importlib.metadata.version = lambda name: "13.580.126"
import pynvml  # the numbers that this release of the binding has, whichever is installed
pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN = 269
pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN = 270
show(nvml.observe()[0].counters())
"""
    lines = [*h200(), "gpu 0 field 269 ull 7", "gpu 0 field 270 ull 18000000000000000000", "clock manual"]
    same = play(library, tmp_path, [*lines, "driver 580.126.09"], code)[0]
    assert same["held_sw_thermal_s"] == pytest.approx(7e-9)
    assert "held_hw_thermal_s" not in same  # longer than the machine has been up
    other = play(library, tmp_path, [*lines, "driver 575.57.08"], code)[0]
    assert not any(name.startswith(("held_sw_th", "held_hw")) for name in other)


def test_mig_mode_shows(library, tmp_path):
    lines = [*DRIVER, *h200(), "gpu 0 mig 1", "call nvmlDeviceGetUtilizationRates returns 3"]
    lines += ["call nvmlDeviceGetRemappedRows returns 3"]
    code = READ + "\nshow(device.accelerator())\nshow(device.notes())"
    reading, absent, counters, accelerator, notes = play(library, tmp_path, lines, code)
    assert accelerator["mig"] is True
    assert any("MIG mode" in note for note in notes)
    assert "utilisation" not in reading
    assert "MIG" in absent["utilisation"]
    assert "row_remap_pending" not in counters


def test_xids_are_counted_by_code(library, tmp_path):
    lines = [*DRIVER, *h200(), "gpu 0 xid 13", "at 1 gpu 0 xid 31", "at 2 gpu 0 xid 31", "at 2 gpu 0 xid 63"]
    code = """
device = nvml.observe()[0]
show(device.counters())
at(1); show(device.read(10**9)); at(2); show(device.read(15 * 10**8)); show(device.read(2 * 10**9))
show(device.read(3 * 10**9)); show(device.counters())
"""
    before, first, early, second, third, after = play(library, tmp_path, lines, code)
    assert before["xid_watch"] == 1
    assert not {"xid_13", "xid_31"} & before.keys()  # 13 came before anyone listened
    assert first["counters"] == {"xid_31": 1.0}
    assert "counters" not in early  # events are looked at once a second
    assert second["counters"] == {"xid_31": 2.0, "xid_63": 1.0}
    assert "counters" not in third
    assert (after["xid_31"], after["xid_63"]) == (2.0, 1.0)


def test_a_device_without_xid_events_says_so(library, tmp_path):
    _, absent, counters = play(library, tmp_path, [*DRIVER, *h200(), "gpu 0 event_types 0"], READ)
    assert "xid_watch" not in counters
    assert "no XID events" in absent["xid"]


def test_an_ecc_error_in_the_middle_of_a_run_shows(library, tmp_path):
    lines = [*DRIVER, *h200(), "at 3 gpu 0 ecc_1_0 1", "at 3 gpu 0 remapped 0 1 1 0"]
    code = "device = nvml.observe()[0]\nshow(device.counters())\nat(4)\nshow(device.counters())"
    before, after = play(library, tmp_path, lines, code)
    assert (before["ecc_uncorrected"], before["row_remap_pending"]) == (0, 0)
    assert (after["ecc_uncorrected"], after["row_remap_pending"], after["row_remap_uncorrected"]) == (1, 1, 1)


def test_retired_pages_of_older_parts(library, tmp_path):
    _, absent, counters = play(
        library, tmp_path, [*DRIVER, *h200(), "gpu 0 retired 2 1", "gpu 0 retired_pending 1"], READ
    )
    assert (counters["retired_pages"], counters["retired_pending"]) == (3, 1)
    assert "retired_pages" not in absent


def test_other_processes_on_the_gpu_show_as_foreign(library, tmp_path):
    lines = [*DRIVER, *h200(), "gpu 0 processes 41", "at 2 gpu 0 processes 41 42", "at 4 gpu 0 processes 42"]
    code = """
device = nvml.observe()[0]
show(device.read(0).foreign); device.watch([41])
for t in (1, 3, 5): at(t); show(device.read(t * 10**9).foreign)
show(device.processes())
"""
    assert play(library, tmp_path, lines, code) == [None, 0.0, 1.0, None, [42]]


def test_a_call_that_never_returns_is_ended_from_outside(library, tmp_path):
    code = "device = nvml.observe()[0]\nshow('opened')\nat(2)\ndevice.read(2)\nshow('never')"
    with start(library, tmp_path, [*DRIVER, *h200(), "at 1 call nvmlDeviceGetClockInfo hangs"], code) as child:
        assert child.stdout.readline() == '"opened"\n'
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.7)
        child.kill()
        assert child.wait(timeout=5) == -9
        assert child.stdout.read() == ""


def test_the_callers_deadline_bounds_a_hanging_driver(library, tmp_path):
    script = tmp_path / "scenario.txt"
    script.write_text("call nvmlInitWithFlags hangs\n")
    code = "from effbench.device.nvml import observe\nobserve()"
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", code], env=environment(library, script), timeout=1.5, check=False)
    assert time.monotonic() - begun < 8


def test_devices_satisfy_the_observers_contract(library, tmp_path):
    code = "from effbench.device.contract import Observer\nshow(isinstance(nvml.observe()[0], Observer))"
    assert play(library, tmp_path, DRIVER + h200(), code) == [True]


def test_no_gpu_at_all_is_an_empty_list(library, tmp_path):
    assert play(library, tmp_path, DRIVER, "show(nvml.observe())") == [[]]


def test_the_library_flows_with_the_walls_time_by_default(library, tmp_path):
    lines = ["driver 580.65.06", *h200(), "at 0.2 gpu 0 lost yes"]
    code = "import time\ndevice = nvml.observe()[0]\ntime.sleep(0.3)\nshow(device.read(1).counters)"
    assert play(library, tmp_path, lines, code) == [{"device_lost": 1.0}]
