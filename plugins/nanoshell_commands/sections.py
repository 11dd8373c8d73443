"""What plugins show beside a run's figures: the sections of `runs show`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanoshell_commands.layout import cell

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from nanoshell import RunDirectory, Session


@dataclass(frozen=True)
class Section:
    """What a plugin has to say of a run; in JSON it is the value that the plugin gives.

    ``tell`` tells the user why it cannot be used.
    """

    name: str
    value: Any
    tell: Callable[[Exception], str]

    def to_json(self) -> Any:
        """Return the value; one that says itself what it is in JSON is asked here, where it may fail."""
        convert = getattr(self.value, "to_json", None)
        try:
            return convert() if callable(convert) else self.value
        except Exception as error:
            self.tell(error)
            return None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from nanoshell import renderable

        yield cell(self.name, "nano.heading")
        try:
            segments = list(console.render(renderable(self.value), options))
        except Exception as error:
            yield cell(self.tell(error), "nano.warning")
        else:
            yield from segments


def read_sections(session: Session, run: RunDirectory) -> dict[str, Section]:
    """Return the sections of ``run`` that have something to show, by name.

    One that fails is told to the user and left out: the figures of a run do not depend on a plugin.
    """
    found = {}
    for entry in session.plugins.run_sections:
        tell = _teller(session, entry.name, entry.provider)
        try:
            value = entry.value(run)
        except Exception as error:
            tell(error)
            continue
        if value is not None:
            found[entry.name] = Section(entry.name, value, tell)
    return found


def _teller(session: Session, name: str, provider: str) -> Callable[[Exception], str]:
    """Return what tells the user that a section failed, and returns what it said."""

    def tell(error: Exception) -> str:
        from nanoshell import NanoshellError, PluginError

        why = error.message if isinstance(error, NanoshellError) else f"{type(error).__name__}: {error}"
        told = f"plugin '{provider}' failed to make run section '{name}': {why}".removesuffix(": ")
        if isinstance(error, PluginError):  # it says so itself
            told = error.message
        session.narrator.note(told)
        return told

    return tell
