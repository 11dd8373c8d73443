"""Colours in the line that is being typed: commands, options, values, special tokens, and what is unknown.

Commands are only looked at, never called, so that a plugin cannot make typing slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

from nanoshell.command import words
from nanoshell.command.group import all_names, find_entry
from nanoshell.repl.several import separate
from nanoshell.theme import PREFIX
from nanoshell.tokenizer.special import SPECIAL_TOKENS

if TYPE_CHECKING:
    from nanoshell.command.words import Word
    from nanoshell.plugin.registry import Registry
    from nanoshell.session import Session

SPECIAL = re.compile(r"<\|/?\w+\|>")
_NAME = re.compile(r"\s*(\S+)")
_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

Span = tuple[int, int, str]
"""Where a part of the text begins, where it ends, and its role in the theme."""


class CommandLexer(Lexer):
    """Gives the parts of a ``:command`` the roles of the theme. Chat text stays as it is."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: tuple[str, list[StyleAndTextTuples]] = ("", [[]])

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return what gives the styled parts of a line; the last text is remembered."""
        if self._last[0] != document.text:
            self._last = (document.text, styled_lines(document.text, self._spans(document.text)))
        lines = self._last[1]
        return lambda number: lines[number] if number < len(lines) else []

    def _spans(self, text: str) -> list[Span]:
        try:
            commands = self._session.plugins.commands
            return [
                (line.start + start, line.start + end, role)
                for line in separate(text)
                for start, end, role in spans(line.text, commands)
            ]
        except Exception:  # a plugin's command may be anything; without colours one can type on
            return []


def spans(text: str, commands: Registry[click.Command]) -> Iterator[Span]:
    """Yield the parts of ``text``, a line of the prompt, that have a role, in their order."""
    begin = len(text) - len(text.lstrip())
    line = text[begin:].rstrip()
    if line in words.BARE_WORDS:
        yield begin, begin + len(line), "command"
    elif line.startswith("#"):
        yield begin, len(text), "quiet"
    elif line.startswith(words.FENCE):
        yield begin, begin + len(words.FENCE), "quiet"
        if not words.is_open_block(line):
            yield begin + len(line) - len(words.FENCE), begin + len(line), "quiet"
    elif line.startswith("?"):
        yield from _help(text, begin + 1, commands)
    elif line.startswith(":"):
        yield from _command(text, begin, commands)


def styled_lines(text: str, parts: list[Span]) -> list[StyleAndTextTuples]:
    """Return the lines of ``text`` as styled fragments: those of ``parts`` by their roles, the rest plain."""
    lines: list[StyleAndTextTuples] = [[]]
    position = 0
    for start, end, role in [*parts, (len(text), len(text), "")]:
        for style, piece in (("", text[position:start]), (f"class:{PREFIX}{role}", text[start:end])):
            first, *others = piece.split("\n")
            lines[-1].append((style, first))
            lines.extend([(style, other)] for other in others)
        position = end
    return lines


def _command(text: str, begin: int, commands: Registry[click.Command]) -> Iterator[Span]:
    """Yield the parts of a line whose command's name begins after the colon at ``begin``."""
    name = _NAME.match(text, begin + 1)
    if name is None:
        yield begin, begin + 1, "command"
        return
    entry = find_entry(commands, name[1])
    if entry is None or "prompt" not in entry.options["faces"]:
        if not _may_become(name[1], name.end() == len(text), all_names(commands)):
            yield name.start(1), name.end(), "unknown"
        return
    yield begin, name.end(), "command"
    rest = text[name.end() :]
    if entry.options["raw"]:
        rest = rest[: rest.rindex(last) if (last := _raw_text(entry.value, rest)) else len(rest)]
    for start, end, role in _Arguments(entry.value, rest).spans():
        yield name.end() + start, name.end() + end, role


