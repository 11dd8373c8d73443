"""``note`` and ``notes``."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nanoshell import RUN

if TYPE_CHECKING:
    from nanoshell import RunDirectory, Session
    from nanoshell_notes.journal import Note

NOTE_EXAMPLES = ("note it's overfitting: halve the epochs", "note --run latest a second look")
NOTES_EXAMPLES = ("notes", "notes latest --json")
_MEANT_NOTES = ("list", "show", "delete")
"""Words that nobody notes, but types who looks for what `notes` does."""
WHICH = (
    "Without RUN it is the one in the toolbar, else the only one in progress, else that of the chosen model, "
    "else the newest."
)


@dataclass(frozen=True)
class Noted:
    """A note that has just been written."""

    run: str
    number: int
    step: int | None
    text: str

    def __rich__(self) -> str:
        step = f", step {self.step:,}" if self.step is not None else ""
        return f"noted: {self.run}{step}"


@click.command(epilog=WHICH)
@click.argument("text", required=False, metavar="[RUN] TEXT")
@click.option("--run", "name", type=RUN, help="About which run.", show_default="the meant one")
@click.pass_obj
def note(session: Session, text: str | None, name: str | None) -> Noted:
    """Write TEXT into the journal of a run.

    TEXT is taken as typed, without quotes. It may begin with the whole name of a run: then it is about that
    one. `notes` and `runs show` show it, with the step that the run was at.
    """
    from nanoshell import UsageError, typed
    from nanoshell_notes.journal import add_note

    words = (text or "").strip()
    if name is None:
        name, words = _leading_run(session, words)
    if not words:
        raise UsageError(
            "a note needs some words",
            hint=f"for example: {typed('note the loss fell at last')}; read them with: {typed('notes')}",
        )
    if words in _MEANT_NOTES and name is None:
        raise UsageError(
            f"'{words}' is no command of note: {typed('notes')} shows them, and {typed('notes --delete N')} "
            "removes one",
            hint=f"to note that word all the same: {typed(f'note --run latest {words}')}",
        )
    run = _meant(session, name)
    written = add_note(run, words)
    session.narrator.note(f"take it back with: {typed(f'notes {run.name} --delete {written.number}')}")
    return Noted(run.name, written.number, written.step, written.text)


@click.command(epilog=WHICH)
@click.argument("run", type=RUN, required=False)
@click.option("--delete", type=click.IntRange(min=1), metavar="N", help="Remove the note with this number.")
@click.pass_obj
def notes(session: Session, run: str | None, delete: int | None) -> list[Note]:
    """Show what was noted about a run, or remove a note."""
    from nanoshell import UsageError
    from nanoshell_notes.journal import read_notes, remove_note

    found = _meant(session, run)
    kept = read_notes(found)
    if delete is not None:
        if all(each.number != delete for each in kept):
            numbers = ", ".join(str(each.number) for each in kept) or "none"
            raise UsageError(f"{found.name} has no note {delete}", hint=f"its notes: {numbers}")
        remove_note(found, delete)
        kept = read_notes(found)
    session.narrator.note(f"{found.name}, {len(kept)} note{'' if len(kept) == 1 else 's'}")
    return kept


def _leading_run(session: Session, text: str) -> tuple[str | None, str]:
    """Return the run whose whole name ``text`` begins with, and the rest; None and ``text`` without one."""
    from nanoshell import list_runs

    first, _, rest = text.partition(" ")
    named = any(run.name == first for run in list_runs(session.runs_dir))
    return (first, rest.strip()) if named else (None, text)


def _meant(session: Session, name: str | None) -> RunDirectory:
    """Return the run called ``name``, else the one that is meant. Raises `RunError`, `UsageError`."""
    from nanoshell import NanoshellError, RunError

    if name is not None:
        return session.find_run(name)
    try:
        return session.steered_run()
    except RunError:
        if session.model_name is not None:
            with contextlib.suppress(NanoshellError):
                return session.find_run(session.model_name.partition("@")[0])
        return session.find_run("latest")
