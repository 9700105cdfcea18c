"""What a site's own figures make of the measured ones: boundaries, money, carbon and useful throughput. Pure.

Nothing here has a default. What an input is missing for is a line that says which; a range is of the site's scenarios
and holds no uncertainty of the measurement, which stands beside the metrics themselves.
"""

from collections.abc import Callable, Mapping, Sequence

from effbench.model.chain import Boundary, CostLine, Economics
from effbench.model.record import Record
from effbench.model.scorecard import Metric
from effbench.model.site import Given, SiteFacts
from effbench.score.boundary import boundaries, facility_kw
from effbench.score.carbon import carbon
from effbench.score.cost import HOURS_PER_YEAR, amount, hourly, per_result, rate_term, rate_words
from effbench.score.tariff import tariff_lines
from effbench.score.useful import Useful, useful
from effbench.score.worked import Sum, given, line, measured


def economics(metrics: Sequence[Metric], record: Record, facts: SiteFacts) -> Economics:
    """Return everything the site's figures make of a run.

    Args:
        metrics: per-device metrics of the scorecard, power figures included; aggregates are ignored.
        record: where they come from: energies, ledger, sensors, inventory.
        facts: the site's own figures.
    """
    works = useful(metrics, record)
    headline = next((w for w in works if w.watts is not None), works[0] if works else None)
    found = {work.stem: boundaries(work, record, facts) for work in works}
    shown = found[headline.stem] if headline else []
    lines = [*hourly(headline, shown, facts), *tariff_lines(headline, shown, facts), _useful_hours(facts)]
    for work in works:
        mine = found[work.stem]
        lines += [*per_result(work, mine, facts), *carbon(work, mine, facts), *_throughput(work, mine, facts)]
    return Economics(facts.name, facts.digest, facts.currency, shown, lines, _given(facts))


def _useful_hours(facts: SiteFacts) -> CostLine:
    terms = {
        "availability": given("availability", facts.availability, "availability"),
        "utilisation": given("utilisation", facts.utilisation, "utilisation"),
    }
    text = f"{HOURS_PER_YEAR} * {{availability}} * {{utilisation}}"
    made = Sum(text, lambda v: HOURS_PER_YEAR * v["availability"] * v["utilisation"], terms)
    title = "Useful hours of one accelerator in a year"
    return line("throughput.useful_hours", title, "throughput", "h per accelerator-year", made)


def _throughput(work: Useful, found: Sequence[Boundary], facts: SiteFacts) -> list[CostLine]:
    """Useful throughput of a year, and per kWh of the facility by both denominators."""
    unit, scale, _ = amount(work)
    results = (
        unit.removeprefix("per ")
        .replace("PFLOP-hour", "PFLOP-hours")
        .replace("1M tokens", "million tokens")
        .replace("run", "runs")
    )
    each = measured(
        rate_words(work), work.rate / work.devices / scale, f"the rate of {work.title} is unknown", work.disturbed
    )
    hours = 1.0 if work.item == "flop" else 3600.0
    terms = {
        "rate": each,
        "availability": given("availability", facts.availability, "availability"),
        "utilisation": given("utilisation", facts.utilisation, "utilisation"),
    }
    text = f"{{rate}} * {hours:g} * {HOURS_PER_YEAR} * {{availability}} * {{utilisation}}"
    year = Sum(text, lambda v: v["rate"] * hours * HOURS_PER_YEAR * v["availability"] * v["utilisation"], terms)
    title = f"Useful throughput-hours of {work.title} in a year"
    lines = [line(f"throughput.{work.stem}.year", title, "throughput", f"{results} per accelerator-year", year)]
    for name, kilowatts in (("measured", facility_kw(work, found, facts)), ("provisioned", _provisioned_kw(facts))):
        rate = rate_term(work) if name == "measured" else each
        made = Sum(
            f"{{rate}} * {hours:g} / ({kilowatts.text})", _over(kilowatts, hours), {"rate": rate, **kilowatts.terms}
        )
        title = f"{work.title[:1].upper()}{work.title[1:]} per {name} kWh of the facility"
        lines.append(line(f"throughput.{work.stem}.{name}", title, "throughput", f"{results} per kWh", made))
    return lines


def _over(kilowatts: Sum, hours: float) -> Callable[[Mapping[str, float]], float]:
    return lambda v: v["rate"] * hours / kilowatts.formula(v)


def _provisioned_kw(facts: SiteFacts) -> Sum:
    """kW provisioned at the facility per accelerator, whether it is drawn or not."""
    count = float(facts.node.accelerators) if facts.node else 1.0
    terms = {
        "provisioned": given(
            "W provisioned for the node", facts.node.provisioned_w if facts.node else None, "node.provisioned_power"
        ),
        "pue": given("PUE", facts.pue, "pue"),
    }
    text = f"{{provisioned}} / {count:g} / 1000 * {{pue}}"
    return Sum(text, lambda v: v["provisioned"] / count / 1000 * v["pue"], terms)


def _given(facts: SiteFacts) -> list[list[str]]:
    """Every figure of the site in use: its field, text, date, source and basis, for the report."""
    node, bought, grid = facts.node, facts.purchase, facts.grid
    figures: dict[str, Given | None] = {
        "pue": facts.pue,
        "utilisation": facts.utilisation,
        "availability": facts.availability,
        "green_share": facts.green_share,
        "grid.intensity": grid.intensity if grid else None,
        "node.overhead": node.overhead_w if node else None,
        "node.factor": node.factor if node else None,
        "node.provisioned_power": node.provisioned_w if node else None,
        "rent": facts.rent.price_per_hour if facts.rent else None,
        "purchase.price": bought.price if bought else None,
        "purchase.life_years": bought.life_years if bought else None,
        "purchase.residual": bought.residual if bought else None,
        "purchase.cost_of_capital": bought.cost_of_capital if bought else None,
        "other": facts.other_per_hour,
    }
    rows = [[name, g.text, g.date, g.source, g.basis] for name, g in figures.items() if g is not None]
    if facts.tariff is not None:
        kind = (
            "one price"
            if facts.tariff.flat
            else f"{len({p.price_per_kwh for p in facts.tariff.periods})} prices over the day"
        )
        rows.append(["tariff", f"{kind}, {facts.tariff.timezone}", facts.tariff.date, facts.tariff.source, "given"])
    return rows
