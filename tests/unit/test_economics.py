"""Money, carbon and boundaries: figures computed by hand, absences that name what is missing, workings that add up."""

import ast
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_score import gpu, measured, record, trial

from effbench.catalog.metrics import lookup
from effbench.catalog.site import load_site
from effbench.model.chain import Boundary, CostLine, Economics
from effbench.model.energy import Energy, LedgerRow, Sensor
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Record
from effbench.model.scorecard import Metric
from effbench.model.site import Given, NodeFacts, Period, Rent, SiteFacts, Tariff
from effbench.score.cost import mean_price
from effbench.score.economics import economics
from effbench.score.tariff import shift_price, starts

SITE = load_site(Path(__file__).parents[1] / "data" / "site.yaml")
NOBODY = SiteFacts("effbench.site/1", "bare", "d", "XTS")
FLOP, TOKENS = 0.8e15, 20_000.0


def metric(key: str, value: float, device: str = "gpu0", **changes: Any) -> Metric:
    row = lookup(key)
    assert row is not None, key
    interval = Interval(value * 0.95, value * 1.05)
    plain = Metric(
        key, Quantity(value, row.unit), row.better, "valid", [f"{key.split('.')[1]}@{device}"], device, interval
    )
    return msgspec.structs.replace(plain, **changes)


def rates(device: str = "gpu0") -> list[Metric]:
    return [metric("compute.gemm.bf16.flops", FLOP, device), metric("train.step.tokens_per_s", TOKENS, device)]


def powers(device: str = "gpu0") -> list[Metric]:
    """The product at 700 W and 0.75 PFLOP/s in its energy window, training at 600 W and 20000 token/s."""
    return [
        metric("power.gemm.bf16.watts", 700.0, device),
        metric("power.gemm.bf16.flops_per_joule", 0.75e15 / 700, device),
        metric("power.train_step.watts", 600.0, device),
        metric("power.train_step.tokens_per_joule", TOKENS / 600, device),
    ]


def run(*devices: str, **changes: Any) -> Record:
    names = devices or ("gpu0",)
    trials = [trial("m8192n8192k8192", name) for name in names]
    return record([(t, measured(t, 1e-3)) for t in trials], *[gpu(name) for name in names], **changes)


def of(site: SiteFacts = SITE, metrics: list[Metric] | None = None, done: Record | None = None) -> Economics:
    return economics([*rates(), *powers()] if metrics is None else metrics, done or run(), site)


def line(found: Economics, key: str) -> CostLine:
    return next(c for c in found.lines if c.key == key)


def ends(found: Economics, key: str) -> tuple[float, float]:
    value = line(found, key).value
    assert value is not None, line(found, key).absent
    return value.low, value.high


def boundary(found: Economics, name: str, denominator: str = "measured") -> Boundary:
    return next(b for b in found.boundaries if b.name == name and b.denominator == denominator)


# One accelerator of a node of four: 400 W / 4 = 100 W beside it. Mean price (16 h * 0.30 + 8 h * 0.15) / 24 = 0.25.
# Training: (600 + 100) W * 1.25 = 0.875 kW. Products: (700 + 100) W * 1.25 = 1 kW.
BY_HAND = {
    "tariff.flat": 0.25,
    "energy.hour": 0.21875,  # 0.875 kW * 0.25
    "energy.demand": 0.025,  # 4000 W / 4 = 1 kW * 1.25 = 1.25 kW * 14.60 * 12 months = 219 a year / 8760 h
    "total.hour.rented": 6.0,  # 3 / 0.5
    "energy.gemm.bf16": 0.3333333333,  # 1 kW * 0.25 / 0.75 PFLOP/s
    "total.gemm.bf16.rented": 7.5,  # 6 / 0.8 PFLOP/s
    "energy.train_step": 0.003038194444,  # 0.21875 / (0.02 million/s * 3600 s) = 0.21875 / 72
    "total.train_step.rented": 0.08333333333,  # 6 / 72
    "carbon.gemm.bf16.location": 533.3333333,  # 1 kW * 400 g / 0.75
    "carbon.gemm.bf16.market": 400.0,  # three quarters of it
    "carbon.train_step.location": 4.861111111,  # 0.875 * 400 / 72
    "throughput.useful_hours": 3504.0,  # 8760 * 0.8 * 0.5
    "throughput.gemm.bf16.year": 2803.2,  # 0.8 * 3504
    "throughput.gemm.bf16.measured": 0.75,  # 0.75 PFLOP/s / 1 kW
    "throughput.gemm.bf16.provisioned": 0.64,  # 0.8 PFLOP/s / 1.25 kW
    "throughput.train_step.measured": 82.28571429,  # 72 million an hour / 0.875 kW
    "tariff.best_start": 0.18,  # from 20:00: 2 h * 0.30 + 8 h * 0.15, over 10 h
    "tariff.best_start.share": 0.28,  # 1 - 0.18 / 0.25
    "tariff.best_start.saved": 0.6125,  # 0.875 kW * 10 h * 0.07
}


