"""``spec``: the commands described for tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanoshell import COMMAND

if TYPE_CHECKING:
    from nanoshell import CommandSheet

EXAMPLES = ("spec --json", "spec runs show", "spec train --json")


@click.command("spec")
@click.argument("command", nargs=-1, type=COMMAND, metavar="[COMMAND]...")
@click.pass_context
def spec(ctx: click.Context, command: tuple[str, ...]) -> CommandSheet:
    """Describe every command for tools, or COMMAND alone.

    With --json: options, arguments, types, defaults, choices, examples, and the JSON Schema of what a command
    prints with --json; on the command line the program's own options, too.
    """
    from nanoshell import describe

    root = ctx.find_root().command
    return describe(ctx.obj, [word.lstrip(":") for word in command], root if root.params else None)
