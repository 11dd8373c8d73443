"""The panel that follows the log of the run in focus: what its worker prints, or its events as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.aside import Aside
from nanoshell.dashboard.panels.exporting import copy_from
from nanoshell.dashboard.panels.fields import LineField
from nanoshell.dashboard.panels.lines import Line, TextLines, span, wrapped
from nanoshell.dashboard.panels.loglines import EventLines
from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.panels.tail import MOST_LINES, Tail, log_line

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Snapshot
    from nanoshell.runs.directory import RunDirectory

READ_SECONDS = 0.5

KINDS = ("worker.log", "events", "events and steps")
"""What can be shown, in the order in which `e` goes through it."""


class LogPanel(Panel):
    """The end of the log of the run in focus, followed as long as the last line is seen."""

    panel_id = "log"
    title = "Log"
    place = "log"
    about = (
        "What the worker of the run in focus prints, or (e) what happened in the run as lines, with or "
        "without its steps; of a worker that has printed nothing it is shown at once what happened. "
        "The newest line is followed until you scroll up; End follows again. / "
        "searches, n and p go to the next and the previous place, y copies the line of it, and the newest "
        "where nothing is searched for. w folds long lines. The last 5,000 "
        "lines are kept; `runs log RUN` has all."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("search", "Search", ("slash",), "Log", footer=True),
        Action("forget", "Search no more", ("escape",), "Log"),
        Action("find(1)", "Next place", ("n",), "Log"),
        Action("find(-1)", "Place before", ("p",), "Log"),
        Action("copy", "Copy the line found, or the newest", ("y",), "Log"),
        Action("kind", "Log or events", ("e",), "Log", footer=True, short="Events"),
        Action("wrap", "Fold long lines", ("w",), "Log", footer=True, short="Fold"),
        Action("go(-1)", "Up", ("up", "k"), "Log"),
        Action("go(1)", "Down", ("down", "j"), "Log"),
        Action("page_by(-1)", "A page up", ("pageup",), "Log"),
        Action("page_by(1)", "A page down", ("pagedown",), "Log"),
        Action("first", "The oldest line kept", ("home", "g"), "Log"),
        Action("last", "The newest line, and follow", ("end",), "Log", footer=True, short="Newest"),
    )
    DEFAULT_CSS = """
    LogPanel { layout: vertical; }
    LogPanel > #log-head { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.kind = KINDS[0]
        self.folds = True
        self.following = True
        self.found: int | None = None
        self._asked = False
        self._was_read = False
        self._run: RunDirectory | None = None
        self._tail: Tail | None = None
        self._shown: tuple[object, ...] = ()
        self._kept: list[tuple[str, str]] = []
        self._lines_of: list[Line] = []
        self._first_rows: list[int] = []
        self._made: dict[tuple[str, str], list[Line]] = {}
        self._made_for: tuple[object, ...] = ()
        self._aside: Aside[tuple[Tail, bool, list[tuple[str, str]]]] = Aside(self, self._take, self._fail)

    def compose(self) -> ComposeResult:
        yield TextLines(id="log-head")
        yield TextLines(id="log-lines")
        yield LineField("search", id="log-search", anew=True)

    def on_mount(self) -> None:
        self.every(READ_SECONDS, self._read)

    @property
    def _lines(self) -> TextLines:
        return self.query_one("#log-lines", TextLines)

    @property
    def _term(self) -> str:
        return self.query_one(LineField).value.casefold()

    def update(self, snapshot: Snapshot) -> None:
        """Follow the run that has the focus."""
        run = snapshot.focused.run if snapshot.focused else None
        if run != self._run:
            self._run = run
            if not self._asked:
                self.kind = KINDS[0]
            self._open()
        else:
            self._read()

    # Reading

    def _open(self) -> None:
        """Read another file from its end."""
        self._tail, self._kept, self.found, self.following = None, [], None, True
        self._was_read = False
        if self._run is not None:
            if self.kind == KINDS[0]:
                self._tail = Tail(self._run.log_path, log_line)
            else:
                self._tail = Tail(self._run.events_path, EventLines(steps=self.kind == KINDS[2]))
        self._draw()
        self._read()

    def _read(self) -> None:
        tail = self._tail
        if tail is None or self._aside.busy:
            return

        def read() -> tuple[Tail, bool, list[tuple[str, str]]]:
            new = tail.poll()
            return tail, new, list(tail.lines) if new else []

        self._aside.ask(read)

    def _take(self, found: tuple[Tail, bool, list[tuple[str, str]]]) -> None:
        tail, new, lines = found
        if tail is not self._tail:
            self._read()
            return
        first, self._was_read = not self._was_read, True
        if first and self.kind == KINDS[0] and not self._asked and not tail.lines:
            self.kind = KINDS[1]
            self._open()
        elif new or first or not self._shown:
            if new:
                self.found, self._kept = self._found_in(lines), lines
            self._draw()

    def _found_in(self, lines: list[tuple[str, str]]) -> int | None:
        """Return where the line that was found is among ``lines``, None where it is gone: old ones go."""
        if self.found is None:
            return None
        line = self._kept[self.found]
        before = range(min(self.found, len(lines) - 1), -1, -1)
        return next((at for at in before if lines[at] is line), None)

    def _fail(self, error: Exception) -> None:
        self.desk.tell(f"cannot read the log: {error}", severity="warning")

    # Drawing

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        tail = self._tail
        width = max(20, self._lines.size.width - 1)
        self._shown = (self._run, self.kind)
        place = f"{self.found + 1:,} of " if self.found is not None else ""
        cut = "the last " if tail is not None and tail.cut else ""
        lines = f"{place}{cut}{len(self._kept):,} {'line' if len(self._kept) == 1 else 'lines'}"
        lines = lines if self._was_read else "reading …"
        following = ("following" if self.following else "End follows") if self._was_read else ""
        if self._kept and tail is not None and not tail.there:
            following = "the file is gone"
        name = f"{self._run.name}  " if self._run else ""
        head: Line = (
            (name, "heading"),
            (f"{self.kind}  ", "accent"),
            (f"{lines}  {following}", "quiet"),
        )
        self.query_one("#log-head", TextLines).show([head])
        self._lines_of = self._rows(width)
        self._lines.show(self._lines_of or wrapped([self._empty()], width))
        if self.following:
            self._lines.to_end()

    def _empty(self) -> Line:
        if self._run is None:
            return span("no run is shown", "quiet")
        if not self._was_read:
            return span("reading …", "quiet")
        if self._tail is not None and self._tail.there:
            said = (
                "here stands what the worker prints, warnings and errors as a rule; nothing so far"
                if self.kind == KINDS[0]
                else "nothing has happened yet"
            )
            return span(f"{said}; e shows {KINDS[(KINDS.index(self.kind) + 1) % len(KINDS)]}", "quiet")
        name = self._tail.path.name if self._tail else ""
        gone = f"the folder of {self._run.name} is gone"
        return span(f"there is no {name} (yet)" if self._run.path.is_dir() else gone, "quiet")

    def _rows(self, width: int) -> list[Line]:
        """Return what is drawn of the lines that are kept; `_first_rows` knows at which row each begins.

        Most lines were there the last time, and are taken from then: a log of many lines costs what is new.
        """
        looks = (width, self.folds, self._term)
        if looks != self._made_for or len(self._made) > 2 * MOST_LINES:
            self._made, self._made_for = {}, looks
        rows: list[Line] = []
        self._first_rows = []
        for line in self._kept:
            made = self._made.get(line)
            if made is None:
                marked = self._marked(line)
                made = self._made[line] = wrapped([marked], width, 2) if self.folds else [marked]
            self._first_rows.append(len(rows))
            rows += made
        return rows

    def _marked(self, line: tuple[str, str]) -> Line:
        """Return ``line`` with the places of the search reversed."""
        text, role = plain(line[0], ascii=self.desk.ascii), line[1]
        term = self._term
        if not term:
            return ((text, role),)
        spans: list[tuple[str, str]] = []
        at, folded = 0, text.casefold()
        if len(folded) != len(text):
            return ((text, "found" if term in folded else role),)
        while (place := folded.find(term, at)) >= 0:
            spans += [(text[at:place], role), (text[place : place + len(term)], "found")]
            at = place + len(term)
        return (*spans, (text[at:], role))

    def on_resize(self) -> None:
        self._draw()

    # Actions

    def action_go(self, by: int) -> None:
        """Scroll by so many lines; at the end the newest is followed."""
        self._lines.move(by)
        self.following = by > 0 and self._lines.at_end
        self._draw()

    def action_page_by(self, by: int) -> None:
        """Scroll by a page."""
        self.action_go(by * max(1, self._lines.rows - 1))

    def action_first(self) -> None:
        """Go to the oldest line that is kept."""
        self.following = False
        self._lines.move(-len(self._lines_of) - 1)
        self._draw()

    def action_last(self) -> None:
        """Go to the newest line, and follow."""
        self.following, self.found = True, None
        self._draw()

    def action_wrap(self) -> None:
        """Fold long lines, or no longer."""
        self.folds = not self.folds
        self._draw()

    def action_kind(self) -> None:
        """Show the next of the log, the events, the events with the steps."""
        self.kind, self._asked = KINDS[(KINDS.index(self.kind) + 1) % len(KINDS)], True
        self._open()

    def action_search(self) -> None:
        """Open the field of the search."""
        self.query_one(LineField).open()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: a search is forgotten where there is one."""
        return super().check_action(action, parameters) and (action != "forget" or bool(self._term))

    def action_forget(self) -> None:
        """Search no more."""
        self.query_one(LineField).action_leave()

    def action_copy(self) -> None:
        """Copy the line to which the search has come, else the newest."""
        at = -1 if self.found is None else self.found
        line = self._kept[at][0] if self._kept else ""
        copy_from(self, plain(line), "line" if self.found is not None else "newest line")

    def action_find(self, by: int) -> None:
        """Go to the next place of the search, or to the one before; from the end it begins anew."""
        term = self._term
        places = (
            [index for index, (text, _) in enumerate(self._kept) if term in text.casefold()] if term else []
        )
        if not places:
            self.desk.tell(
                f"'{term}' is not in these lines" if term else "nothing is searched for: / searches"
            )
            return
        if self.found is None:
            self.found = places[-1] if by < 0 else next(iter(places))
        else:
            after = [place for place in places if (place > self.found if by > 0 else place < self.found)]
            again = after or places
            self.found = again[0] if by > 0 else again[-1]
        self.following = False
        self._draw()
        self._lines.bring(self._first_rows[self.found])

    @on(Input.Changed, "#log-search")
    def _typed(self) -> None:
        self.found = None
        self._draw()

    @on(Input.Submitted, "#log-search")
    def _submitted(self) -> None:
        self.query_one(LineField).settle()
        self.focus()
        if self._term:
            self.action_find(-1)

    @on(LineField.Left)
    def _left(self) -> None:
        self.query_one(LineField).settle()
        self.focus()
