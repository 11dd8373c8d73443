"""``set``, ``unset`` and ``show``: sampling and session settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell import SETTING, SETTING_VALUE
from nanoshell_commands.layout import Rows, pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Session

SET_EXAMPLES = ("set temperature 0.5", "set device cpu")
UNSET_EXAMPLES = ("unset temperature", "unset device")
SHOW_EXAMPLES = ("show", "show temperature")

_NEXT_START = frozenset({"disabled_plugins", "chat_template"})

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


@click.command("set")
@click.argument("name", type=SETTING)
@click.argument("value", type=SETTING_VALUE, nargs=-1, required=True)
@click.pass_obj
def set_value(session: Session, name: str, value: tuple[str, ...]) -> SettingRow:
    """Set NAME to VALUE, now and for later starts."""
    text = " ".join(value)
    session.settings.get(name)
    _check_registered(session, name, text)
    session.settings.set(name, text)
    return _row(session, name, "takes effect at the next start" if name in _NEXT_START else "")


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
def show_values(session: Session, name: str | None) -> SettingRow | Rows[SettingRow]:
    """Show the setting NAME, or all of them."""
    from nanoshell import typed

    if name is not None:
        return _row(session, name)
    rows = sorted((_row(session, s.name) for s in session.settings), key=lambda row: (row.group, row.name))
    return Rows(
        rows,
        [
            ("group", lambda row: row.group),
            ("name", lambda row: row.name),
            ("value", lambda row: _written(row.value) + (" *" if row.set else "")),
            ("default", lambda row: _written(row.default)),
            ("what it does", lambda row: row.summary),
        ],
        footer=f"* set by you; change with: {typed('set NAME VALUE')}, return with: {typed('unset NAME')}",
    )
