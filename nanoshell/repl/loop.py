"""The interactive prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoshell.session import Session


def run_prompt(session: Session, *, debug: bool = False) -> int:
    """Take lines until the user leaves, and return the exit code."""
    from nanoshell.command.render import TerminalScreen
    from nanoshell.command.script import run_line

    screen = TerminalScreen(prompt=True)
    while True:
        try:
            text = input("nanoshell> ")
        except EOFError:
            return 0
        if run_line(session, text, screen, debug=debug).leave:
            return 0
