"""What a square wave says of a power sensor: true windows, updates and lags are found, and nothing where nothing is."""

import msgspec
import numpy as np
import pytest

from effbench.energy import apply
from effbench.energy.characterise import characterise
from effbench.energy.updates import updates
from effbench.model.event import Closed, Opened, Sample, Sensed, Started, Telemetry, Tool
from effbench.model.inventory import Inventory
from effbench.model.suite import Procedure, Rounds, Suite, Workload
from effbench.run import plan as planning
from tests.unit.kernel_devices import gpu
from tests.unit.wave_sensors import card, in_ns, telemetry, wave

HZ = 97.0
# name: window, update, lag, kind. The classes are those of arXiv 2312.02741's matrix, and RAPL.
SENSORS = {
    "hopper instant 25/100": (0.025, 0.1, 0.0, "instant"),
    "hopper instant, late": (0.025, 0.1, 0.04, "instant"),
    "ada instant 100/100": (0.1, 0.1, 0.02, "instant"),
    "average 1000/100": (1.0, 0.1, 0.0, "average"),
    "average, late": (1.0, 0.1, 0.1, "average"),
    "volta 10/20": (0.01, 0.02, 0.0, "instant"),
    "counter 100/100": (0.1, 0.1, 0.0, "counter"),
    "counter that sees a quarter": (0.025, 0.1, 0.01, "counter"),
}


def read(edges, kind, hz=HZ, **more):
    lines = telemetry(edges, counter=kind == "counter", hz=hz, **more)
    if kind == "average":
        lines = [msgspec.structs.replace(one, power_w=None, power_average_w=one.power_w) for one in lines]
    return lines


def found(kind, edges=None, published=None, **more):
    edges = edges or wave(more.get("seed", 0))
    return characterise(in_ns(edges), read(edges, kind, **more), published or card(kind))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SENSORS)
def test_window_update_coverage_and_lag_are_found(name, seed):
    window_s, update_s, lag_s, kind = SENSORS[name]
    one = found(kind, window_s=window_s, update_s=update_s, lag_s=lag_s, seed=seed)
    assert one.reason == "" and one.confidence in ("high", "medium")
    assert one.update_s == pytest.approx(update_s, rel=0.005)
    assert one.window_s == pytest.approx(window_s, rel=0.05, abs=0.004)
    assert one.window_low_s - 0.002 <= window_s <= one.window_high_s + 0.002
    assert one.lag_s == pytest.approx(lag_s, abs=0.006)
    assert one.coverage == pytest.approx(min(1.0, window_s / update_s), abs=0.15 if update_s == 0.02 else 0.04)
    assert one.rise_w == pytest.approx(560, rel=0.05)
    assert one.sensor.basis == "measured" and "square wave of" in one.sensor.basis_source
    assert one.sensor.window_s == pytest.approx(one.window_s, abs=1e-4) and one.sensor.lag_s is not None
    assert one.published == card(kind) and one.edges > 200


def test_the_smallest_step_of_a_counter_is_that_at_rest():
    one = found("counter", window_s=0.1, update_s=0.1)
    assert one.granularity_j == one.sensor.granularity_j == pytest.approx(11.0, rel=0.1)
    assert found("instant", window_s=0.1, update_s=0.1).granularity_j is None


def test_noise_of_a_tenth_of_the_rise_is_borne():
    for seed in range(3):
        one = found("instant", window_s=0.025, update_s=0.1, noise_w=56.0, seed=seed)
        assert one.window_s is None or one.window_low_s <= 0.025 <= one.window_high_s
        assert one.update_s == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize(("up_s", "down_s"), [(0.01, 0.02), (0.05, 0.1), (0.005, 0.3)])
@pytest.mark.parametrize("kind", ["instant", "counter"])
def test_a_slow_load_does_not_hide_that_a_sensor_sees_a_quarter_of_the_time(kind, up_s, down_s):
    """Fitted with sharp edges, these windows of 25 ms look like 45, 100 and 250 ms: full coverage, which is untrue."""
    for seed in range(2):
        one = found(kind, window_s=0.025, update_s=0.1, lag_s=0.02, up_s=up_s, down_s=down_s, warming=0.05, seed=seed)
        assert one.coverage is None or one.coverage < 0.32
        assert one.window_s is None or one.window_low_s <= 0.025 <= one.window_high_s
    full = found(kind, window_s=0.1, update_s=0.1, up_s=up_s, down_s=down_s, warming=0.05)
    assert full.coverage is None or full.coverage > 0.95


