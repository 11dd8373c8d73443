"""The palette: the actions of the dashboard and the commands of the shell, found by a few letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.markup import escape
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider, SearchIcon
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, RichLog, Static

from nanoshell.dashboard.finding import likeness, offers
from nanoshell.dashboard.panels.plain import plain, without_escapes
from nanoshell.dashboard.running import LineRun, completions

if TYPE_CHECKING:
    from textual.binding import BindingType

    from nanoshell.dashboard.app import DashboardApp
    from nanoshell.session import Session

MOST_SHOWN = 5
"""Completions that are shown below a line."""

MOST_LINES = 10_000


class DeskCommands(Provider):
    """What can be done here, and every command of the shell, unless one only reads."""

    async def discover(self) -> Hits:
        for offer in offers(cast("DashboardApp", self.app)):
            if not offer.aside:
                yield DiscoveryHit(Text(offer.name), offer.choose, offer.name, escape(offer.about))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for place, offer in enumerate(offers(cast("DashboardApp", self.app))):
            score = likeness(offer, query, matcher.match)
            if score > 0:
                found = matcher.highlight(offer.name) if matcher.match(offer.name) else Text(offer.name)
                yield Hit(score - place / 10_000, found, offer.choose, offer.name, escape(offer.about))


class Palette(CommandPalette):
    """Finds an action or a command by a few letters."""

    def __init__(self) -> None:
        super().__init__(providers=[DeskCommands], placeholder="What is to be done?")

    def on_mount(self) -> None:
        self.query_one(SearchIcon).icon = ">"  # its own sign is in few fonts of terminals


class CommandLine(ModalScreen[str]):
    """One line in which the arguments of a command are filled; Tab completes, Enter runs, Esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("tab", "complete", "Complete", priority=True),
    ]

    def __init__(self, session: Session, line: str) -> None:
        super().__init__()
        self._session = session
        self._line = line
        self._found: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="question") as box:
            box.border_title = "Enter runs it, Tab completes, Esc leaves"
            yield Input(self._line, compact=True, select_on_focus=False)
            yield Static("", id="offers")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._found = completions(self._session, event.value)
        shown = Text(no_wrap=True, overflow="ellipsis")
        for line, about in self._found[:MOST_SHOWN]:
            shown.append(line.rpartition(" ")[2])
            shown.append(f"  {about}\n", "dim")
        if len(self._found) > MOST_SHOWN:
            shown.append(f"and {len(self._found) - MOST_SHOWN} more", "dim")
        self.query_one("#offers", Static).update(shown)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_complete(self) -> None:
        """Take the first of what may follow."""
        if self._found:
            field = self.query_one(Input)
            line = self._found[0][0]
            field.value = line if line.endswith("=") else f"{line} "
            field.cursor_position = len(field.value)

    def action_cancel(self) -> None:
        """Run nothing."""
        self.dismiss("")


class CommandOutput(ModalScreen[None]):
    """What a command writes, as it comes. Esc closes; while the command goes on, it stops it first."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,ctrl+c", "close", "Close")]

    class Wrote(Message):
        """A part of the output."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Ended(Message):
        """The command has ended with ``code``."""

        def __init__(self, code: int) -> None:
            super().__init__()
            self.code = code

    def __init__(self, session: Session, line: str) -> None:
        super().__init__()
        self._line = line
        self._rest = ""
        self.text = ""
        self.code: int | None = None
        self._run = LineRun(
            session,
            line,
            lambda text: self._post(self.Wrote(text)),
            lambda code: self._post(self.Ended(code)),
        )

    def _post(self, message: Message) -> None:
        self.post_message(message)

    def compose(self) -> ComposeResult:
        with Vertical(classes="sheet") as sheet:
            sheet.border_title = f":{self._line}"
            yield RichLog(wrap=False, markup=False, highlight=False, max_lines=MOST_LINES, min_width=10)
            yield Static(Text("running; Esc stops it", style="dim"), id="ending")

    def on_mount(self) -> None:
        self.query_one(RichLog).focus()
        self._run.start()

    def on_command_output_wrote(self, message: Wrote) -> None:
        self.text += message.text
        *lines, self._rest = (self._rest + message.text).split("\n")
        self._show(lines)

    def on_command_output_ended(self, message: Ended) -> None:
        self.code = message.code
        self._show([self._rest] if self._rest else [])
        words = "done" if not message.code else f"failed with code {message.code}"
        self.query_one("#ending", Static).update(Text(f"{words}; Esc closes", style="dim"))

    def _show(self, lines: list[str]) -> None:
        log = self.query_one(RichLog)
        few = cast("DashboardApp", self.app).ascii
        for line in lines:
            log.write(Text(plain(without_escapes(line.rstrip("\r")), ascii=few)))

    def action_close(self) -> None:
        """Go back; a command that goes on is stopped instead."""
        if self._run.running and self.code is None:
            self._run.stop()
        else:
            self.dismiss(None)
