"""``help`` and ``quit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from nanoshell import COMMAND

if TYPE_CHECKING:
    from nanoshell import Paged

HELP_EXAMPLES = ("help", "help train", "help runs show")
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


@click.command("quit")
def leave() -> NoReturn:
    """Leave the shell. Runs go on training."""
    from nanoshell import LeaveShell

    raise LeaveShell
