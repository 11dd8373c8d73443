"""Which of many names a few typed letters mean, the likeliest first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

_PREFIX, _WORD, _INITIALS, _LETTERS = range(4)
_WORD_START = re.compile(r"(?<![^\W_])[^\W_]")


@dataclass(frozen=True, order=True)
class Match:
    """How well a name fits, the smaller the better, and the ``places`` of its letters that were typed."""

    kind: int
    length: int
    start: int
    places: tuple[int, ...]

    def moved(self, by: int) -> Match:
        """Return this match in a name with ``by`` letters more at its beginning."""
        return replace(self, start=self.start + by, places=tuple(place + by for place in self.places))


def match(word: str, name: str) -> Match | None:
    """Return how ``name`` fits to the typed ``word``, or None where it does not.

    Best is a name that begins with it, then one with a word that does, then one whose words begin with its
    letters (``lr`` for ``learning_rate``), then one that holds two letters or more in their order.
    """
    dashes = len(word) - len(word.lstrip("-"))
    if dashes and name[:dashes] != "-" * dashes:
        return None
    begin = len(name) - len(name.lstrip("-")) if dashes else 0
    letters, folded = word[dashes:].lower(), name.lower()
    if folded.startswith(letters, begin):
        return Match(_PREFIX, 0, begin, tuple(range(begin, begin + len(letters))))
    starts = [found.start() for found in _WORD_START.finditer(folded, begin)]
    for start in starts:
        if folded.startswith(letters, start):
            return Match(_WORD, 0, start, tuple(range(start, start + len(letters))))
    if len(letters) < 2:
        return None
    initials = "".join(folded[start] for start in starts)
    if (at := initials.find(letters)) >= 0:
        places = tuple(starts[at : at + len(letters)])
        return Match(_INITIALS, 0, places[0], places)
    return _in_order(letters, folded, begin)


def _in_order(letters: str, name: str, begin: int) -> Match | None:
    places: list[int] = []
    for letter in letters:
        place = name.find(letter, places[-1] + 1 if places else begin)
        if place < 0:
            return None
        places.append(place)
    return Match(_LETTERS, places[-1] - places[0], places[0], tuple(places))


def ranked(word: str, names: Iterable[str]) -> list[tuple[str, Match]]:
    """Return the ``names`` that ``word`` may mean, the best first; equally good ones keep their order."""
    found = [(name, fits) for name in names if (fits := match(word, name)) is not None]
    return sorted(found, key=lambda pair: (pair[1].kind, pair[1].length, pair[1].start))
