"""``plugin``: what is loaded, what is left out and why, and what to load at the next start.

Used as a subcommand it imports no plugin but ours, so that it works whatever is wrong with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nanoshell import PLUGIN
from nanoshell_commands.doctor import doctor
from nanoshell_commands.installing import install, uninstall
from nanoshell_commands.layout import Rows
from nanoshell_commands.pluginrows import PluginRow, brought, meant, plugins_folder, row
from nanoshell_commands.scaffolding import new

if TYPE_CHECKING:
    from nanoshell import PluginInfo, Session

EXAMPLES = (
    "plugin",
    "plugin list",
    "plugin list --json",
    "plugin show samplers",
    "plugin show data",
    "plugin disable notes",
    "plugin disable notes text",
    "plugin enable notes",
    "plugin enable notes text",
    "plugin new haiku",
    "plugin new my-data --dir plugins",
    "plugin install ./nanoshell-haiku",
    "plugin install --editable ./nanoshell-haiku",
    "plugin uninstall haiku",
    "plugin uninstall haiku --yes",
    "plugin doctor",
    "plugin doctor --json",
)

_SETTING = "disabled_plugins"
_SHORT = 48
_NEEDED = "help"
"""Who brings this command is not left out by a slip."""


@dataclass(frozen=True)
class PluginSwitch:
    """What became of ``plugins``: the setting as it is now, and a ``note`` on what that means."""

    plugins: list[str]
    state: str
    disabled_plugins: list[str]
    note: str

    def __rich__(self) -> str:
        return f"{', '.join(self.plugins)}: {self.state}{', ' if self.note else ''}{self.note}"


@click.group(invoke_without_command=True)
@click.pass_context
def plugin(ctx: click.Context) -> Rows[PluginRow] | None:
    """List, check, add and leave out plugins.

    A plugin that fails is left out whole, and the others go on. On the command line these commands import
    no plugin but nanoshell's own, so that they work whatever is wrong with one: `show` and `doctor` look at
    others in a process of its own.
    """
    listed: Rows[PluginRow] | None = ctx.invoke(list_all) if ctx.invoked_subcommand is None else None
    return listed


@plugin.command("list")
@click.pass_obj
def list_all(session: Session) -> Rows[PluginRow]:
    """List the plugins, with their state."""
    from nanoshell import typed

    rows = [row(info) for info in session.plugins.infos]
    return Rows(
        rows,
        [
            ("plugin", lambda row: row.name),
            ("version", lambda row: row.version),
            ("from", lambda row: row.provider if row.origin != "file" else row.origin),
            ("state", lambda row: row.state),
            (">import ms", lambda row: "" if row.import_ms is None else f"{row.import_ms:.1f}"),
            ("brought", lambda row: _shortly(row.reason) or brought(row.registered)),
        ],
        empty="no plugins are there",
        footer=f"details: {typed('plugin show NAME')} · what is wrong: {typed('plugin doctor')}",
    )


@plugin.command()
@click.argument("name", type=PLUGIN)
@click.pass_obj
def show(session: Session, name: str) -> PluginRow:
    """Show one plugin, and all that it brought.

    One that is not loaded here is loaded in a process of its own.
    """
    from nanoshell import check_plugins

    info = meant(session, name)[0]
    if info.state == "enabled":
        checkup = check_plugins(info, plugins_dir=plugins_folder(session))
        if checkup.infos:
            info = checkup.infos[0]
        else:
            info.state, info.reason = "quarantined", checkup.death
    return row(info)


@plugin.command()
@click.argument("names", type=PLUGIN, nargs=-1, required=True, metavar="NAME...")
@click.option("--force", is_flag=True, help="Leave out also what nanoshell can hardly be used without.")
@click.pass_obj
def disable(session: Session, names: tuple[str, ...], force: bool) -> PluginSwitch:
    """Leave plugins out from the next start on.

    NAME is that of a plugin or of the distribution that brings it. This edits the setting disabled_plugins.
    """
    from nanoshell import UsageError, typed

    listed = _listed(session)
    plugins = [info for name in names for info in meant(session, name)]
    needed = [info for info in plugins if _NEEDED in info.registered.get("commands", ())]
    if needed and not force:
        raise UsageError(
            f"plugin '{needed[0].name}' brings the commands: help, chat, train, set and the others",
            hint=f"{typed('plugin disable --force ' + ' '.join(names))} does it all the same; "
            f"the way back is: nanoshell plugin enable {needed[0].name}",
        )
    for info in plugins:
        if not info.called(listed):
            listed.append(_own_name(session, info))
    session.settings.set(_SETTING, ",".join(listed))
    note = f"from the next start on; to have it back: {typed(' '.join(['plugin enable', *names]))}"
    return PluginSwitch([info.name for info in plugins], "disabled", listed, note)


@plugin.command()
@click.argument("names", type=PLUGIN, nargs=-1, required=True, metavar="NAME...")
@click.pass_obj
def enable(session: Session, names: tuple[str, ...]) -> PluginSwitch:
    """Load plugins again from the next start on.

    NAME is that of a plugin or of the distribution that brings it. This edits the setting disabled_plugins.
    """
    listed = _listed(session)
    gone = [name for name in names if name in listed and not _known(session, name)]  # uninstalled since
    plugins = [info for name in names if name not in gone for info in meant(session, name)]
    kept: list[str] = []
    for entry in listed:
        covered = [info for info in session.plugins.infos if info.called([entry])]
        if entry in gone:
            continue
        if any(info in plugins for info in covered):  # a distribution's name may stand for others, too
            kept += [_own_name(session, info) for info in covered if info not in plugins]
        else:
            kept.append(entry)
    changed = kept != listed
    if kept:
        session.settings.set(_SETTING, ",".join(kept))
    elif changed:
        session.settings.unset(_SETTING)
    note = "from the next start on" if changed else "it was not disabled"
    return PluginSwitch([*(info.name for info in plugins), *gone], "enabled", kept, note)


def _shortly(reason: str) -> str:
    """Return as much of ``reason`` as leaves a list readable: the rest is shown by ``plugin show``."""
    return reason if len(reason) <= _SHORT else f"{reason[: _SHORT - 1].rstrip()}…"


def _listed(session: Session) -> list[str]:
    value = session.settings.get(_SETTING)
    return list(value) if isinstance(value, list) else []


def _known(session: Session, name: str) -> bool:
    return any(info.called([name]) for info in session.plugins.infos)


def _own_name(session: Session, info: PluginInfo) -> str:
    """Return what stands for ``info`` alone: its name, or its distribution where the name is taken twice."""
    namesakes = [other for other in session.plugins.infos if other.called([info.name])]
    return info.name if len(namesakes) == 1 else info.provider


for command in (new, install, uninstall, doctor):
    plugin.add_command(command)
