"""The full chain: measured, given and unknown links, the running product, and an upper bound that says so."""

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_economics import NOBODY, SITE, metric, of, rates

from effbench.model.chain import Chain, Link
from effbench.model.quantity import Quantity
from effbench.model.scorecard import Metric, Stage, Waterfall
from effbench.model.site import Given, SiteFacts
from effbench.model.unit import Unit
from effbench.score.chain import chain


def fall(
    rated: float | None = 1000.0, held: float | None = 950.0, gemm: float | None = 800.0, train: float | None = 400.0
) -> Waterfall:
    named = (("rated_peak", rated), ("held_clock_peak", held), ("best_gemm", gemm), ("train_step", train))
    return Waterfall("gpu0", "bf16", [Stage(name, name, f"about {name}.", value) for name, value in named])


def quality(**flops: float) -> list[Metric]:
    return [
        Metric(f"quality.to_quality.{name}.flop", Quantity(value, Unit.FLOP), "lower", "valid", ["q"])
        for name, value in flops.items()
    ]


def scaling(**shares: float) -> list[Metric]:
    return [
        metric(f"scale.weak.train_step.ddp.{n}.scaling_efficiency", value, device=None)  # type: ignore[arg-type]
        for n, value in shares.items()
    ]


def link(found: Chain, name: str) -> Link:
    return next(item for item in found.links if item.name == name)


def whole(facts: SiteFacts | None = SITE, more: Sequence[Metric] = (), site_money: bool = True) -> Chain:
    money = of(facts) if facts is not None and site_money else None
    return chain(fall(), list(more), facts, money)


def test_by_hand() -> None:
    recipe = msgspec.structs.replace(SITE, recipe="slow")
    found = whole(recipe, [*quality(slow=4e12, fast=1e12), *scaling(n2=0.9, n4=0.75)])
    shares = {item.name: item.share for item in found.links if item.share is not None}
    assert shares == {
        "held_clock": pytest.approx(0.95),
        "best_gemm": pytest.approx(800 / 950),
        "train_step": pytest.approx(0.5),
        "algorithm": pytest.approx(0.25),
        "scaling": pytest.approx(0.75),
        "availability": 0.8,
        "utilisation": 0.5,
        "node_power": pytest.approx(600 / 700),
        "facility_power": pytest.approx(0.8),
    }
    # 0.4 of the rated peak reach training; times 0.25, 0.75, 0.8, 0.5, 6/7 and 0.8.
    assert found.product == pytest.approx(0.02057143, rel=1e-6)
    assert found.weakest == "algorithm" and not found.upper_bound and found.unknown == []
    assert [item.group for item in found.links] == ["hardware"] * 3 + ["algorithm"] + ["system"] * 5 + [
        "commercial"
    ] * 2
    assert {item.basis for item in found.links if item.name in ("availability", "facility_power")} == {"given"}


def test_money_and_carbon_end_the_chain_without_a_share() -> None:
    money, carbon = link(whole(), "money"), link(whole(), "carbon")
    assert money.metric == "total.train_step.rented" and "0.08333 XTS per 1M tokens" in money.explanation
    assert carbon.metric == "carbon.train_step.location" and "4.861 gCO2e per 1M tokens" in carbon.explanation
    assert money.share is None and money.product is None and money.name not in whole().unknown


def test_without_a_site_everything_beyond_the_hardware_is_unknown() -> None:
    found = whole(None)
    assert found.unknown == ["algorithm", "scaling", "availability", "utilisation", "node_power", "facility_power"]
    assert found.upper_bound and found.product == pytest.approx(0.4) and found.weakest == "train_step"
    assert all(item.basis == "unknown" and item.explanation.startswith("Unknown:") for item in found.links[3:])
    assert found.links[-1].product is None and link(found, "facility_power").product == pytest.approx(0.4)
    assert "`pue`" in link(whole(NOBODY), "facility_power").explanation


