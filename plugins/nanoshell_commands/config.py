"""``config``: the file that keeps the settings, and editing it by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell_commands.inputs import attended

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Session, SettingsProblem

EXAMPLES = (
    "config path",
    "config path --json",
    "config show",
    "config show --json",
    "config edit",
    "config edit --json",
)


@dataclass(frozen=True)
class ConfigFile:
    """The settings file: its text, what is wrong with it, and the names in it that no setting has."""

    path: str
    exists: bool
    text: str
    problems: list[SettingsProblem]
    unknown: list[str]

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        from nanoshell import typed

        if self.text.strip():
            return Text(self.text.rstrip("\n"))
        return Text(f"no setting is saved; set one with: {typed('set NAME VALUE')}", style="nano.quiet")


@click.group("config")
def config() -> None:
    """Show or edit the file that keeps the settings."""


@config.command("path")
@click.pass_obj
def path(session: Session) -> str:
    """Print where the file is, whether it exists or not."""
    return str(_file(session))


@config.command("show")
@click.pass_obj
def show(session: Session) -> ConfigFile:
    """Print the file as it is."""
    return _look(session)


@config.command("edit")
@click.pass_obj
def edit(session: Session) -> ConfigFile:
    """Open the file in your editor, and check it.

    The editor is what VISUAL or EDITOR names. A file that does not exist yet begins with all the settings, as
    comments. What is wrong with the text is said with its line; it is kept as you wrote it.
    """
    from nanoshell import run_editor

    file = _file(session)
    before = file.read_text("utf-8", "replace") if file.exists() else None
    begun = session.settings.template() if before is None else before
    if before is None:
        from nanoshell import write_text

        write_text(file, begun, private=True)
    while True:
        run_editor(file)
        session.settings.reload()
        if not session.settings.problems or not _wants_to_go_on(session, file):
            break
    if before is None and file.exists() and file.read_text("utf-8", "replace") == begun:
        file.unlink()
    if session.settings.problems:
        raise _failure(session.settings.problems, file)
    for name in session.settings.unknown_names:
        session.narrator.note(_unknown(session, name))
    return _look(session)


def _file(session: Session) -> Path:
    from nanoshell import config_dir

    return session.settings.path or config_dir() / "settings.toml"


def _look(session: Session) -> ConfigFile:
    file, settings = _file(session), session.settings
    text = file.read_text("utf-8", "replace") if file.exists() else ""
    return ConfigFile(str(file), file.exists(), text, settings.problems, settings.unknown_names)


def _wants_to_go_on(session: Session, file: Path) -> bool:
    """Say what is wrong, and ask whether to edit again."""
    if not attended():
        return False
    for problem in session.settings.problems:
        session.narrator.note(_told(problem, file))
    return click.confirm("Edit it again?", default=True, err=True)


def _told(problem: SettingsProblem, file: Path) -> str:
    return problem.message if problem.fatal else f"{file}:{problem.line or 1}: {problem.message}"


def _failure(problems: list[SettingsProblem], file: Path) -> Exception:
    from nanoshell import ConfigError, typed

    return ConfigError(
        "\n".join(_told(problem, file) for problem in problems),
        hint=f"your text is kept, and defaults are used for it; edit again: {typed('config edit')}",
    )


def _unknown(session: Session, name: str) -> str:
    from nanoshell import nearest

    match = nearest(name, [setting.name for setting in session.settings])
    return f"no setting is called '{name}'" + (f"; did you mean '{match}'?" if match else "")
