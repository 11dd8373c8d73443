"""The rooms of panels: each has a title and a panel, or the card that says how that has failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget

from nanoshell.dashboard.faults import ErrorCard, tell_author
from nanoshell.dashboard.inside import take_out
from nanoshell.dashboard.limit import limited
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.plain import plain
from nanoshell.errors import PluginError

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Sight, Snapshot
    from nanoshell.plugin.registry import Entry

SLOW_SECONDS = 0.1
SLOW_TIMES = 3
"""A panel that takes longer for an update, or to be drawn, so many times in a row, is updated less often."""

STUCK_SECONDS = 10.0
"""An update that takes longer is not waited for: the panel has failed."""

BREATHS = 10
"""A slow panel rests so many times as long as it takes."""

FOCUS_SIGN = "▸ "
"""Stands before the title of the panel that has the keys: a colour alone is not seen everywhere."""

_SYNONYMS = {"chart": "charts"}


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
        self._slow_since = False
        self._rests_until = 0.0
        self._note = ""
        made = None
        try:
            made = self.panel = _made(entry)
        except (Exception, SystemExit) as error:
            self.error = error
        self.panel_id = (made.panel_id if made else "") or entry.name
        """The word by which the panel is known: its own, or the name under which it was registered."""
        self.title = plain((made.title if made else "") or entry.name)
        """What stands above the panel, also once it has failed."""
        if made is not None and made.most_rows:
            self.styles.max_height = made.most_rows + 1  # and its title
        named = made.place if made else ""
        self.place = _SYNONYMS.get(named, named) or f"own-{entry.name}"
        """The view in which the panel stands, a place of `views.PLACES` or the name of its own."""
        self._entitle(focused=False)

    def _entitle(self, *, focused: bool) -> None:
        sign = FOCUS_SIGN if focused else ""
        remark = plain(self.panel.remark) if self.panel is not None else ""
        said = (f": {remark}", "dim") if remark else ""
        self.border_title = Content.assemble(f"{sign}{self.title}", said, self._note)

    def on_panel_retitled(self, message: Panel.Retitled) -> None:
        message.stop()
        self._entitle(focused=self.has_focus_within)

    def on_descendant_focus(self) -> None:
        self._entitle(focused=True)

    def on_descendant_blur(self) -> None:
        self._entitle(focused=self.has_focus_within)

    def compose(self) -> ComposeResult:
        if self.panel is not None:
            yield self.panel
        elif self.error is not None:
            tell_author(self.entry, self.error)
            yield ErrorCard(self.title, self.entry.provider, self.error)

    async def mount_composed_widgets(self, widgets: list[Widget]) -> None:
        try:
            await super().mount_composed_widgets(widgets)
        except Exception as error:  # its styles, as a rule
            self.fail(error)

    def first_focus(self) -> Widget | None:
        """Return what takes the keys first: of the panel, or of the card that stands for it."""
        found = self.panel.first_focus() if self.panel is not None else None
        takers = (found, *self.query()) if self.panel is not None else self.query()
        return next((widget for widget in takers if widget is not None and widget.focusable), None)

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
        if not self._slow_since:  # neither was the last update slow, nor what was drawn of it
            self._slow = 0
            self._tell_slow("")
        self._slow_since = False
        began = time.monotonic()
        with limited(STUCK_SECONDS):
            self.panel.update(snapshot)
        self.judge(time.monotonic() - began, "an update")
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

    def judge(self, seconds: float, what: str) -> None:
        """Take it that the panel took so long for ``what``: an update, to draw."""
        if seconds <= SLOW_SECONDS or self.panel is None:
            return
        self._slow_since = True
        self._slow += 1
        if self.throttled:
            self._rests_until = time.monotonic() + BREATHS * seconds
            self._tell_slow(f" (slow: {seconds * 1000:.0f} ms {what}, by plugin {self.entry.provider})")

    def _tell_slow(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self._entitle(focused=self.has_focus_within)

    def fail(self, error: BaseException) -> None:
        """Put an `ErrorCard` in the place of the panel."""
        if self.error is not None:
            return
        tell_author(self.entry, error)
        failed, self.panel, self.error = self.panel, None, error
        self._note = ""
        had_keys = self.has_focus_within
        self._entitle(focused=had_keys)
        if failed is not None:
            failed.display = False
            self.call_later(take_out, failed)  # it may be in the middle of being mounted
        card = ErrorCard(self.title, self.entry.provider, error)
        self.mount(card)
        if had_keys:
            card.focus()


def panel_slots(entries: Iterable[Entry[Callable[..., Any]]]) -> list[PanelSlot]:
    """Return a slot for each of ``entries``. Of panels with one id the first works; cards tell of the others.

    Keys, what is remembered and which chart has all the room go by that id.
    """
    found: dict[str, PanelSlot] = {}
    slots = [PanelSlot(entry) for entry in entries]
    for slot in slots:
        if slot.panel is not None:
            first = found.setdefault(slot.panel_id, slot)
            if first is not slot:
                slot.panel = None
                slot.error = PluginError(
                    f"its panel_id '{slot.panel_id}' is that of the panel '{first.title}' of plugin "
                    f"'{first.entry.provider}', which works. Both work once this class has another one."
                )
    return slots


def _made(entry: Entry[Callable[..., Any]]) -> Panel:
    made = entry.value()
    if not isinstance(made, Panel):
        raise TypeError(f"its factory returned no nanoshell.Panel but {type(made).__name__}")
    return made
