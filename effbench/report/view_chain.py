"""The full chain as it is shown: its links, the boundaries of power, and the lines of money and carbon.

A link is `unknown` as soon as its basis says so or its share is missing; it has no bar, and every product after it
is an upper bound. Nothing here fills a gap.
"""

import msgspec

from effbench.model.chain import Boundary, Chain, CostLine, Economics, Link, Range
from effbench.report import format, words

GROUPS = {"hardware": "Hardware", "algorithm": "Algorithm", "system": "System", "commercial": "Commercial"}
KINDS = {
    "energy": "Energy cost",
    "total": "Total cost",
    "carbon": "Carbon",
    "throughput": "Useful throughput",
    "tariff": "Time of use",
}
NO_SITE = "No site figures were given, so there is no money and no carbon here."
NO_SITE_DO = (
    "Write a site.yaml with utilisation, PUE, country, price and tariff, each with date and source, and score again."
)
NO_CHAIN = "No chain: it starts at a matrix multiply that was measured and verified."
NAMED_MAX = 3  # unknown links named in the sentence
NO_VALUE = "it does not follow from what was given"


class LinkView(msgspec.Struct, frozen=True):
    """One link. `width` and `before` are the products after and before it, as fractions of the drawing.

    `group` is empty where the link continues the group of the one above it.
    """

    name: str
    title: str
    kind: str
    group: str
    basis: str
    tone: str
    explanation: str
    source: str
    share: str
    product: str
    width: float | None
    before: float | None
    bound: bool
    weakest: bool


class ChainView(msgspec.Struct, frozen=True):
    """One device's chain with its two sentences: what is left at the end, and where most is lost."""

    device: str
    name: str
    dtype: str
    links: list[LinkView]
    end: str
    weakest: str
    bound: bool
    last: float


class CostView(msgspec.Struct, frozen=True):
    """One figure of money or carbon; without a figure, `absent` says what to give."""

    title: str
    kind: str
    value: str
    unit: str
    basis: str
    tone: str
    scenario: str
    workings: str
    absent: str


class BoundaryView(msgspec.Struct, frozen=True):
    """Power of the same work at one boundary and against one denominator."""

    title: str
    denominator: str
    watts: str
    factor: str
    basis: str
    tone: str
    explanation: str
    source: str


class MoneyView(msgspec.Struct, frozen=True):
    """Everything that the site's own figures make of the measured ones, by kind, and those figures themselves."""

    site: str
    digest: str
    currency: str
    boundaries: list[BoundaryView]
    groups: list[tuple[str, list[CostView]]]
    given: list[tuple[str, str, str]]


def _known(link: Link) -> bool:
    return link.basis != "unknown" and link.share is not None


def _share(link: Link) -> str:
    if not _known(link):
        return "unknown"
    return format.measured(link.share or 0.0, "1", link.interval, "share")


def _links(chain: Chain) -> list[LinkView]:
    """Lay out the links; the running product is the chain's own, drawn only where it is known."""
    products = [link.product for link in chain.links if _known(link) and link.product is not None]
    widest = max([*products, 1.0])
    found: list[LinkView] = []
    before: float | None = None
    bound, group = False, ""
    for link in chain.links:
        known = _known(link)
        bound = bound or not known
        product = link.product if known else None
        width = None if product is None else product / widest
        sign = "≤ " if bound else ""
        basis = link.basis if known else "unknown"
        found.append(
            LinkView(
                name=link.name,
                title=link.title,
                kind=link.group,
                group="" if link.group == group else GROUPS.get(link.group, link.group),
                basis=basis,
                tone=words.BASES.get(basis, "none"),
                explanation=format.sentence(link.explanation),
                source=link.source,
                share=_share(link),
                product="" if product is None else f"{sign}{format.percent(product)}",
                width=width,
                before=before,
                bound=bound,
                weakest=known and link.name == chain.weakest,
            )
        )
        before, group = width if width is not None else before, link.group
    return found


