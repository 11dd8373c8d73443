"""The row of the views' names; where they do not all fit it moves, so that the chosen one is always seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.events import Click

BEFORE, BEHIND = "‹", "›"
"""Stand at the ends of the row where more views are on that side; a click on one goes to the nearest."""

NUMBERED = 9
"""So many views have a number that is their key."""


@dataclass(frozen=True)
class _Tab:
    start: int
    end: int
    index: int


class TabBar(Widget):
    """The row of the views' names, each with the number that is its key; at the right end the page."""

    def __init__(self, titles: Iterable[str]) -> None:
        super().__init__()
        self.titles = list(titles)
        self.chosen = 0
        self.page = 1
        self.pages = 1
        self.hidden = 0
        self._first = 0
        self._tabs: list[_Tab] = []

    def choose(self, index: int, page: int = 1, pages: int = 1, hidden: int = 0) -> None:
        """Show the view ``index`` as chosen, ``page`` of ``pages`` seen of it, and how much is ``hidden``."""
        if (index, page, pages, hidden) != (self.chosen, self.page, self.pages, self.hidden):
            self.chosen, self.page, self.pages, self.hidden = index, page, pages, hidden
            self.refresh()

    def render(self) -> Text:
        labels = [f" {f'{at + 1} ' if at < NUMBERED else ''}{title} " for at, title in enumerate(self.titles)]
        width = self.size.width
        note = self._page_note(width - sum(map(cell_len, labels)) - 1)
        room = width - (len(note) + 1 if note else 0)
        self._first, end = window(list(map(cell_len, labels)), room, self.chosen, self._first)
        line, self._tabs = Text(no_wrap=True), []
        if self._first:
            self._add(line, BEFORE, self._first - 1, "bold")
        for index in range(self._first, end):
            label, left = labels[index], room - line.cell_len - (end < len(labels))
            shown = label if cell_len(label) <= left else f"{set_cell_size(label, max(0, left - 1))}…"
            self._add(line, shown, index, "bold reverse" if index == self.chosen else "")
        if end < len(labels):
            self._add(line, BEHIND, end, "bold")
        if note:
            line.append(" " * max(0, width - line.cell_len - len(note)) + note, "dim")
        return line

    def _page_note(self, room: int) -> str:
        """Return which page is seen, with the keys that turn it where there are ``room`` cells for them."""
        note = f"{self.page}/{self.pages}" if self.pages > 1 else ""
        note = f"{self.hidden} hidden, u {note}".rstrip() if self.hidden else note
        return f"PgUp PgDn {note}" if self.pages > 1 and len(note) + 10 <= room else note

    def _add(self, line: Text, label: str, index: int, style: str) -> None:
        start = line.cell_len
        line.append(label, style)
        self._tabs.append(_Tab(start, line.cell_len, index))

    async def on_click(self, event: Click) -> None:
        for tab in self._tabs:
            if tab.start <= event.x < tab.end:
                await self.app.run_action(f"view({tab.index})")
                return


def window(widths: Sequence[int], room: int, chosen: int, first: int) -> tuple[int, int]:
    """Return the first and the end of the tabs that are shown in ``room`` cells, ``chosen`` among them.

    It begins at ``first`` as before where that can be: the row moves no further than it must. A sign takes a
    cell at each end beyond which there are more. A tab that is wider than the room is shown alone.
    """
    first = min(first, chosen)
    while first < chosen and _end(widths, room, first) <= chosen:
        first += 1
    while first and _end(widths, room, first - 1) == len(widths):  # there is room for those before as well
        first -= 1
    return first, _end(widths, room, first)


def _end(widths: Sequence[int], room: int, first: int) -> int:
    """Return the end of the tabs from ``first`` on that fit, which is behind ``first`` at least."""
    left = room - bool(first)
    end = first
    while end < len(widths) and widths[end] <= left - (end + 1 < len(widths)):
        left -= widths[end]
        end += 1
    return max(end, first + 1)
