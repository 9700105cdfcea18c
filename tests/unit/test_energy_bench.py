"""The scripted sensor bench against the real code: for each fault the figure, or the refusal, is asserted."""

import math
from typing import Any

import msgspec
import pytest

from effbench.catalog.findings import explain
from effbench.model.energy import Energy, Idle, LedgerRow
from effbench.model.event import Telemetry
from effbench.model.quantity import Quantity
from effbench.model.unit import Unit
from tests.power_bench import (
    AVERAGE,
    COUNTER,
    INSTANT,
    METER,
    NVIDIA,
    RAPL,
    S,
    Scripted,
    Truth,
    ask,
    cpu,
    gpu,
    meter,
    steps_of,
    window,
)

THERMAL, SW_POWER_CAP = 0x20, 0x4


def busy(t: float) -> float:
    """About 600 W with the small fast movements of a real load."""
    return 600 + 5 * math.sin(37 * t) + 3 * math.sin(101 * t)


TRUTH = Truth(busy, 20)
WINDOW = [window(5, 15)]
JOULES = TRUTH.joules(5, 15)


def codes(energy: Energy) -> list[str]:
    """The findings' codes; each must be explained in the catalogue."""
    found = [finding.code for finding in energy.findings]
    assert all(explain(code) for code in found)
    return found


def row(energy: Energy, key: str) -> LedgerRow:
    """The ledger's row of one sensor."""
    return next(one for one in energy.ledger if one.sensor == key)


def holds(energy: Energy, joules: float) -> bool:
    """Whether the interval holds the true energy."""
    assert energy.energy_interval is not None
    return energy.energy_interval.low <= joules <= energy.energy_interval.high


def refused(energy: Energy, status: str) -> bool:
    """Whether there is no figure of any kind, and a reason and a remedy."""
    assert energy.reason and energy.remedy, energy
    figures = (energy.energy, energy.energy_interval, energy.power, energy.power_interval, energy.net, energy.trust)
    return energy.status == status and figures == (None,) * 6 and not energy.slices and not energy.components


def test_three_sensors_that_agree_give_a_reconciled_counter() -> None:
    energy = ask(Scripted().lines(TRUTH), WINDOW)
    assert (energy.status, energy.trust, energy.sensor) == ("valid", "B", "gpu0.counter")
    assert energy.energy is not None and energy.energy.value == pytest.approx(JOULES, rel=0.006)
    assert energy.power is not None and energy.power.value == pytest.approx(600, rel=0.006)
    assert holds(energy, JOULES) and codes(energy) == []
    assert energy.window_s == 10 and energy.steps == 100 and len(energy.slices) == 5
    assert [one.primary for one in energy.ledger] == [True, False, False]
    assert all(abs(one.difference or 0) < 0.01 for one in energy.ledger)
    assert energy.energy_interval is not None and "sensor(assumed)" in energy.energy_interval.method


def test_a_25_in_100_sensor_alone_is_a_single_sensor_with_its_sampling_error() -> None:
    jagged = Truth(lambda t: 650.0 if math.sin(2 * math.pi * t / 0.0437) > 0 else 350.0, 20)
    energy = ask(Scripted(hide=("energy_j", "power_average_w")).lines(jagged), WINDOW, [INSTANT])
    assert (energy.status, energy.trust, energy.sensor) == ("valid", "C", "gpu0.instant")
    assert energy.components["window"] > 0.01
    assert holds(energy, jagged.joules(5, 15))
    still = ask(Scripted(hide=("energy_j", "power_average_w")).lines(TRUTH), WINDOW, [INSTANT])
    assert still.components["window"] < 0.003, "a steady load hides nothing between the views"


def test_a_stuck_counter_steps_aside_and_is_never_0_joules() -> None:
    energy = ask(Scripted(stuck_s=3).lines(TRUTH), WINDOW)
    assert (energy.status, energy.trust, energy.sensor) == ("valid", "C", "gpu0.average")
    assert row(energy, "gpu0.counter").joules is None and "stood still" in row(energy, "gpu0.counter").note
    assert codes(energy) == ["sensor-doubtful"] and holds(energy, JOULES)
    alone = ask(Scripted(stuck_s=3).lines(TRUTH), WINDOW, [COUNTER])
    assert refused(alone, "absent") and "stood still" in alone.reason


