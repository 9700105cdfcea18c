"""From a journal with power sensors to record, metrics, chain and money, by hand; no figure where evidence lacks."""

from pathlib import Path

import msgspec
import pytest

from effbench.catalog.site import load_site
from effbench.device.nvml_reasons import SW_POWER_CAP
from effbench.model.energy import Held
from effbench.model.event import Closed, Event, Opened, Started, Window
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.run.record import build
from effbench.score.node import score
from effbench.score.power import power
from tests.power_bench import NVIDIA, S, Scripted
from tests.power_journal import BARE_W, CONTEXT_W, SPEED, WATTS, journal, step_s

SITE = load_site(Path(__file__).parents[1] / "data" / "site.yaml")
# The window component of a 10 Hz counter that is read at 20 Hz: its ends are known to half a per cent.
NEAR = 0.005


@pytest.fixture(scope="module")
def record() -> Record:
    return build(journal())


@pytest.fixture(scope="module")
def card(record: Record) -> Scorecard:
    return score(record, SITE)


def value(card: Scorecard, key: str) -> float:
    (found,) = (m for m in card.metrics if m.key == key and m.device == "gpu0")
    assert found.interval is not None and found.interval.low < found.quantity.value < found.interval.high
    assert found.status == "valid"
    return found.quantity.value


def powers(record: Record) -> set[str]:
    """Keys of what a record says of the power of work."""
    return {metric.key for metric in power(record) if not metric.key.startswith("power.idle")}


def test_work_per_joule_by_hand(card: Scorecard, record: Record) -> None:
    trials = {t.kernel: t for t in record.plan.trials}
    assert value(card, "power.gemm.bf16.watts") == pytest.approx(690, rel=NEAR)
    assert value(card, "power.gemm.bf16.flops_per_joule") == pytest.approx(7e14 / 690, rel=NEAR)
    assert value(card, "power.gemm.bf16.fraction_of_limit") == pytest.approx(690 / 700, rel=NEAR)
    assert value(card, "power.stream.copy.bytes_per_joule") == pytest.approx(4e12 / 500, rel=NEAR)
    assert value(card, "power.decode.b8.joules_per_token") == pytest.approx(400 / SPEED["decode_step"] / 8, rel=NEAR)
    train_s = step_s(trials["train_step"])
    assert value(card, "power.train_step.joules_per_step") == pytest.approx(640 * train_s, rel=NEAR)
    assert value(card, "power.train_step.energy_delay") == pytest.approx(640 * train_s**2, rel=NEAR)
    both = (value(card, f"power.train_step.{name}") for name in ("joules_per_token", "tokens_per_joule"))
    assert next(both) * next(both) == pytest.approx(1)
    prefill = trials["prefill_step"].work.items / step_s(trials["prefill_step"]) / WATTS["prefill_step"]
    assert value(card, "power.prefill.b1.tokens_per_joule") == pytest.approx(prefill, rel=NEAR)


def test_two_idles_and_what_lies_above_them(card: Scorecard, record: Record) -> None:
    assert value(card, "power.idle.bare.watts") == pytest.approx(BARE_W, rel=NEAR)
    assert value(card, "power.idle.context.watts") == pytest.approx(CONTEXT_W, rel=NEAR)
    assert value(card, "power.device.proportionality") == pytest.approx(1 - BARE_W / 690, rel=NEAR)
    gemm = next(m.energy for m in record.measurements if m.energy is not None and m.trial.startswith("gemm"))
    assert gemm.net is not None and gemm.idle_name == "context"
    assert gemm.net.value == pytest.approx((690 - CONTEXT_W) * gemm.window_s, rel=0.01)
    assert (gemm.trust, gemm.capped) == ("B", False)


