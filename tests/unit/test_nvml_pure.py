"""The parts of the NVML device that need no library: reasons, field IDs, addresses, whose process it is."""

import math
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.device.nvml import foreign_pids
from effbench.device.nvml_fields import STABLE_IDS, allowed, branch, decode
from effbench.device.nvml_held import HeldTimes
from effbench.device.nvml_inventory import numa_node, pci_address
from effbench.device.nvml_read import Guard
from effbench.device.nvml_reasons import BENIGN, HARDWARE, NAMES, POWER, THERMAL, clock_reasons


def test_every_bit_of_a_mask_is_named():
    assert clock_reasons(0) == []
    assert clock_reasons(0x4 | 0x40) == ["sw_power_cap", "hw_thermal_slowdown"]
    assert clock_reasons(0x1 | 0x2000) == ["gpu_idle", "unknown_0x2000"]
    assert len(clock_reasons(0x7FF)) == 11


def test_reason_bits_are_those_of_nvidias_binding():
    binding = pytest.importorskip("pynvml")
    prefix = "nvmlClocksThrottleReason"
    theirs = {
        name.removeprefix(prefix): getattr(binding, name)
        for name in dir(binding)
        if name.startswith(prefix) and name.removeprefix(prefix) not in {"None", "All", "UserDefinedClocks"}
    }
    ours = {name.title().replace("_", ""): bit for bit, name in NAMES.items()}
    assert ours == theirs


def test_each_known_reason_has_exactly_one_class():
    for bit in NAMES:
        assert sum(bool(bit & bits) for bits in (POWER, THERMAL, HARDWARE, BENIGN)) == 1
    assert sum(NAMES) == POWER | THERMAL | HARDWARE | BENIGN


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_mask_has_the_reasons_of_both_its_halves(a, b):
    assert set(clock_reasons(a | b)) == set(clock_reasons(a)) | set(clock_reasons(b))


def test_branches_of_drivers_and_bindings():
    assert branch("580.65.06") == 580
    assert branch("13.580.65") == 580
    assert branch("12.535.133") == 535
    assert branch("") is None
    assert branch("1.2") is None


def test_only_ids_that_never_moved_are_asked_across_branches():
    assert all(allowed(number, "13.615.71", "470.82.01") for number in STABLE_IDS)
    assert not allowed(251, "13.615.71", "580.65.06")
    assert allowed(270, "13.580.126", "580.126.09")
    assert not allowed(270, "", "")
    assert not allowed(199, "13.580.65", "580.65.06")  # swapped with 200 at 12.570


def entry(**given_):
    return SimpleNamespace(**{"fieldId": 186, "nvmlReturn": 0, "valueType": 1, "value": None, **given_})


@pytest.mark.parametrize(
    ("kind", "member", "value"),
    [(0, "dVal", 1.5), (1, "uiVal", 7), (2, "ulVal", 7), (3, "ullVal", 2**40), (4, "sllVal", -3), (5, "siVal", -3)],
)
def test_a_field_is_read_from_the_member_of_its_type(kind, member, value):
    assert decode(entry(valueType=kind, value=SimpleNamespace(**{member: value}))) == (value, "")


def test_a_field_that_cannot_be_trusted_has_a_reason():
    assert decode(entry(nvmlReturn=3))[1].startswith("field 186: not supported")
    assert decode(entry(valueType=99)) == (None, "field 186: unknown value type 99")
    assert decode(entry(valueType=0, value=SimpleNamespace(dVal=math.nan))) == (None, "field 186: not a finite number")


def test_pci_addresses_are_written_as_sysfs_does():
    assert pci_address("00000000:C1:00.0") == "0000:c1:00.0"
    assert pci_address("0000:C1:00.0") == "0000:c1:00.0"
    assert pci_address("00010000:01:00.0") == "10000:01:00.0"
    assert pci_address("") == ""


def test_numa_node_comes_from_sysfs(tmp_path):
    folder = tmp_path / "sys/bus/pci/devices/0000:c1:00.0"
    folder.mkdir(parents=True)
    (folder / "numa_node").write_text("1\n")
    assert numa_node("0000:c1:00.0", tmp_path) == 1
    (folder / "numa_node").write_text("-1\n")
    assert numa_node("0000:c1:00.0", tmp_path) is None
    assert numa_node("0000:c2:00.0", tmp_path) is None


def test_whose_process_it_is():
    assert foreign_pids([], [7]) == []
    assert foreign_pids([7], [7]) == []
    assert foreign_pids([7, 8], [7]) == [8]
    assert foreign_pids([8], [7]) is None  # no context of ours yet, or another PID namespace
    assert foreign_pids([os.getpid(), 9], []) == [9]


class Binding:
    """Answers every field with what the test says, in ns."""

    NVMLError = NVMLLibraryMismatchError = RuntimeError

    def __init__(self):
        self.ns = 0

    def nvmlDeviceGetFieldValues(self, handle, fields):  # noqa: N802 - NVML's name
        value = SimpleNamespace(ullVal=self.ns)
        return [SimpleNamespace(fieldId=field, nvmlReturn=0, valueType=3, value=value) for field, _ in fields]


@pytest.mark.parametrize(
    ("readings", "last"),
    [
        ([(1000, 0), (1010, 0)], 0.0),
        ([(1000, 5e9), (1010, 15e9)], 15.0),
        ([(1000, 5e9), (1010, 16e9)], 16.0),
        ([(1000, 5e9), (1010, 16.1e9)], None),
        ([(1000, 5e9), (1010, 4e9), (1020, 5e9)], None),
        ([(1000, -1)], None),
        ([(1000, 1001e9)], None),
    ],
)
def test_time_held_must_be_a_time(readings, last):
    binding, now = Binding(), [0.0]
    guard = Guard(binding, object())
    held = HeldTimes(guard, "13.580.65", "580.65.06", clock=lambda: now[0])
    for now[0], binding.ns in readings:
        found = held.read()
    assert found.get("held_power_s") == last
    assert ("held_power_s" in guard.reasons) == (last is None)
