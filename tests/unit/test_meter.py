"""A wall meter's log: what is read, every way in which it is refused, and how its clock is checked."""

import math
import random
from pathlib import Path

import pytest

from effbench.energy.meter import Meter, read_log
from effbench.energy.meter_clock import Anchor, check_clock, joined, overlaps
from effbench.model.error import CatalogError, InputError
from effbench.model.event import Telemetry, Window

UTC_S = 1_795_000_000
S = 1_000_000_000
HEAD = "# uncertainty: 1 %\ntime,power_w\n"


def log(folder: Path, text: str) -> Path:
    path = folder / "meter.csv"
    path.write_bytes(text.encode())
    return path


def read(folder: Path, text: str, uncertainty: str | None = None) -> Meter:
    return read_log(log(folder, text), uncertainty)


def mistakes(folder: Path, text: str, uncertainty: str | None = None) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        read(folder, text, uncertainty)
    return [problem.removeprefix(str(folder / "meter.csv") + ":") for problem in caught.value.problems]


def rows(times: list[float], watts: list[float], head: str = "# uncertainty: 1 %\nepoch_s,power_w\n") -> str:
    return head + "".join(f"{t:.3f},{w}\n" for t, w in zip(times, watts, strict=True))


@pytest.mark.parametrize(
    ("head", "first", "second", "third"),
    [
        ("time,power_w", "2026-11-21T14:03:00Z,1200", "2026-11-21T14:03:01Z,1210", "2026-11-21T14:03:02Z,1190"),
        (
            "Time,Power (kW)",
            "2026-11-21T15:03:00+01:00,1.2",
            "2026-11-21T15:03:01+01:00,1.21",
            "2026-11-21T14:03:02+00:00,1.19",
        ),
        ("epoch_s,Watts", "1795269780,1200", "1795269781.0,1210", "1795269782.000,1.19e3"),
        (
            "outlet;timestamp;Power [W];V",
            "3;2026-11-21T14:03:00Z;1200;230",
            "3;2026-11-21T14:03:01Z;1210;231",
            "3;2026-11-21T14:03:02Z;1190;229",
        ),
        ('time_s\t"power_kw"', "1795269780\t1.2", '"1795269781"\t1.21', "1795269782\t1.19"),
    ],
)
def test_every_spelling_gives_the_same_readings(tmp_path: Path, head: str, first: str, second: str, third: str) -> None:
    text = "\ufeff# serial: X1\n# Uncertainty: 0.5 %\r\n" + "\r\n".join([head, first, "", "# a note", second, third])
    meter = read(tmp_path, text + "\n")
    assert [(p.utc_ns, p.watts) for p in meter.points] == [
        (1795269780 * S, 1200.0),
        (1795269781 * S, 1210.0),
        (1795269782 * S, 1190.0),
    ]
    card = meter.sensor
    assert (card.key, card.device, card.kind, card.scope, card.reading) == (
        "node.meter",
        "node",
        "meter",
        "node",
        "node_power_w",
    )
    assert (card.uncertainty, card.update_s, card.absent) == (0.005, 1.0, "")
    assert "X1" not in card.source and "meter.csv" not in card.source
    assert not meter.findings


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "the log is empty"),
        ("# uncertainty: 1 %\n\n", "1:1", "the log is empty"),
        ("# uncertainty: 1 %\nwhen,power_w\n", "2:1", "no time column"),
        ("# uncertainty: 1 %\ntime,power\n", "2:1", "'power' does not name W or kW"),
        ("# uncertainty: 1 %\ntime,Power (VA)\n", "2:1", "does not name W or kW"),
        ("# uncertainty: 1 %\ntime,power_mw\n", "2:1", "no power column"),
        ("# uncertainty: 1 %\ntime,energy_kwh\n", "2:1", "no power column"),
        ("# uncertainty: 1 %\ntime,power_w,power_kw\n", "2:1", "2 power columns"),
        (HEAD + "2026-11-21T14:03:00,5\n", "3:1", "is a local time"),
        (HEAD + "21.11.2026 14:03,5\n", "3:1", "no ISO 8601 time"),
        ("# uncertainty: 1 %\nepoch_s,power_w\n1795269780000,5\n", "3:1", "is it in ms?"),
        ("# uncertainty: 1 %\nepoch_s,power_w\nnow,5\n", "3:1", "no number of seconds"),
        (HEAD + "2026-11-21T14:03:00Z,abc\n", "3:22", "'abc' is no number"),
        (HEAD + "2026-11-21T14:03:00Z,nan\n", "3:22", "'nan' is no number"),
        (HEAD + "2026-11-21T14:03:00Z,\n", "3:22", "'' is no number"),
        (HEAD + "2026-11-21T14:03:00Z,-5\n", "3:22", "negative"),
        (HEAD + "2026-11-21T14:03:00Z,5e30\n", "3:22", "is the unit right?"),
        (HEAD + "2026-11-21T14:03:00Z\n", "3:1", "1 columns, the header has 2"),
        (HEAD + "2026-11-21T14:03:01Z,5\n2026-11-21T14:03:00Z,5\n", "4:1", "the time goes back"),
        (HEAD + "2026-11-21T14:03:01Z,5\n2026-11-21T14:03:01Z,5\n", "4:1", "the same time"),
        (HEAD + "2026-11-21T14:03:01Z,5\n2026-11-21T14:03:02Z,5\n", "4:1", "2 readings above zero"),
        ("time,power_w\n", "1:1", "no uncertainty"),
        (HEAD.replace("1 %", "1"), "1:1", "is no share"),
        (HEAD.replace("1 %", "0 %"), "1:1", "is no share"),
        ("# skew: 1.5 s\n" + HEAD, "1:1", "1.5 s off, beyond 0.8 s"),
        ("# skew: soon\n" + HEAD, "1:1", "skew 'soon' is no time"),
        ("# window: 0 s\n" + HEAD, "1:1", "longer than nothing"),
    ],
)
def test_every_mistake_is_named_with_its_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    found = mistakes(tmp_path, text)
    assert any(problem.startswith(f"{place}: ") and words in problem for problem in found), found


