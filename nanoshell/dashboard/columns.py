"""Columns of numbers that grow at both ends, and tables of them by rising step.

A log is read from its end backwards while it is being written, so a table takes rows before the first and
after the last, and loses the last ones when a resume makes them void. Views that were handed out never
change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoshell.dashboard.course import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

MICROSECONDS = 1e6
_LEAST_ROOM = 256


class Column:
    """Numbers in one stretch of memory with room at both ends, which grows by half of what is there."""

    def __init__(self, dtype: type = float) -> None:
        self._buffer: Numbers = np.empty(0, dtype)
        self._start = self._stop = self._shown = 0

    def __len__(self) -> int:
        return self._stop - self._start

    def view(self) -> Numbers:
        """Return what is there (n,), without a copy: read-only, and as it is for ever."""
        self._shown = max(self._shown, self._stop)
        found = self._buffer[self._start : self._stop]
        found.flags.writeable = False
        return found

    def append(self, values: Numbers) -> None:
        """Put ``values`` behind the last one."""
        stop = self._stop + len(values)
        # What lies beyond the end may be seen by a view from before a `keep`.
        if stop > len(self._buffer) or self._stop < self._shown:
            self._move(self._start, max(len(values), len(self) // 2, _LEAST_ROOM))
            stop = self._stop + len(values)
        self._buffer[self._stop : stop] = values
        self._stop = stop

    def prepend(self, values: Numbers) -> None:
        """Put ``values`` before the first one."""
        if self._start < len(values):
            front = max(len(values), len(self) // 2, _LEAST_ROOM)
            self._move(front, len(self._buffer) - self._stop)
        self._buffer[self._start - len(values) : self._start] = values
        self._start -= len(values)

    def keep(self, count: int) -> None:
        """Forget all but the first ``count``."""
        self._stop = min(self._stop, self._start + count)

    def replace(self, values: Numbers) -> None:
        """Hold ``values`` in place of what was there."""
        self._buffer, self._start, self._stop, self._shown = values.copy(), 0, len(values), 0

    def close_front(self) -> None:
        """Give back the room before the first one: nothing will be put there any more."""
        if self._start:
            self._move(0, len(self._buffer) - self._stop)

    def _move(self, front: int, back: int) -> None:
        moved = np.empty(front + len(self) + back, self._buffer.dtype)
        moved[front : front + len(self)] = self._buffer[self._start : self._stop]
        self._buffer, self._start, self._stop, self._shown = moved, front, front + len(self), 0


@dataclass
class Rows:
    """Rows of a table: what was measured at the optimizer step ``step`` (n,).

    ``time`` (n,) is in whole microseconds, ``tokens`` (n,) is NaN where an event does not tell them.
    ``values`` are columns by name, and ``present`` (n,) tells of some of them where they have a value at all.
    """

    step: Numbers
    time: Numbers
    tokens: Numbers
    values: dict[str, Numbers] = field(default_factory=dict)
    present: dict[str, Numbers] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.step)

    def where(self, chosen: Numbers) -> Rows:
        """Return the rows that ``chosen`` (n,) names by truth."""
        return Rows(
            self.step[chosen],
            self.time[chosen],
            self.tokens[chosen],
            {name: column[chosen] for name, column in self.values.items()},
            {name: column[chosen] for name, column in self.present.items()},
        )

    def rising(self, highest: float = np.inf, *, once: bool = False) -> Rows:
        """Return the rows that no later one, nor ``highest``, is below: others are of a log that lost a
        resume. With ``once``, of rows at one step only the last."""
        if not len(self):
            return self
        least = np.minimum.accumulate(np.append(self.step, highest)[::-1])[::-1][1:]
        chosen = self.step < least if once else self.step <= least
        return self if chosen.all() else self.where(chosen)


class Table:
    """Rows by rising step, with ``once`` one at each, and the series that they make.

    ``revision`` grows with every change, ``order`` with those that are not rows behind the last.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self.revision = 0
        self.order = 0
        self._step, self._tokens, self._time = Column(), Column(), Column()
        self._values: dict[str, Column] = {}
        self._present: dict[str, Column] = {}
        self._untold = False
        self._settled: tuple[int, int, int] = (0, -1, -1)
        self._series: tuple[int, dict[str, Series]] = (-1, {})

    def __len__(self) -> int:
        return len(self._step)

    @property
    def _columns(self) -> list[Column]:
        return [self._step, self._tokens, self._time, *self._values.values(), *self._present.values()]

    def append(self, rows: Rows, zero: int) -> None:
        """Add ``rows`` behind the last, in place of those that are above them; their time counts from
        ``-zero``."""
        rows = rows.rising(once=self._once)
        if len(rows):
            first = float(rows.step[0])
            self.cut(np.nextafter(first, -np.inf) if self._once else first)
            self._grow(Column.append, rows, zero)

    def prepend(self, rows: Rows, zero: int) -> None:
        """Add ``rows`` before the first, but for those that are above it."""
        rows = rows.rising(float(self._step.view()[0]) if len(self) else np.inf, once=self._once)
        if len(rows):
            self.order += 1
            self._grow(Column.prepend, rows, zero)

    def _grow(self, grow: Any, rows: Rows, zero: int) -> None:
        before, count = len(self), len(rows)
        for name in rows.values.keys() - self._values.keys():
            self._values[name] = column = Column()
            column.append(np.full(before, np.nan))
            if before:
                self._present[name] = _filled(before, False)
        for name, column in self._values.items():
            present = rows.present.get(name) if name in rows.values else np.zeros(count, bool)
            if present is not None and name not in self._present:
                self._present[name] = _filled(before, True)
            grow(column, rows.values.get(name, np.full(count, np.nan)))
            if name in self._present:
                grow(self._present[name], np.ones(count, bool) if present is None else present)
        grow(self._step, rows.step)
        grow(self._tokens, rows.tokens)
        grow(self._time, (rows.time + zero) / MICROSECONDS)
        self._untold = self._untold or bool(np.isnan(rows.tokens).any())
        self.revision += 1

    def cut(self, step: float) -> None:
        """Forget the rows above ``step``."""
        kept = int(np.searchsorted(self._step.view(), step, "right"))
        if kept < len(self):
            for column in self._columns:
                column.keep(kept)
            self.order += 1
            self.revision += 1

    def shift(self, microseconds: int) -> None:
        """Let all times be so much later."""
        if len(self) and microseconds:
            whole = np.rint(self._time.view() * MICROSECONDS)
            self._time.replace((whole + microseconds) / MICROSECONDS)
            self.revision += 1

    def close_front(self) -> None:
        """Give back the room before the first row: older ones will not come."""
        for column in self._columns:
            column.close_front()

    def known_tokens(self) -> tuple[Numbers, Numbers]:
        """Return the steps (k,) whose events tell how many tokens there had been, and the tokens (k,)."""
        step, tokens = self._step.view(), self._tokens.view()
        if not self._untold:
            return step, tokens
        known = ~np.isnan(tokens)
        return step[known], tokens[known]

    def tell_tokens(self, steps: Table) -> None:
        """Give rows without tokens those that their step had by ``steps``, in between where need be.

        Only new rows are computed, and those beyond the last step of before.
        """
        settled, order, own = self._settled
        begin = settled if (order, own) == (steps.order, self.order) else 0
        if begin < len(self):
            known, tokens = steps.known_tokens()
            of = self._step.view()[begin:]
            self._tokens.keep(begin)
            self._tokens.append(tokens_at(of, known, tokens))
            last = float(known[-1]) if len(known) else -np.inf
            begin += int(np.searchsorted(of, last, "right"))
            self.revision += 1
        self._settled = (begin, steps.order, self.order)

    def series(self) -> Mapping[str, Series]:
        """Return the columns of each name, without a copy where every row has a value."""
        if self._series[0] != self.revision:
            self._series = (self.revision, self._made())
        return self._series[1]

    def _made(self) -> dict[str, Series]:
        step, tokens, time = self._step.view(), self._tokens.view(), self._time.view()
        if self._untold and np.isnan(tokens).any():
            tokens = tokens_at(step, *self.known_tokens())
            tokens.flags.writeable = False
        made = {}
        for name, column in self._values.items():
            found = [step, tokens, time, column.view()]
            if name in self._present:
                present = self._present[name].view()
                if not present.all():
                    found = [_locked(each[present]) for each in found]
            if len(found[0]):
                made[name] = Series(*found)
        return made


def tokens_at(steps: Numbers, known: Numbers, tokens: Numbers) -> Numbers:
    """Return the tokens (n,) trained on by ``steps`` (n,), from those at the ``known`` (k,) steps.

    None had been at step 0; after the last known step there are no more.
    """
    if not len(known):
        return np.zeros(len(steps))
    found = np.interp(steps, known, tokens)
    if known[0] > 0:
        early = steps < known[0]
        found[early] = tokens[0] * steps[early] / known[0]
    return found


def _filled(count: int, value: bool) -> Column:
    column = Column(bool)
    column.append(np.full(count, value))
    return column


def _locked(values: Numbers) -> Numbers:
    values.flags.writeable = False
    return values
