"""Questions over the dashboard: yes or no, and one line of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

if TYPE_CHECKING:
    from textual.binding import BindingType


class Confirm(ModalScreen[bool]):
    """A question to be answered with y or n; Esc and n say no, and so does Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", "Yes"),
        ("n,escape,q,enter", "answer(False)", "No"),
    ]

    last_line = (("y", "Yes"), ("n", "No"), ("escape", "No"))

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="question"):
            yield Static(Text(self.question))
            yield Static(Text("y yes   n no", style="dim"))

    def action_answer(self, answer: bool) -> None:
        """Close with ``answer``."""
        self.dismiss(answer)


class AskLine(ModalScreen[str]):
    """One line of text; ``check`` returns what is wrong with it, '' for nothing. Esc closes with ''."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", "Cancel")]

    last_line = (("enter", "Take it"), ("escape", "Leave"))

    def __init__(self, question: str, text: str = "", check: Callable[[str], str] = lambda _text: "") -> None:
        super().__init__()
        self.question = question
        self._text = text
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="question") as box:
            box.border_title = "Enter takes it, Esc leaves"
            yield Static(Text(self.question))
            yield Input(self._text, compact=True)
            yield Static("", id="wrong")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        wrong = self._check(text) if text else ""
        if wrong:
            self.query_one("#wrong", Static).update(Text(wrong, style="bold red"))
        else:
            self.dismiss(text)

    def action_cancel(self) -> None:
        """Close without a text."""
        self.dismiss("")
