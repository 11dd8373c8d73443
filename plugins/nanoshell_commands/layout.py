"""Tables and figures for people: how lists of results are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.measure import Measurement
    from rich.text import Text

T = TypeVar("T")

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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
            [[show(item) for _, show in self.columns] for item in self],
            title=self.title,
            footer=self.footer,
        )


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", footer: str = ""
) -> RenderableType:
    """Return ``rows`` under ``headings``; cells are shown as text, never read as markup."""
    from rich.console import Group

    from nanoshell import new_table

    shown = new_table(rule=True)
    for heading in headings:
        right = heading.startswith(">")
        shown.add_column(
            heading.removeprefix(">"), justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    for row in rows:
        shown.add_row(*(cell("" if value is None else value) for value in row))
    parts: list[RenderableType] = [cell(title)] if title else []
    parts.append(shown)
    if footer:
        parts.append(cell(footer, "nano.quiet"))
    return Group(*parts)


def pairs(items: Iterable[tuple[str, Any]]) -> RenderableType:
    """Return names and values in two columns, without the items whose value is None."""
    from nanoshell import new_table

    shown = new_table(show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in items:
        if value is not None:
            shown.add_row(cell(name, "nano.heading"), value if isinstance(value, Unbroken) else cell(value))
    return shown


class Unbroken:
    """Items two spaces apart; a line ends between two of them, never within one that has room on a line."""

    def __init__(self, items: Iterable[str]) -> None:
        self.items = tuple(items)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = ""
        for item in self.items:
            longer = f"{line}  {item}" if line else item
            if line and cell(longer).cell_len > options.max_width:
                yield cell(line)
                longer = item
            line = longer
        yield cell(line)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        widths = [cell(item).cell_len for item in self.items]
        whole = Measurement(max(widths, default=0), sum(widths) + 2 * max(len(widths) - 1, 0))
        return whole.with_maximum(options.max_width)


def cell(value: Any, style: str = "") -> Text:
    """Return ``value`` as text that is shown as it is: no markup, no control characters."""
    from rich.text import Text

    if isinstance(value, Text):
        return value
    return Text(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value)), style=style)


def turn(role: str, content: str, note: str = "") -> Text:
    """Return one message of a conversation under its role, with a quiet ``note`` behind it."""
    from rich.text import Text

    shown = Text.assemble(cell(f"{role}: ", "nano.user"), cell(content))
    return shown.append_text(cell(f" ({note})", "nano.quiet")) if note else shown


def from_here(path: str | Path) -> str:
    """Return ``path`` as short as it can be: from the current folder where it is inside of that."""
    here = Path.cwd()
    return str(Path(path).relative_to(here) if Path(path).is_relative_to(here) else path)


def figure(value: float | str | None, digits: int = 4) -> str:
    """Return a number in a table's width, empty where unknown; words (``nan``) stay as they are."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if 10 ** (digits - 1) <= abs(value) < 1e9 else f"{value:.{digits}g}"


def steady(value: float | str | None) -> str:
    """Return a number as `figure` does, its zeros kept: in lines below each other the columns stay."""
    if not isinstance(value, int | float) or 1e3 <= abs(value) < 1e9:
        return figure(value)
    return f"{value:#.4g}".removesuffix(".")


def utf8(console: HasEncoding) -> bool:
    """Return whether ``console`` can show more than ASCII."""
    return console.encoding.lower().replace("-", "").startswith("utf")


class HasEncoding(Protocol):
    """The one thing that `utf8` asks of a console."""

    @property
    def encoding(self) -> str: ...
