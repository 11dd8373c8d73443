"""The palette: the actions of the dashboard and the commands of the shell, found by a few letters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, cast

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.command import CommandList
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, RichLog, Static
from textual.widgets.option_list import Option

from nanoshell.dashboard.finding import Offer, found, listed
from nanoshell.dashboard.panels.plain import plain, without_escapes
from nanoshell.dashboard.running import LineRun, completions

if TYPE_CHECKING:
    from textual.binding import BindingType
    from textual.events import Click

    from nanoshell.dashboard.app import DashboardApp
    from nanoshell.session import Session

MOST_SHOWN = 5
"""Completions that are shown below a line."""

MOST_LINES = 10_000

_NAME, _PADDING, _LEAST = 30, 2, 20
"""Cells of a row of the palette: of the name where that is short, beside the row, and of all of it."""


class Palette(ModalScreen[None]):
    """Finds an action or a command by a few letters, and tells the key that does without."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+p", "leave", "Leave"),
        *(
            Binding(key, f"move('{where}')", show=False)
            for key, where in (
                ("up", "cursor_up"),
                ("down", "cursor_down"),
                ("pageup", "page_up"),
                ("pagedown", "page_down"),
                ("ctrl+home", "first"),
                ("ctrl+end", "last"),
            )
        ),
    ]
    last_line = (("enter", "Do it"), ("down", "Next"), ("pagedown", "Further"), ("escape", "Leave"))

    def __init__(self) -> None:
        super().__init__()
        self._offers: list[Offer] = []
        self._typed: str | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="sheet") as sheet:
            sheet.border_title = "Commands"
            yield Input(placeholder="What is to be done?", compact=True)
            yield CommandList(markup=False)

    @property
    def _list(self) -> CommandList:
        return self.query_one(CommandList)

    def on_mount(self) -> None:
        self._list.add_class("--visible")

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_input_changed(self) -> None:
        self._fill()

    def _fill(self) -> None:
        """List what is meant by what has been typed."""
        app, typed = cast("DashboardApp", self.app), self.query_one(Input).value
        if typed != self._typed:
            self._typed = typed
            self._offers = found(app, typed) if typed.strip() else listed(app)
            self._draw()

    def _draw(self) -> None:
        """Show the offers, a row each, at the width that there is now."""
        if self._typed is None:
            self._fill()
            return
        shown, width = self._list, self._list.scrollable_content_region.width - _PADDING
        rows = [Option(_row(offer, self._typed, max(width, _LEAST))) for offer in self._offers]
        shown.clear_options().add_options(rows or [Option("No matches found", disabled=True)])
        shown.highlighted = 0 if rows else None

    def on_input_submitted(self) -> None:
        self._fill()  # what was typed just before may not have been listed
        if self._list.highlighted is not None:
            self._choose(self._list.highlighted)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option_index)

    def _choose(self, index: int) -> None:
        self.dismiss()
        self.app.call_later(self._offers[index].choose)

    def on_click(self, event: Click) -> None:
        on_keys = event.screen_y == self.size.height - 1
        if self.get_widget_at(event.screen_x, event.screen_y)[0] is self and not on_keys:
            self.dismiss()

    def action_move(self, where: str) -> None:
        """Choose another offer."""
        getattr(self._list, f"action_{where}")()

    def action_leave(self) -> None:
        """Do nothing."""
        self.dismiss()


def _row(offer: Offer, typed: str, width: int) -> Text:
    """Return ``offer`` in one line: what begins as ``typed`` is underlined, its key at the right end."""
    row = Text(offer.name)
    for word in re.findall(r"\w+", typed):
        row.highlight_regex(rf"(?i)\b{word}", "underline")
    row.append("  " + " " * (_NAME - row.cell_len))
    row.append(offer.about, "dim not bold")
    row.truncate(max(width - cell_len(offer.key) - 2, 0), overflow="ellipsis", pad=True)
    return row.append(f"  {offer.key}")


class CommandLine(ModalScreen[str]):
    """One line in which the arguments of a command are filled; Tab completes, Enter runs, Esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("tab", "complete", "Complete", priority=True),
    ]

    last_line = (("enter", "Run"), ("tab", "Complete"), ("escape", "Leave"))

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

    last_line = (("down", "Scroll"), ("pagedown", "Further"), ("escape", "Stop, close"))

    class Wrote(Message):
        """A part of the output."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Asked(Message):
        """The command asks the question that its output ends with."""

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
            lambda: self._post(self.Asked()),
        )

    def _post(self, message: Message) -> None:
        self.post_message(message)

    def compose(self) -> ComposeResult:
        with Vertical(classes="sheet") as sheet:
            sheet.border_title = f":{self._line}"
            yield RichLog(wrap=True, markup=False, highlight=False, max_lines=MOST_LINES, min_width=10)
            yield Input(placeholder="Enter answers, Esc stops the command", compact=True)
            yield Static(Text("running; Esc stops it", style="dim"), id="ending")

    def on_mount(self) -> None:
        self.query_one(Input).display = False
        self.query_one(RichLog).focus()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._run.start(max(_LEAST, self.query_one(RichLog).scrollable_content_region.width))

    def on_command_output_wrote(self, message: Wrote) -> None:
        self.text += message.text
        *lines, self._rest = (self._rest + message.text).split("\n")
        self._show(lines)

    def on_command_output_asked(self) -> None:
        self._show([self._rest])
        self._rest = ""
        field = self.query_one(Input)
        field.display = True
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._close_field()
        self._show([event.value])
        self._run.answer(event.value)

    def _close_field(self) -> None:
        field = self.query_one(Input)
        field.value, field.display = "", False
        self.query_one(RichLog).focus()

    def on_command_output_ended(self, message: Ended) -> None:
        self.code = message.code
        self._close_field()
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
