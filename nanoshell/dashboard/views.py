"""The views of the dashboard, their panels, and the row of their names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.plain import plain

if TYPE_CHECKING:
    from textual.events import Click, Resize

    from nanoshell.dashboard.course import Sight, Snapshot
    from nanoshell.plugin.registry import Entry

PLACES = {
    "charts": "Charts",
    "samples": "Samples",
    "runs": "Runs",
    "run": "Run",
    "log": "Log",
    "chat": "Chat",
}
"""The views that the dashboard has of its own, by the place that panels name, in their order."""

SLOW_SECONDS = 0.1
SLOW_TIMES = 3
"""A panel that takes longer for an update, so many times in a row, is updated less often."""

BREATHS = 10
"""A slow panel rests so many times as long as it takes."""

_SYNONYMS = {"chart": "charts"}
_CELL_WIDTH, _CELL_HEIGHT = 56, 10


class ErrorCard(VerticalScroll):
    """What stands in the place of a panel that has failed: its name, its plugin's, and the error."""

    def __init__(self, panel: str, plugin: str, error: BaseException, where: str = "") -> None:
        super().__init__()
        told = "\n".join(map(plain, str(error).splitlines()))  # it must not steer the terminal
        self.text = f"The panel '{panel}' of plugin '{plugin}' has failed\n\n{type(error).__name__}: {told}"
        if where:
            self.text += f"\n{where}"

    def compose(self) -> ComposeResult:
        yield Static(Text(self.text))


class PanelSlot(Container):
    """The room of one panel, with its title; an `ErrorCard` stands in it once the panel has failed."""

    def __init__(self, entry: Entry[Callable[..., Any]]) -> None:
        super().__init__()
        self.entry = entry
        self.panel: Panel | None = None
        self.wanted = True
        self.error: BaseException | None = None
        self._seen: Snapshot | None = None
        self._looked: Sight | None = None
        self._slow = 0
        self._rests_until = 0.0
        try:
            self.panel = _made(entry)
        except Exception as error:
            self.error = error
        self.border_title = self.title

    @property
    def panel_id(self) -> str:
        """The word by which the panel is known: its own, or the name under which it was registered."""
        return (self.panel.panel_id if self.panel else "") or self.entry.name

    @property
    def title(self) -> str:
        return (self.panel.title if self.panel else "") or self.entry.name

    @property
    def place(self) -> str:
        """The view in which the panel stands, a place of `PLACES` or the name of its own."""
        named = self.panel.place if self.panel else ""
        return _SYNONYMS.get(named, named) or f"own-{self.entry.name}"

    def compose(self) -> ComposeResult:
        if self.panel is not None:
            yield self.panel
        elif self.error is not None:
            yield ErrorCard(self.entry.name, self.entry.provider, self.error)

    def show(self, snapshot: Snapshot, sight: Sight) -> float:
        """Hand over what the panel has not seen yet; return in how many seconds to come again, 0 for never.

        Raises what the panel raises.
        """
        if self.panel is None or not self.panel.is_mounted:
            return 0.0
        self.look(sight)
        if self._seen is snapshot:
            return 0.0
        rest = self._rests_until - time.monotonic()
        if rest > 0:
            return rest
        self._seen = snapshot
        began = time.monotonic()
        self.panel.update(snapshot)
        self._judge(time.monotonic() - began)
        return 0.0

    def look(self, sight: Sight) -> None:
        """Let the panel look at its runs so, where it does not yet. Raises what the panel raises."""
        if self.panel is not None and self.panel.is_mounted and self._looked is not sight:
            self._looked = sight
            self.panel.look(sight)

    def saw(self, snapshot: Snapshot) -> bool:
        """Return whether ``snapshot`` is what the panel was handed last."""
        return self._seen is snapshot

    @property
    def throttled(self) -> bool:
        """Whether the panel has been found slow, and is updated less often."""
        return self._slow >= SLOW_TIMES

    def _judge(self, seconds: float) -> None:
        self._slow = self._slow + 1 if seconds > SLOW_SECONDS else 0
        if not self.throttled:
            self.border_title = self.title
            return
        self._rests_until = time.monotonic() + BREATHS * seconds
        slow = f"slow: {seconds * 1000:.0f} ms an update, by plugin {self.entry.provider}"
        self.border_title = f"{self.title} ({slow})"

    def fail(self, error: BaseException, where: str = "") -> None:
        """Put an `ErrorCard` in the place of the panel."""
        if self.error is not None:
            return
        failed, self.panel, self.error = self.panel, None, error
        self.border_title = self.title
        if failed is not None:
            failed.display = False
            self.call_later(failed.remove)  # it may be in the middle of being mounted
        self.mount(ErrorCard(self.entry.name, self.entry.provider, error, where))


