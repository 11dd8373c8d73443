"""Help: the commands under their headings, and the page of one command, spelled as the face spells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from nanoshell.command.group import CommandGroup
    from nanoshell.plugin.registry import Entry

HEADING_ORDER = ("Start", "Data", "Training", "Model", "Sampling", "Inside", "Chat", "Session")
"""Headings that come first, in this order; those that plugins add follow as they were registered."""


def help_text(ctx: click.Context, path: Sequence[str] = ()) -> str:
    """Return the page of the command at ``path`` (``["runs", "list"]``), or the list of all commands.

    ``ctx`` is any context of the face, such as that of the ``help`` command. Raises `UnknownNameError`.
    """
    root = ctx.find_root()
    group = cast("CommandGroup", root.command)
    if not path:
        formatter = root.make_formatter()
        group.format_commands(root, formatter)
        formatter.write_paragraph()
        short = " (or ?COMMAND)" if group.face != "cli" else ""
        formatter.write_text(f"{group.prefix}help COMMAND{short} explains one of them.")
        return formatter.getvalue().strip("\n")
    parent, here = root, cast(click.Group, group)
    for depth, word in enumerate(path):
        name, command, _ = here.resolve_command(parent, [word])
        if command is None:
            break
        parent = command.context_class(command, parent=parent, info_name=name, **command.context_settings)
        if depth + 1 == len(path) or not isinstance(command, click.Group):
            break
        here = command
    return parent.get_help().strip("\n")


def write_command_groups(
    entries: Sequence[Entry[click.Command]], formatter: click.HelpFormatter, prefix: str
) -> None:
    """Write one line for each command under its heading; ``prefix`` stands before every name."""
    headings: dict[str, list[Entry[click.Command]]] = {name: [] for name in HEADING_ORDER}
    for entry in entries:
        if not entry.value.hidden:
            headings.setdefault(entry.options["group"], []).append(entry)
    width = max((len(_names(entry, prefix)) for entry in entries), default=0)
    for heading, members in headings.items():
        if not members:
            continue
        with formatter.section(heading):
            limit = formatter.width - width - 6
            formatter.write_dl(
                [
                    (_names(entry, prefix).ljust(width), entry.value.get_short_help_str(limit))
                    for entry in members
                ]
            )


def _names(entry: Entry[click.Command], prefix: str) -> str:
    return ", ".join(prefix + name for name in (entry.name, *entry.options["aliases"]))
