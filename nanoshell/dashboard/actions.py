"""Actions: what can be done in the dashboard, one table from which keys, footer, palette and help come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One thing that can be done: `App.action_ID`, or `action_ID` of the panel that lists it.

    ``keys`` are Textual's names of keys, of which the first is shown. ``writes`` asks something of
    a run or needs the session, and is absent where the dashboard only reads. ``question`` is asked before it
    is done. ``footer`` shows it at the bottom while it applies, as ``short`` where the title is long.
    ``states`` are those of the run in focus in which it is shown, none for all and without a run: its key
    works in the others, too, and what the run answers is told. ``words`` are others by which the palette
    finds it.
    """

    id: str
    title: str
    keys: tuple[str, ...] = ()
    group: str = "Dashboard"
    writes: bool = False
    question: str = ""
    footer: bool = False
    states: tuple[str, ...] = ()
    short: str = ""
    words: str = ""
