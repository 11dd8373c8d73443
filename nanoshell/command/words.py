"""From a line to words: shell-like splitting, and the raw rest of a line for the commands that want it."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import click

from nanoshell.errors import UsageError

_FIRST_WORD = re.compile(r"\s*(\S+)\s?")
FENCE = '"""'
"""Opens and closes a text of several lines."""

BARE_WORDS = ("exit", "quit", "help")
"""Commands that need no colon where they are the whole line: what a newcomer types."""

_MARKS = (":", "#", "?", FENCE)
_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class CommandLine:
    """A ``:command`` line: the command's ``name`` and the ``rest`` of the line exactly as typed."""

    name: str
    rest: str


def parse_line(line: str) -> CommandLine | str:
    r"""Return a command as a `CommandLine`, anything else as text, the empty text for a comment.

    A command starts with ``:`` (``:`` alone asks for help), or is one of `BARE_WORDS` and nothing else;
    ``?train`` is ``:help train``; ``#`` starts a comment. Text between two `FENCE`s stays as it is, with the
    line breaks inside. A backslash before any of these makes the line ordinary text (``\?``, ``\exit``).
    """
    stripped = line.strip()
    if stripped in BARE_WORDS:
        return CommandLine(stripped, "")
    if stripped.startswith("#"):
        return ""
    if stripped.startswith("?"):
        return CommandLine("help", stripped[1:].strip())
    if stripped.startswith(FENCE) and not is_open_block(stripped):
        return _unfenced(stripped)
    if not stripped.startswith(":"):
        escapes = stripped[1:].startswith(_MARKS) or stripped[1:] in BARE_WORDS
        return stripped[1:] if stripped.startswith("\\") and escapes else stripped
    match = _FIRST_WORD.match(stripped[1:])
    if match is None:
        return CommandLine("help", "")
    return CommandLine(match[1], stripped[1:][match.end() :])


def is_open_block(text: str) -> bool:
    """Return whether ``text`` opens a block with `FENCE` that further lines go on with.

    A line of text does that by beginning with it; a command by a word that does (``:system \"\"\"You are``).
    A block of text ends with a line that ends with it, so that it may stand in the middle of one.
    """
    stripped = text.strip()
    if stripped.startswith(FENCE):
        return not stripped[len(FENCE) :].endswith(FENCE)
    return stripped.startswith(":") and _read(stripped).quote == FENCE


def is_unfinished(text: str) -> bool:
    """Return whether further lines may belong to ``text``: an open block, or a command with an open quote."""
    command = text.lstrip().startswith(":")
    return is_open_block(text) or (command and bool(_read(text.strip()).quote))


def _unfenced(block: str) -> str:
    """Return what stands between the fences of ``block``, without the line breaks next to them."""
    return block[len(FENCE) : -len(FENCE)].removeprefix("\n").removesuffix("\n")


def split(rest: str) -> list[str]:
    """Return the words of ``rest``, quoted as in a POSIX shell. Raises `UsageError` for an unclosed quote.

    Other than there, an apostrophe between two letters is one: ``It's fine`` gives ``["It's", "fine"]``, and
    a word that begins with three quotes goes on, exactly as it is, until the next three.
    """
    read = _read(rest)
    if read.unfinished:
        raise UsageError(f"a quote is not closed in: {rest}", hint="close it, or put a backslash before it")
    return [*read.words, read.open_word] if read.inside else read.words


def split_raw(command: click.Command, rest: str) -> list[str]:
    r"""Return the arguments of a raw command: leading options as words, all that follows as one argument.

    ``--`` ends the options. ``:system --json You're "kind"`` gives ``["--json", "--", "You're \"kind\""]``.
    """
    options: list[str] = []
    takes_value = option_values(command)
    while (match := _FIRST_WORD.match(rest)) and match[1].startswith("-"):
        word, after = match[1], rest[match.end() :]
        if word == "--":
            return [*options, "--", after.strip()] if after.strip() else options
        spelling = word.partition("=")[0]
        if spelling not in takes_value:
            break
        options.append(word)
        rest = after
        if takes_value[spelling] and "=" not in word:
            value, rest = _take_value(rest)
            options.extend(value)
    text = rest.strip()
    if text.startswith(FENCE) and len(text) >= 2 * len(FENCE) and text.endswith(FENCE):
        text = _unfenced(text)
    return [*options, "--", text] if text else options


def join_words(command: click.Command, args: Sequence[str]) -> list[str]:
    """Return ``args`` of a raw command, split by a shell, with its plain words joined into one argument."""
    options, plain = _part(command, args)
    return [*options, "--", " ".join(plain)] if plain else options


