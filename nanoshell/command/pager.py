"""A text that may be longer than the screen: at the prompt a pager shows it, elsewhere it is written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict

from nanoshell.command.interrupt import left_to_program
from nanoshell.command.render import is_dumb

if TYPE_CHECKING:
    from rich.text import Text

    from nanoshell.command.result import Screen

_HEADING = re.compile(r"^\S[^\n]*:$", re.MULTILINE)
_LESS = "-FRX -Psq leaves, space goes on$"
"""Ends by itself where all fits, reads colours, clears nothing; and says how to leave."""

_NAMES = re.compile(r"^  ([^\s-]\S*(?:, \S+)*)  ", re.MULTILINE)


class TextDocument(TypedDict):
    """A text as ``--json`` prints it."""

    text: str


class Paged:
    """A result that is a text, shown by the user's pager where it is longer than the screen of the prompt.

    That is what PAGER names, else ``less``; an empty PAGER, or ``cat``, writes the text.
    """

    def __init__(self, text: str) -> None:
        self.text = text.rstrip("\n")

    def show(self, screen: Screen) -> None:
        """Show the text, headings and commands in the styles of the theme."""
        shown = _styled(self.text)
        command = _pager() if screen.prompt and self._is_longer(screen) else None
        if command is None:
            screen.out.print(shown, soft_wrap=True)
            return
        with screen.out.capture() as captured:
            screen.out.print(shown, soft_wrap=True)
        if not _page(command, captured.get()):
            screen.out.print(shown, soft_wrap=True)

    def lines(self) -> Iterator[TextDocument]:
        yield self.document()

    def document(self) -> TextDocument:
        """Return the text as scripts get it."""
        return {"text": self.text}

    def _is_longer(self, screen: Screen) -> bool:
        return screen.out.is_terminal and self.text.count("\n") + 2 > screen.out.height


def _styled(text: str) -> Text:
    from rich.text import Text

    shown = Text(text)
    shown.highlight_regex(_HEADING, "nano.heading")
    for found in _NAMES.finditer(text):
        shown.stylize("nano.command", *found.span(1))
    return shown


def _pager() -> list[str] | None:
    """Return the command line of the pager, None where there is none or none is wanted."""
    try:
        words = shlex.split(os.environ.get("PAGER", "less"))
    except ValueError:
        return None
    known = bool(words) and words[0] != "cat" and not is_dumb() and shutil.which(words[0])
    return words if known else None


def _page(command: list[str], text: str) -> bool:
    """Let ``command`` show ``text``, and return whether it could. Ctrl-C is the pager's while it runs."""
    environment = {"LESS": _LESS, **os.environ}
    with left_to_program():
        try:
            done = subprocess.run(command, input=text.encode(), env=environment, check=False)
        except OSError:
            return False
    return done.returncode in (0, -signal.SIGINT, 128 + signal.SIGINT)