def test_a_counter_that_sticks_in_mid_window_is_refused() -> None:
    assert refused(ask(Scripted(stuck_s=12.5).lines(TRUTH), WINDOW, [COUNTER]), "absent")


def test_an_uncounted_wrap_and_a_reset_are_refused_and_a_counted_wrap_is_not() -> None:
    for scripted in (Scripted(wrap_j=5000.0), Scripted(reset_s=9.0)):
        energy = ask(scripted.lines(TRUTH), WINDOW)
        assert (energy.sensor, energy.trust) == ("gpu0.average", "C") and holds(energy, JOULES)
        assert "ran backwards" in row(energy, "gpu0.counter").note
        assert refused(ask(scripted.lines(TRUTH), WINDOW, [COUNTER]), "absent")
    lines, turns, before = [], 0, 0.0
    for line in Scripted(wrap_j=5000.0).lines(TRUTH):  # what the telemetry child does for RAPL
        assert line.energy_j is not None
        turns += line.energy_j < before
        before = line.energy_j
        lines.append(msgspec.structs.replace(line, energy_j=line.energy_j + turns * 5000.0))
    counted = ask(lines, WINDOW)
    assert turns >= 2 and counted.sensor == "gpu0.counter" and holds(counted, JOULES)


def test_a_reset_between_two_windows_harms_neither() -> None:
    energy = ask(Scripted(reset_s=11.0).lines(Truth(busy, 25)), [window(0.5, 10.5), window(12, 22)])
    assert energy.sensor == "gpu0.counter" and energy.windows == 2


def test_zero_watts_at_fast_polling_are_dropped_and_counted() -> None:
    energy = ask(Scripted(zero_every=7, hide=("energy_j",)).lines(TRUTH), WINDOW, [AVERAGE, INSTANT])
    assert energy.energy is not None and energy.energy.value == pytest.approx(JOULES, rel=0.002)
    assert "without a value were dropped" in row(energy, "gpu0.average").note
    mostly = ask(Scripted(zero_every=1, hide=("energy_j",)).lines(TRUTH), WINDOW, [AVERAGE, INSTANT])
    assert refused(mostly, "absent")


def test_not_supported_in_mid_run_falls_back_or_is_absent() -> None:
    energy = ask(Scripted(counter_vanish_s=9).lines(TRUTH), WINDOW)
    assert (energy.sensor, energy.trust) == ("gpu0.average", "C") and row(energy, "gpu0.counter").joules is None
    gone = ask(Scripted(vanish_s=9).lines(TRUTH), WINDOW)
    assert refused(gone, "absent") and "gap" in gone.reason
    assert all(one.joules is None and one.note for one in gone.ledger)


def test_a_round_whose_telemetry_was_lost_is_left_out_by_name() -> None:
    windows = [window(2, 12, round=0), window(20, 30, round=1), window(33, 43, round=2)]
    energy = ask(Scripted(vanish_s=36).lines(Truth(busy, 45)), windows)
    assert energy.windows == 2 and energy.window_s == 20 and energy.sensor == "gpu0.counter"
    assert codes(energy) == ["energy-windows-dropped"]


@pytest.mark.parametrize(("gain", "status"), [(1.2, "invalid"), (0.57, "invalid"), (1.03, "valid")])
def test_counter_and_integral_that_disagree_by_a_gain(gain: float, status: str) -> None:
    energy = ask(Scripted(counter_gain=gain).lines(TRUTH), WINDOW)
    assert energy.status == status
    if status == "invalid":
        assert refused(energy, "invalid") and "energy-irreconcilable" in codes(energy)
        assert f"{row(energy, 'gpu0.counter').joules:.0f} J" in energy.reason and "%" in energy.reason
        assert row(energy, "gpu0.instant").difference == pytest.approx(1 / gain - 1, abs=0.01)


