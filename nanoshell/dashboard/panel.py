"""Panels: what a plugin brings to the dashboard, and what the dashboard offers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from textual.message import Message
from textual.widget import Widget

from nanoshell.dashboard.actions import Action as Action
from nanoshell.dashboard.keys import bindings, find

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.dom import DOMNode
    from textual.signal import Signal
    from textual.timer import Timer

    from nanoshell.dashboard.course import Sight, Snapshot
    from nanoshell.plugin.registry import Entry
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.session import Session


class Desk(Protocol):
    """What the dashboard does for its panels."""

    @property
    def session(self) -> Session | None:
        """The session of the prompt; None where only run directories are read."""

    @property
    def read_only(self) -> bool:
        """Whether nothing may be asked of a run."""

    @property
    def ascii(self) -> bool:
        """Whether nothing but ASCII may be drawn."""

    @property
    def runs_dir(self) -> Path:
        """The folder of the runs."""

    @property
    def run_sections(self) -> tuple[Entry[Callable[[RunDirectory], Any]], ...]:
        """What plugins show beside a run's figures."""

    @property
    def snapshot(self) -> Snapshot:
        """What panels were last handed."""

    @property
    def arrived(self) -> Signal[Snapshot]:
        """Published with every new snapshot, for those who must know of it while they are not seen."""

    @property
    def sight(self) -> Sight:
        """How the charts look at their runs."""

    def set_sight(self, sight: Sight) -> None:
        """Let all charts look at their runs so."""

    def ask_run(self, action: str, **arguments: Any) -> None:
        """Ask the focused run's worker for ``action``; what it answers appears on the screen."""

    def focus_run(self, name: str) -> None:
        """Give the run ``name`` the focus, and show it where it is not shown."""

    def show_run(self, name: str, shown: bool) -> None:
        """Show the run ``name`` beside the others, or no longer."""

    def recall(self, key: str) -> Any:
        """Return what was remembered as ``key``, also the last time; None where nothing was."""

    def remember(self, key: str, value: Any) -> None:
        """Remember ``value`` for this time and the next. Raises `TypeError` where JSON cannot hold it.

        All panels share the keys: one's own begin with the panel's id, as in ``notes.order``.
        """

    def tell(self, text: str, *, severity: str = "information", about: str = "") -> None:
        """Say ``text`` for some seconds (``severity``: information, warning, error).

        What is said ``about`` something, a word, takes the place of what was said about it before, and is
        gone sooner: for a key that is pressed again and again.
        """

    def ask_line(
        self, question: str, text: str, check: Callable[[str], str], then: Callable[[str], None]
    ) -> None:
        """Ask for a line of text, ``text`` to begin with, and hand it to ``then`` unless it stays empty.

        ``check`` returns what is wrong with a line, '' for nothing.
        """

    def ask_first(self, owner: DOMNode, action: Action) -> None:
        """Ask the question of ``action``, and let ``owner`` do it where the answer is yes."""


class Panel(Widget):
    """A part of the dashboard: a Textual widget that shows what `update` hands it.

    ``panel_id`` is a word, ``title`` what stands above it, ``about`` what F1 explains, ``actions`` what can
    be done in it (`action_ID` methods); they become its bindings. Its styles are in ``DEFAULT_CSS``.
    ``remark`` is what stands behind the title, a few words that may change.
    ``most_rows`` are all that it has a use for beside others, 0 for as many as there are.
    ``place`` is the view in which it stands: charts, samples, runs, run, log, chat; where it is empty, it has
    a view of its own.

    What is offered at the bottom, in the palette and as help are the actions that `check_action` allows. Call
    `refresh_bindings` where it has changed its mind without a new snapshot: it costs next to nothing.
    """

    panel_id: ClassVar[str] = ""
    title: ClassVar[str] = ""
    place: ClassVar[str] = ""
    most_rows: ClassVar[int] = 0
    about: ClassVar[str] = ""
    actions: ClassVar[tuple[Action, ...]] = ()
    can_focus = True
    hidden = False
    """Whether the user has hidden it, though it has something to show: some are, it is told."""
    _remark = ""
    _regular: tuple[tuple[Timer, Callable[[], object]], ...] = ()

    class Retitled(Message):
        """What stands beside the title of the panel has changed."""

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        own: tuple[Action, ...] = cls.__dict__.get("actions", ())
        cls.SCOPED_CSS = True  # its styles are about what is inside it, and about nothing else
        cls.BINDINGS = [*cls.__dict__.get("BINDINGS", ()), *bindings(own, cls.panel_id or cls.__name__)]
        super().__init_subclass__(*args, **kwargs)

    @property
    def desk(self) -> Desk:
        """What the dashboard does for this panel."""
        return cast("Desk", self.app)

    @property
    def remark(self) -> str:
        """What stands behind the title, '' for nothing."""
        return self._remark

    @remark.setter
    def remark(self, text: str) -> None:
        if text != self._remark:
            self._remark = text
            self.post_message(self.Retitled())

    def update(self, snapshot: Snapshot) -> None:
        """Show ``snapshot``.

        Called at most four times a second, while the panel is visible, and only when something has changed.
        """

    def every(self, seconds: float, act: Callable[[], object]) -> None:
        """Call ``act`` when the panel comes on the screen, and every so many seconds while it is there.

        For what no snapshot tells. Call it once, in ``on_mount``.
        """
        self._regular += ((self.set_interval(seconds, act, pause=True), act),)

    def on_show(self) -> None:
        """Begin what is done `every` so often."""
        for timer, act in self._regular:
            timer.reset()
            timer.resume()
            self.call_later(act)

    def on_hide(self) -> None:
        """Do it no longer."""
        for timer, _ in self._regular:
            timer.pause()

    def first_focus(self) -> Widget:
        """Return what takes the keys when the view opens: the panel; one to type in returns its field."""
        return self

    def wanted(self, snapshot: Snapshot) -> bool:
        """Return whether a chart has something to show of ``snapshot``; without, the grid leaves it out."""
        return True

    def look(self, sight: Sight) -> None:
        """Look at the runs so. Called when the view that the charts share has changed."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: nothing that writes where the dashboard only reads."""
        name = str(parameters[0]) if action == "ask_first" and parameters else action
        found = find(self.actions, name)
        return not (found and found.writes and self.desk.read_only)

    def action_ask_first(self, name: str) -> None:
        """Do the action ``name`` once its question has been answered with yes."""
        found = find(self.actions, name)
        if found is not None:
            self.desk.ask_first(self, found)
