"""The screen of a terminal or a pipe: results as text, tables or JSON on stdout, quiet notes on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import PurePath
from textwrap import TextWrapper
from typing import IO, TYPE_CHECKING, Any

from nanoshell import theme
from nanoshell.command.encode import dump
from nanoshell.command.result import Stream
from nanoshell.plugin.trouble import fresh_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from nanoshell.command.flow import WordWrap

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
_RICH_NAMES = {
    "bar.complete": "accent",
    "bar.finished": "good",
    "bar.pulse": "accent",
    "bar.back": "quiet",
    "progress.download": "quiet",
    "progress.remaining": "quiet",
    "status.spinner": "accent",
    "table.header": "heading",
}
"""Styles of rich's own that have colours beyond the sixteen, and the roles that they take."""


class TerminalScreen:
    """A `Screen` on the process's stdout and stderr, whatever these are when it writes."""

    def __init__(self, *, prompt: bool = False) -> None:
        self._prompt = prompt
        self._consoles: dict[Hashable, Console] = {}
        self._wrap: WordWrap | None = None

    @property
    def prompt(self) -> bool:
        return self._prompt

    @property
    def live(self) -> bool:
        return sys.stderr.isatty() and not is_dumb() and not above_prompt(sys.stderr)

    @property
    def out(self) -> Console:
        self._end_flow()
        return self._console(stderr=False)

    @property
    def err(self) -> Console:
        self._end_flow()
        return self._console(stderr=True)

    def write(self, text: str, style: str = "") -> None:
        if not sys.stdout.isatty():
            sys.stdout.write(text)
        else:
            self._end_flow()
            sys.stdout.write(self._styled(harmless(text), style))
            if self._wrap is not None:
                self._wrap.written(harmless(text))
        sys.stdout.flush()

    def flow(self, text: str, style: str = "") -> None:
        if not sys.stdout.isatty() or is_dumb():
            self.write(text)
            return
        if self._wrap is None:
            from nanoshell.command.flow import WordWrap

            self._wrap = WordWrap(_columns)
        self._put(self._wrap.push(harmless(text), style))

    def note(self, text: str) -> None:
        self._end_flow()
        write_note(text)

    def settle(self) -> None:
        """End a line that a stream has begun and failed to end, so that what is said of it has its own."""
        with contextlib.suppress(OSError, ValueError):
            self._end_flow()
            sys.stdout.write(fresh_line(sys.stdout))
            sys.stdout.flush()

    def _end_flow(self) -> None:
        """Write what `flow` holds back, before anything else is written."""
        if self._wrap is not None:
            self._put(self._wrap.flush())

    def _put(self, pieces: list[tuple[str, str]]) -> None:
        if pieces:  # in one piece: half of it is never on the screen
            sys.stdout.write("".join(self._styled(text, style) for text, style in pieces))
            sys.stdout.flush()

    def _console(self, *, stderr: bool) -> Console:
        stream = sys.stderr if stderr else sys.stdout
        kind = (stderr, stream.isatty(), colour(stream), theme.chosen())
        if kind not in self._consoles:
            self._consoles[kind] = _console(stderr=stderr)
        return self._consoles[kind]

    def _styled(self, text: str, style: str) -> str:
        """Return ``text`` as it is written to a terminal: with ``style`` where that shows colours."""
        if not style or not text.strip("\n") or not colour(sys.stdout):
            return text
        if style.removeprefix(theme.PREFIX) in theme.ROLES:
            return theme.painted(text, style.removeprefix(theme.PREFIX))
        from rich.text import Text

        console = self._console(stderr=False)
        with console.capture() as captured:
            console.print(Text(text, style), end="", soft_wrap=True)
        return captured.get()


def harmless(text: str) -> str:
    """Return ``text`` without the control characters that could steer a terminal; newline and tab stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def counted(amount: int, noun: str) -> str:
    """Return ``1 token`` or ``2 tokens``."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def colour(stream: IO[str]) -> bool:
    """Return whether ``stream`` is a terminal that is to show colours, or any other style."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and not is_dumb()


def above_prompt(stream: IO[str]) -> bool:
    """Return whether a line is being typed, and what is written to ``stream`` appears above it."""
    return bool(getattr(stream, "above_prompt", False))


def is_dumb() -> bool:
    """Return whether the terminal cannot draw, so that it gets no escape sequences."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _columns() -> int:
    return shutil.get_terminal_size().columns


def wrapped(text: str, indent: str = "") -> str:
    """Return ``text`` for stderr, ``indent`` before its lines: a terminal's are broken between words."""
    lines = text.splitlines() or [""]
    if sys.stderr.isatty():
        width = max(20, shutil.get_terminal_size().columns - len(indent))
        wrap = TextWrapper(width, expand_tabs=False, replace_whitespace=False, drop_whitespace=True)
        wrap.break_long_words = wrap.break_on_hyphens = False
        lines = [part for line in lines for part in wrap.wrap(line) or [""]]
    return "\n".join(indent + line for line in lines)