def _made(entry: Entry[Callable[..., Any]]) -> Panel:
    made = entry.value()
    if not isinstance(made, Panel):
        raise TypeError(f"its factory returned no nanoshell.Panel but {type(made).__name__}")
    return made


class View(Container):
    """Panels that are shown together, one above the other."""

    def __init__(self, name: str, title: str, slots: Iterable[PanelSlot]) -> None:
        super().__init__(classes=f"-{name}" if name in PLACES else "-own")
        self.place = name
        self.title = title
        self.slots = list(slots)

    def compose(self) -> ComposeResult:
        yield from self.slots

    def visible_slots(self) -> Iterator[PanelSlot]:
        """Yield the slots that are on the screen."""
        return (slot for slot in self.slots if slot.display) if self.display else iter(())

    def first_focus(self) -> Widget | None:
        """Return what takes the keys when the view opens: its first panel, or the first thing in that."""
        panels = (slot.panel for slot in self.visible_slots() if slot.panel)
        takers = (widget for panel in panels for widget in (panel, *panel.query()))
        return next((widget for widget in takers if widget.focusable), None)


class ChartGrid(View):
    """Charts in a grid, the rest on further pages; one may have all the room."""

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
        self.lay_out()

    def lay_out(self) -> None:
        """Show the charts of the page, as many as there is room for."""
        charts = self.wanted
        count = max(1, len(charts))
        self.columns = max(1, min(self.size.width // _CELL_WIDTH, count))
        self.rows = max(1, min(self.size.height // _CELL_HEIGHT, -(-count // self.columns)))
        self.page = min(self.page, self.pages - 1)
        first = self.page * self.columns * self.rows
        shown = [self.maximized] if self.maximized else charts[first : first + self.columns * self.rows]
        for slot in self.slots:
            slot.display = slot in shown
        grid = self.styles
        grid.grid_size_columns = 1 if self.maximized else self.columns
        grid.grid_size_rows = 1 if self.maximized else self.rows

    def turn(self, by: int) -> None:
        """Show the page that is ``by`` pages further."""
        self.page = max(0, min(self.page + by, self.pages - 1))
        self.maximized = None
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


@dataclass(frozen=True)
class _Tab:
    start: int
    end: int
    index: int


class TabBar(Widget):
    """The row of the views' names, each with the number that is its key."""

    def __init__(self, titles: Iterable[str]) -> None:
        super().__init__()
        self.titles = list(titles)
        self.chosen = 0
        self.note = ""
        self._tabs: list[_Tab] = []

    def choose(self, index: int, note: str = "") -> None:
        """Show the view ``index`` as the chosen one, and ``note`` at the right end."""
        if (index, note) != (self.chosen, self.note):
            self.chosen, self.note = index, note
            self.refresh()

    def render(self) -> Text:
        line, self._tabs = Text(no_wrap=True, overflow="ellipsis"), []
        for index, title in enumerate(self.titles):
            start = len(line)
            style = "bold reverse" if index == self.chosen else ""
            key = f"{index + 1} " if index < 9 else ""
            line.append(f" {key}{title} ", style)
            self._tabs.append(_Tab(start, len(line), index))
        if self.note and (room := self.size.width - len(line) - len(self.note) - 1) > 0:
            line.append(" " * room + self.note, "dim")
        return line

    async def on_click(self, event: Click) -> None:
        for tab in self._tabs:
            if tab.start <= event.x < tab.end:
                await self.app.run_action(f"view({tab.index})")
