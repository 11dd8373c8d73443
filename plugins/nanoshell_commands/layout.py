"""Tables and figures for people: how sizes, counts, ages and lists of results are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")


class Rows(list[T]):
    """A list of results that knows how to show itself: ``columns`` are (heading, cell of one item).

    In JSON it is an ordinary array. ``empty`` is said where there is nothing, ``title`` above what there is.
    A heading that begins with ``>`` is a column of figures, set flush right.
    """

    def __init__(
        self,
        items: Iterable[T],
        columns: Sequence[tuple[str, Callable[[T], Any]]],
        *,
        empty: str = "nothing",
        title: str = "",
        footer: str = "",
    ) -> None:
        super().__init__(items)
        self.columns = columns
        self.empty = empty
        self.title = title
        self.footer = footer

    def __rich__(self) -> RenderableType:
        if not self:
            return self.empty
        return table(
            [heading for heading, _ in self.columns],
            [[cell(item) for _, cell in self.columns] for item in self],
            title=self.title,
            footer=self.footer,
        )


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", footer: str = ""
) -> RenderableType:
    """Return ``rows`` under ``headings``; cells are shown as text, never read as markup."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        shown.add_column(
            heading.removeprefix(">"), justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    for row in rows:
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    parts: list[RenderableType] = [Text(title)] if title else []
    parts.append(shown)
    if footer:
        parts.append(Text(footer, style="dim"))
    return Group(*parts)


def pairs(items: Iterable[tuple[str, Any]]) -> RenderableType:
    """Return names and values in two columns, without the items whose value is None."""
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in items:
        if value is not None:
            shown.add_row(Text(name), Text(str(value)))
    return shown


def human_bytes(amount: int | None) -> str:
    """Return ``amount`` bytes as people read them (``25.5 kB``), empty where unknown."""
    if amount is None:
        return ""
    size = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_count(amount: float | None) -> str:
    """Return a count in three figures (``12.9M``), empty where unknown."""
    if amount is None:
        return ""
    size = float(amount)
    for unit in ("", "k", "M"):
        if size < 999.5:
            return f"{size:.0f}{unit}" if not unit or size >= 99.5 else f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.1f}B"


def human_seconds(seconds: float | None) -> str:
    """Return a span of time in its two largest units (``2h 05m``), empty where unknown."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600:02d}h"


def moment(seconds: float | None) -> str:
    """Return a time since the epoch as local date and time, empty where unknown."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def figure(value: float | str | None, digits: int = 4) -> str:
    """Return a number in a table's width, empty where unknown; words (``nan``) stay as they are."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.{digits}g}"


def utf8(console: HasEncoding) -> bool:
    """Return whether ``console`` can show more than ASCII."""
    return console.encoding.lower().replace("-", "").startswith("utf")


class HasEncoding(Protocol):
    """The one thing that `utf8` asks of a console."""

    @property
    def encoding(self) -> str: ...
