"""The full chain as it is shown: its links from the rated peak to the facility, and its two sentences.

A link is `unknown` as soon as its basis says so or its share is missing; it has no bar, and every product after it
is an upper bound. Nothing here fills a gap.
"""

import msgspec

from effbench.model.chain import Chain, Link
from effbench.model.scorecard import Waterfall
from effbench.report import format, words

GROUPS = {"hardware": "Hardware", "algorithm": "Algorithm", "system": "System", "commercial": "Commercial"}
NO_CHAIN = "No chain: it starts at a matrix multiply that was measured and verified."
# What stands above the first link of a chain, by that link's name.
BEGIN = {"held_clock": "rated peak", "best_gemm": "peak at the held clock"}
STARTS = ("rated_peak", "held_clock_peak")
NAMED_MAX = 3  # unknown links named in the sentence


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


def _known(link: Link) -> bool:
    return link.basis != "unknown" and link.share is not None


def _share(link: Link) -> str:
    if not _known(link):
        return "unknown"
    return format.measured(link.share or 0.0, "1", link.interval, "share")


def _start(chain: Chain, fall: Waterfall | None) -> list[LinkView]:
    """Write what the shares are of: the first stage of the waterfall that has a value, unless the chain has it itself.

    A chain whose first link is the held clock starts at the rated peak above it; without a waterfall nothing is drawn.
    """
    first = next((stage for stage in fall.stages if stage.value), None) if fall is not None else None
    if first is None or first.name not in STARTS or not chain.links or first.name.startswith(chain.links[0].name):
        return []
    rated = first.name == "rated_peak"
    said = f"{format.quantity(first.value or 0.0, 'flop/s')}. {first.explanation}"
    basis = "given" if rated else "measured"
    tone = words.BASES[basis]
    return [
        LinkView(
            name=first.name,
            title=first.title,
            kind="hardware",
            group=GROUPS["hardware"],
            basis=basis,
            tone=tone,
            explanation=format.sentence(said),
            source="",
            share="",
            product="100 %",
            width=1.0,
            before=None,
            bound=False,
            weakest=False,
        )
    ]


def _links(chain: Chain, fall: Waterfall | None) -> list[LinkView]:
    """Lay out the links; the running product is the chain's own, drawn only where it is known.

    Commercial links without a share are results, not losses: they stand at the end, among the costs.
    """
    found = _start(chain, fall)
    links = [link for link in chain.links if link.group != "commercial" or link.share is not None]
    before, group = (1.0, "hardware") if found else (None, "")
    bound = False
    for link in links:
        known = _known(link)
        bound = bound or not known
        product = link.product if known else None
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
                width=product,
                before=before,
                bound=bound,
                weakest=known and link.name == chain.weakest,
            )
        )
        before, group = before if product is None else product, link.group
    return _scaled(found)


def _scaled(links: list[LinkView]) -> list[LinkView]:
    """Fit the drawing: a product above 1 (a clock held above its rating) is as wide as the drawing."""
    widest = max([1.0, *(link.width for link in links if link.width is not None)])
    return [
        msgspec.structs.replace(
            link,
            width=None if link.width is None else link.width / widest,
            before=None if link.before is None else link.before / widest,
        )
        for link in links
    ]


def _lower(title: str) -> str:
    """Lower the first letter, except of an abbreviation."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _begin(links: list[LinkView]) -> str:
    """Name what the products are shares of: the start, or what stands above a first link that has a share."""
    return _lower(links[0].title) if links[0].product == "100 %" else BEGIN.get(links[0].name, _lower(links[0].title))


def _end(chain: Chain, links: list[LinkView]) -> str:
    """Say what is left at the end of the chain, as an upper bound where a link is unknown."""
    known = [link for link in links if link.product]
    if len(known) < 2 or not (links[0].product or links[0].name in BEGIN):
        return "Too few links are known to say what is left at the end."
    unknown = [_lower(link.title) for link in links if link.basis == "unknown"]
    lead = f"{known[-1].product.removeprefix('≤ ')} of the {_begin(links)} reaches the end of the chain"
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


def chain_view(chain: Chain, name: str, fall: Waterfall | None = None) -> ChainView:
    """Lay out one chain, after the start that its waterfall gives; the weakest link is the chain's own, if known."""
    links = _links(chain, fall)
    least = next((link for link in links if link.weakest), None)
    bound = chain.upper_bound or any(link.bound for link in links)
    weakest = ""
    if least is not None:
        of = "The weakest known link" if bound else "The weakest link"
        weakest = f"{of} is {_lower(least.title)}: it keeps {least.share} of what reaches it ({least.basis})."
    last = next((link.product for link in reversed(chain.links) if _known(link) and link.product is not None), 0.0)
    return ChainView(chain.device, name, chain.dtype, links, _end(chain, links), weakest, bound, last)
