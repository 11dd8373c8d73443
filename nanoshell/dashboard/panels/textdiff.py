"""What differs between two texts, word by word; and texts that others wrote, made harmless to show."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from nanoshell.dashboard.panels.plain import plain

LONGEST = 2_000
"""Words up to which two texts are compared in full; of longer ones only the common ends are found."""

_ALONE = "\u2e80-\u2fff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Letters of scripts that put no spaces between words, Chinese and Japanese: each is compared by itself."""

_WORDS = re.compile(rf"[{_ALONE}]\s*|[^\W{_ALONE}]+\s*|[^\w\s]\s*|\s+")


@dataclass(frozen=True)
class Piece:
    """A part of a text, and whether the other text has it ``changed``."""

    text: str
    changed: bool


def shown(text: str, *, ascii_only: bool = False) -> str:
    """Return ``text`` as it can be drawn: its lines, each as `plain` has it."""
    return "\n".join(plain(line, ascii=ascii_only) for line in text.replace("\r\n", "\n").split("\n"))


def compare(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Return the pieces of ``before`` and those of ``after``, which join to the two texts.

    Words are compared without the white space behind them.
    """
    old, new = words(before), words(after)
    left, right = [False] * len(old), [False] * len(new)
    for start, end, other_start, other_end in _changes(_keys(old), _keys(new)):
        left[start:end] = [True] * (end - start)
        right[other_start:other_end] = [True] * (other_end - other_start)
    return _joined(old, left), _joined(new, right)


def words(text: str) -> list[str]:
    """Return the words of ``text``, which join to it: each with the white space behind it.

    What is drawn with the letter before it, an accent for example, stays with it.
    """
    found: list[str] = []
    for word in _WORDS.findall(text):
        if found and not word.isascii() and _is_drawn_with_another(word[0]):
            found[-1] += word
        else:
            found.append(word)
    return found


def _is_drawn_with_another(mark: str) -> bool:
    return unicodedata.category(mark).startswith("M") or mark == "\u200d"


def _keys(found: Sequence[str]) -> list[str]:
    return [word.strip() or " " for word in found]


def _changes(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Return the ranges that differ: (start, end) of ``old`` and of ``new``."""
    if max(len(old), len(new)) <= LONGEST:
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        return [tuple_[1:] for tuple_ in matcher.get_opcodes() if tuple_[0] != "equal"]
    shorter = min(len(old), len(new))
    first = next((index for index in range(shorter) if old[index] != new[index]), shorter)
    last = 0
    while last < shorter - first and old[-1 - last] == new[-1 - last]:
        last += 1
    return [(first, len(old) - last, first, len(new) - last)]


def _joined(found: Sequence[str], changed: Sequence[bool]) -> list[Piece]:
    """Return the words ``found`` with neighbours of one kind joined."""
    pieces: list[Piece] = []
    for word, differs in zip(found, changed, strict=True):
        if pieces and pieces[-1].changed == differs:
            pieces[-1] = Piece(pieces[-1].text + word, differs)
        else:
            pieces.append(Piece(word, differs))
    return pieces