def test_a_constant_bias_is_inside_the_class_and_gone_when_calibrated() -> None:
    lines = Scripted(gain=0.96, bias_w=4.0).lines(TRUTH)
    plain = ask(lines, WINDOW)
    assert plain.energy is not None and plain.energy.value < 0.975 * JOULES and holds(plain, JOULES)
    cards = [
        msgspec.structs.replace(c, calibrated=True, gain=1 / 0.96, offset_w=-4.0 / 0.96, uncertainty=0.01)
        for c in NVIDIA
    ]
    right = ask(lines, WINDOW, cards)
    assert right.energy is not None and right.energy.value == pytest.approx(JOULES, rel=0.006) and holds(right, JOULES)
    assert "sensor" not in right.components and right.components["calibration"] == 0.01
    assert right.energy_interval is not None and plain.energy_interval is not None
    assert right.energy_interval.half_width < plain.energy_interval.half_width
    assert right.energy_interval.method.startswith("calibration+")


def test_a_calibration_of_unknown_error_is_taken_for_the_worst() -> None:
    cards = [msgspec.structs.replace(COUNTER, calibrated=True, gain=1.01, uncertainty=None)]
    energy = ask(Scripted().lines(TRUTH), WINDOW, cards)
    assert energy.components["calibration"] == 0.11 and energy.energy_interval is not None
    assert "calibration(assumed)" in energy.energy_interval.method


def swap() -> tuple[list[Telemetry], list[Telemetry]]:
    """The work runs on gpu0 from 4 s on, but its sensors are read as gpu1's."""
    works = Truth(steps_of([(0, 80), (4, 600)]), 20)
    rests = Truth(lambda t: 80 + math.sin(31 * t), 20)
    return Scripted("gpu0").lines(rests), Scripted("gpu1", seed=1).lines(works)


def test_two_devices_swapped_are_invalid_with_and_without_a_known_idle() -> None:
    own, other = swap()
    idle = Idle("bare", "gpu0", Energy("gpu0", "valid", power=Quantity(80.0, Unit.WATT)))
    for known in (idle, None):
        energy = ask(own, WINDOW, others=[other], idle=known)
        assert refused(energy, "invalid") and codes(energy) == ["energy-swapped"]
    command = ask(own, [window(5, 15, name="command", trial="")], others=[other], once=True)
    assert command.status == "valid", "a user's command may well have worked on the other device"
    at_once = ask(Scripted().lines(TRUTH), WINDOW, others=[other])
    assert at_once.status == "valid"


def test_a_window_shorter_than_the_sensor_resolves() -> None:
    energy = ask(Scripted().lines(TRUTH), [window(5, 7)])
    assert refused(energy, "absent") and energy.reason == "window 2.0 s < 10 s" and "node/standard" in energy.remedy
    some = ask(Scripted().lines(TRUTH), [window(1, 3), window(5, 15)])
    assert (
        some.windows == 1 and codes(some) == ["energy-windows-dropped"] and "2.0 s < 10 s" in some.findings[0].message
    )


def test_no_sensor_no_window_and_mig_are_absent_with_reason_and_remedy() -> None:
    missing = [msgspec.structs.replace(COUNTER, absent="not supported by this driver", remedy="Update the driver.")]
    energy = ask([], WINDOW, missing)
    assert refused(energy, "absent") and "not supported" in energy.reason and energy.remedy == "Update the driver."
    assert refused(ask([], WINDOW, []), "absent")
    assert refused(ask(Scripted().lines(TRUTH), []), "absent")
    assert refused(ask([], WINDOW), "absent"), "cards without a single reading"
    sliced = ask(Scripted().lines(TRUTH), WINDOW, device=gpu(mig=True))
    assert refused(sliced, "absent") and sliced.reason.startswith("MIG")
    module = msgspec.structs.replace(INSTANT, key="gpu0.module", scope="module", reading="module_power_w")
    assert refused(ask(Scripted().lines(TRUTH), WINDOW, [module]), "absent"), "a module is not its GPU"


def test_heat_makes_a_trial_invalid_and_a_command_suspect() -> None:
    hot = Scripted(reasons=THERMAL).lines(TRUTH)
    energy = ask(hot, WINDOW)
    assert refused(energy, "invalid") and codes(energy) == ["energy-throttled"]
    assert energy.held[0].reason == "sw_thermal_slowdown" and energy.held[0].joules is None
    command = ask(hot, WINDOW, once=True)
    assert command.status == "suspect" and command.energy is not None and "spread" not in command.components


