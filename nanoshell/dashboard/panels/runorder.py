"""In what order the runs of the table stand: what is remembered of it, and how a column is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nanoshell.dashboard.panels.filter import SHORT
from nanoshell.dashboard.panels.runtable import COLUMNS, STARTED, Column

_AS_IN_FILTERS = {
    "name": "run",
    "val_loss": "val",
    "tokens/s": "tok/s",
    "bytes": "size",
    "trainer.learning_rate": "lr",
    "rate": "lr",
    "trainer.batch_size": "batch",
    "source": "data",
    "reason": "why",
}
"""Columns by what a filter calls the same."""


@dataclass(frozen=True)
class Order:
    """The column by which the runs stand, and whether the other way round than it does by itself."""

    column: Column = STARTED
    backwards: bool = False

    @classmethod
    def recalled(cls, kept: object) -> Order:
        """Return the order of which `remembered` has made ``kept``; the newest first where that is none."""
        if not isinstance(kept, dict):
            return cls()
        column = next((each for each in COLUMNS if each.title == kept.get("sort")), STARTED)
        return cls(column, kept.get("backwards") is True)

    @property
    def remembered(self) -> dict[str, object]:
        """As what it is kept for the next time."""
        return {"sort": self.column.title, "backwards": self.backwards}

    def next_of(self, columns: Sequence[Column]) -> Order:
        """Return the order by the next of ``columns``, round and round."""
        now = columns.index(self.column) if self.column in columns else -1
        return Order(columns[(now + 1) % len(columns)])

    def turned(self) -> Order:
        """Return the same the other way round."""
        return Order(self.column, not self.backwards)

    def pressed(self, column: Column) -> Order:
        """Return what a click on the heading of ``column`` makes of it."""
        return self.turned() if column is self.column else Order(column)


def meant(text: str) -> list[Column]:
    """Return the columns that ``text`` may mean: one of that name, else those that begin with it."""
    word = text.strip().lower()
    word = _AS_IN_FILTERS.get(SHORT.get(word, word), word)
    same = [column for column in COLUMNS if column.title == word]
    return same or [column for column in COLUMNS if word and column.title.startswith(word)]


def wrong_column(text: str) -> str:
    """Return what is wrong with ``text`` as the name of one column, '' for nothing."""
    found = [column.title for column in meant(text)]
    if len(found) > 1:
        return f"'{text.strip()}' may be {', '.join(found[:-1])} or {found[-1]}"
    return "" if found else f"'{text.strip()}' is none of {titles()}"


def titles() -> str:
    """Return the names of all columns, with commas."""
    return ", ".join(column.title for column in COLUMNS)