def test_power_that_was_not_measured_is_not_given_a_share() -> None:
    found = chain(fall(), [], SITE, of(SITE, rates()))
    assert link(found, "node_power").basis == "unknown" and link(found, "carbon").basis == "unknown"
    assert link(found, "money").basis == "given", "rent needs no sensor"


def test_the_recipe_in_use_must_be_one_that_was_measured() -> None:
    both = quality(slow=4e12, fast=1e12)
    unnamed = link(whole(NOBODY, both), "algorithm")
    assert (
        unnamed.share is None and "slow 4.00 times as much" in unnamed.explanation and "`recipe`" in unnamed.explanation
    )
    assert link(whole(SITE, both), "algorithm").share is None, "another recipe than the measured ones"
    one = link(whole(msgspec.structs.replace(SITE, recipe="slow"), both[:1]), "algorithm")
    assert one.share is None and "fewer than two" in one.explanation
    named = msgspec.structs.replace(SITE, recipe="bf16-fast")
    assert link(whole(named, quality(slow=4e12, bf16_fast=1e12)), "algorithm").share == 1.0, "keys write - as _"
    other = [msgspec.structs.replace(m, params={"target": n}) for n, m in enumerate(both)]
    told = link(whole(msgspec.structs.replace(SITE, recipe="slow"), other), "algorithm")
    assert told.share is None and "different targets" in told.explanation
    bad = [msgspec.structs.replace(m, status="invalid") for m in both]
    assert link(whole(msgspec.structs.replace(SITE, recipe="slow"), bad), "algorithm").share is None


def test_a_missing_stage_is_unknown_and_the_next_one_holds_it() -> None:
    found = chain(fall(held=None), [], None, None)
    assert link(found, "held_clock").share is None and "held_clock" in found.unknown and found.upper_bound
    assert link(found, "best_gemm").share == pytest.approx(0.8)
    assert "unknown link before it is part of this one" in link(found, "best_gemm").explanation
    unknown_part = chain(fall(rated=None, held=None), [], None, None)
    assert link(unknown_part, "best_gemm").basis == "unknown" and unknown_part.product == pytest.approx(0.5)
    nothing = chain(fall(None, None, None, None), [], None, None)
    assert nothing.product is None and nothing.weakest == "" and nothing.upper_bound


def test_a_cpu_begins_at_its_held_clock() -> None:
    cpu = Waterfall("cpu", "fp32", fall().stages[1:])
    found = chain(cpu, [], None, None)
    assert found.links[0].name == "best_gemm" and found.product == pytest.approx(400 / 950)
    assert "held_clock" not in found.unknown


def test_a_given_range_is_an_interval_of_its_link() -> None:
    wide = Given(0.4, 0.6, "0.4 to 0.6", "2026-06-30", "invented")
    found = whole(msgspec.structs.replace(SITE, utilisation=wide, pue=Given(1.25, 2.0, "1.25 to 2", "2026-06-30", "x")))
    use, facility = link(found, "utilisation"), link(found, "facility_power")
    assert use.share == pytest.approx(0.5) and use.interval is not None and use.interval.high == 0.6
    assert facility.interval is not None and (facility.interval.low, facility.interval.high) == (0.5, 0.8)


SHARES = st.floats(0.01, 1.0)


@settings(max_examples=40, deadline=None)
@given(SHARES, SHARES, SHARES, SHARES, st.floats(1, 5))
def test_the_product_is_never_above_the_weakest_link(a: float, b: float, c: float, used: float, pue: float) -> None:
    def said(value: float) -> Given:
        return Given(value, value, "x", "2026-06-30", "x")

    facts = msgspec.structs.replace(NOBODY, utilisation=said(used), pue=said(pue))
    found = chain(fall(1000.0, 1000 * a, 1000 * a * b, 1000 * a * b * c), [], facts, None)
    shares = [item.share for item in found.links if item.share is not None]
    assert found.product is not None and found.product <= min(shares) * (1 + 1e-9)
    assert link(found, found.weakest).share == min(shares)
    products = [item.product for item in found.links if item.product is not None]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(products))