def test_a_cpu_that_throttled_or_was_shared() -> None:
    scripted = Scripted("cpu", update_s=0.001, poll_s=0.1, hide=("power_w", "power_average_w"))
    lines = [msgspec.structs.replace(line, reasons=None) for line in scripted.lines(TRUTH)]
    place = next(n for n, line in enumerate(lines) if line.t_ns > 9 * S)
    hot = [*lines[:place], msgspec.structs.replace(lines[place], counters={"thermal_throttle_new": 2.0})]
    energy = ask([*hot, *lines[place + 1 :]], [window(5, 15, "cpu")], [RAPL], cpu())
    assert refused(energy, "invalid") and codes(energy) == ["energy-throttled"]
    shared = [msgspec.structs.replace(line, foreign=0.5) for line in lines]
    crowded = ask(shared, [window(5, 15, "cpu")], [RAPL], cpu())
    assert crowded.status == "suspect" and codes(crowded) == ["energy-not-exclusive"]


def test_only_the_reasons_of_the_sensors_that_would_do_are_told() -> None:
    cards = [
        msgspec.structs.replace(RAPL, key="cpu.dram", scope="dram", absent="no DRAM zone", remedy="Nothing."),
        msgspec.structs.replace(RAPL, absent="closed to this user", remedy="Run as root."),
    ]
    energy = ask([], [window(5, 15, "cpu")], cards, cpu())
    assert (energy.reason, energy.remedy) == ("cpu.package: closed to this user", "Run as root.")
    other = ask([], [window(5, 15, "cpu")], cards[:1], cpu())
    assert other.reason == "cpu.dram: no DRAM zone" and other.scope == "package"


def test_a_power_cap_is_marked_and_its_time_and_energy_are_held() -> None:
    lines = Scripted(reasons=SW_POWER_CAP).lines(TRUTH)
    energy = ask(lines, WINDOW, device=gpu(power_limit_w=500.0))
    assert energy.status == "valid" and energy.capped and codes(energy) == ["power-capped"]
    assert energy.held[0].seconds == pytest.approx(10, abs=0.1)
    assert energy.held[0].joules == pytest.approx(JOULES, rel=0.01)
    moved = [msgspec.structs.replace(x, sensors={"power_limit_w": 700.0 if x.t_ns < 9 * S else 650.0}) for x in lines]
    changed = ask(moved, WINDOW)
    assert changed.capped and "changed during the run" in changed.findings[0].message and changed.status == "valid"


def test_strangers_temperature_and_a_beat_leave_doubts() -> None:
    shared = [msgspec.structs.replace(line, foreign=1.0) for line in Scripted().lines(TRUTH)]
    cases: list[tuple[str, Energy]] = [
        ("energy-not-exclusive", ask(shared, WINDOW)),
        ("energy-not-exclusive", ask(Scripted().lines(TRUTH), WINDOW, device=gpu(other_pids=[4711]))),
        ("energy-temperature", ask(Scripted(degc_per_s=1.5).lines(TRUTH), WINDOW)),
        ("energy-locked", ask(Scripted().lines(TRUTH), [window(5, 15, step_s=0.1002)])),
        ("energy-locked", ask(Scripted().lines(TRUTH), [window(5, 15, step_s=0.05)])),
    ]
    for code, energy in cases:
        assert energy.status == "suspect" and codes(energy) == [code] and energy.energy is not None and energy.reason
    for step_s in (0.0013, 0.1013, 0.0871, 5.0):
        assert ask(Scripted().lines(TRUTH), [window(5, 15, step_s=step_s)]).status == "valid", step_s
    full = msgspec.structs.replace(INSTANT, coverage=1.0, window_s=0.1)
    assert ask(Scripted(view_s=0.1).lines(TRUTH), [window(5, 15, step_s=0.1)], [full]).status == "valid"


def test_a_fault_of_the_run_leaves_no_figure() -> None:
    energy = ask(Scripted().lines(TRUTH), WINDOW, fault="XID 79 at 12.0 s")
    assert refused(energy, "invalid") and "XID 79" in energy.reason and codes(energy) == ["energy-fault"]


