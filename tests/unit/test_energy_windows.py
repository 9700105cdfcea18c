"""Where energy is taken: windows that hold one thing only, idles where a sensor can tell them, no lock to a sensor."""

import time
from typing import Any

import pytest

from effbench.kernels.contract import Timing
from effbench.model.energy import Sensor
from effbench.model.event import Closed, Sample, Sensed, Verify, Window
from effbench.model.suite import Procedure
from effbench.run import idle, measure, pacing
from tests.power_journal import plan

VIEW_S, PERIOD_S, WINDOW_S = 0.025, 0.1, 10.0


def seen_over_true(step_s: float, pause_s: float, phase_s: float) -> float:
    """What a sensor of 25 ms in each 100 ms makes of repetitions whose first half draws 600 W and whose rest 200 W."""
    whole = step_s + pause_s

    def watts(t: float) -> float:
        return 600.0 if t % whole < step_s / 2 else 200.0

    looks = [phase_s + n * PERIOD_S + VIEW_S * (k + 0.5) / 5 for n in range(int(WINDOW_S / PERIOD_S)) for k in range(5)]
    seen = sum(map(watts, looks)) / len(looks)
    return seen / ((600.0 * step_s / 2 + 200.0 * (whole - step_s / 2)) / whole)


@pytest.mark.parametrize("step_s", [0.1, 0.05, 0.15, 0.3, 0.1001])
def test_a_repetition_that_would_lock_to_the_sensor_is_paced(step_s: float) -> None:
    pause = pacing.pause_s(step_s, WINDOW_S)
    assert 0 < pause <= 0.02 * step_s + 1e-9, "two per cent of the window at most"
    locked = [abs(seen_over_true(step_s, 0.0, phase / 100) - 1) for phase in range(10)]
    paced = [abs(seen_over_true(step_s, pause, phase / 100) - 1) for phase in range(10)]
    assert max(locked) > 0.1
    assert max(paced) < 0.05


def test_what_walks_by_itself_is_left_alone() -> None:
    assert pacing.pause_s(0.07, WINDOW_S) == pacing.pause_s(0.003, WINDOW_S) == 0.0
    assert pacing.pause_s(0.1, 0.0) == 0.0


def test_batches_vary_by_a_quarter_around_their_size() -> None:
    sizes = [pacing.batch(40, number) for number in range(200)]
    assert min(sizes) >= 30 and max(sizes) <= 50 and len(set(sizes)) > 15
    assert sum(sizes) / len(sizes) == pytest.approx(40, rel=0.01)
    assert {pacing.batch(3, number) for number in range(9)} == {3}, "nothing to vary"


class Watch:
    """A telemetry child that only answers for its sensors."""

    def __init__(self, cards: list[Sensor]) -> None:
        self.cards = cards

    def sensors(self) -> list[Sensor]:
        return self.cards

    def pump(self) -> None: ...


def rest(monkeypatch: pytest.MonkeyPatch, cards: list[Sensor], **devices: Any) -> idle.Rest:
    todo, inventory = plan(2, **devices)
    monkeypatch.setattr(idle.time, "sleep", lambda _: None)
    now = iter(n / 2 for n in range(10_000))
    monkeypatch.setattr(idle.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(idle.time, "monotonic_ns", lambda: int(next(now) * 1e9))
    return idle.Rest(todo, inventory, Watch(cards), None)  # type: ignore[arg-type]


def card(device: str, absent: str = "") -> Sensor:
    return Sensor(f"{device}.counter", device, "counter", "gpu", "J", "energy_j", "made up", absent=absent)


def test_only_a_device_with_a_sensor_rests_and_each_has_its_context_once(monkeypatch: pytest.MonkeyPatch) -> None:
    resting = rest(monkeypatch, [card("gpu0"), card("gpu1", absent="NotSupported")])
    sensed, *windows = resting.begin(since=0.0)
    assert isinstance(sensed, Sensed) and [c.key for c in sensed.sensors] == ["gpu0.counter", "gpu1.counter"]
    assert [(w.device, w.name) for w in windows if isinstance(w, Window)] == [("gpu0", "idle.bare")]
    assert all(w.t_ns - w.start_ns >= 12e9 and w.settled_s >= 1.5 for w in windows if isinstance(w, Window))
    (window,) = resting.with_context("gpu0")
    assert isinstance(window, Window) and window.name == "idle.context"
    assert window.settled_s >= 1.5, "what came before has left a mean of a second"
    assert resting.with_context("gpu0") == resting.with_context("gpu1") == []


def test_a_simulated_device_has_no_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    resting = rest(monkeypatch, [card("gpu0"), card("gpu1")], simulated=True)
    assert [type(e) for e in resting.begin(since=0.0)] == [Sensed]
    assert resting.with_context("gpu0") == []


class Rig:
    """A device on which a repetition takes half a millisecond by its own clock, however busy the machine is."""

    def __init__(self) -> None:
        self.accelerator = plan()[1].accelerators[0]
        self.synchronized = 0

    def synchronize(self) -> None:
        self.synchronized += 1

    def time(self, run: Any, first: int, n: int) -> Timing:
        for i in range(first, first + n):
            run(i)
        time.sleep(n * 0.0005)
        return Timing(n * 0.0005, n * 0.0005)

    def clock_hz(self) -> None:
        return None

    def monotonic(self) -> float:
        return time.monotonic()


class Step:
    """Counts what is done with it."""

    def __init__(self) -> None:
        self.runs, self.prints = 0, 0

    def run(self, i: int) -> None:
        self.runs += 1

    def fingerprint(self) -> int:
        self.prints += 1
        return 7

    def verify(self) -> Verify:
        return Verify(ok=True, error=0.0, tolerance=1.0)

    def facts(self) -> dict[str, float]:
        return {}

    def texts(self) -> dict[str, str]:
        return {}


class Outbox:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def event(self, event: Any) -> None:
        self.events.append(event)

    def progress(self, progress: Any) -> None: ...


@pytest.mark.parametrize("energy", [True, False])
def test_an_energy_window_is_one_unbroken_span_of_counted_repetitions(
    energy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "RAMP_S", 0.2)
    trial = plan()[0].trials[0]
    procedure = Procedure(warmup_s=0.05, duration_s=0.4, samples_max=10, fingerprint_every=2, energy=energy)
    trial = type(trial)(**{f: getattr(trial, f) for f in trial.__struct_fields__} | {"procedure": procedure})
    step, rig, outbox = Step(), Rig(), Outbox()
    measure.measure(step, trial, rig, 1, 0.0, outbox)  # type: ignore[arg-type]
    samples = [e for e in outbox.events if isinstance(e, Sample)]
    windows = [e for e in outbox.events if isinstance(e, Window)]
    assert isinstance(outbox.events[-1], Closed) and outbox.events[-1].status == "done"
    if not energy:
        assert windows == [] and step.prints > 4, "the bits are looked at between batches"
        return
    (window,) = windows
    assert (window.name, window.trial, window.round, window.device) == ("trial", trial.id, 1, "gpu0")
    assert window.settled_s >= 0.2, "the ramp is over before it"
    assert (window.t_ns - window.start_ns) * 1e-9 >= 0.4, "it goes on when enough samples are written down"
    assert len(samples) == 10 and len({s.inner_steps for s in samples}) > 1, "batches of varying length"
    assert window.steps > sum(s.inner_steps for s in samples)
    assert all(window.start_ns < s.t_ns <= window.t_ns for s in samples)
    assert step.prints == 4, "three before, one after, none between"
    assert rig.synchronized == 2, "at both ends"
