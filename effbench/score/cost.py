"""Money per useful result: electricity alone, and the total of renting or owning. Every price is the site's own.

Formulas, all inputs the site's: rented = price / utilisation. Owned = ((price - residual) / life + cost of capital x
(price + residual) / 2 / 8760 + electricity + other) / (availability x utilisation), per accelerator and useful hour.
"""

from collections.abc import Mapping, Sequence

from effbench.model.chain import Boundary, CostLine, Range
from effbench.model.site import SiteFacts, Tariff
from effbench.score.boundary import facility_kw
from effbench.score.useful import Useful
from effbench.score.worked import Sum, Term, given, line, measured

HOURS_PER_YEAR = 8760


def mean_price(tariff: Tariff) -> float:
    """Money per kWh at a load that is the same at every hour of the day: the flat equivalent of the tariff."""
    return sum((p.end_min - p.start_min) * p.price_per_kwh for p in tariff.periods) / sum(
        p.end_min - p.start_min for p in tariff.periods
    )


def hourly(headline: Useful | None, found: Sequence[Boundary], facts: SiteFacts) -> list[CostLine]:
    """Return what one accelerator costs per hour: electricity under the headline work, demand charge, total."""
    money = facts.currency
    lines = []
    if headline is not None:
        title = f"Electricity of one accelerator in {headline.title}, at the mean price of the day"
        energy = electricity(headline, found, facts)
        lines.append(line("energy.hour", title, "energy", f"{money} per accelerator-hour", energy))
    if facts.tariff is not None and facts.tariff.demand_charge is not None:
        title = "Demand charge of one accelerator, spread over all hours"
        lines.append(line("energy.demand", title, "energy", f"{money} per accelerator-hour", _demand(facts)))
    for scenario, made in totals(headline, found, facts).items():
        title = "One accelerator for one useful hour"
        unit = f"{money} per useful accelerator-hour"
        lines.append(line(f"total.hour.{_slug(scenario)}", title, "total", unit, made, scenario))
    return lines


def per_result(work: Useful, found: Sequence[Boundary], facts: SiteFacts) -> list[CostLine]:
    """Return electricity and total per effective PFLOP-hour, or per million tokens, of one kind of work."""
    unit, scale, _ = amount(work)
    alone = per_amount(electricity(work, found, facts), work, rate_term(work))
    title = f"Electricity of {work.title}, idle hours not counted"
    lines = [line(f"energy.{work.stem}", title, "energy", f"{facts.currency} {unit}", alone)]
    for scenario, made in totals(work, found, facts).items():
        full = measured(
            rate_words(work), _each(work, work.rate, scale), f"the rate of {work.title} is unknown", work.disturbed
        )
        total = per_amount(made, work, full)
        title = f"{work.title[:1].upper()}{work.title[1:]}, everything paid for"
        key = f"total.{work.stem}.{_slug(scenario)}"
        lines.append(line(key, title, "total", f"{facts.currency} {unit}", total, scenario))
    return lines


def amount(work: Useful) -> tuple[str, float, str]:
    """Return the unit of a result in words, what a rate is divided by for it, and the divisor's text for one hour."""
    if work.item == "flop":
        return f"per effective PFLOP-hour ({work.stem.split('.')[1]})", 1e15, "{rate}"
    return ("per 1M tokens", 1e6, "({rate} * 3600)") if work.item == "token" else ("per run", 1.0, "({rate} * 3600)")


def _hourly(work: Useful, values: Mapping[str, float]) -> float:
    """PFLOP-hours, million tokens or runs in one hour."""
    return values["rate"] * (1.0 if work.item == "flop" else 3600.0)


def rate_words(work: Useful) -> str:
    """Return the rate of one accelerator in words, with its unit."""
    unit = {"flop": "PFLOP/s", "token": "million tokens/s", "run": "runs/s"}[work.item]
    return f"{unit} of one accelerator"


def _each(work: Useful, rate: float | None, scale: float) -> float | None:
    return None if rate is None else rate / work.devices / scale


def rate_term(work: Useful) -> Term:
    """Return the rate of one accelerator in its energy window, in PFLOP/s or million tokens/s."""
    words = f"{rate_words(work)} in the energy window"
    return measured(words, _each(work, work.window_rate, amount(work)[1]), work.why, work.disturbed)


def electricity(work: Useful, found: Sequence[Boundary], facts: SiteFacts) -> Sum:
    """Return money for the electricity of one accelerator-hour at the facility, by the mean price of the day."""
    power = facility_kw(work, found, facts)
    return Sum(
        f"{power.text} * {{kwh}}", lambda v: power.formula(v) * v["kwh"], {**power.terms, "kwh": _kwh(facts.tariff)}
    )