def test_all_mistakes_are_told_at_once_and_many_are_counted(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "time,power_w\n2026-11-21T14:03:00,x\nnever,-1\n")
    assert len(found) == 5
    assert len(mistakes(tmp_path, HEAD + "x,y\n" * 100)) == 21


def test_binary_and_missing_and_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meter.csv").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(CatalogError):
        read_log(tmp_path / "meter.csv")
    with pytest.raises(CatalogError, match="there is no such file"):
        read_log(tmp_path / "none.csv")
    with pytest.raises(CatalogError, match="cannot be read"):
        read_log(tmp_path)
    monkeypatch.setattr("effbench.energy.meter.MAX_BYTES", 10)
    with pytest.raises(CatalogError, match="larger than"):
        read_log(tmp_path / "meter.csv")


def test_the_option_overrides_the_log(tmp_path: Path) -> None:
    text = rows([UTC_S, UTC_S + 1, UTC_S + 2], [5, 5, 5])
    assert read(tmp_path, text, "2.5 %").sensor.uncertainty == 0.025
    assert any("uncertainty '7' is no share" in problem for problem in mistakes(tmp_path, text, "7"))


def test_zero_watts_are_no_reading(tmp_path: Path) -> None:
    meter = read(tmp_path, rows([UTC_S + i for i in range(10)], [100] * 5 + [0] + [100] * 4))
    assert len(meter.points) == 9
    assert "0 W" in meter.findings[0].message