def keep_numbers(command: click.Command, args: Sequence[str]) -> list[str]:
    """Return ``args`` with the options first and a ``--`` where a negative number would be read as an option.

    ``["penalty_window", "-1", "--json"]`` gives ``["--json", "--", "penalty_window", "-1"]``.
    """
    takes_value = option_values(command)
    options, plain = _part(command, args)
    numbers = any(_is_number(word, takes_value) for word in plain)
    return [*options, "--", *plain] if numbers else list(args)


def _part(command: click.Command, args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of ``args`` with their values, and all other words."""
    takes_value = option_values(command)
    options: list[str] = []
    plain: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            plain.extend(rest)
            break
        if not word.startswith("-") or word == "-" or _is_number(word, takes_value):
            plain.append(word)
            continue
        options.append(word)
        count = takes_value.get(word, 0)
        options.extend(rest[:count])
        del rest[:count]
    return options, plain


def open_word(text: str) -> tuple[list[str], str, int]:
    """Split ``text``, a line being typed, into its complete words, the open word, and where that begins.

    Quotes may be open. ``'data use na'`` gives ``(["data", "use"], "na", 9)``.
    """
    read = _read(text)
    return (read.words, read.open_word, read.start) if read.inside else (read.words, "", len(text))


@dataclass(frozen=True)
class Word:
    """A word of a line, without its quotes, and where it stands there with them."""

    text: str
    start: int
    end: int


def placed_words(text: str) -> list[Word]:
    """Return the words of ``text``, a line being typed, in which the last quote may be open."""
    read = _read(text)
    found = [Word(word, start, end) for word, (start, end) in zip(read.words, read.spans, strict=True)]
    return [*found, Word(read.open_word, read.start, len(text))] if read.inside else found


@dataclass
class _Reading:
    """What was read of a line: the complete ``words``, and the one that it ends ``inside`` of.

    ``quote`` is the one that is open there.
    """

    words: list[str]
    spans: list[tuple[int, int]] = field(default_factory=list)
    open_word: str = ""
    start: int = 0
    inside: bool = False
    quote: str = ""
    unfinished: bool = False


def _read(text: str) -> _Reading:
    read = _Reading([])
    quote, escaped, after = "", False, 0
    for position, char in enumerate(text):
        if position < after:
            continue
        if quote == FENCE or (not read.inside and text.startswith(FENCE, position)):
            if not quote:
                read.inside, read.start, read.open_word = True, position, ""
                quote, after = FENCE, position + len(FENCE)
            elif text.startswith(FENCE, position):
                read.open_word = read.open_word.removeprefix("\n").removesuffix("\n")
                quote, after = "", position + len(FENCE)
            else:
                read.open_word += char
            continue
        if not read.inside and not char.isspace():
            read.inside, read.start, read.open_word = True, position, ""
        if not read.inside:
            continue
        if escaped:
            kept = "\\" if quote and char not in ('"', "\\") else ""  # as a POSIX shell has it
            read.open_word, escaped = read.open_word + kept + char, False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote and char == quote:
            quote = ""
        elif not quote and (char == '"' or (char == "'" and not _is_apostrophe(text, position))):
            quote = char
        elif not quote and char.isspace():
            read.words.append(read.open_word)
            read.spans.append((read.start, position))
            read.inside = False
        else:
            read.open_word += char
    read.quote, read.unfinished = quote, bool(quote) or escaped
    return read


def _is_apostrophe(text: str, position: int) -> bool:
    """Return whether letters stand on both sides."""
    return text[position - 1 : position].isalpha() and text[position + 1 : position + 2].isalpha()


def _is_number(word: str, options: Container[str]) -> bool:
    """Return whether ``word`` is a negative number, and none of ``options``."""
    return _NEGATIVE.fullmatch(word) is not None and word not in options


def option_values(command: click.Command) -> dict[str, int]:
    """Map each spelling of an option of ``command`` to how many values it takes."""
    found = {"--help": 0, "-h": 0}
    for param in command.params:
        if isinstance(param, click.Option):
            values = 0 if param.is_flag or param.count else param.nargs
            found.update(dict.fromkeys((*param.opts, *param.secondary_opts), values))
    return found


def _take_value(rest: str) -> tuple[list[str], str]:
    """Return the first word of ``rest``, which may be quoted, and what follows it."""
    read = _read(rest)
    if read.words:
        return read.words[:1], rest[read.spans[0][1] :]
    return split(rest), ""