def _lower(title: str) -> str:
    """Lower the first letter, except of an abbreviation."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _end(chain: Chain, links: list[LinkView]) -> str:
    """Say what is left at the end of the chain, as an upper bound where a link is unknown."""
    known = [link for link in links if link.product]
    if len(known) < 2:
        return "Too few links are known to say what is left at the end."
    unknown = [_lower(link.title) for link in links if link.basis == "unknown"]
    left = known[-1].product.removeprefix("≤ ")
    lead = f"{left} of the {_lower(links[0].title)} is left after {_lower(known[-1].title)}"
    if not (unknown or chain.upper_bound):
        return f"{lead}."
    if not unknown:
        why = "a link is unknown"
    elif len(unknown) == 1:
        why = f"{unknown[0]} is unknown"
    else:
        more = "" if len(unknown) <= NAMED_MAX else f" and {len(unknown) - NAMED_MAX} more"
        why = f"{len(unknown)} links are unknown ({', '.join(unknown[:NAMED_MAX])}{more})"
    return f"At most {lead}: an upper bound, because {why}."


def chain_view(chain: Chain, name: str) -> ChainView:
    """Lay out one chain. The weakest link is the one that the chain names, if it is known."""
    links = _links(chain)
    least = next((link for link in links if link.weakest), None)
    bound = chain.upper_bound or any(link.bound for link in links)
    weakest = ""
    if least is not None:
        of = "The weakest known link" if bound else "The weakest link"
        weakest = f"{of} is {_lower(least.title)}: it keeps {least.share} of what reaches it ({least.basis})."
    last = next((link.product for link in reversed(chain.links) if _known(link) and link.product is not None), 0.0)
    return ChainView(chain.device, name, chain.dtype, links, _end(chain, links), weakest, bound, last)


def _range(value: Range) -> str:
    """Write a range of scenarios as `low – high`; one figure where both are written alike."""
    low, high = (format.quantity(end, "currency") for end in (value.low, value.high))
    return low if low == high else f"{low} – {high}"


def _cost(line: CostLine) -> CostView:
    value = line.value if line.basis != "unknown" else None
    basis = line.basis if value is not None else "unknown"
    return CostView(
        title=line.title,
        kind=line.kind,
        value="" if value is None else _range(value),
        unit=line.unit,
        basis=basis,
        tone=words.BASES.get(basis, "none"),
        scenario=line.scenario,
        workings=line.workings if value is not None else "",
        absent="" if value is not None else format.sentence(line.absent or NO_VALUE),
    )


def _boundary(boundary: Boundary) -> BoundaryView:
    known = boundary.watts is not None and boundary.basis != "unknown"
    watts, basis = (boundary.watts, boundary.basis) if known else (None, "unknown")
    return BoundaryView(
        title=boundary.title,
        denominator=boundary.denominator,
        watts="" if watts is None else format.measured(watts.value, watts.unit, boundary.interval),
        factor="" if boundary.factor is None or not known else f"{format.quantity(boundary.factor, 'currency')} ×",
        basis=basis,
        tone=words.BASES.get(basis, "none"),
        explanation=format.sentence(boundary.explanation),
        source=boundary.source,
    )


def money_view(economics: Economics) -> MoneyView:
    """Lay out money and carbon: energy cost and total cost in groups of their own, absent lines among them."""
    lines = [_cost(line) for line in economics.lines]
    groups = [(title, [line for line in lines if line.kind == kind]) for kind, title in KINDS.items()]
    given = [(*(*row, "", "")[:2], "; ".join(part for part in row[2:] if part)) for row in economics.given]
    return MoneyView(
        site=economics.site,
        digest=economics.site_digest,
        currency=economics.currency,
        boundaries=[_boundary(boundary) for boundary in economics.boundaries],
        groups=[(title, mine) for title, mine in groups if mine],
        given=[(str(name), str(value), str(source)) for name, value, source in given],
    )


def leading(money: MoneyView, most: int = 3) -> list[tuple[str, list[CostView]]]:
    """Choose the lines for the end of the picture: energy cost, total cost and carbon, each with its first lines.

    An absent line is left out where another scenario of the same figure is known. A kind without lines stays, empty.
    """
    by_title = dict(money.groups)
    columns = []
    for title in (KINDS[kind] for kind in ("energy", "total", "carbon")):
        lines = by_title.get(title, [])
        known = {(line.title, line.unit) for line in lines if line.value}
        columns.append((title, [line for line in lines if line.value or (line.title, line.unit) not in known][:most]))
    return columns
