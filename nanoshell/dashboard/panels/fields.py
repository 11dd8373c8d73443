"""A field at the edge of a panel, for a filter or a search: there while it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.message import Message
from textual.widgets import Input

if TYPE_CHECKING:
    from textual.binding import BindingType


class LineField(Input):
    """A field of one line. Esc empties and leaves it; left with Enter it stays in sight.

    ``anew`` says that what is typed takes the place of what stood there.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("down", "done", show=False),
    ]
    DEFAULT_CSS = """
    LineField { display: none; height: 1; border: none; padding: 0 1; }
    LineField.-open { display: block; }
    """

    class Left(Message):
        """The field was left with Esc or Down."""

    def __init__(self, placeholder: str, *, id: str, anew: bool) -> None:  # noqa: A002 - the name of Textual
        super().__init__(placeholder=placeholder, id=id, compact=True, select_on_focus=anew)

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

    def action_leave(self) -> None:
        self.value = ""
        self.post_message(self.Left())

    def action_done(self) -> None:
        self.post_message(self.Left())