@pytest.mark.parametrize("key", BY_HAND)
def test_by_hand(key: str) -> None:
    assert ends(of(), key) == (pytest.approx(BY_HAND[key], rel=1e-9), pytest.approx(BY_HAND[key], rel=1e-9))


def test_owning_is_a_range_of_its_scenarios() -> None:
    # Low: 40000 / (5 * 8760) = 0.913242, capital 0.08 * 40000 / 2 / 8760 = 0.182648, electricity 0.21875,
    # demand 0.025, other 0.4: 1.739640 / (0.8 * 0.5). High: 50000 / (4 * 8760) = 1.426941, capital 0.228311.
    low, high = ends(of(), "total.hour.bought")
    assert (low, high) == (pytest.approx(4.349101, rel=1e-6), pytest.approx(5.747503, rel=1e-6))
    found = line(of(), "total.hour.bought")
    assert found.scenario == "bought, straight-line over 4 to 5 years" and found.basis == "given"
    assert ends(of(), "total.gemm.bf16.bought")[0] < ends(of(), "total.gemm.bf16.bought")[1]


def test_what_the_owner_leaves_out_is_not_in_the_sum() -> None:
    assert SITE.purchase is not None
    lean = msgspec.structs.replace(
        SITE, other_per_hour=None, purchase=msgspec.structs.replace(SITE.purchase, cost_of_capital=None)
    )
    # (40000 / 43800 + 0.21875 + 0.025) / 0.4
    assert ends(of(lean), "total.hour.bought")[0] == pytest.approx(2.892480, rel=1e-6)
    assert "capital" not in line(of(lean), "total.hour.bought").workings


def test_boundaries_by_hand() -> None:
    found = of()
    watts = {(b.name, b.denominator): b.watts.value for b in found.boundaries if b.watts is not None}
    assert watts == {
        ("device", "measured"): 600.0,
        ("node", "measured"): 700.0,
        ("facility", "measured"): 875.0,
        ("node", "provisioned"): 1000.0,
        ("facility", "provisioned"): 1250.0,
    }
    assert boundary(found, "device").basis == "measured" and boundary(found, "facility").basis == "given"
    assert boundary(found, "facility").factor == pytest.approx(875 / 600)
    interval = boundary(found, "node").interval
    assert interval is not None and (interval.low, interval.high) == (pytest.approx(670), pytest.approx(730))


def test_nothing_given_nothing_made_up() -> None:
    found = of(NOBODY)
    assert all(c.value is None and c.basis == "unknown" and c.absent for c in found.lines)
    assert {b.basis for b in found.boundaries if b.name != "device"} == {"unknown"} and found.given == []
    assert "`rent` or `purchase`" in line(found, "total.hour.rented").absent
    assert "`pue`" in line(found, "energy.hour").absent and "`tariff`" in line(found, "energy.hour").absent


@pytest.mark.parametrize(
    ("field", "name", "gone", "left"),
    [
        ("pue", "`pue`", ["energy.hour", "carbon.train_step.location", "total.hour.bought"], ["total.hour.rented"]),
        ("utilisation", "`utilisation`", ["total.hour.rented", "total.hour.bought"], ["energy.hour"]),
        ("availability", "`availability`", ["total.hour.bought", "throughput.useful_hours"], ["total.hour.rented"]),
        ("grid", "`grid`", ["carbon.gemm.bf16.location"], ["energy.gemm.bf16"]),
        ("tariff", "`tariff`", ["energy.hour", "tariff.flat", "total.hour.bought"], ["carbon.train_step.location"]),
        ("node", "`node.overhead`", ["energy.hour", "carbon.train_step.location"], ["total.hour.rented"]),
    ],
)  # fmt: skip
def test_a_missing_input_is_named_and_only_takes_its_own_lines(
    field: str, name: str, gone: list[str], left: list[str]
) -> None:
    found = of(msgspec.structs.replace(SITE, **{field: None}))
    for key in gone:
        assert line(found, key).value is None and name in line(found, key).absent, line(found, key)
    for key in left:
        assert line(found, key).value is not None, line(found, key)


