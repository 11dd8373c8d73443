"""A journal of runs: what you thought about one, written down beside its figures.

::

    :note the loss fell when I halved the batch       of the run that trains, else of the newest
    :note nano-start-2 forgot its system turn         of another one
    :notes                                            all of them, with the step that each was written at
    :notes --delete 2                                 takes one back

``runs show`` has them under the run's figures. They stand in the run's own folder, in ``notes.jsonl``, so
that they go with it to another machine, and away with ``runs rm``.

The dashboard has them in a view of their own, where a key writes one.

This package is also an example of a plugin with commands, a file of its own in a run's directory, a section
of ``runs show`` (``register_run_sections``), and a panel of the dashboard (``register_panels``), whose module
is imported when a dashboard opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import RegisterCommand, RegisterPanel, RegisterRunSection, RunDirectory
    from nanoshell_notes.journal import Note
    from nanoshell_notes.panel import NotesPanel

nanoshell_api = 1


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Register ``note`` and ``notes``."""
    from nanoshell_notes import commands

    register(commands.note, group="Training", examples=commands.NOTE_EXAMPLES, raw=True)
    register(commands.notes, group="Training", examples=commands.NOTES_EXAMPLES)


def show_notes(run: RunDirectory) -> list[Note] | None:
    """Return the notes of ``run``, None where there are none."""
    from nanoshell_notes.journal import read_notes

    return read_notes(run) or None


@hookimpl
def register_run_sections(register: RegisterRunSection) -> None:
    """Register the section ``notes``."""
    register("notes", show_notes, summary="what was written down about the run")


def notes_panel() -> NotesPanel:
    """Return a new panel of notes."""
    from nanoshell_notes.panel import NotesPanel

    return NotesPanel()


@hookimpl(trylast=True)  # its view comes after those of the dashboard
def register_panels(register: RegisterPanel) -> None:
    """Register the panel ``notes``."""
    register("notes", notes_panel, summary="what was written down about the run in focus")