def test_gaps_are_named_by_line(tmp_path: Path) -> None:
    times = [UTC_S + i for i in range(20)] + [UTC_S + i for i in range(24, 40)]
    meter = read(tmp_path, rows(times, [100.0] * len(times)))
    assert [gap.line for gap in meter.gaps] == [23]
    assert [finding.code for finding in meter.findings] == ["meter-gap"]
    assert "line 23" in meter.findings[0].message
    anchor = Anchor(t_ns=0, utc_ns=UTC_S * S, end_ns=39 * S)
    inside = Window(t_ns=30 * S, start_ns=15 * S, device="cpu", name="trial")
    outside = Window(t_ns=10 * S, start_ns=2 * S, device="cpu", name="trial")
    kept = [reading.t_ns // S for reading in joined(meter, anchor, [inside, outside])]
    assert kept == [*range(15), *range(31, 40)]


def test_a_window_that_the_log_does_not_cover_gets_nothing(tmp_path: Path) -> None:
    meter = read(tmp_path, rows([UTC_S + i for i in range(20)], [100.0] * 20))
    anchor = Anchor(t_ns=0, utc_ns=UTC_S * S, end_ns=60 * S)
    assert overlaps(meter, anchor)
    assert joined(meter, anchor, [Window(t_ns=40 * S, start_ns=0, device="cpu", name="command")]) == []
    assert len(joined(meter, anchor, [Window(t_ns=19 * S, start_ns=0, device="cpu", name="command")])) == 20
    assert not overlaps(meter, Anchor(t_ns=0, utc_ns=(UTC_S + 100) * S, end_ns=60 * S))


def steps(t_s: float) -> float:
    """A load that never repeats itself: 100 W, and 500 W now and then."""
    return 500.0 if math.floor(t_s / 4) in {2, 3, 7, 9, 10, 11, 14, 20, 21} else 100.0


def devices(seconds: int, power: float = 1.0) -> dict[str, list[Telemetry]]:
    return {"gpu0": [Telemetry(i * S // 10, "gpu0", power_w=power * steps(i / 10)) for i in range(seconds * 10)]}


def metered(folder: Path, skew_s: float, head: str = "", seed: int = 7) -> Meter:
    """The log of a meter that reads ten times a second, 300 W above the device, its clock `skew_s` ahead."""
    noise = random.Random(seed)
    times = [i / 10 for i in range(900)]
    text = rows([UTC_S + t + skew_s for t in times], [300 + steps(t) + noise.gauss(0, 5) for t in times])
    return read(folder, head + text)


ANCHOR = Anchor(t_ns=0, utc_ns=UTC_S * S, end_ns=90 * S)


@pytest.mark.parametrize("skew_s", [-0.7, -0.2, 0.0, 0.3, 0.75])
def test_a_clock_within_the_limit_is_measured(tmp_path: Path, skew_s: float) -> None:
    found = check_clock(metered(tmp_path, skew_s), ANCHOR, devices(90))
    assert found.code == "meter-clock"
    assert found.evidence["skew_s"] == pytest.approx(skew_s, abs=0.11)


@pytest.mark.parametrize("skew_s", [-12.0, -1.0, 0.95, 2.5, 20.0])
def test_a_clock_beyond_the_limit_is_refused_with_its_error(tmp_path: Path, skew_s: float) -> None:
    with pytest.raises(InputError, match=r"beyond 0\.8 s") as caught:
        check_clock(metered(tmp_path, skew_s), ANCHOR, devices(90))
    told = float(str(caught.value).split("clock is ")[1].split(" ±")[0])
    assert told == pytest.approx(skew_s, abs=0.11)


def test_a_clock_that_a_slow_meter_cannot_settle_must_be_given(tmp_path: Path) -> None:
    times = [float(i) for i in range(90)]
    for skew_s in (0.9, 1.5):
        lines = rows([UTC_S + t + skew_s for t in times], [300 + steps(t) for t in times])
        with pytest.raises(InputError, match="cannot be checked"):
            check_clock(read(tmp_path, lines), ANCHOR, devices(90))
    lines = rows([UTC_S + t + 2.5 for t in times], [300 + steps(t) for t in times])
    with pytest.raises(InputError, match=r"beyond 0\.8 s"):
        check_clock(read(tmp_path, lines), ANCHOR, devices(90))


def test_a_skew_that_is_given_is_taken_off(tmp_path: Path) -> None:
    meter = metered(tmp_path, 0.6, "# skew: 600 ms\n")
    assert check_clock(meter, ANCHOR, devices(90)).evidence["skew_s"] == pytest.approx(0, abs=0.11)
    assert joined(meter, ANCHOR, [])[0].t_ns == pytest.approx(0, abs=2000)


def test_a_given_skew_that_the_power_contradicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"beyond 0\.8 s"):
        check_clock(metered(tmp_path, 5.0, "# skew: 0.1 s\n"), ANCHOR, devices(90))


def test_without_a_step_the_clock_must_be_given(tmp_path: Path) -> None:
    flat = {"gpu0": [Telemetry(i * S // 10, "gpu0", power_w=100.0) for i in range(900)]}
    for readings in (flat, {}, {"cpu": [Telemetry(0, "cpu")]}):
        with pytest.raises(InputError, match="cannot be checked"):
            check_clock(metered(tmp_path, 0.0), ANCHOR, readings)
        assert "as given" in check_clock(metered(tmp_path, 0.0, "# skew: 0 s\n"), ANCHOR, readings).message


def test_a_periodic_load_settles_no_clock(tmp_path: Path) -> None:
    square = {"gpu0": [Telemetry(i * S // 10, "gpu0", power_w=100.0 + 400 * (i // 20 % 2)) for i in range(900)]}
    times = [i / 10 for i in range(900)]
    text = rows([UTC_S + t for t in times], [400.0 + 400 * (i // 20 % 2) for i in range(900)])
    with pytest.raises(InputError, match="cannot be checked"):
        check_clock(read(tmp_path, text), ANCHOR, square)


def test_the_meter_of_another_node_is_refused(tmp_path: Path) -> None:
    noise = random.Random(3)
    text = rows([UTC_S + i / 10 for i in range(900)], [400 + noise.gauss(0, 30) for _ in range(900)])
    with pytest.raises(InputError, match="does not follow"):
        check_clock(read(tmp_path, "# skew: 0 s\n" + text), ANCHOR, devices(90))


def test_a_long_log_is_thinned_and_a_short_run_settles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("effbench.energy.meter_clock.PAIRS_MAX", 200)
    found = check_clock(metered(tmp_path, 0.3), ANCHOR, devices(90)).evidence
    assert abs(float(found["skew_s"]) - 0.3) <= float(found["half_width_s"]) + 0.06
    assert float(found["half_width_s"]) >= 0.2, "readings half a second apart cannot tell lags between them"
    brief = Anchor(t_ns=0, utc_ns=UTC_S * S, end_ns=S // 2)
    with pytest.raises(InputError, match="cannot be checked"):
        check_clock(metered(tmp_path, 0.0), brief, devices(90))
