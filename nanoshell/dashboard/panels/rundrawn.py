"""The table of runs on the screen: of most of many runs it shows what it drew the last time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len

from nanoshell.dashboard.panels.lines import Line, TextLines
from nanoshell.dashboard.panels.runlist import RunRow
from nanoshell.dashboard.panels.runtable import Column, Look, column_at, fitting, head_line, row_line

_NARROWEST = 20


class RunTable(TextLines):
    """Draws runs as rows, in the columns that have room."""

    def __init__(self, id: str) -> None:  # noqa: A002 - the name of Textual
        super().__init__(id=id)
        self._drawn: dict[str, tuple[RunRow, tuple[object, ...], Line]] = {}
        self._drawn_at = 0.0
        self._longest = 0

    @property
    def columns(self) -> list[Column]:
        """The columns that are seen."""
        return fitting(self._width)

    def column_at(self, x: int) -> Column | None:
        """Return the column whose heading stands at ``x``."""
        return column_at(x, self.columns, self._width, self._longest)

    def aged(self, now: float) -> bool:
        """Return whether ages read otherwise ``now`` than where they were drawn."""
        return now // 60 != self._drawn_at // 60

    def draw(self, rows: Sequence[RunRow], look: Look, chosen: int | None, empty: Line) -> None:
        """Show ``rows``, or ``empty`` where there are none."""
        self._drawn_at = look.now
        self._longest = max((cell_len(row.run.name) for row in rows), default=0)
        look = replace(look, longest=self._longest)
        columns, width = self.columns, self._width
        lines = [self._line(row, columns, width, look) for row in rows]
        self.show(lines or [empty], head=head_line(columns, width, look), chosen=chosen)

    def forget(self, rows: Sequence[RunRow]) -> None:
        """Keep nothing of runs that are not among ``rows``."""
        there = {row.run.name for row in rows}
        self._drawn = {name: drawn for name, drawn in self._drawn.items() if name in there}

    @property
    def _width(self) -> int:
        return max(_NARROWEST, self.size.width - 1)

    def _line(self, row: RunRow, columns: list[Column], width: int, look: Look) -> Line:
        name = row.run.name
        about = (
            look.colours.get(name),
            name == look.focus,
            name in look.marked,
            width,
            look.longest,
            look.now // 60,
        )
        drawn = self._drawn.get(name)
        if drawn is None or drawn[0] != row or drawn[1] != about:
            drawn = self._drawn[name] = (row, about, row_line(row, columns, width, look))
        return drawn[2]
