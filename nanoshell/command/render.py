"""The screen of a terminal or a pipe: results as text, tables or JSON on stdout, quiet notes on stderr."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from textwrap import TextWrapper
from typing import IO, TYPE_CHECKING, Any

from nanoshell.command.encode import dump
from nanoshell.command.result import Stream

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 300
"""Columns of tables that no terminal shows: wide enough that a line stays one line."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
_ENDING_SPACES = re.compile(r" +$", re.MULTILINE)


class TerminalScreen:
    """A `Screen` on the process's stdout and stderr, whatever these are when it writes."""

    def __init__(self, *, prompt: bool = False) -> None:
        self._prompt = prompt

    @property
    def prompt(self) -> bool:
        return self._prompt

    @property
    def live(self) -> bool:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def out(self) -> Console:
        return _console(stderr=False)

    @cached_property
    def err(self) -> Console:
        return _console(stderr=True)

    def write(self, text: str, style: str = "") -> None:
        if not sys.stdout.isatty():
            sys.stdout.write(text)
        elif style:
            from rich.text import Text

            self.out.print(Text(harmless(text), style), end="", soft_wrap=True)
        else:
            sys.stdout.write(harmless(text))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        write_note(text)


def harmless(text: str) -> str:
    """Return ``text`` without the control characters that could steer a terminal; newline and tab stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def counted(amount: int, noun: str) -> str:
    """Return ``1 token`` or ``2 tokens``."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def colour(stream: IO[str]) -> bool:
    """Return whether ``stream`` is a terminal that is to show colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


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
    plain = wrapped(harmless(text) if sys.stderr.isatty() else text)
    sys.stderr.write(f"\x1b[2m{plain}\x1b[0m\n" if colour(sys.stderr) else f"{plain}\n")
    sys.stderr.flush()


def show(value: Any, screen: TerminalScreen) -> None:
    """Show a command's result to a person. Numbers, which plain click commands return, are none."""
    if value is None or isinstance(value, (bool, int, float)):
        return
    if isinstance(value, Stream):
        value.show(screen)
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
    from rich.console import Console

    class PipeConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            if self.is_terminal:
                super().print(*objects, **options)
                return
            with self.capture() as captured:  # a table fills its last column with spaces
                super().print(*objects, **options)
            self.file.write(_ENDING_SPACES.sub("", captured.get()))
            self.file.flush()

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal or os.environ.get("COLUMNS") else PIPE_WIDTH
    return PipeConsole(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return {name: getattr(value, name) for name in names}
    return {str(key): member for key, member in value.items()} if isinstance(value, Mapping) else {}


def _table(columns: list[str] | None, rows: list[list[Any]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=columns is not None, header_style="bold", pad_edge=False)
    for index, name in enumerate(columns or ["", ""]):
        numbers = columns is not None and any(_is_number(row[index]) for row in rows)
        table.add_column(
            Text(harmless(name.replace("_", " "))),
            justify="right" if numbers else "left",
            overflow="fold",
            style="dim" if columns is None and index == 0 else "",
        )
    for row in rows:
        table.add_row(*(Text(harmless(_cell(member))) for member in row))
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
