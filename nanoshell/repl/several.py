"""Several commands pasted at once: they are carried out one after another, as a script is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nanoshell.command import words

_MARKS = (":", "#", "?")

_MOST_LETTERS = 10_000
"""A longer text is one line: to look for the ends of its quotes at every key would take too long."""


@dataclass(frozen=True)
class Placed:
    """One line of the prompt, and where it begins in what was typed or pasted."""

    text: str
    start: int


def separate(text: str) -> list[Placed]:
    """Return the lines of the prompt that ``text`` is made of: one, or several that are to run in turn.

    Several they are where the first is a command or a comment, and a later one is a command. What stands
    between quotes, or between three of them, is of the line in which they open.
    """
    whole = [Placed(text, 0)]
    if "\n" not in text or len(text) > _MOST_LETTERS or not text.lstrip().startswith(_MARKS):
        return whole
    lines = [line for line in _lines(text) if line.text.strip()]
    return lines if any(line.text.lstrip().startswith(":") for line in lines[1:]) else whole


def _lines(text: str) -> Iterator[Placed]:
    begin = 0
    while begin <= len(text):
        end = _end(text, begin)
        yield Placed(text[begin:end], begin)
        begin = end + 1


def _end(text: str, begin: int) -> int:
    """Return where the line that begins at ``begin`` ends: behind its quotes, where they are ever closed."""
    first = end = _line_end(text, begin)
    while words.is_unfinished(text[begin:end]):
        if end == len(text):
            return first
        end = _line_end(text, end + 1)
    return end


def _line_end(text: str, begin: int) -> int:
    found = text.find("\n", begin)
    return len(text) if found < 0 else found
