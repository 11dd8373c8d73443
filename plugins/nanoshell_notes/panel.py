"""The panel of the dashboard: the notes of the run in focus."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.containers import VerticalScroll
from textual.widgets import Static

from nanoshell import Action, NanoshellError, Panel
from nanoshell_notes.journal import add_note, read_notes, signs

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.app import ComposeResult

    from nanoshell import Course, RunDirectory, Sight, Snapshot


READ_SECONDS = 2.0
"""Notes of other terminals are looked for so often."""


class NotesPanel(Panel):
    """What was written down about the run in focus; a key writes more."""

    panel_id = "notes"
    title = "Notes"
    about = (
        "What was written down about the run in focus, with the step that it was at. n writes a note, about "
        "the step of the crosshair where one stands; at the prompt that is :note, and :notes --delete N "
        "takes one back. They are kept in the run's own folder."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("write", "Write a note", ("n",), "Notes", writes=True, footer=True),
        Action("scroll(-1)", "Up", ("up", "k"), "Notes"),
        Action("scroll(1)", "Down", ("down", "j"), "Notes"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._seen: tuple[int, int] = (0, 0)

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static()

    def on_mount(self) -> None:
        self.every(READ_SECONDS, self._look_again)

    def update(self, snapshot: Snapshot) -> None:
        """Show the notes of the run in focus: a small file, read anew whenever something has changed."""
        self.query_one(Static).update(
            self._shown(snapshot.focused.run) if snapshot.focused else "no run is shown"
        )

    def _shown(self, run: RunDirectory) -> RenderableType:
        self._seen = signs(run)
        notes = read_notes(run)
        if notes or self.desk.read_only:
            return notes.__rich__()
        return Text(f"there are no notes about {run.name}: n writes one")

    def _look_again(self) -> None:
        """Show what another terminal has written meanwhile."""
        course = self.desk.snapshot.focused
        if course is not None and signs(course.run) != self._seen:
            self.update(self.desk.snapshot)

    def action_write(self) -> None:
        """Ask for a note, and keep it."""
        course = self.desk.snapshot.focused
        if course is None:
            self.desk.tell("no run is shown", severity="warning")
            return
        if not course.run.path.is_dir():
            self.desk.tell(
                f"the folder of {course.run.name} is gone: there is nowhere to keep a note",
                severity="warning",
            )
            return
        # The focus and the crosshair may have moved on when the note is written.
        run, step = course.run, step_at(course, self.desk.sight)
        question = f"A note about {run.name}, {_words(course, step)}:"
        self.desk.ask_line(question, "", lambda _text: "", lambda text: self._add(run, text, step))

    def _add(self, run: RunDirectory, text: str, step: int | None) -> None:
        try:
            add_note(run, text, step)
        except NanoshellError as error:
            self.desk.tell(str(error), severity="error")
        self.update(self.desk.snapshot)

    def action_scroll(self, lines: int) -> None:
        """Scroll by so many lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def step_at(course: Course, sight: Sight) -> int | None:
    """Return the step of ``course`` at which the crosshair stands; None without one, and beyond its steps."""
    cursor, newest = sight.cursor, course.status.step
    if cursor is None or newest is None:
        return None
    if sight.axis != "step":
        loss = course.series.get("loss")
        if loss is None or not len(loss.step):
            return None
        places = loss.along(sight.axis)
        at = bisect.bisect_left(places, cursor)
        if at == len(places) and cursor > places[-1]:
            return None
        if at and cursor - places[at - 1] < places[at] - cursor:
            at -= 1
        cursor = float(loss.step[at])
    return round(cursor) if 0 <= round(cursor) <= newest else None


def _words(course: Course, step: int | None) -> str:
    """Return about which step a note will be: ``step``, that of the crosshair, or the newest by then."""
    if step is not None:
        return f"step {step:,} at the crosshair"
    newest = course.status.step
    if newest is None:
        return "before its first step"
    return f"its newest step, {newest:,}" + ("" if course.status.ended else " by now")
