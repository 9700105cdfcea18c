"""A clean bill of health needs both ends of the run; what was seen to be bad stands on one reading."""

import pytest

from effbench.model.event import Telemetry
from effbench.run.health import fault, health

CLEAN = {"ecc_uncorrected": 2.0, "row_remap_pending": 0.0, "device_lost": 0.0, "xid_watch": 1.0, "bad_readings": 0.0}


def read(*counters: dict[str, float], killed: bool = False) -> dict[str, float]:
    return health([Telemetry(i, "gpu0", counters=c) for i, c in enumerate(counters)], 10.0, killed, [])


def test_both_ends_give_growth() -> None:
    found = read(CLEAN, CLEAN | {"ecc_uncorrected": 3.0})
    assert found == {"ecc_uncorrected": 1.0, "row_remap_pending": 0.0, "device_lost": 0.0, "xid_hardware": 0.0}


def test_one_reading_is_no_evidence_of_health() -> None:
    assert read(CLEAN) == {}
    assert read() == {}


def test_a_counter_that_went_back_is_absent() -> None:
    assert "ecc_uncorrected" not in read(CLEAN, CLEAN | {"ecc_uncorrected": 0.0})


def test_what_is_bad_stands_on_one_reading() -> None:
    assert read(CLEAN, {"device_lost": 1.0})["device_lost"] == 1.0
    assert read(CLEAN, {"xid_79": 1.0})["xid_hardware"] == 1.0
    assert read(CLEAN | {"row_remap_pending": 1.0})["row_remap_pending"] == 1.0


def test_an_xid_of_our_own_kill_is_no_gate() -> None:
    ended = CLEAN | {"xid_43": 1.0}
    assert read(CLEAN, ended, killed=True)["xid_hardware"] == 0.0
    assert read(CLEAN, CLEAN | {"xid_79": 1.0}, killed=True)["xid_hardware"] == 1.0


def test_a_lost_device_leaves_its_errors_unknown() -> None:
    found = read(CLEAN, {"device_lost": 1.0, "bad_readings": 4.0})
    assert found == {"device_lost": 1.0}


def test_the_drivers_own_times_under_a_reason_are_the_growth_over_the_run() -> None:
    lines = [
        Telemetry(0, "gpu0", counters={"bad_readings": 0.0, "held_power_s": 100.0, "held_thermal_s": 5.0}),
        Telemetry(10, "gpu0", counters={"bad_readings": 0.0, "held_power_s": 103.5, "held_thermal_s": 4.0}),
    ]
    figures = health(lines, 10.0, False, [])
    assert figures["held_power_s"] == 3.5
    assert "held_thermal_s" not in figures  # it went back: the driver was loaded anew, and what it counted is lost


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {"xid_79": 1.0}, "hardware XID"),
        ({"ecc_uncorrected": 1.0}, {"ecc_uncorrected": 2.0}, "uncorrectable memory error"),
        ({"row_remap_pending": 0.0}, {"row_remap_pending": 1.0}, "rows were remapped"),
        ({"row_remap_uncorrected": 3.0}, {"row_remap_uncorrected": 4.0}, "rows were remapped"),
        ({"device_lost": 0.0}, {"device_lost": 1.0}, "lost"),
    ],
)
def test_what_happened_to_a_device_spoils_its_energy_and_what_was_so_before_does_not(
    before: dict[str, float], after: dict[str, float], words: str
) -> None:
    def told(*ends: dict[str, float]) -> str:
        readings = [Telemetry(i, "gpu0", counters={"bad_readings": 0.0, **c}) for i, c in enumerate(ends)]
        return fault(readings, health(readings, 9.0, False, []))

    assert told(before, before) == ""
    assert words in told(before, before | after)