def test_a_demand_charge_needs_what_is_provisioned_and_without_it_owning_has_no_total() -> None:
    assert SITE.node is not None
    node = msgspec.structs.replace(SITE.node, provisioned_w=None)
    found = of(msgspec.structs.replace(SITE, node=node))
    for key in ("energy.demand", "total.hour.bought"):
        assert "`node.provisioned_power`" in line(found, key).absent
    assert line(found, "energy.hour").value is not None, "the energy charge stands alone"


@pytest.mark.parametrize("reason", ["no sensor answers", ""])
def test_without_power_no_line_of_energy_and_rent_still_stands(reason: str) -> None:
    done = run()
    if reason:
        told = Energy("gpu0", "absent", reason=reason, remedy="give the right to read it")
        measurement = msgspec.structs.replace(done.measurements[0], trial="gemm@gpu0", energy=told)
        done = msgspec.structs.replace(done, measurements=[measurement])
    found = of(metrics=rates(), done=done)
    for item in found.lines:
        needs_power = (item.kind in ("energy", "carbon") and item.key != "energy.demand") or "bought" in item.key
        assert (item.value is None) == (needs_power or item.key.endswith((".measured", ".saved"))), item
    said = line(found, "energy.gemm.bf16").absent
    assert ("no sensor answers (give the right to read it)" in said) if reason else ("no energy window" in said)
    assert boundary(found, "device").watts is None and boundary(found, "facility").watts is None
    assert boundary(found, "facility", "provisioned").watts is not None, "what is provisioned needs no sensor"


def test_absent_sensors_say_why() -> None:
    card = Sensor("gpu0.power", "gpu0", "instant", "gpu", "W", "power_w", "x", absent="no permission", remedy="be root")
    found = of(metrics=rates(), done=run(sensors=[card]))
    assert "no permission (be root)" in line(found, "energy.gemm.bf16").absent


def test_invalid_and_foreign_figures_are_no_ground_for_money() -> None:
    bad = [m if m.key != "power.gemm.bf16.watts" else msgspec.structs.replace(m, status="invalid") for m in powers()]
    assert line(of(metrics=[*rates(), *bad]), "energy.gemm.bf16").value is None
    other = [m if "joule" not in m.key else msgspec.structs.replace(m, evidence=["another@gpu0"]) for m in powers()]
    assert "different trials" in line(of(metrics=[*rates(), *other]), "energy.gemm.bf16").absent
    slow = [m if "gemm" not in m.key else msgspec.structs.replace(m, status="invalid") for m in rates()]
    assert not [c for c in of(metrics=[*slow, *powers()]).lines if "gemm" in c.key]


def test_disturbed_figures_are_shown_and_say_so() -> None:
    shaky = [m if m.key != "power.train_step.watts" else msgspec.structs.replace(m, status="suspect") for m in powers()]
    found = of(metrics=[*rates(), *shaky])
    assert "measured in this run, disturbed" in line(found, "energy.hour").workings
    assert "disturbed" in boundary(found, "device").explanation
    assert "disturbed" not in line(found, "energy.gemm.bf16").workings


def test_two_devices_share_the_node_and_cost_the_same_each() -> None:
    metrics = [m for name in ("gpu0", "gpu1") for m in (*rates(name), *powers(name))]
    found = of(metrics=metrics, done=run("gpu0", "gpu1"))
    assert [b.watts.value for b in found.boundaries[:3] if b.watts] == [1200.0, 1400.0, 1750.0]
    for key in ("energy.hour", "energy.gemm.bf16", "total.gemm.bf16.rented", "throughput.gemm.bf16.measured"):
        assert ends(found, key)[0] == pytest.approx(BY_HAND[key], rel=1e-9)
    half = [m for m in metrics if m.device == "gpu0" or not m.key.startswith("power.")]
    assert line(of(metrics=half, done=run("gpu0", "gpu1")), "energy.hour").value is None, "half a node is no node"
    assert SITE.node is not None
    one = msgspec.structs.replace(SITE, node=msgspec.structs.replace(SITE.node, accelerators=1))
    assert "measured 2 devices" in line(of(one, metrics, run("gpu0", "gpu1")), "energy.hour").absent


