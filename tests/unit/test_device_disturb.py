"""What counts as disturbed: foreign load makes suspect, a device's own limits are only named, noise says nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.device import disturb
from effbench.device.disturb import judge
from effbench.model.event import Telemetry

STEP_NS = 100_000_000
CAP, HW_SLOW, SW_THERMAL, IDLE = 0x4, 0x8, 0x20, 0x1


def series(n=10, **fields):
    """Readings at 10 Hz; a field is a constant or a list with one value per reading."""
    values = {name: value if isinstance(value, list) else [value] * n for name, value in fields.items()}
    return [Telemetry(i * STEP_NS, "cpu", **{name: value[i] for name, value in values.items()}) for i in range(n)]


def codes(judgement):
    return [finding.code for finding in judgement.findings]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"foreign": 0.02, "steal": 0.005, "psi_some": 0.05}, []),
        ({"foreign": 0.30}, ["foreign-load"]),
        ({"steal": 0.05}, ["steal"]),
        ({"psi_some": 0.6}, ["psi-pressure"]),
        ({"throttled_s": 0.02}, ["cgroup-throttled"]),
        ({"foreign": 0.5, "psi_some": 0.9}, ["foreign-load", "psi-pressure"]),
        ({}, []),
    ],
)
def test_cpu(fields, expected):
    judgement = judge("cpu", series(**fields))
    assert codes(judgement) == expected
    assert judgement.suspect is bool(expected)
    assert {finding.severity for finding in judgement.findings} <= {"warning"}


def test_evidence_and_limit_travel_with_the_finding():
    (finding,) = judge("cpu", series(foreign=0.3)).findings
    assert finding.evidence == {"share": 0.3, "limit": disturb.FOREIGN_LIMIT}
    assert "30%" in finding.message


def test_single_ticks_are_no_evidence():
    """One tick of steal in a window of three readings is 1/60 of the time, and two are rounding as well."""
    assert codes(judge("cpu", series(3, steal=[0.0, 0.05, 0.0]))) == []
    assert codes(judge("cpu", series(3, steal=[0.05, 0.05, 0.0]))) == []
    assert codes(judge("cpu", series(3, steal=[0.1, 0.1, 0.05]))) == ["steal"]


def test_readings_without_the_figure_do_not_dilute_it():
    points = series(foreign=[0.4, None] * 5)
    assert judge("cpu", points).findings[0].evidence["share"] == 0.4


def test_windows_may_lie_apart_and_come_unsorted():
    later = [Telemetry(60_000_000_000 + p.t_ns, "cpu", throttled_s=0.0) for p in series(10)]
    points = [*later, *series(10, throttled_s=0.004)]
    assert judge("cpu", points).findings[0].evidence["share"] == pytest.approx(0.02)


def test_nothing_read_says_nothing():
    for kind in ("cpu", "gpu"):
        judgement = judge(kind, [])
        assert (judgement.findings, judgement.suspect, judgement.reasons) == ([], False, [])
    assert judge("cpu", series(1, foreign=0.9)).findings == [], "one reading has no duration"


def test_processor_throttling_is_named_and_not_suspect():
    points = series(4, counters=[{}, {"thermal_throttle_new": 2.0}, {}, {"thermal_throttle_new": 4.0}])
    judgement = judge("cpu", points)
    assert codes(judgement) == ["throttled-thermal"]
    assert "6 times" in judgement.findings[0].message
    assert not judgement.suspect


def test_power_cap_is_ordinary_heat_and_board_are_not():
    capped = judge("gpu", series(reasons=CAP))
    assert (codes(capped), capped.findings[0].severity, capped.suspect) == (["throttled-power"], "info", False)
    assert capped.reasons == ["sw_power_cap"]
    slowed = judge("gpu", series(reasons=CAP | HW_SLOW | SW_THERMAL))
    assert codes(slowed) == ["throttled-thermal", "throttled-hardware", "throttled-power"]
    assert not slowed.suspect, "a device that is too hot is rated as it is"
    assert "sw_thermal_slowdown" in slowed.findings[0].message


def test_a_flash_of_slowdown_in_many_readings_is_let_pass():
    assert codes(judge("gpu", series(200, reasons=[HW_SLOW] + [IDLE] * 199))) == []
    assert judge("gpu", series(200, reasons=[HW_SLOW] + [IDLE] * 199)).reasons == ["hw_slowdown"]
    assert codes(judge("gpu", series(10, reasons=[HW_SLOW] + [0] * 9))) == ["throttled-hardware"]


def test_idling_is_no_reason():
    assert judge("gpu", series(reasons=IDLE)).reasons == []


def test_another_process_on_the_gpu_is_suspect():
    judgement = judge("gpu", series(foreign=[0.0] * 9 + [1.0]))
    assert codes(judgement) == ["other-processes"]
    assert judgement.suspect


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.sampled_from(["foreign", "steal", "psi_some"]))
def test_more_of_it_never_judges_better(shares, field):
    less = judge("cpu", series(len(shares), **{field: shares}))
    more = judge("cpu", series(len(shares), **{field: [min(1.0, share + 0.2) for share in shares]}))
    assert more.suspect or not less.suspect


@given(st.integers(0, 0xFFF))
def test_any_mask_is_read(mask):
    judgement = judge("gpu", series(reasons=mask))
    assert not judgement.suspect
    assert len(judgement.reasons) == (mask & ~IDLE).bit_count()
