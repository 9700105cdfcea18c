"""Carbon of the electricity per useful result: location-based, and market-based on a line of its own.

GHG Protocol Scope 2. Location-based: energy x PUE x the grid's intensity. The operational part O = E x I of the
Software Carbon Intensity specification (Green Software Foundation, SCI = (O + M) per R); M, what making the hardware
cost, is in no figure here.
"""

from collections.abc import Sequence

from effbench.model.chain import Boundary, CostLine
from effbench.model.site import SiteFacts
from effbench.score.boundary import facility_kw
from effbench.score.cost import amount, per_amount, rate_term
from effbench.score.useful import Useful
from effbench.score.worked import Sum, given, line


def carbon(work: Useful, found: Sequence[Boundary], facts: SiteFacts) -> list[CostLine]:
    """Return gCO2e per effective PFLOP-hour or per million tokens of one kind of work, without the idle hours."""
    unit, _, _ = amount(work)
    power = facility_kw(work, found, facts)
    intensity = given("gCO2e per kWh", facts.grid.intensity if facts.grid else None, "grid")
    hour = Sum(
        f"{power.text} * {{intensity}}",
        lambda v: power.formula(v) * v["intensity"],
        {**power.terms, "intensity": intensity},
    )
    made = per_amount(hour, work, rate_term(work))
    title = f"Carbon of {work.title}, location-based, operational (O of SCI)"
    lines = [line(f"carbon.{work.stem}.location", title, "carbon", f"gCO2e {unit}", made)]
    if facts.green_share is not None:
        terms = {**made.terms, "green": given("green share", facts.green_share, "green_share")}
        bought = Sum(f"{made.text} * (1 - {{green}})", lambda v: made.formula(v) * (1 - v["green"]), terms)
        title = f"Carbon of {work.title}, market-based: less the share bought as green"
        lines.append(line(f"carbon.{work.stem}.market", title, "carbon", f"gCO2e {unit}", bought))
    return lines