def metered(watts: float, *devices: str, resolved: bool = True) -> Record:
    row = LedgerRow("node.meter", "meter", "node", joules=watts * 60, ends=0.02, resolved=resolved)
    spread = {"spread": 0.02}
    energy = Energy("gpu0", "valid", sensor="gpu0.counter", window_s=60.0, windows=1, ledger=[row], components=spread)
    card = Sensor("node.meter", "node", "meter", "node", "W", "node_power_w", "a meter", uncertainty=0.01)
    done = run(*devices, sensors=[card])
    first = msgspec.structs.replace(done.measurements[0], trial="train_step@gpu0", energy=energy)
    return msgspec.structs.replace(done, measurements=[first, *done.measurements[1:]])


def test_a_meter_goes_before_what_is_given_where_it_saw_this_device_alone() -> None:
    node = boundary(of(done=metered(780.0)), "node")
    assert node.basis == "measured" and node.watts is not None and node.watts.value == 780.0
    assert node.interval is not None
    assert node.interval.half_width == pytest.approx(780 * 0.03)  # 1 % the meter, 2 % the ends, 2 % the spread
    assert ends(of(done=metered(780.0)), "energy.hour")[0] == pytest.approx(0.78 * 1.25 * 0.25)
    low = of(done=metered(500.0))
    assert boundary(low, "node").basis == "unknown"
    assert "500 W, less than the 600 W" in boundary(low, "node").explanation
    assert "it measured something else" in line(low, "energy.hour").absent
    both = [m for name in ("gpu0", "gpu1") for m in (*rates(name), *powers(name))]
    assert boundary(of(metrics=both, done=metered(780.0, "gpu0", "gpu1")), "node").basis == "given"


def test_a_meter_that_says_nothing_of_this_work_is_no_figure_and_says_why() -> None:
    bare = msgspec.structs.replace(SITE, node=None)
    brief = boundary(of(bare, done=metered(780.0, resolved=False)), "node")
    assert brief.watts is None and "the node's meter resolves no window of 60.0 s" in brief.explanation
    assert boundary(of(done=metered(780.0, resolved=False)), "node").basis == "given"
    both = [m for name in ("gpu0", "gpu1") for m in (*rates(name), *powers(name))]
    shared = boundary(of(bare, both, metered(780.0, "gpu0", "gpu1")), "node")
    assert shared.watts is None and "devices that did not do this work" in shared.explanation
    assert "no meter of the node was read" in boundary(of(bare), "node").explanation


def test_a_node_factor_instead_of_watts() -> None:
    factor = Given(1.5, 2.0, "1.5 to 2", "2026-06-30", "invented")
    site = msgspec.structs.replace(SITE, node=NodeFacts(4, factor=factor))
    # 600 W * 1.5 * 1.25 = 1.125 kW and 600 W * 2 * 1.25 = 1.5 kW
    assert ends(of(site), "energy.hour") == (pytest.approx(0.28125), pytest.approx(0.375))


def test_a_training_run_to_quality_has_its_cost_and_carbon_by_hand() -> None:
    time, joules = metric("quality.to_quality.fast.time", 100.0), metric("quality.to_quality.fast.joules", 60_000.0)
    found = of(metrics=[time, joules])
    # 600 W and 100 W beside it, times 1.25: 0.875 kW; 36 runs an hour.
    assert ends(found, "energy.quality.fast")[0] == pytest.approx(0.21875 / 36)
    assert ends(found, "carbon.quality.fast.location")[0] == pytest.approx(0.875 * 400 / 36)
    assert ends(found, "total.quality.fast.rented")[0] == pytest.approx(6 / 36)
    assert line(found, "total.quality.fast.rented").unit == "XTS per run"
    unpowered = of(metrics=[time])
    assert line(unpowered, "carbon.quality.fast.location").absent and line(unpowered, "total.quality.fast.rented").value


def test_energy_and_total_are_never_one_line() -> None:
    kinds = {c.key: c.kind for c in of().lines}
    assert all((kinds[k] == "energy") == k.startswith("energy.") for k in kinds)
    assert all((kinds[k] == "total") == k.startswith("total.") for k in kinds)
    assert len(kinds) == len(of().lines), "every key once"


