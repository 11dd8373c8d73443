"""What has been read of a run, put together from pieces of its log that come at either end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoshell.dashboard.columns import MICROSECONDS, Table, tokens_at
from nanoshell.dashboard.course import Mark, SampleText, Series
from nanoshell.dashboard.digest import Noted, Part, Written, between

if TYPE_CHECKING:
    from nanoshell.runs.events import Event


class History:
    """The figures, marks and texts of one run. ``begun`` is the time of the first event of its log.

    Times count from a zero that is guessed until the oldest piece is there: seconds in which the run showed
    signs of life, which never decrease, whatever its clock did. ``limit`` is the lowest step that a resume
    went back to: what stands above it in older pieces is void.
    """

    def __init__(self, begun: int | None = None) -> None:
        self.limit = np.inf
        self._begun = begun
        self._zero = 0
        self._oldest: tuple[int, int] | None = None
        self._newest: tuple[int, int] | None = None
        self._steps, self._evals, self._beats = Table(once=True), Table(), Table()
        self._marks: list[tuple[int, Noted]] = []
        self._samples: list[tuple[int, Written]] = []
        self._alerts: list[Event] = []
        self._notes = 0
        self._made_marks: tuple[object, tuple[Mark, ...]] = (None, ())
        self._made_samples: tuple[object, tuple[SampleText, ...]] = (None, ())
        self._made_alerts: tuple[object, tuple[Mapping[str, Any], ...]] = (None, ())
        self._made_series: tuple[object, dict[str, Series]] = (None, {})

    @property
    def _tables(self) -> tuple[Table, Table, Table]:
        return self._steps, self._evals, self._beats

    @property
    def revision(self) -> tuple[int, ...]:
        """What differs whenever anything here does."""
        return (self._steps.revision, self._evals.revision, self._beats.revision, self._notes)

    def append(self, part: Part) -> None:
        """Take the piece of log that follows the newest one."""
        if part.limit < np.inf:
            self._void(part.limit)
        if part.first is None or part.last is None:
            return
        if self._newest is None:
            begun = part.first if self._begun is None else self._begun
            self._zero = max(0, part.first - begun)
            begins = 0
            self._oldest = (part.first, 0)
        else:
            begins = self._newest[1] + between(self._newest[0], part.first)
        self._newest = (part.last, begins + part.length)
        for table, rows in zip(self._tables, (part.steps, part.evals, part.beats), strict=True):
            table.append(rows, self._zero + begins)
        self._marks += [(begins + mark.time, mark) for mark in part.marks]
        self._samples += [(begins + text.time, text) for text in part.samples]
        self._alerts += part.alerts
        self._notes += bool(part.marks or part.samples or part.alerts)

    def prepend(self, part: Part) -> None:
        """Take the piece of log before the oldest one, digested with `limit`."""
        self.limit = min(self.limit, part.limit)
        if part.first is None or part.last is None:
            return
        if self._oldest is None:
            self.append(part)
            return
        begins = self._oldest[1] - between(part.last, self._oldest[0]) - part.length
        self._oldest = (part.first, begins)
        for table, rows in zip(self._tables, (part.steps, part.evals, part.beats), strict=True):
            table.prepend(rows, self._zero + begins)
        self._marks[:0] = [(begins + mark.time, mark) for mark in part.marks]
        self._samples[:0] = [(begins + text.time, text) for text in part.samples]
        self._alerts[:0] = part.alerts
        self._notes += bool(part.marks or part.samples or part.alerts)
        if self._zero + begins < 0:
            self._set_zero(-begins)

    def complete(self) -> None:
        """Know that the oldest piece is there: times count from its first event."""
        for table in self._tables:
            table.close_front()
        if self._oldest is not None:
            self._set_zero(-self._oldest[1])

    def _set_zero(self, zero: int) -> None:
        if zero != self._zero:
            for table in self._tables:
                table.shift(zero - self._zero)
            self._zero = zero
            self._notes += 1

    def _void(self, limit: float) -> None:
        """Forget what a resume made void, and remember it for what is still unread."""
        self.limit = min(self.limit, limit)
        for table in self._tables:
            table.cut(limit)
        self._marks = [found for found in self._marks if not found[1].of_course or found[1].step <= limit]
        self._samples = [found for found in self._samples if found[1].step <= limit]
        self._notes += 1

    def series(self) -> Mapping[str, Series]:
        """Return the series of all figures, by name."""
        self._evals.tell_tokens(self._steps)
        self._beats.tell_tokens(self._steps)
        key = tuple(table.revision for table in self._tables)
        if self._made_series[0] != key:
            made = {name: series for table in self._tables for name, series in table.series().items()}
            self._made_series = (key, made)
        return self._made_series[1]

    def marks(self) -> tuple[Mark, ...]:
        """Return the marks in the order in which the log has them."""
        key = (self._notes, self._steps.order, self._marks_settled())
        if self._made_marks[0] != key:
            tokens = tokens_at(np.array([mark.step for _, mark in self._marks]), *self._steps.known_tokens())
            made = tuple(
                Mark(mark.kind, mark.step, float(spent), self._seconds(time), mark.text)
                for (time, mark), spent in zip(self._marks, tokens, strict=True)
            )
            self._made_marks = (key, made)
        return self._made_marks[1]

    def _marks_settled(self) -> int:
        """Return what changes while marks stand beyond the last step whose tokens are known."""
        known = self._steps.known_tokens()[0]
        last = float(known[-1]) if len(known) else -np.inf
        return self._steps.revision if any(mark.step > last for _, mark in self._marks) else -1

    def samples(self) -> tuple[SampleText, ...]:
        """Return the texts in the order in which they were written."""
        if self._made_samples[0] != self._notes:
            made = tuple(
                SampleText(of.step, of.index, of.prompt, of.text, of.tokens, of.stop, self._seconds(time))
                for time, of in self._samples
            )
            self._made_samples = (self._notes, made)
        return self._made_samples[1]

    def alerts(self) -> tuple[Mapping[str, Any], ...]:
        """Return the alerts, as events."""
        if self._made_alerts[0] != self._notes:
            self._made_alerts = (self._notes, tuple(self._alerts))
        return self._made_alerts[1]

    def _seconds(self, time: int) -> float:
        return (time + self._zero) / MICROSECONDS
