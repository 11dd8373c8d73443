"""Text that comes piece by piece, laid out for a terminal: lines are broken between words."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

HELD_COLUMNS = 24
"""A word that begins this near to the edge is held back until it is known whether it has room."""

_OPENING = ("Ps", "Pi")
_TAB = 4


class WordWrap:
    """Breaks lines between words while the words still come, without ever moving what is on the screen.

    Only a word near the edge waits for its end; everywhere else letters are let through as they come. Wide
    letters, of scripts without spaces, may be followed by a break each. `push` and `flush` return pieces to
    write as (text, style). ``width`` tells the columns of the terminal, which may change at any time.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._column = 0
        self._spaces = ""
        self._word: list[tuple[str, str]] = []
        self._word_columns = 0
        self._begun = False
        self._ends_wide = False
        self._out: list[tuple[str, str]] = []

    def push(self, text: str, style: str = "") -> list[tuple[str, str]]:
        """Take ``text`` and return what can be written now."""
        from rich.cells import get_character_cell_size

        width = max(2, self._width())
        self._column = min(self._column, width)  # a narrower terminal has laid the line out anew
        for character in text:
            if character == "\n":
                self._end_word(width)
                self._spaces = ""
                self._put("\n", "")
                self._column = 0
            elif character in " \t":
                self._end_word(width)
                self._spaces += " " * (_TAB if character == "\t" else 1)
            else:
                columns = get_character_cell_size(character)
                if self._may_break_before(character, columns):
                    self._end_word(width)
                self._add(character, style, columns, width)
        if not self._begun and self._word and self._end() <= width - min(HELD_COLUMNS, width // 2):
            self._begin_word()
        out, self._out = self._out, []
        return out

    def flush(self) -> list[tuple[str, str]]:
        """Return what is held back: nothing comes to it any more."""
        self._end_word(max(2, self._width()))
        self._put(self._spaces, "")
        self._column += len(self._spaces)
        self._spaces = ""
        out, self._out = self._out, []
        return out

    def written(self, text: str) -> None:
        """Take note of ``text``, which somebody else wrote where the last line ended."""
        from rich.cells import cell_len

        before, newline, line = text.rpartition("\n")
        self._column = cell_len(line) if newline else self._column + cell_len(before + line)
        self._begun = self._ends_wide = False

    def _may_break_before(self, character: str, columns: int) -> bool:
        """Return whether a line may end before ``character`` although no space is there."""
        if not columns or unicodedata.category(character) in ("Po", "Pe", "Pf"):
            return False
        return columns == 2 or self._ends_wide

    def _end(self) -> int:
        """Return the column after the word that is held back, on this line."""
        return self._column + len(self._spaces) + self._word_columns

    def _add(self, character: str, style: str, columns: int, width: int) -> None:
        self._ends_wide = columns == 2 and unicodedata.category(character) not in _OPENING
        if not self._begun and self._end() + columns > width:
            if self._column:
                self._break()
            self._spaces = self._spaces[: max(0, width - self._word_columns - columns)]
            if self._end() + columns > width:  # no line is long enough
                self._begin_word()
        if self._begun:
            if self._column + columns > width:
                self._break()
            self._put(character, style)
            self._column += columns
            return
        if self._word and self._word[-1][1] == style:
            self._word[-1] = (self._word[-1][0] + character, style)
        else:
            self._word.append((character, style))
        self._word_columns += columns

    def _break(self) -> None:
        self._put("\n", "")
        self._column, self._spaces = 0, ""

    def _begin_word(self) -> None:
        """Write what there is of the word; what comes of it follows letter by letter."""
        self._put(self._spaces, "")
        self._column += len(self._spaces) + self._word_columns
        for text, style in self._word:
            self._put(text, style)
        self._spaces, self._word, self._word_columns = "", [], 0
        self._begun = True

    def _end_word(self, width: int) -> None:
        if self._word:
            self._begin_word()
        self._begun = self._ends_wide = False
        self._column = min(self._column, width)

    def _put(self, text: str, style: str) -> None:
        if self._out and self._out[-1][1] == style:
            self._out[-1] = (self._out[-1][0] + text, style)
        elif text:
            self._out.append((text, style))