def test_a_published_grid_is_assumed_and_what_is_used_is_listed() -> None:
    assert SITE.grid is not None
    table = msgspec.structs.replace(SITE.grid.intensity, basis="assumed")
    site = msgspec.structs.replace(SITE, grid=msgspec.structs.replace(SITE.grid, intensity=table))
    assert line(of(site), "carbon.train_step.location").basis == "assumed"
    assert line(of(site), "energy.hour").basis == "given"
    assert ["pue", "1.25", "2026-06-30", "invented", "given"] in of().given and len(of().given) == 14


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def computed(text: str) -> float:
    """What a person with a calculator gets from an arithmetic expression."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant) and isinstance(node.value, int | float), ast.dump(node)
        return float(node.value)

    return value(ast.parse(text, mode="eval").body)


def test_the_workings_give_the_figure() -> None:
    checked = 0
    for item in of().lines:
        if item.value is None or (item.kind == "tariff" and item.key in ("tariff.flat", "tariff.best_start")):
            continue
        sums = item.workings.split(": ", 1)[1].split(". ")[0]
        for text, wanted in zip(sums.split(" to "), (item.value.low, item.value.high), strict=False):
            assert computed(text.split(" = ")[0]) == pytest.approx(wanted, rel=2e-6), item.workings
            checked += 1
    assert checked >= 24


def test_the_best_start_says_when() -> None:
    found = line(of(), "tariff.best_start")
    assert found.title.endswith("20:00 Europe/Nowhere") and "(8 h" not in found.title
    assert "the dearest start, 06:00, pays 0.3" in found.workings
    assert SITE.tariff is not None
    no_job = msgspec.structs.replace(SITE, tariff=msgspec.structs.replace(SITE.tariff, job_hours=None))
    assert "`tariff.job_hours`" in line(of(no_job), "tariff.best_start").absent
    flat = Tariff("UTC", [Period(0, 1440, 0.25)], "2026-06-30", "invented", True, job_hours=8.0)
    assert not [c for c in of(msgspec.structs.replace(SITE, tariff=flat)).lines if "best_start" in c.key]


def test_free_hours_divide_nothing() -> None:
    free = Tariff("UTC", [Period(0, 720, 0.0), Period(720, 1440, 0.0)], "2026-06-30", "invented", False, job_hours=8.0)
    found = of(msgspec.structs.replace(SITE, tariff=free))
    assert line(found, "tariff.best_start.share").absent == "every hour is free"
    assert ends(found, "energy.hour") == (0.0, 0.0)


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    cuts = sorted(draw(st.sets(st.integers(1, 95), min_size=1, max_size=6)))
    edges = [0, *(15 * cut for cut in cuts), 1440]
    prices = draw(st.lists(st.floats(0.01, 2), min_size=len(edges) - 1, max_size=len(edges) - 1))
    periods = [Period(a, b, p) for a, b, p in zip(edges, edges[1:], prices, strict=False)]
    return Tariff("UTC", periods, "2026-06-30", "x", False)


@settings(max_examples=40, deadline=None)
@given(tariffs(), st.integers(1, 96))
def test_no_start_is_cheaper_than_the_best_or_dearer_than_the_worst(tariff: Tariff, quarters: int) -> None:
    minutes = 15 * quarters
    best, worst = starts(tariff, minutes)
    every = [shift_price(tariff, minute, minutes) for minute in range(0, 1440, 15)]
    assert best.price_per_kwh == pytest.approx(min(every)) and worst.price_per_kwh == pytest.approx(max(every))
    assert shift_price(tariff, 345, 1440) == pytest.approx(mean_price(tariff))
    assert sum(every) / len(every) == pytest.approx(mean_price(tariff)), "the flat equivalent is the mean of all starts"


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 100), st.floats(1.001, 10), st.floats(0.01, 1))
def test_cost_rises_with_the_price_and_falls_with_use(price: float, more: float, use: float) -> None:
    def cost(paid: float, used: float) -> float:
        rent = Rent(Given(paid, paid, "x", "2026-06-30", "x"))
        share = Given(used, used, "x", "2026-06-30", "x")
        return ends(of(msgspec.structs.replace(SITE, rent=rent, utilisation=share)), "total.gemm.bf16.rented")[0]

    assert cost(price, use) < cost(price * more, use)
    assert cost(price, use) >= cost(price, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 3), st.floats(0, 1))
def test_a_range_holds_every_point_in_it(pue: float, at: float) -> None:
    wide = msgspec.structs.replace(SITE, pue=Given(1.0, pue, "x", "2026-06-30", "x"))
    inside = 1.0 + at * (pue - 1.0)
    point = msgspec.structs.replace(SITE, pue=Given(inside, inside, "x", "2026-06-30", "x"))
    for key in ("energy.hour", "total.hour.bought", "carbon.train_step.location", "throughput.train_step.measured"):
        low, high = ends(of(wide), key)
        assert low * (1 - 1e-12) <= ends(of(point), key)[0] and ends(of(point), key)[1] <= high * (1 + 1e-12)