def test_money_carbon_and_the_chain_by_hand(card: Scorecard) -> None:
    assert card.economics is not None
    lines = {line.key: line.value.low for line in card.economics.lines if line.value is not None}
    kilowatts = (690 + 400 / 4) * 1.25 / 1000  # a quarter of what stands beside four accelerators, times PUE
    assert lines["energy.gemm.bf16"] == pytest.approx(kilowatts * 0.25 / 0.7, rel=NEAR)
    assert lines["carbon.gemm.bf16.location"] == pytest.approx(kilowatts * 400 / 0.7, rel=NEAR)
    assert lines["total.gemm.bf16.rented"] == pytest.approx(3 / 0.5 / 0.7)
    links = {link.name: link for link in card.chains[0].links}
    assert links["node_power"].share == pytest.approx(640 / 740, rel=NEAR)
    assert links["facility_power"].share == pytest.approx(0.8)
    assert links["algorithm"].share is links["scaling"].share is None
    assert card.chains[0].upper_bound


def test_a_reason_for_lower_clocks_is_counted_over_the_windows() -> None:
    capped = build(journal(reasons=SW_POWER_CAP, last={"held_power_s": 7.0}, devices={"power_limit_w": 650.0}))
    known = {metric.key: metric.quantity.value for metric in power(capped)}
    windows = sum(m.energy.window_s for m in capped.measurements if m.energy is not None)
    assert known["power.held.sw_power_cap.time"] == pytest.approx(windows, rel=NEAR)
    joules = sum(m.energy.energy.value for m in capped.measurements if m.energy and m.energy.energy)
    assert known["power.held.sw_power_cap.joules"] == pytest.approx(joules, rel=0.01)
    assert "power.violation.power.time" not in known  # the counter was read at one end only
    assert all(m.energy.capped for m in capped.measurements if m.energy is not None)
    assert {f.code for f in score(capped).findings} >= {"power-capped"}


def test_joules_under_a_reason_are_of_all_windows_or_of_none(record: Record) -> None:
    held = [[Held("sw_power_cap", 2.0, 900.0)], [Held("sw_power_cap", 3.0)]]
    first = [
        msgspec.structs.replace(m, energy=msgspec.structs.replace(m.energy, held=own))
        for m, own in zip(record.measurements, held, strict=False)
        if m.energy is not None
    ]
    known = {m.key: m.quantity.value for m in power(msgspec.structs.replace(record, measurements=first))}
    assert known["power.held.sw_power_cap.time"] == 5.0
    assert "power.held.sw_power_cap.joules" not in known


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"xid_79": 1.0}, "hardware XID"),
        ({"ecc_uncorrected": 1.0}, "uncorrectable memory error"),
        ({"row_remap_pending": 1.0}, "rows were remapped"),
    ],
)
def test_what_befell_the_device_leaves_no_figure_of_its_work(last: dict[str, float], words: str) -> None:
    spoilt = build(journal(last=last))
    energies = [m.energy for m in spoilt.measurements]
    energies += [idle.energy for idle in spoilt.idle]
    assert len(energies) == 7
    assert all(e is not None and e.status == "invalid" and e.energy is None and words in e.reason for e in energies)
    assert power(spoilt) == []


def test_a_team_has_no_window_and_is_told_so_instead_of_to_run_again() -> None:
    whole = journal()
    (plan,) = (e.plan for e in whole.events if isinstance(e, Started))
    trials = [msgspec.structs.replace(t, scope="node") if t.kernel == "gemm" else t for t in plan.trials]
    team = msgspec.structs.replace(plan, trials=trials)
    events = [msgspec.structs.replace(e, plan=team) if isinstance(e, Started) else e for e in whole.events]
    built = build(msgspec.structs.replace(whole, events=events))
    names = {t.id for t in trials if t.scope == "node"}
    energies = [m.energy for m in built.measurements if m.trial in names]
    assert energies and all(e is not None and e.status == "absent" and "a team's" in e.reason for e in energies)
    assert not any(key.startswith("power.gemm.") for key in powers(built))


