"""The views of the dashboard: panels that are shown together, and the grid of the charts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget

from nanoshell.dashboard.slots import PanelSlot

if TYPE_CHECKING:
    from textual.events import Resize

    from nanoshell.dashboard.course import Snapshot

PLACES = {
    "charts": "Charts",
    "samples": "Samples",
    "runs": "Runs",
    "run": "Run",
    "log": "Log",
    "chat": "Chat",
}
"""The views that the dashboard has of its own, by the place that panels name, in their order."""

_CELL_WIDTH, _CELL_HEIGHT = 56, 10


class View(Container):
    """Panels that are shown together, one above the other."""

    def __init__(self, name: str, title: str, slots: Iterable[PanelSlot]) -> None:
        super().__init__(classes=f"-{name}" if name in PLACES else "-own")
        self.place = name
        self.title = title
        self.slots = list(slots)
        self.last: PanelSlot | None = None

    def compose(self) -> ComposeResult:
        yield from self.slots

    def visible_slots(self) -> Iterator[PanelSlot]:
        """Yield the slots that are on the screen."""
        return (slot for slot in self.slots if slot.display) if self.display else iter(())

    def first_focus(self) -> Widget | None:
        """Return what takes the keys when the view opens: what had them last, else its first panel."""
        slots = sorted(self.visible_slots(), key=lambda slot: slot is not self.last)
        return next((widget for widget in map(PanelSlot.first_focus, slots) if widget is not None), None)

    def remember(self, focused: Widget | None) -> None:
        """Remember the panel which has the keys when the view is left: ``focused``, or what is around it."""
        above = focused.ancestors_with_self if focused else ()
        self.last = next((slot for slot in self.slots if slot in above), self.last)


ABOVE_ANOTHER = "-above"
"""The class of charts below which there is another one of the same page."""


class ChartGrid(View):
    """Charts in a grid, the rest on further pages; one may have all the room."""

    class Uncovered(Message):
        """Another size has brought other charts into sight: they have not been handed what is new."""

    def __init__(self, name: str, title: str, slots: Iterable[PanelSlot]) -> None:
        super().__init__(name, title, slots)
        self.page = 0
        self.columns = self.rows = 1
        self.maximized: PanelSlot | None = None

    @property
    def wanted(self) -> list[PanelSlot]:
        """The charts that have something to show."""
        return [slot for slot in self.slots if slot.wanted]

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-len(self.wanted) // (self.columns * self.rows)))

    @property
    def position(self) -> tuple[int, int]:
        """Which page is seen, from 0 on, and of how many; which chart of how many, where one has the room."""
        if self.maximized is None:
            return self.page, self.pages
        charts = self.wanted
        return charts.index(self.maximized) if self.maximized in charts else 0, max(1, len(charts))

    def sift(self, snapshot: Snapshot) -> None:
        """Show the charts that have something to show of ``snapshot``, and no others."""
        before = self.wanted
        for slot in self.slots:
            try:
                slot.wanted = slot.panel is None or slot.panel.wanted(snapshot)
            except Exception as error:
                slot.fail(error)
        if self.wanted != before:
            if snapshot.courses and self.maximized is not None and not self.maximized.wanted:
                self.maximized = None
            self.lay_out()

    def on_resize(self, event: Resize) -> None:
        before = set(self.visible_slots())
        self.lay_out()
        if set(self.visible_slots()) - before:
            self.post_message(self.Uncovered())

    def lay_out(self) -> None:
        """Show the charts of the page, as many as there is room for."""
        charts = self.wanted
        count = max(1, len(charts))
        self.columns = max(1, min(self.size.width // _CELL_WIDTH, count))
        self.rows = max(1, min(self.size.height // _CELL_HEIGHT, -(-count // self.columns)))
        self.page = min(self.page, self.pages - 1)
        first = self.page * self.columns * self.rows
        shown = [self.maximized] if self.maximized else charts[first : first + self.columns * self.rows]
        last_row = (len(shown) - 1) // self.columns * self.columns
        for slot in self.slots:
            slot.display = slot in shown
            # The last chart takes what is left of its row.
            is_last = bool(shown) and slot is shown[-1] and not self.maximized
            slot.styles.column_span = self.columns - (len(shown) - 1) % self.columns if is_last else 1
            slot.set_class(slot in shown[:last_row] and not self.maximized, ABOVE_ANOTHER)
        grid = self.styles
        grid.grid_size_columns = 1 if self.maximized else self.columns
        grid.grid_size_rows = 1 if self.maximized else self.rows
        focused = self.screen.focused
        if focused is not None and any(slot in focused.ancestors for slot in self.slots if not slot.display):
            self.screen.set_focus(self.first_focus())

    def turn(self, by: int) -> None:
        """Show the page that is ``by`` pages further; of charts that have all the room in turn, the chart."""
        at, count = self.position
        at = max(0, min(at + by, count - 1))
        if self.maximized is not None:
            self.maximized = self.wanted[at] if self.wanted else None
        else:
            self.page = at
        self.lay_out()

    def maximize(self, slot: PanelSlot | None) -> None:
        """Give ``slot`` all the room; None brings back the grid."""
        if slot is None and self.maximized in self.wanted:
            self.page = self.wanted.index(self.maximized) // (self.columns * self.rows)
        self.maximized = slot
        self.lay_out()

    def maximize_id(self, panel_id: str) -> None:
        """Give the panel of that id all the room; where there is none, change nothing."""
        slot = next((slot for slot in self.slots if panel_id and slot.panel_id == panel_id), None)
        if slot is not None:
            self.maximize(slot)


def build_views(slots: Iterable[PanelSlot], *, read_only: bool) -> list[View]:
    """Return the views that have a panel, those of `PLACES` first; the chat is absent with ``read_only``."""
    made = list(slots)
    found: list[View] = []
    for place, title in PLACES.items():
        here = [slot for slot in made if slot.place == place]
        if place == "charts":
            found.append(ChartGrid(place, title, here))
        elif here and not (place == "chat" and read_only):
            found.append(View(place, title, here))
    known = set(PLACES)
    found += [View(slot.place, slot.title, [slot]) for slot in made if slot.place not in known]
    return found
