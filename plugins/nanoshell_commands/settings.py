"""``set``, ``unset`` and ``show``: sampling and session settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell import SETTING, SETTING_VALUE
from nanoshell_commands.layout import pairs

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.console import RenderableType

    from nanoshell import Session

SET_EXAMPLES = ("set temperature 0.5", "set device cpu", "set")
UNSET_EXAMPLES = ("unset temperature", "unset device")
SHOW_EXAMPLES = ("show", "show temperature")

_NEXT_START = frozenset({"disabled_plugins", "chat_template"})
_KEYS = "dashboard_keys"

SettingValue = str | int | float | bool | list[str]


@dataclass(frozen=True)
class SettingRow:
    """A setting: its value now, its default, whether the user set it, and what it is for."""

    name: str
    value: SettingValue
    default: SettingValue
    set: bool
    group: str
    summary: str
    note: str = ""

    def __rich__(self) -> RenderableType:
        return pairs(
            [
                (self.name, _written(self.value)),
                ("default", _written(self.default)),
                ("", self.summary),
                ("note", self.note or None),
            ]
        )


class SettingRows(list[SettingRow]):
    """Settings under their headings, in two lines at most where a terminal is narrow; in JSON an array."""

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from nanoshell import typed

        shown: list[RenderableType] = []
        names, values = (max(map(len, column)) for column in zip(*map(_cells, self), strict=True))
        for group in dict.fromkeys(row.group for row in self):
            table = Table.grid(padding=(0, 2))
            table.add_column(width=names, no_wrap=True)
            table.add_column(width=values, overflow="fold")
            table.add_column()
            for row in self:
                if row.group == group:
                    name, value = _cells(row)
                    told = f"; default {_written(row.default)}" if row.set else ""
                    style = "nano.accent" if row.set else ""
                    table.add_row(
                        Text(name, style="nano.option"),
                        Text(value, style=style),
                        Text(row.summary + told, style="nano.quiet"),
                    )
            heading = Text(f"{group.capitalize()}:", style="nano.heading")
            shown += [Text(), heading, table] if shown else [heading, table]
        change, back = typed("set NAME VALUE"), typed("unset NAME")
        shown += [Text(), Text(f"* set by you; change: {change}, return: {back}", style="nano.quiet")]
        return Group(*shown)


def _cells(row: SettingRow) -> tuple[str, str]:
    return row.name, _written(row.value) + (" *" if row.set else "")


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(session: Session, name: str, note: str = "") -> SettingRow:
    settings = session.settings
    value = settings.get(name)  # the error for an unknown name names the nearest
    known = next(setting for setting in settings if setting.name == name)
    return SettingRow(name, value, known.default, settings.is_set(name), known.group, known.summary, note)


def _check_registered(session: Session, name: str, value: str) -> None:
    """Refuse a device, tokenizer, template or plugin that does not exist; the settings know only its type."""
    from nanoshell import find_tokenizer, unknown_name

    plugins = session.plugins
    choices = {
        "device": [*plugins.backends.names(), "auto"],
        "chat_template": plugins.chat_templates.names(),
    }
    if name == "tokenizer":
        find_tokenizer(value, plugins.tokenizers)
    if name in choices and value not in choices[name]:
        raise unknown_name(name.replace("_", " "), value, choices[name])


def _complete_value(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return what a setting can be; of keys of the dashboard the actions, for which it has to be loaded."""
    if ctx.params.get("name") != _KEYS or ctx.obj is None:
        return SETTING_VALUE.shell_complete(ctx, param, incomplete)
    from nanoshell import NameType, dashboard_key_words

    words = NameType(_KEYS, lambda session, begun: dashboard_key_words(session.plugins.panels, begun))
    return words.shell_complete(ctx, param, incomplete)


@click.command("set")
@click.argument("name", type=SETTING, required=False)
@click.argument("value", type=SETTING_VALUE, nargs=-1, shell_complete=_complete_value)
@click.pass_obj
def set_value(session: Session, name: str | None, value: tuple[str, ...]) -> SettingRow | SettingRows:
    """Set NAME to VALUE, now and for later starts.

    Without VALUE it shows NAME, without NAME all settings, as `show` does.
    """
    if name is None:
        return _rows(session)
    if not value:
        return _row(session, name)
    text = " ".join(value)
    session.settings.get(name)
    _check_registered(session, name, text)
    note = "takes effect at the next start" if name in _NEXT_START else ""
    if name == _KEYS and isinstance(words := session.settings.check(name, text), list):
        from nanoshell import check_dashboard_keys

        note = check_dashboard_keys(session.plugins.panels, words)
    session.settings.set(name, text)
    return _row(session, name, note)


@click.command("unset")
@click.argument("name", type=SETTING)
@click.pass_obj
def unset_value(session: Session, name: str) -> SettingRow:
    """Return NAME to its default."""
    session.settings.unset(name)
    return _row(session, name, "takes effect at the next start" if name in _NEXT_START else "")


@click.command("show")
@click.argument("name", type=SETTING, required=False)
@click.pass_obj
def show_values(session: Session, name: str | None) -> SettingRow | SettingRows:
    """Show the setting NAME, or all of them.

    `config` shows and edits the file that keeps those that you have set.
    """
    return _rows(session) if name is None else _row(session, name)


def _rows(session: Session) -> SettingRows:
    """Return all settings, those of the session first."""
    rows = [_row(session, setting.name) for setting in session.settings]
    return SettingRows(sorted(rows, key=lambda row: (row.group != "session", row.group, row.name)))