def _kwh(tariff: Tariff | None) -> Term:
    if tariff is None:
        return given("price of a kWh", None, "tariff")
    price = mean_price(tariff)
    return Term("mean price of a kWh over the day", Range(price, price), f"{tariff.source}, {tariff.date}")


def totals(work: Useful | None, found: Sequence[Boundary], facts: SiteFacts) -> dict[str, Sum]:
    """Return the total per useful accelerator-hour for each way to pay that the site names; none named is one sum
    that lacks its price.
    """
    sums = {}
    if facts.rent is not None or facts.purchase is None:
        paid = facts.rent.price_per_hour if facts.rent else None
        terms = {
            "rent": given("rent per accelerator-hour", paid, "rent` or `purchase"),
            "utilisation": given("utilisation", facts.utilisation, "utilisation"),
        }
        sums["rented"] = Sum("{rent} / {utilisation}", lambda v: v["rent"] / v["utilisation"], terms)
    if facts.purchase is not None:
        life = facts.purchase.life_years.text
        sums[f"bought, straight-line over {life} years"] = _owned(work, found, facts)
    return sums


def _owned(work: Useful | None, found: Sequence[Boundary], facts: SiteFacts) -> Sum:
    """The whole bracket is paid in every hour of the year, useful or not: that is why it is divided at the end."""
    purchase = facts.purchase
    assert purchase is not None
    terms = {
        "price": given("price", purchase.price, "purchase.price"),
        "residual": given("residual", purchase.residual, "purchase.residual"),
        "life": given("life in years", purchase.life_years, "purchase.life_years"),
    }
    parts = [f"({{price}} - {{residual}}) / ({{life}} * {HOURS_PER_YEAR})"]
    if purchase.cost_of_capital is not None:
        terms["capital"] = given("cost of capital a year", purchase.cost_of_capital, "purchase.cost_of_capital")
        parts.append(f"{{capital}} * ({{price}} + {{residual}}) / 2 / {HOURS_PER_YEAR}")
    power = _power(work, found, facts)
    terms |= power.terms
    parts.append(power.text)
    demand = _demand(facts) if facts.tariff is not None and facts.tariff.demand_charge is not None else None
    if demand is not None:
        terms |= demand.terms
        parts.append(demand.text)
    if facts.other_per_hour is not None:
        terms["other"] = given("colocation, staff, network per hour", facts.other_per_hour, "other")
        parts.append("{other}")
    terms["availability"] = given("availability", facts.availability, "availability")
    terms["utilisation"] = given("utilisation", facts.utilisation, "utilisation")

    def bracket(v: Mapping[str, float]) -> float:
        hourly = (v["price"] - v["residual"]) / (v["life"] * HOURS_PER_YEAR)
        hourly += v.get("capital", 0.0) * (v["price"] + v["residual"]) / 2 / HOURS_PER_YEAR
        hourly += power.formula(v) + (demand.formula(v) if demand else 0.0) + v.get("other", 0.0)
        return hourly / (v["availability"] * v["utilisation"])

    return Sum(f"({' + '.join(parts)}) / ({{availability}} * {{utilisation}})", bracket, terms)


def _power(work: Useful | None, found: Sequence[Boundary], facts: SiteFacts) -> Sum:
    if work is not None:
        return electricity(work, found, facts)
    missing = Term("electricity", None, basis="unknown", missing="no work was measured whose power is known")
    return Sum("{electricity}", lambda v: v["electricity"], {"electricity": missing})


def _demand(facts: SiteFacts) -> Sum:
    """A demand charge is billed on the highest load, so on what is provisioned: a mean would be too little."""
    tariff, node = facts.tariff, facts.node
    assert tariff is not None
    provisioned = node.provisioned_w if node else None
    billed = tariff.demand_charge or 0.0
    charge = Term("demand charge per kW and month", Range(billed, billed), f"{tariff.source}, {tariff.date}")
    terms = {
        "provisioned": given("W provisioned for the node", provisioned, "node.provisioned_power"),
        "pue": given("PUE", facts.pue, "pue"),
        "charge": charge,
    }
    count = float(node.accelerators) if node else 1.0
    text = f"{{provisioned}} / {count:g} / 1000 * {{pue}} * {{charge}} * 12 / {HOURS_PER_YEAR}"
    return Sum(text, lambda v: v["provisioned"] / count / 1000 * v["pue"] * v["charge"] * 12 / HOURS_PER_YEAR, terms)


def per_amount(made: Sum, work: Useful, rate: Term) -> Sum:
    """Return `made`, which is per accelerator-hour, over the results of one such hour at `rate`."""
    text = f"({made.text}) / {amount(work)[2]}"
    return Sum(text, lambda v: made.formula(v) / _hourly(work, v), {**made.terms, "rate": rate})


def _slug(scenario: str) -> str:
    return scenario.split(",")[0]
