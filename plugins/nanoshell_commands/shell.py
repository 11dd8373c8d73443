"""``help``, ``clear`` and ``quit``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import click

from nanoshell import COMMAND

if TYPE_CHECKING:
    from nanoshell import Paged, Screen

HELP_EXAMPLES = ("help", "help train", "help runs show")
CLEAR_EXAMPLES = ("clear", "cls")
QUIT_EXAMPLES = ("quit", "exit")


@click.command("help")
@click.argument("command", nargs=-1, type=COMMAND, metavar="[COMMAND]...")
@click.pass_context
def show_help(ctx: click.Context, command: tuple[str, ...]) -> Paged:
    """List the commands, or explain COMMAND.

    At the prompt, ? is short for it: ?train, ? runs show. What is longer than the screen is shown by the
    pager (PAGER, or less); q leaves that.
    """
    from nanoshell import Paged, help_text

    return Paged(help_text(ctx, [word.lstrip(":") for word in command]))


class EmptyScreen:
    """A result that is nothing but an empty screen."""

    def show(self, screen: Screen) -> None:
        screen.out.clear()

    def lines(self) -> Iterator[dict[str, str]]:
        yield self.document()

    def document(self) -> dict[str, str]:
        """Return an empty text: for scripts there is no screen."""
        return {"text": ""}


@click.command()
def clear() -> EmptyScreen:
    """Clear the screen, as Ctrl-L does."""
    return EmptyScreen()


@click.command("quit")
def leave() -> NoReturn:
    """Leave the shell. Runs go on training."""
    from nanoshell import LeaveShell

    raise LeaveShell