def test_polls_in_step_with_the_sensor_widen_the_range_instead_of_moving_it():
    """At exactly five polls per update the moment of renewal is known to one poll only."""
    edges = wave(1)
    t = np.arange(edges[0][0] - 1, edges[-1][1] + 1, 0.02)
    fine = telemetry(edges, window_s=0.025, update_s=0.1, drift=0.0, hz=900, seed=1)
    values = np.array([one.power_w for one in fine])
    at = np.searchsorted([one.t_ns / 1e9 for one in fine], t) - 1
    lines = [Telemetry(int(s * 1e9), "gpu0", power_w=float(values[max(0, i)])) for s, i in zip(t, at, strict=True)]
    one = characterise(in_ns(edges), lines, card())
    assert one.update_s == pytest.approx(0.1, rel=0.01)
    if one.window_s is None:
        assert "cannot be told" in one.reason
    else:
        assert one.window_low_s <= 0.025 <= one.window_high_s and one.window_high_s - one.window_low_s > 0.01


# ---- refusals: what was published stays --------------------------------------------------------------------------


def refused(one, word):
    assert word in one.reason, one.reason
    assert one.window_s is None and one.coverage is None and one.sensor.basis == "published"
    assert one.sensor == one.published


PUBLISHED = {"window_s": 0.025, "update_s": 0.1, "coverage": 0.25}


def test_a_load_that_does_not_reach_the_sensor_tells_nothing():
    refused(found("instant", published=card(**PUBLISHED), window_s=0.025, update_s=0.1, rise_w=0.0), "no load change")
    refused(found("counter", window_s=0.1, update_s=0.1, rise_w=0.0), "no load change")
    refused(found("instant", window_s=0.025, update_s=0.1, rise_w=5.0, noise_w=4.0), "no load change")


def test_a_sensor_that_falls_under_load_is_not_believed():
    refused(found("instant", window_s=0.1, update_s=0.1, rest_w=700.0, rise_w=-300.0), "no load change")


