"""A field at the edge of a panel, for a filter or a search: there while it is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

if TYPE_CHECKING:
    from textual.binding import BindingType


class _Completion(Suggester):
    """Asks a function what a line is the beginning of."""

    def __init__(self, complete: Callable[[str], str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        return self._complete(value) or None


class LineField(Input):
    """A field of one line. Esc empties and leaves it; left with Enter it stays in sight.

    ``anew`` says that what is typed takes the place of what stood there. ``complete`` returns the whole line
    that is meant, '' for none; it stands there dimmed, and Tab or Right takes it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("down", "done", show=False),
        Binding("tab", "take_suggestion", show=False),
    ]
    DEFAULT_CSS = """
    LineField { display: none; height: 1; border: none; padding: 0 1; }
    LineField.-open { display: block; }
    """

    class Left(Message):
        """The field was left with Esc or Down."""

    def __init__(
        self,
        placeholder: str,
        *,
        id: str,  # noqa: A002 - the name of Textual
        anew: bool,
        complete: Callable[[str], str] | None = None,
    ) -> None:
        suggester = _Completion(complete) if complete is not None else None
        super().__init__(
            placeholder=placeholder, id=id, compact=True, select_on_focus=anew, suggester=suggester
        )

    @property
    def is_open(self) -> bool:
        """Whether it is in sight."""
        return self.has_class("-open")

    def open(self) -> None:
        """Show it, and take the keys."""
        self.add_class("-open")
        self.focus()

    def settle(self) -> None:
        """Go out of sight where it is empty."""
        self.set_class(bool(self.value.strip()), "-open")

    def action_take_suggestion(self) -> None:
        self.cursor_position = len(self.value)
        self.action_cursor_right()

    def action_leave(self) -> None:
        self.value = ""
        self.post_message(self.Left())

    def action_done(self) -> None:
        self.post_message(self.Left())
