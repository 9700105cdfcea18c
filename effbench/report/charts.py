"""Scales, ticks and SVG elements for the charts. Hand-written SVG: it follows the page's colours, light and dark.

Every number is written with at most one decimal and every attribute in a fixed order, so that the same figures give
the same bytes. Colours are classes (`tone-...`, `series-N`) that the style sheet fills.
"""

import math
from collections.abc import Callable, Sequence
from html import escape

Scale = Callable[[float], float]


def px(value: float) -> str:
    """Write a coordinate: one decimal, no trailing zero, no minus zero."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high] to [start, end]."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high], both above zero, to [start, end] on a logarithmic scale."""
    inner = linear(math.log10(low), math.log10(high), start, end)
    return lambda value: inner(math.log10(value))


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """Choose at most about `wanted` round numbers (1, 2, 5 times a power of ten) within [low, high]."""
    if high <= low:
        return [low]
    raw = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """List the powers of ten within [low, high]."""
    return [10.0**n for n in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Draw a straight line."""
    return f'<line class="{css}" x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}"/>'


def path(points: Sequence[tuple[float, float]], css: str) -> str:
    """Draw an open line through `points`."""
    if not points:
        return ""
    joined = "L".join(f"{px(x)} {px(y)}" for x, y in points)
    return f'<path class="{css}" d="M{joined}"/>'


def rect(x: float, y: float, width: float, height: float, css: str, title: str = "") -> str:
    """Draw a rectangle; `title` is shown on hover and read aloud."""
    inner = f"><title>{escape(title)}</title></rect>" if title else "/>"
    size = f'width="{px(max(width, 0))}" height="{px(max(height, 0))}"'
    return f'<rect class="{css}" x="{px(x)}" y="{px(y)}" {size}{inner}'


def circle(x: float, y: float, radius: float, css: str, title: str = "") -> str:
    """Draw a dot; `title` is shown on hover and read aloud."""
    inner = f"><title>{escape(title)}</title></circle>" if title else "/>"
    return f'<circle class="{css}" cx="{px(x)}" cy="{px(y)}" r="{px(radius)}"{inner}'


def text(x: float, y: float, content: str, css: str = "label", anchor: str = "start", turn: float = 0) -> str:
    """Write `content`, escaped. `anchor` is start, middle or end; `turn` rotates around the point, in degrees."""
    turned = f' transform="rotate({px(turn)} {px(x)} {px(y)})"' if turn else ""
    return f'<text class="{css}" x="{px(x)}" y="{px(y)}" text-anchor="{anchor}"{turned}>{escape(content)}</text>'


def svg(width: float, height: float, label: str, body: Sequence[str], css: str = "") -> str:
    """Wrap elements in an image that scales with the page; `label` is what a screen reader says."""
    box = f'viewBox="0 0 {px(width)} {px(height)}" width="{px(width)}" height="{px(height)}"'
    return f'<svg class="chart {css}" role="img" aria-label="{escape(label)}" {box}>{"".join(body)}</svg>'
