"""What a measured energy means in money and carbon by a site's own figures: ranges, with what each is made of. Pure."""

import msgspec

from effbench.model.energy import Energy
from effbench.model.site import SiteFacts

__all__ = ["Spent", "spent"]

J_PER_KWH = 3.6e6


class Spent(msgspec.Struct, frozen=True):
    """One range: `electricity` in the site's currency or `carbon` in gCO2e, and the words for what went into it."""

    what: str
    low: float
    high: float
    unit: str
    made_of: str


def spent(energy: Energy, facts: SiteFacts) -> list[Spent]:
    """Return the electricity and the carbon of a measured energy, as far as the site gives what they need.

    The ends are those of the energy's interval times those of the site's figures. The price is not that of one hour:
    under a time-of-use tariff the range spans the day's. Without a PUE it is the device's own electricity alone, and
    says so. Empty without a measured energy.
    """
    if energy.energy_interval is None or energy.energy is None:
        return []
    low, high = energy.energy_interval.low / J_PER_KWH, energy.energy_interval.high / J_PER_KWH
    of = f"{energy.scope} alone, no PUE is given"
    if facts.pue is not None:
        low, high = low * facts.pue.low, high * facts.pue.high
        of = f"{energy.scope} at the facility by PUE {facts.pue.text}"
    found = []
    if facts.tariff is not None:
        prices = [period.price_per_kwh for period in facts.tariff.periods]
        span = "one price" if facts.tariff.flat else f"{min(prices):g} to {max(prices):g} per kWh by the hour"
        made_of = f"{of}; {span} ({facts.tariff.source}, {facts.tariff.date})"
        found.append(Spent("electricity", low * min(prices), high * max(prices), facts.currency, made_of))
    if facts.grid is not None:
        grams = facts.grid.intensity
        made_of = f"{of}; {grams.cite}, location-based"
        found.append(Spent("carbon", low * grams.low, high * grams.high, "gCO2e", made_of))
    return found
