"""The panel of runs: all of the folder, filtered and sorted; what is known of one, and how some differ."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input

from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.aside import Aside
from nanoshell.dashboard.panels.exporting import copy_from
from nanoshell.dashboard.panels.fields import LineField
from nanoshell.dashboard.panels.filter import (
    Term,
    completed,
    fulfils,
    needs_config,
    parse_filter,
    whole_terms,
)
from nanoshell.dashboard.panels.lines import Line, TextLines, span
from nanoshell.dashboard.panels.runabout import RunAbout
from nanoshell.dashboard.panels.rundrawn import RunTable
from nanoshell.dashboard.panels.runkeys import ABOUT, ACTIONS
from nanoshell.dashboard.panels.runlist import RunList, RunReader, RunRow
from nanoshell.dashboard.panels.runorder import Order, meant, titles, wrong_column
from nanoshell.dashboard.panels.runtable import OF_CONFIG, Look, ordered, sort_mark
from nanoshell.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanoshell.dashboard.actions import Action
    from nanoshell.dashboard.course import Snapshot

READ_SECONDS = 2.0
"""The folder is looked through so often while the panel is on the screen."""

_RESTS, _MOST_SECONDS = 100, 10.0
"""And no sooner than after so many times as long as that took of a core, or after so many seconds."""

_LOW = 9
"""In fewer rows the table has them all: with what stands below it hardly a run would be seen."""

_ORDER = "runs.order"
"""As what the order is remembered. A filter is not: one that was forgotten would hide runs."""


class RunsPanel(Panel):
    """All runs of the folder in a table, and below it what there is to say of the one that is chosen."""

    panel_id = "runs"
    title = "Runs"
    place = "runs"
    about = ABOUT
    actions: ClassVar[tuple[Action, ...]] = ACTIONS
    DEFAULT_CSS = """
    RunsPanel { layout: vertical; }
    RunsPanel > #runs-wrong { display: none; height: 1; }
    RunsPanel > #runs-wrong.-open { display: block; }
    RunsPanel > #runs-table { height: 3fr; }
    RunsPanel > #runs-about { height: 2fr; min-height: 4; border-top: solid $foreground 30%; }
    RunsPanel.-comparing > #runs-table { height: 1fr; }
    RunsPanel.-low > #runs-about { display: none; }
    RunsPanel.-low.-comparing > #runs-about { display: block; }
    .-ascii RunsPanel > #runs-about { border-top: ascii $foreground 30%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.chosen = ""
        self.marked: tuple[str, ...] = ()
        self.terms: tuple[Term, ...] = ()
        self._order = Order()
        self._comparing = False
        self._found = RunList()
        self._was_read = False
        self._rests_until = 0.0
        self._reader = RunReader()
        self._list: Aside[RunList] = Aside(self, self._take_list, self._fail)
        self._wrong = ""
        self._moved = False
        self._chosen_at = 0
        self._sought: set[str] = set()

    def compose(self) -> ComposeResult:
        example = "lr>1e-3 val_loss<2 name~nano state=finished"
        yield LineField(example, id="runs-filter", anew=False, complete=self._completed)
        yield TextLines(id="runs-wrong")
        yield RunTable(id="runs-table")
        yield RunAbout(self, self._fail, id="runs-about")

    def on_mount(self) -> None:
        self._order = Order.recalled(self.desk.recall(_ORDER))
        self.every(READ_SECONDS, self._read)
        self._read()

    def update(self, snapshot: Snapshot) -> None:
        """Show the runs as they stand; those of ``snapshot`` are newer than what was read of the folder."""
        unknown = {course.run.name for course in snapshot.courses} - self._sought
        self._sought |= unknown
        if unknown:
            self._read(force=True)
        if not self._moved and snapshot.focused is not None:
            self.chosen = snapshot.focused.run.name
        self._draw()

    # Reading

    def _read(self, *, force: bool = False) -> None:
        if not force and (self._list.busy or time.monotonic() < self._rests_until):
            return
        folder = self.desk.runs_dir
        beside = [course.run for course in self.desk.snapshot.courses]
        wanted = needs_config(self.terms) or self.query_one(LineField).is_open
        wanted = wanted or (self._was_read and self._shows_config())  # without them the first rows come soon
        self._list.ask(partial(self._reader.read, folder, beside, configs=wanted))

    def _read_configs(self) -> None:
        """Read the configs now, where they have not been read."""
        if any(row.config is None for row in self._found.rows):
            self._read(force=True)

    def _shows_config(self) -> bool:
        return not OF_CONFIG.isdisjoint([*self._table.columns, self._order.column])

    def _take_list(self, found: RunList) -> None:
        self._rests_until = time.monotonic() + min(_RESTS * self._reader.took, _MOST_SECONDS)
        if self._was_read and found == self._found:
            if self._table.aged(time.time()):
                self._draw()
            self._ask_facts()  # what plugins say may be new
            return
        self._found, self._was_read = found, True
        self._table.forget(found.rows)
        there = {row.run.name for row in found.rows}
        self.marked = tuple(name for name in self.marked if name in there)
        if self.query_one(LineField).is_open:
            self._apply()
        self._draw()
        self._ask_facts()
        if self._shows_config():
            self._read_configs()

    def _fail(self, error: Exception) -> None:
        self.desk.tell(f"cannot read the runs: {error}", severity="warning")

    # Drawing

    @property
    def rows(self) -> list[RunRow]:
        """The runs that the filter lets through, in the order of the table."""
        rows = [self._newest(row) for row in self._found.rows]
        through = [row for row in rows if not self.terms or fulfils(row.values(), self.terms)]
        return ordered(through, self._order.column, self._order.backwards)

    def _newest(self, row: RunRow) -> RunRow:
        """Return ``row`` with the status of its course, which is newer, where the run is shown."""
        courses = (course for course in self.desk.snapshot.courses if course.run.path == row.run.path)
        return next((replace(row, status=course.status) for course in courses), row)

    def _row(self, name: str) -> RunRow | None:
        return next((self._newest(row) for row in self._found.rows if row.run.name == name), None)

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        snapshot, rows = self.desk.snapshot, self.rows
        shown = {course.run.name: snapshot.colours.get(course.run.name, 0) for course in snapshot.courses}
        focused = snapshot.focused.run.name if snapshot.focused else ""
        if rows and all(row.run.name != self.chosen for row in rows):
            self.chosen = self._instead(rows, focused)
            self._ask_facts()
        order = self._order
        look = Look(shown, focused, self.marked, order.column, order.backwards, self.desk.ascii, time.time())
        chosen = next((index for index, row in enumerate(rows) if row.run.name == self.chosen), None)
        self._chosen_at = chosen if chosen is not None else self._chosen_at
        self._table.draw(rows, look, chosen, self._empty())
        self.remark = self._seen_of_all(len(rows))
        self._tell_about()

    def _seen_of_all(self, count: int) -> str:
        """Return how many of the runs the filter lets through, and the order where no heading tells it."""
        order, told = self._order, []
        if self.terms:
            told.append(f"{count:,} of {len(self._found.rows):,}")
        if order.column not in self._table.columns:
            told.append(f"by {order.column.title}{sort_mark(order.column, order.backwards, self.desk.ascii)}")
        return ", ".join(told)

    def _instead(self, rows: Sequence[RunRow], focused: str) -> str:
        """Return which of ``rows`` is chosen in place of one that is not there: if it is gone, the next."""
        if self._moved and self._row(self.chosen) is None:
            return rows[min(self._chosen_at, len(rows) - 1)].run.name
        return focused if any(row.run.name == focused for row in rows) else rows[0].run.name

    @property
    def _table(self) -> RunTable:
        return self.query_one(RunTable)

    def _empty(self) -> Line:
        if not self._was_read:
            return span("   reading the runs …", "quiet")
        if needs_config(self.terms) and any(row.config is None for row in self._found.rows):
            return span("   reading the configs …", "quiet")
        if self._found.rows:
            return span("   no run fulfils the filter; Esc removes it", "quiet")
        return span(f"   there are no runs in {self.desk.runs_dir} yet", "quiet")

    def on_resize(self) -> None:
        self.set_class(self.size.height < _LOW, "-low")
        if self._shows_config():
            self._read_configs()
        self._draw()
        self._ask_facts()

    # What is read of the chosen run

    def _compared(self) -> list[RunRow]:
        """Return the runs to compare: those that are marked, else the chosen one and another; or none."""
        names = self.marked
        if len(names) < 2:
            focused = self.desk.snapshot.focused
            first = names[0] if names else focused.run.name if focused else self.chosen
            names = (first, self.chosen)
        rows = [row for name in dict.fromkeys(names) if (row := self._row(name)) is not None]
        return rows if len(rows) > 1 else []

    def _tell_about(self) -> None:
        several = self._compared() if self._comparing else []
        wanted = [_two_wanted(self.chosen)] if self._comparing else []
        self.set_class(bool(several), "-comparing")
        self.query_one(RunAbout).tell(self._row(self.chosen), several, wanted)

    def _ask_facts(self) -> None:
        if self.is_mounted:
            self._tell_about()
            self.query_one(RunAbout).read(self.desk.run_sections)

    # Actions

    def action_choose(self, by: int) -> None:
        """Choose the run that is ``by`` lines further down."""
        rows = self.rows
        if not rows:
            return
        now = next((index for index, row in enumerate(rows) if row.run.name == self.chosen), 0)
        self._choose(rows[max(0, min(now + by, len(rows) - 1))].run.name)

    def _choose(self, name: str) -> None:
        self.chosen, self._moved = name, True
        self._draw()
        self._ask_facts()

    def action_turn(self, by: int) -> None:
        """Scroll the text below the table."""
        self.query_one(RunAbout).move(by)

    def action_take(self) -> None:
        """Give the chosen run the focus."""
        if self._row(self.chosen) is not None:
            self.desk.focus_run(self.chosen)

    def action_show_hide(self) -> None:
        """Show the chosen run in the charts, or no longer."""
        if self._row(self.chosen) is not None:
            shown = {course.run.name for course in self.desk.snapshot.courses}
            self.desk.show_run(self.chosen, self.chosen not in shown)

    def action_copy(self) -> None:
        """Copy the folder of the chosen run."""
        row = self._row(self.chosen)
        copy_from(self, str(row.run.path.resolve()) if row is not None else "", "the run's folder")

    def action_mark(self) -> None:
        """Mark the chosen run for comparing, or no longer."""
        if self.chosen in self.marked:
            self.marked = tuple(name for name in self.marked if name != self.chosen)
        elif self.chosen:
            self.marked = (*self.marked, self.chosen)
        self._draw()
        self._ask_facts()

    def action_difference(self) -> None:
        """Show in what the marked runs differ, or what is known of the chosen one."""
        self._comparing = not self._comparing
        self._draw()
        self._ask_facts()

    def action_sort(self) -> None:
        """Sort by the next column of those that are seen."""
        self._stand(self._order.next_of(self._table.columns))

    def action_sort_by(self) -> None:
        """Ask for a column, and sort by it."""
        question = f"Sort by which column? A beginning is enough: {titles()}"
        self.desk.ask_line(question, "", wrong_column, lambda text: self._stand(Order(meant(text)[0])))

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._stand(self._order.turned())

    def _stand(self, order: Order) -> None:
        self._order = order
        self.desk.remember(_ORDER, order.remembered)
        self._draw()
        if self._shows_config():
            self._read_configs()

    def action_filter(self) -> None:
        """Open the field of the filter."""
        self.query_one(LineField).open()
        self._read(force=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: a filter is removed where there is one."""
        there = action != "unfilter" or bool(self.query_one(LineField).value)
        return there and super().check_action(action, parameters)

    def action_unfilter(self) -> None:
        """Let all runs through."""
        self.query_one(LineField).action_leave()

    @on(Input.Changed, "#runs-filter")
    def _typed(self) -> None:
        self._apply()
        self._draw()
        self._read_configs()

    @on(Input.Submitted, "#runs-filter")
    def _submitted(self) -> None:
        self._apply()
        if not self._wrong:  # a key that is meant to mend it must not steer a run
            self._close_field()

    @on(LineField.Left)
    def _left(self) -> None:
        self._close_field()

    def _completed(self, text: str) -> str:
        return completed(text, self._found.keys)

    def _close_field(self) -> None:
        """Give the keys back to the table; the field stays in sight while it holds a filter."""
        self.query_one(LineField).settle()
        self._apply()
        self._draw()
        self.focus()

    def _apply(self) -> None:
        """Take the filter as far as it is typed; what is wrong with it stands below."""
        text, keys = self.query_one(LineField).value, self._found.keys
        self._wrong = ""
        try:
            self.terms = parse_filter(text, keys)
        except UsageError as error:
            between = " " if error.message.endswith("?") else "; "
            self._wrong = f"{error.message}{between}{error.hint}" if error.hint else error.message
            self.terms = whole_terms(text, keys)
        if self.query_one(LineField).has_focus and not self.rows:  # it may become another condition
            self.terms = whole_terms(text, keys)
        wrong = self.query_one("#runs-wrong", TextLines)
        wrong.set_class(bool(self._wrong), "-open")
        wrong.show([span(f" {self._wrong}", "error")])

    @on(TextLines.Pressed, "#runs-table")
    def _pressed(self, message: TextLines.Pressed) -> None:
        rows = self.rows
        if 0 <= message.line < len(rows):
            self._choose(rows[message.line].run.name)
            if message.twice:
                self.action_take()
        elif message.line < 0 and (column := self._table.column_at(message.x)):
            self._stand(self._order.pressed(column))


def _two_wanted(chosen: str) -> Line:
    return span(f"choose another run to compare it with {chosen}; m marks one, or more", "quiet")
