"""Styled text, grids and headings: what the blocks of the terminal report are made of."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

STYLES = {
    "good": "bold green",
    "best": "bold cyan",
    "fair": "bold bright_blue",
    "open": "bold yellow",
    "bad": "bold red",
    "none": "bold",
    "loss": "yellow",
    "plain": "",
}


def styled(*parts: tuple[str, str]) -> "Text":
    """Join (words, style) pairs; nothing in the words is markup."""
    from rich.text import Text

    joined = Text()
    for content, style in parts:
        joined.append(content, style=style)
    return joined


def grid(*columns: tuple[str, int | None]) -> "Table":
    """Make a table without lines; columns are (justification, ratio) and the last ones may wrap."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2), expand=False)
    for justify, ratio in columns:
        side: Literal["left", "right"] = "right" if justify == "right" else "left"
        table.add_column(justify=side, ratio=ratio, no_wrap=ratio is None, overflow="fold")
    return table


def heading(title: str, note: str = "") -> "Text":
    """Open a block: its title, and a note beside it."""
    return styled(("\n" + title, "bold"), (f"  {note}" if note else "", "dim"))
