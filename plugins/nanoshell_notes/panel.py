"""The panel of the dashboard: the notes of the run in focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import VerticalScroll
from textual.widgets import Static

from nanoshell import Action, NanoshellError, Panel
from nanoshell_notes.journal import add_note, read_notes

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from nanoshell import RunDirectory, Snapshot


class NotesPanel(Panel):
    """What was written down about the run in focus; a key writes more."""

    panel_id = "notes"
    title = "Notes"
    about = (
        "What was written down about the run in focus, with the step that it was at. n writes a note; at the "
        "prompt that is :note, and :notes --delete N takes one back. They are kept in the run's own folder."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("write", "Write a note", ("n",), "Notes", writes=True, footer=True),
        Action("scroll(-1)", "Up", ("up", "k"), "Notes"),
        Action("scroll(1)", "Down", ("down", "j"), "Notes"),
    )

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static()

    def update(self, snapshot: Snapshot) -> None:
        """Show the notes of the run in focus: a small file, read anew whenever something has changed."""
        course = snapshot.focused
        self.query_one(Static).update(read_notes(course.run).__rich__() if course else "no run is shown")

    def action_write(self) -> None:
        """Ask for a note, and keep it."""
        course = self.desk.snapshot.focused
        if course is None:
            self.desk.tell("no run is shown", severity="warning")
            return
        run = course.run  # the focus may have moved on when the note is written
        self.desk.ask_line(
            f"A note about {run.name}:", "", lambda _text: "", lambda text: self._add(run, text)
        )

    def _add(self, run: RunDirectory, text: str) -> None:
        try:
            add_note(run, text)
        except NanoshellError as error:
            self.desk.tell(str(error), severity="error")
        self.update(self.desk.snapshot)

    def action_scroll(self, lines: int) -> None:
        """Scroll by so many lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
