"""``help`` and ``quit``."""

from __future__ import annotations

import click

from nanoshell import COMMAND

HELP_EXAMPLES = ("help", "help runs show")
QUIT_EXAMPLES = ("quit",)


@click.command("help")
@click.argument("command", nargs=-1, type=COMMAND, metavar="[COMMAND]...")
@click.pass_context
def show_help(ctx: click.Context, command: tuple[str, ...]) -> str:
    """List the commands, or explain COMMAND."""
    from nanoshell import help_text

    return help_text(ctx, [word.lstrip(":") for word in command])


@click.command("quit")
def leave() -> None:
    """Leave the shell. Runs go on training."""
    from nanoshell import LeaveShell

    raise LeaveShell