def _help(text: str, mark: int, commands: Registry[click.Command]) -> Iterator[Span]:
    """Yield the parts of a question mark that ends at ``mark``, and of the command that it is about."""
    yield mark - 1, mark, "command"
    name = _NAME.match(text, mark)
    if name is None:
        return
    if find_entry(commands, name[1]) is not None:
        yield name.start(1), name.end(), "value"
    elif not _may_become(name[1], name.end() == len(text), all_names(commands)):
        yield name.start(1), name.end(), "unknown"


def _may_become(word: str, last: bool, known: Iterable[str]) -> bool:
    """Return whether one of ``known`` begins with ``word``, which is the last and so perhaps unfinished."""
    return last and any(name.startswith(word) for name in known)


def _lists_all(group: click.Group) -> bool:
    """Return whether ``group`` knows no names but those that it lists, as far as one can see.

    One of a class of its own may find others; where it does not, its class says so: ``lists_all = True``.
    """
    kind = type(group)
    plain = (
        kind.get_command is click.Group.get_command and kind.resolve_command is click.Group.resolve_command
    )
    return bool(getattr(kind, "lists_all", plain))


def _raw_text(command: click.Command, rest: str) -> str:
    """Return what a raw command takes as it is, or an empty text."""
    args = words.split_raw(command, rest)
    return args[-1] if "--" in args[-2:-1] else ""


class _Arguments:
    """The words after a command's name, read one after another as click would read them."""

    def __init__(self, command: click.Command, text: str) -> None:
        self._text = text
        self._use(command)

    def spans(self) -> Iterator[Span]:
        """Yield the parts that have a role, in their order."""
        values, ended = 0, False
        for word in words.placed_words(self._text):
            bare = self._text[word.start] not in "'\""
            if values:
                values -= 1
                yield from self._value(word.start, word.end)
            elif ended or not bare or not self._is_option(word.text):
                if self._group is not None and not ended:
                    yield from self._subcommand(word)
                else:
                    yield from self._value(word.start, word.end)
            elif word.text == "--":
                ended = True
                yield word.start, word.end, "option"
            else:
                spelling, equals, _ = word.text.partition("=")
                yield from self._option(word, spelling)
                if equals:
                    yield from self._value(word.start + len(spelling) + 1, word.end)
                else:
                    values = self._options.get(spelling, 0)

    def _use(self, command: click.Command) -> None:
        self._options = {**words.option_values(command), "--json": 0}
        self._lenient = bool(command.context_settings.get("ignore_unknown_options"))
        self._group = command if isinstance(command, click.Group) else None

    def _is_option(self, word: str) -> bool:
        return word.startswith("-") and word != "-" and (not _NUMBER.fullmatch(word) or word in self._options)

    def _option(self, word: Word, spelling: str) -> Iterator[Span]:
        end = word.start + len(spelling)
        if spelling in self._options:
            yield word.start, end, "option"
        elif spelling[1:2] != "-" and spelling[:2] in self._options:  # -n4
            yield word.start, word.start + 2, "option"
            yield from self._value(word.start + 2, end)
        elif not self._lenient and not _may_become(spelling, word.end == len(self._text), self._options):
            yield word.start, end, "unknown"

    def _subcommand(self, word: Word) -> Iterator[Span]:
        assert self._group is not None
        group, members = self._group, self._group.commands
        if (member := members.get(word.text)) is not None:
            yield word.start, word.end, "command"
            self._use(member)
            return
        takes_text = any(isinstance(param, click.Argument) for param in group.params)
        if (
            _lists_all(group)
            and not takes_text
            and not _may_become(word.text, word.end == len(self._text), members)
        ):
            yield word.start, word.end, "unknown"
        self._group = None

    def _value(self, start: int, end: int) -> Iterator[Span]:
        position = start
        for match in SPECIAL.finditer(self._text, start, end):
            if match[0] in SPECIAL_TOKENS:
                yield position, match.start(), "value"
                yield match.start(), match.end(), "special"
                position = match.end()
        if position < end:
            yield position, end, "value"
