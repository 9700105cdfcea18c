"""The full report as one self-contained page: no script, no request; reads on a phone and prints on A4."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from effbench import resources
from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.report import (
    charts_power,
    charts_roofline,
    charts_spread,
    charts_timeline,
    figures_scaling,
    view,
    view_chain,
    view_evidence,
    view_money,
    words,
)
from effbench.report.charts import px
from effbench.report.roofline import Roofline, roofline
from effbench.report.view import View

MEDIA_TYPE = "text/html"
FILENAME: str | None = "report.html"

# Charts are drawn twice, for the page and for a phone: scaled-down lettering would be unreadable there.
WIDE, NARROW = 1020.0, 340.0


class RooflineFigure(msgspec.Struct, frozen=True):
    """One device's roofline: the data for the legend and both drawings."""

    data: Roofline
    wide: str
    narrow: str
    cpu: bool


class TimelineFigure(msgspec.Struct, frozen=True):
    """The timeline in both widths, empty when there is no telemetry."""

    wide: str
    narrow: str
    devices: list[str]
    missing: list[str]


def _percent(fraction: float | None) -> str:
    """Write a fraction of a drawing as CSS; what sticks out is cut off."""
    return f"{px(100 * min(max(fraction or 0.0, 0.0), 1.0))}%"


def _ticked(text: str) -> Any:
    """Escape `text` and set what stands between backticks as code."""
    from markupsafe import Markup, escape

    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 else escape(piece) for i, piece in enumerate(pieces)
    )


@cache
def _template(folder: str) -> Any:
    """Compile the template once per process."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["pct"] = _percent
    environment.filters["ticked"] = _ticked
    return environment.get_template("scorecard.html.j2")


def _rooflines(record: Record) -> list[RooflineFigure]:
    from markupsafe import Markup

    kinds = {a.key: a.kind for a in record.inventory_before.accelerators}
    return [
        RooflineFigure(
            data,
            Markup(charts_roofline.draw(data, WIDE, 480, "wide")),
            Markup(charts_roofline.draw(data, NARROW, 360, "narrow")),
            kinds[device] == "cpu",
        )
        for device in record.plan.devices
        if (data := roofline(record, device)) is not None
    ]


def _timeline(record: Record | None) -> TimelineFigure:
    from markupsafe import Markup

    if record is None:
        return TimelineFigure("", "", [], [])
    return TimelineFigure(
        Markup(charts_timeline.draw(record, WIDE, "wide")),
        Markup(charts_timeline.draw(record, NARROW, "narrow")),
        sorted({point.device for point in record.timeline}),
        charts_timeline.missing(record),
    )


def _power(shown: View) -> dict[str, Any]:
    """Collect what the chain and the power page draw beside the view: the timeline, the words for what is absent."""
    from markupsafe import Markup

    record = shown.record
    return {
        "power_wide": "" if record is None else Markup(charts_power.draw(record, WIDE, "wide")),
        "power_narrow": "" if record is None else Markup(charts_power.draw(record, NARROW, "narrow")),
        "power_devices": [] if record is None else [lane.device for lane in charts_power.lanes(record)],
        "no_chain": view_chain.NO_CHAIN,
        "no_site": (view_money.NO_SITE, view_money.NO_SITE_DO),
        "trusts": [(letter, text, tone) for letter, (text, tone) in words.TRUSTS.items()],
    }


def _evidence(shown: View) -> dict[str, Any]:
    """Collect what needs the record; without one every part is empty and the page says so."""
    from markupsafe import Markup

    record = shown.record
    if record is None:
        return {"rooflines": [], "spreads": [], "trials": [], "node": [], "devices": [], "provenance": []}
    spreads = view_evidence.spreads(record)
    return {
        "rooflines": _rooflines(record),
        "spreads": [(spread, Markup(charts_spread.draw(spread)), charts_spread.scale(spread)) for spread in spreads],
        "trials": view_evidence.trials(record),
        "node": view_evidence.node(record.inventory_before),
        "devices": [view_evidence.device(a) for a in record.inventory_before.accelerators],
        "provenance": view_evidence.provenance(record),
    }


def _style(folder: Path, shown: View) -> Any:
    """Read the style sheet, and what pages with scaling or a cluster need beside it."""
    from markupsafe import Markup

    names = ["style.css", "scaling.css"] if shown.scaling or shown.cluster else ["style.css"]
    return Markup("".join((folder / name).read_text(encoding="utf-8") for name in names))


def render(card: Scorecard, grade: Grade | None, record: Record | None) -> bytes:
    """Write the page, UTF-8. The same documents give the same bytes."""
    folder = resources.folder("templates")
    shown = view.build(card, grade, record)
    page: str = _template(str(folder)).render(
        view=shown,
        style=_style(folder, shown),
        timeline=_timeline(shown.record),
        simulated_word=words.SIMULATED,
        simulated_text=words.SIMULATED_TEXT,
        **_evidence(shown),
        **_power(shown),
        scaling=figures_scaling.scaling(shown.scaling),
        cluster=figures_scaling.cluster(shown.cluster),
    )
    return (page.strip() + "\n").encode()
