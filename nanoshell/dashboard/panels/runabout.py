"""What stands below the table of runs: what is known of the chosen one, or in what some differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nanoshell.dashboard.panels.aside import Aside
from nanoshell.dashboard.panels.difference import read_difference
from nanoshell.dashboard.panels.lines import Line, TextLines, span, wrapped
from nanoshell.dashboard.panels.runtable import about_run
from nanoshell.dashboard.panels.sections import section_lines

if TYPE_CHECKING:
    from textual.widget import Widget

    from nanoshell.dashboard.panels.runlist import RunRow
    from nanoshell.plugin.registry import Entry

_NARROWEST = 20


class RunAbout(TextLines):
    """Tells of a run, or of several; what has to be read for that is read aside, in the name of ``owner``."""

    def __init__(self, owner: Widget, fail: Callable[[Exception], None], id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._facts: Aside[tuple[str, list[Line]]] = Aside(owner, self._take, fail)
        self._told: tuple[str, list[Line]] = ("", [])
        self._row: RunRow | None = None
        self._several: Sequence[RunRow] = ()
        self._first: Sequence[Line] = ()

    def tell(self, row: RunRow | None, several: Sequence[RunRow] = (), first: Sequence[Line] = ()) -> None:
        """Show what is known of ``row``, the lines ``first`` before it, or how ``several`` differ."""
        self._row, self._several, self._first = row, several, first
        self.show(self._lines())

    def read(self, sections: Iterable[Entry[Callable[..., Any]]]) -> None:
        """Read what is not known yet of what is told, of a run what ``sections`` say of it."""
        row, several, key, width = self._row, self._several, self._key, self._width
        if row is None:
            return
        if several:
            self._facts.ask(lambda: (key, read_difference([one.run for one in several], width)))
        else:
            self._facts.ask(lambda: (key, wrapped(section_lines(row.run, sections, width), width)))

    @property
    def _key(self) -> str:
        named = self._several or ((self._row,) if self._row is not None else ())
        return " ".join(row.run.name for row in named)

    @property
    def _width(self) -> int:
        return max(_NARROWEST, self.size.width - 1)

    def _lines(self) -> list[Line]:
        if self._row is None:
            return []
        key, told = self._told
        if self._several:
            return told if key == self._key else [span("comparing …", "quiet")]
        known = wrapped([*self._first, *about_run(self._row, self._width)], self._width, 2)
        return known + (told if key == self._key else [])

    def _take(self, told: tuple[str, list[Line]]) -> None:
        self._told = told
        if self.is_mounted:
            self.show(self._lines())