def write_note(text: str) -> None:
    """Write a quiet line to stderr, as several where a terminal is narrower."""
    say(text, "quiet")


def say(text: str, role: str, *, label: str = "", indent: str = "") -> None:
    """Write ``text`` as lines of stderr, in the style of ``role`` where that is a terminal.

    With a ``label`` the style is that of the label before the text alone.
    """
    terminal, coloured = sys.stderr.isatty(), colour(sys.stderr)
    plain = wrapped(label + (harmless(text) if terminal else text), indent)
    if coloured and label:
        plain = theme.painted(label.rstrip(), role) + plain[len(label.rstrip()) :]
    elif coloured:
        plain = theme.painted(plain, role)
    sys.stderr.write(plain + "\n")
    sys.stderr.flush()


def show(value: Any, screen: TerminalScreen) -> None:
    """Show a command's result to a person. Numbers, which plain click commands return, are none."""
    if value is None or isinstance(value, (bool, int, float)):
        return
    if isinstance(value, Stream):
        try:
            value.show(screen)
        except BaseException:
            screen.settle()
            raise
    elif isinstance(value, str):
        screen.write(value if value.endswith("\n") else value + "\n")
    elif isinstance(value, Iterator):
        for member in value:
            show(member, screen)
    else:
        screen.out.print(renderable(value))


def renderable(value: Any) -> RenderableType:
    """Return ``value`` as something that rich prints: itself where it says how, else a table or its text."""
    from rich.console import Group
    from rich.text import Text

    if hasattr(value, "__rich__") or hasattr(value, "__rich_console__"):
        return value  # type: ignore[no-any-return]
    if fields := _fields(value):
        return _table(None, [[name.replace("_", " "), member] for name, member in fields.items()])
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        rows = [_fields(member) for member in value]
        if rows and all(rows) and not any(hasattr(member, "__rich__") for member in value):
            columns = list(dict.fromkeys(name for row in rows for name in row))
            return _table(columns, [[row.get(name) for name in columns] for row in rows])
        return Group(*(renderable(member) for member in value))
    return Text(harmless(_cell(value)))


def show_json(value: Any, echoed: str) -> None:
    """Print a command's result as one JSON document, or as JSON lines for a `Stream` without one.

    ``echoed`` is what the command itself wrote to stdout: the result, where it returned none.
    """
    if isinstance(value, Stream):
        document = value.document()
        if document is None:
            _print_lines(value.lines())
            return
        value = document
    elif isinstance(value, Iterator):
        _print_lines(value)
        return
    elif value is None or isinstance(value, (bool, int, float)):
        value = {"text": echoed}
    elif isinstance(value, str):
        value = {"text": value}
    sys.stdout.write(dump(value, indent=2 if sys.stdout.isatty() else None) + "\n")
    sys.stdout.flush()


def _print_lines(lines: Iterator[Any]) -> None:
    try:
        for line in lines:
            sys.stdout.write(dump(line) + "\n")
            sys.stdout.flush()
    finally:
        if close := getattr(lines, "close", None):
            close()  # a reader that has gone must not leave the work behind it unfinished


def _console(*, stderr: bool) -> Console:
    from rich.theme import Theme

    from nanoshell.command.tables import PipeConsole

    stream = sys.stderr if stderr else sys.stdout
    styles = theme.rich_styles(theme.chosen())
    own = {name: styles[theme.PREFIX + role] for name, role in _RICH_NAMES.items()}
    return PipeConsole(
        stderr=stderr,
        theme=Theme({**own, **styles}),
        terminal=stream.isatty(),
        coloured=colour(stream),
        columns=getattr(stream, "columns", None),
    )


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return {name: getattr(value, name) for name in names}
    return {str(key): member for key, member in value.items()} if isinstance(value, Mapping) else {}


def _table(columns: list[str] | None, rows: list[list[Any]]) -> RenderableType:
    from rich.text import Text

    from nanoshell.command.tables import new_table

    table = new_table(show_header=columns is not None)
    for index, name in enumerate(columns or ["", ""]):
        numbers = columns is not None and any(_is_number(row[index]) for row in rows)
        table.add_column(
            Text(harmless(name.replace("_", " "))),
            justify="right" if numbers else "left",
            overflow="fold",
        )
    for row in rows:
        cells = [Text(harmless(_cell(member))) for member in row]
        if columns is None:
            cells[0].style = "nano.quiet"
        table.add_row(*cells)
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case str() | int() | PurePath():
            return str(value)
        case Mapping():
            return ", ".join(f"{key}={_cell(member)}" for key, member in value.items())
        case Sequence():
            return ", ".join(_cell(member) for member in value)
    return str(value)