def test_more_than_the_limit_allows_is_no_reading_of_this_device() -> None:
    energy = ask(Scripted(gain=2.0).lines(TRUTH), WINDOW)
    assert refused(energy, "invalid") and "limit" in energy.reason


def test_slowdowns_that_nobody_can_see_are_said_to_be_unseen() -> None:
    blind = [msgspec.structs.replace(line, reasons=None) for line in Scripted().lines(TRUTH)]
    energy = ask(blind, WINDOW)
    assert energy.status == "valid" and codes(energy) == ["energy-unchecked"] and energy.findings[0].severity == "info"


def test_watts_that_never_move_are_doubted() -> None:
    lines = [Telemetry(int(n * 0.05 * S), "gpu0", power_w=300.0) for n in range(400)]
    energy = ask(lines, WINDOW, [INSTANT])
    assert energy.status == "suspect" and "never moved" in energy.reason


def test_sensors_that_all_stand_still_give_no_figure() -> None:
    """Watts that never move beside a counter that never moves: a driver that answers from memory, not a steady load."""
    moving = Scripted().lines(TRUTH)
    first = moving[0]
    stale = {"energy_j": first.energy_j, "power_w": first.power_w, "power_average_w": first.power_average_w}
    energy = ask([msgspec.structs.replace(line, **stale) for line in moving], WINDOW)
    assert refused(energy, "invalid") and "never moved" in energy.reason
    counter = ask([msgspec.structs.replace(line, energy_j=first.energy_j) for line in moving], WINDOW)
    assert counter.status == "valid" and counter.sensor != "gpu0.counter", "moving watts step in for a dead counter"


def test_a_meter_lifts_to_a_where_it_resolves_the_window_and_refutes_what_it_cannot_feed() -> None:
    long = Truth(busy, 70)
    lines, windows = Scripted().lines(long), [window(3, 65)]
    cards = [*NVIDIA, METER]
    metered = ask(lines, windows, cards, others=[meter(long, extra_w=350.0)])
    assert (metered.status, metered.trust) == ("valid", "A") and row(metered, "node.meter").joules is not None
    too_low = ask(lines, windows, cards, others=[meter(long, gain=0.8)])
    assert refused(too_low, "invalid") and "node.meter" in too_low.reason
    brief = ask(lines, [window(5, 15)], cards, others=[meter(long, extra_w=350.0)])
    assert brief.trust == "B", "ten readings of a meter lift nothing"
    assert row(metered, "node.meter").resolved and not row(brief, "node.meter").resolved
    assert "window 10.0 s < 60 s" in row(brief, "node.meter").note and row(brief, "node.meter").ends
    second = [msgspec.structs.replace(c, key=c.key.replace("0", "1"), device="gpu1") for c in NVIDIA]
    both = [meter(long, extra_w=100.0), Scripted("gpu1", seed=3).lines(long)]
    assert refused(ask(lines, windows, [*cards, *second], others=both), "invalid"), "it feeds two GPUs"


def test_part_and_whole_in_the_wrong_order_are_irreconcilable() -> None:
    lines = [
        msgspec.structs.replace(line, sensors={"hbm_power_w": 90.0 + n % 3, "module_power_w": 800.0 + n % 3})
        for n, line in enumerate(Scripted().lines(TRUTH))
    ]
    hbm = msgspec.structs.replace(AVERAGE, key="gpu0.hbm", scope="hbm", reading="hbm_power_w")
    module = msgspec.structs.replace(INSTANT, key="gpu0.module", scope="module", reading="module_power_w")
    energy = ask(lines, WINDOW, [*NVIDIA, hbm, module])
    assert energy.status == "valid" and row(energy, "gpu0.hbm").difference is None and row(energy, "gpu0.hbm").note
    swapped = [
        msgspec.structs.replace(hbm, reading="module_power_w"),
        msgspec.structs.replace(module, reading="hbm_power_w"),
    ]
    wrong = ask(lines, WINDOW, [*NVIDIA, *swapped])
    assert refused(wrong, "invalid") and codes(wrong) == ["energy-irreconcilable"] * 2