def test_power_that_has_nothing_to_do_with_the_load_is_refused_in_all_of_twenty_walks():
    edges = wave(2)
    for seed in range(20):
        draw = np.random.default_rng(seed)
        t = np.arange(edges[0][0], edges[-1][1], 0.0103)
        walk = np.repeat(300 + np.cumsum(15 * draw.standard_normal(len(t) // 10 + 1)), 10)[: len(t)]
        lines = [Telemetry(int(s * 1e9), "gpu0", power_w=float(max(1.0, w))) for s, w in zip(t, walk, strict=True)]
        assert characterise(in_ns(edges), lines, card()).sensor == card()


def test_another_devices_readings_are_not_looked_at():
    edges = wave(0)
    lines = [msgspec.structs.replace(one, device="gpu1") for one in telemetry(edges, window_s=0.1, update_s=0.1, hz=HZ)]
    refused(characterise(in_ns(edges), lines, card()), "only 0 readings")


@pytest.mark.parametrize(("kind", "update_s"), [("counter", 0.001), ("instant", 0.02), ("counter", 0.02)])
def test_polls_slower_than_the_update_tell_no_update_and_no_window(kind, update_s):
    one = found(kind, window_s=update_s, update_s=update_s, hz=50)
    refused(one, "faster polls are needed")
    assert one.update_s is None and one.granularity_j is None
    assert one.lag_s is not None and one.rise_w == pytest.approx(560, rel=0.1)


def test_ten_readings_a_second_are_too_few_for_a_sensor_of_100_ms():
    refused(found("instant", window_s=0.025, update_s=0.1, hz=10), "faster polls")


def test_a_frozen_sensor_and_a_frozen_counter_are_refused():
    edges = wave(0)
    for kind, field in (("instant", "power_w"), ("counter", "energy_j")):
        lines = [Telemetry(int((edges[0][0] + i * 0.0103) * 1e9), "gpu0", **{field: 500.0}) for i in range(4000)]
        refused(characterise(in_ns(edges), lines, card(kind)), "changed only 0 times")


def test_too_few_edges_overlapping_ones_and_no_slow_cycle_are_refused():
    edges = in_ns(wave(0))
    lines = telemetry(wave(0), window_s=0.1, update_s=0.1, hz=HZ)
    refused(characterise(edges[:10], lines, card()), "too few edges")
    refused(characterise([], lines, card()), "too few edges")
    refused(characterise(edges[3:], lines, card()), "too few slow cycles")
    refused(characterise([(a, b + 3_000_000_000) for a, b in edges], lines, card()), "overlap")
    refused(characterise([(b, a) for a, b in edges], lines, card()), "before it begins")


def test_an_absent_sensor_keeps_its_own_reason():
    gone = card(absent="NotSupported", remedy="update the driver")
    one = characterise(in_ns(wave(0)), telemetry(wave(0), window_s=0.1, update_s=0.1, hz=HZ), gone)
    assert one.reason == "NotSupported" and one.sensor == gone


def test_zero_watts_and_a_counter_reset_are_dropped_not_believed():
    edges = wave(0)
    lines = telemetry(edges, window_s=0.1, update_s=0.1, hz=HZ)
    zeros = [msgspec.structs.replace(one, power_w=0.0) if i % 50 == 0 else one for i, one in enumerate(lines)]
    assert characterise(in_ns(edges), zeros, card()).window_s == pytest.approx(0.1, rel=0.05)
    lines = telemetry(edges, window_s=0.1, update_s=0.1, hz=HZ, counter=True)
    lost = lines[len(lines) // 2].energy_j
    reset = [
        msgspec.structs.replace(one, energy_j=one.energy_j - lost if i >= len(lines) // 2 else one.energy_j)
        for i, one in enumerate(lines)
    ]
    one = characterise(in_ns(edges), reset, card("counter"))
    assert one.window_s == pytest.approx(0.1, rel=0.05) and one.granularity_j == pytest.approx(11.0, rel=0.1)


def test_values_that_come_without_rhythm_have_no_update_period():
    draw = np.random.default_rng(3)
    renewed = np.cumsum(draw.exponential(0.2, 300))
    t = np.arange(0, renewed[-1], 0.01)
    one = updates(t.tolist(), [float(np.searchsorted(renewed, s)) for s in t])
    assert one.period_s is None and "no rhythm" in one.reason


# ---- contradictions, and the journal ------------------------------------------------------------------------------


def test_a_sensor_that_is_not_what_its_class_says_is_named():
    one = found("instant", published=card(window_s=0.1, update_s=0.1, coverage=1.0), window_s=0.025, update_s=0.1)
    said = " ".join(one.contradictions)
    assert "window of 25 ms, published for its class: 100 ms" in said and "sees 25% of the time" in said
    assert [f.code for f in apply.findings([one])] == ["sensor-contradicts-class"] * 2
    assert found("instant", published=card(**PUBLISHED), window_s=0.025, update_s=0.1).contradictions == []


def journal(edges, lines, cards, status="done", simulated=False, kernel="square_wave"):
    device = msgspec.structs.replace(gpu(), simulated=simulated)
    suite = Suite(
        schema="effbench.suite/1",
        name="t",
        purpose="test",
        rounds={"gpu": Rounds(1, 1)},
        budget_s={"gpu": 60.0},
        workloads=[Workload("wave", kernel, procedure=Procedure(mode="once"))],
    )
    here = Inventory("node", [device])
    todo = planning.make(suite, here, [device], "x")
    one = todo.trials[0]
    samples = [Sample(end, (end - start) / 1e9, (end - start) / 1e9, 5) for start, end in in_ns(edges)]
    begin = Started("effbench.journal/1", 1, "2026-11-21T00:00:00+00:00", Tool("1", "x"), todo, here)
    end_ns = samples[-1].t_ns
    closed = Closed(end_ns, one.id, 0, status)
    return [begin, Sensed(2, cards), Opened(3, one.id, 0, 0, "gpu0"), *samples, closed, *lines]


def test_a_journal_with_a_square_wave_measures_its_cards_and_leaves_the_others():
    edges = wave(0)
    lines = telemetry(edges, window_s=0.025, update_s=0.1, hz=HZ)
    other = card("instant", key="gpu1.instant", device="gpu1")
    events = journal(edges, lines, [card("counter"), card(), other])
    said = apply.characterised(apply.cards_of(events), events)
    cards = apply.measured(apply.cards_of(events), said)
    assert [one.key for one in cards] == ["gpu0.counter", "gpu0.instant", "gpu1.instant"]
    assert [one.basis for one in cards] == ["published", "measured", "published"]
    assert cards[1].coverage == pytest.approx(0.25, abs=0.03)
    assert [f.code for f in apply.findings(said)] == ["sensor-not-characterised"]


@pytest.mark.parametrize("more", [{"status": "failed"}, {"simulated": True}, {"kernel": "gemm"}])
def test_a_failed_a_simulated_and_another_trial_measure_nothing(more):
    edges = wave(0)
    events = journal(edges, telemetry(edges, window_s=0.025, update_s=0.1, hz=HZ), [card()], **more)
    assert apply.characterised([card()], events) == []
    assert apply.measured([card()], []) == [card()]
    assert apply.cards_of(events[2:]) == []


def test_telemetry_of_another_command_is_another_clock():
    """A continued run may come after a reboot: its monotonic times overlap those of the first command."""
    edges = wave(0)
    good = journal(edges, telemetry(edges, window_s=0.025, update_s=0.1, hz=HZ), [card()])
    foreign = [
        msgspec.structs.replace(one, power_w=333.0 + i % 7) for i, one in enumerate(good) if hasattr(one, "power_w")
    ]
    both = [*good, good[0], *foreign]
    (one,) = apply.characterised([card()], both)
    assert one.window_s == pytest.approx(0.025, abs=0.004)