def test_two_swapped_sensors_leave_no_figure() -> None:
    assert powers(build(journal(2, swapped=True))) == set()
    assert "power.gemm.bf16.watts" in powers(build(journal(2)))


@pytest.mark.parametrize(
    "scripted", [Scripted(vanish_s=0.0), Scripted(stuck_s=0.0, hide=("power_w", "power_average_w"))]
)
def test_sensors_that_do_not_answer_leave_no_figure(scripted: Scripted) -> None:
    dark = build(journal(scripted=scripted))
    assert power(dark) == []
    assert all(m.energy is not None and m.energy.reason and m.energy.remedy for m in dark.measurements)


def test_without_a_sensor_all_is_absent_with_reason_and_remedy() -> None:
    cards = [msgspec.structs.replace(c, absent="NotSupported", remedy="attach a meter") for c in NVIDIA]
    for known in (cards, []):
        dark = build(journal(sensors=known, scripted=Scripted(vanish_s=0.0)))
        assert power(dark) == []
        assert all(m.energy is not None and m.energy.reason and m.energy.remedy for m in dark.measurements)
        assert [f.code for f in dark.findings if f.code == "power-sensor-absent"] == ["power-sensor-absent"]
        shown = score(dark, SITE)
        assert shown.economics is not None
        energy = [line for line in shown.economics.lines if line.kind == "carbon" or line.key == "energy.hour"]
        assert energy and all(line.value is None and line.absent for line in energy)
        links = {link.name: link for link in shown.chains[0].links}
        assert links["node_power"].basis == "unknown" and links["node_power"].share is None


def test_a_run_continued_after_a_reboot_keeps_the_readings_of_both_boots_apart() -> None:
    whole = journal(rounds=2)
    began = next(e.t_ns for e in whole.events if isinstance(e, Opened) and e.round == 1) - S // 4
    first, back_ns = whole.events[0], began - 20 * S  # the second boot's clock: its trials overlap others of the first
    assert isinstance(first, Started)

    def again(event: Event) -> Event:
        moved = msgspec.structs.replace(event, t_ns=event.t_ns - back_ns)
        return msgspec.structs.replace(moved, start_ns=moved.start_ns - back_ns) if isinstance(moved, Window) else moved

    before = [e for e in whole.events if e.t_ns < began]
    after = [again(e) for e in whole.events if e.t_ns >= began]
    resumed = msgspec.structs.replace(first, t_ns=began - back_ns)
    one = build(whole)
    two = build(msgspec.structs.replace(whole, events=[*before, resumed, *after]))
    for alone, joined in zip(one.measurements, two.measurements, strict=True):
        assert alone.energy is not None and joined.energy is not None and joined.energy.windows == 2
        assert alone.energy.energy is not None and joined.energy.energy is not None
        assert joined.energy.energy.value == pytest.approx(alone.energy.energy.value)
        assert joined.energy.status == "valid"


@pytest.mark.parametrize(("status", "windows"), [("lost", 0), ("failed", 0), ("done", 1)])
def test_only_windows_of_what_ended_well_count_and_a_second_attempt_replaces_the_first(
    status: str, windows: int
) -> None:
    whole = journal()
    first = next(e.trial for e in whole.events if isinstance(e, Opened))
    lost = [e for e in whole.events if isinstance(e, Opened | Window) and e.trial == first]
    ended = [
        msgspec.structs.replace(e, status=status) if isinstance(e, Closed) and e.trial == first else e
        for e in whole.events
    ]
    place = next(i for i, e in enumerate(ended) if isinstance(e, Opened))
    record = build(msgspec.structs.replace(whole, events=[*ended[:place], *lost, *ended[place:]]))
    energy = next(m.energy for m in record.measurements if m.trial == first)
    assert energy is not None and energy.windows == windows
    assert (energy.status, energy.energy is None) == (("valid", False) if windows else ("absent", True))
