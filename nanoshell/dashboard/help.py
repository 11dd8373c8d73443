"""What is said about the dashboard in itself: all keys, and the panel that has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from nanoshell.dashboard.keys import written

if TYPE_CHECKING:
    from textual.binding import BindingType

    from nanoshell.dashboard.actions import Action

KEYS_WIDTH = 16


class HelpScreen(ModalScreen[None]):
    """A text over the dashboard, that scrolls; Esc, q and ? leave."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,question_mark,f1,ctrl+c", "close", "Close")]

    last_line = (("down", "Scroll"), ("pagedown", "Further"), ("escape", "Close"))

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self._heading = title
        self.text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="sheet") as sheet:
            sheet.border_title = self._heading
            sheet.border_subtitle = "Up Down PgUp PgDn scroll, Esc closes"
            yield Static(self.text)

    def action_close(self) -> None:
        """Go back to the dashboard."""
        self.dismiss(None)


def keys_text(actions: Iterable[tuple[Action, Sequence[str]]]) -> Text:
    """Return a table of ``actions``, each with its keys, by their groups; those without keys are left out."""
    text = Text()
    group = ""
    for action, keys in actions:
        if not keys:
            continue
        if action.group != group:
            group = action.group
            text.append(f"{'' if not text else chr(10)}{group}\n", "bold")
        text.append(f"  {' '.join(map(written, keys)):{KEYS_WIDTH}}")
        text.append(f"{action.title}{' (asks first)' if action.question else ''}\n")
    return text