def test_net_energy_is_gross_less_a_named_idle_that_was_measured() -> None:
    measured = Energy("gpu0", "valid", power=Quantity(100.0, Unit.WATT))
    energy = ask(Scripted().lines(TRUTH), WINDOW, idle=Idle("context", "gpu0", measured))
    assert energy.net is not None and energy.energy is not None
    assert energy.net.value == pytest.approx(energy.energy.value - 1000.0)
    assert (energy.idle_w, energy.idle_name) == (100.0, "context")
    for idle in (
        Idle("context", "gpu1", measured),
        Idle("bare", "gpu0", msgspec.structs.replace(measured, status="invalid")),
        Idle("bare", "gpu0", Energy("gpu0", "absent")),
    ):
        without = ask(Scripted().lines(TRUTH), WINDOW, idle=idle)
        assert without.net is None and without.idle_w is None and without.idle_name == ""


def test_a_mean_that_still_holds_the_ramp_is_compared_with_nothing() -> None:
    truth = Truth(steps_of([(0, 100), (5, 600)]), 20)
    energy = ask(Scripted().lines(truth), [window(5, 15, settled_s=0.0)])
    assert energy.status == "valid" and row(energy, "gpu0.average").difference is None
    assert "before the window" in row(energy, "gpu0.average").note
    settled = ask(Scripted().lines(truth), [window(6.6, 16.6, settled_s=1.6)])
    assert row(settled, "gpu0.average").difference == pytest.approx(0, abs=0.01)


def test_a_mean_under_the_name_of_the_present_power_shows_nothing_of_what_moves() -> None:
    """The oldest call gives 1 s means on many parts: its full coverage says nothing about the counter's."""
    usage = msgspec.structs.replace(AVERAGE, key="gpu0.instant", kind="instant")
    energy = ask(Scripted().lines(TRUTH), WINDOW, [COUNTER, usage])
    assert energy.components["window"] > 0 and row(energy, "gpu0.instant").difference is not None
    unsettled = ask(Scripted().lines(TRUTH), [window(5, 15, settled_s=0.5)], [COUNTER, usage])
    assert row(unsettled, "gpu0.instant").difference is None and unsettled.trust == "C"


def test_a_cpu_by_its_package_counter() -> None:
    scripted = Scripted("cpu", update_s=0.001, poll_s=0.1, hide=("power_w", "power_average_w"))
    energy = ask(scripted.lines(TRUTH), [window(5, 8, "cpu")], [RAPL], cpu())
    assert (energy.status, energy.trust, energy.scope) == ("valid", "C", "package")
    assert energy.energy is not None and energy.energy.value == pytest.approx(TRUTH.joules(5, 8), rel=0.002)
    assert "window" not in energy.components


def test_spread_is_between_three_windows_or_among_sub_windows_or_assumed() -> None:
    lines = Scripted().lines(Truth(busy, 40))
    three = ask(lines, [window(2, 12, round=0), window(13, 23, round=1), window(24, 34, round=2)])
    assert len(three.slices) == 3 and three.energy_interval is not None
    assert three.energy_interval.n_processes == 3 and three.energy_interval.method.endswith("+spread")
    one = ask(lines, [window(2, 12)])
    assert one.energy_interval is not None and one.energy_interval.method.endswith("+spread")
    scripted = Scripted("cpu", update_s=0.001, poll_s=0.1)
    few = ask(scripted.lines(TRUTH), [window(5, 8, "cpu")], [RAPL], cpu())
    assert few.energy_interval is not None and few.energy_interval.method.endswith("+spread(assumed)")
    assert few.components["spread"] > 0


def test_an_interval_is_never_tighter_than_the_sensor_class() -> None:
    for more in ({}, {"uncertainty": None}, {"uncertainty_source": ""}):
        changes: dict[str, Any] = dict(more)
        cards = [msgspec.structs.replace(card, **changes) for card in NVIDIA]
        energy = ask(Scripted().lines(TRUTH), WINDOW, cards)
        assert energy.energy is not None and energy.energy_interval is not None
        least = 0.11 if "uncertainty" in more else 0.05
        assert energy.energy_interval.half_width >= least * energy.energy.value
        assert "sensor(assumed)" in energy.energy_interval.method
