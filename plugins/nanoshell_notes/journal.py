"""The file ``notes.jsonl`` of a run: notes and their removals, a line each, only ever appended to.

Several prompts may write at once: a line is one write. The number of a note is its place among all the notes
of the file, removed ones too, so that it never comes to mean another one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell import append_line, read_lines

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from nanoshell import RunDirectory

FILE = "notes.jsonl"


@dataclass(frozen=True)
class Note:
    """What was written about a run: ``t`` in seconds since the epoch, ``step`` the one that it is about."""

    number: int
    t: float
    step: int | None
    text: str


class Journal(list[Note]):
    """Notes in the order of their writing, that show themselves a paragraph each; in JSON an array."""

    def __init__(self, notes: Iterable[Note] = (), *, empty: str = "") -> None:
        super().__init__(notes)
        self._empty = empty

    def __rich__(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        if not self:
            return self._empty
        shown = Table.grid(padding=(0, 2))
        shown.add_column(justify="right", no_wrap=True)
        shown.add_column(justify="right", no_wrap=True)
        shown.add_column(no_wrap=True)
        shown.add_column(overflow="fold")
        for note in self:
            when = time.strftime("%b %d %H:%M", time.localtime(note.t))
            step = f"step {note.step:,}" if note.step is not None else ""
            about = (Text(part, style="nano.quiet") for part in (str(note.number), step, when))
            shown.add_row(*about, _plain(note.text))
        return shown


def add_note(run: RunDirectory, text: str, step: int | None = None) -> Note:
    """Write ``text`` into the journal of ``run``, and return it as a note. Raises `StorageError`.

    It is about ``step``, by default about the last one that is done.
    """
    step = run.status().step if step is None else step
    line = append_line(_path(run), {"t": round(time.time(), 3), "step": step, "text": text}, sync=True)
    notes = read_notes(run)
    mine = (note for note in reversed(notes) if (note.t, note.text) == (line["t"], line["text"]))
    return next(mine, Note(len(notes) + 1, line["t"], line["step"], line["text"]))


def remove_note(run: RunDirectory, number: int) -> None:
    """Let the note ``number`` of ``run`` be shown no more. Raises `StorageError`."""
    append_line(_path(run), {"t": round(time.time(), 3), "delete": number}, sync=True)


def read_notes(run: RunDirectory) -> Journal:
    """Return the notes of ``run``; half-written and damaged lines count for nothing, nor do unknown ones."""
    notes: dict[int, Note] = {}
    count = 0
    for _, line in read_lines(_path(run)):
        text, moment, step = line.get("text"), line.get("t"), line.get("step")
        if isinstance(text, str) and isinstance(moment, int | float):
            count += 1
            notes[count] = Note(count, float(moment), step if isinstance(step, int) else None, text)
        elif isinstance(deleted := line.get("delete"), int):
            notes.pop(deleted, None)
    return Journal(notes.values(), empty=f"there are no notes about {run.name}")


def signs(run: RunDirectory) -> tuple[int, int]:
    """Return what changes whenever a note of ``run`` is written: the size of its file, and its time."""
    try:
        found = _path(run).stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _path(run: RunDirectory) -> Path:
    return run.path / FILE


def _plain(text: str) -> Text:
    from rich.text import Text

    shown = (mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return Text("".join(shown))
