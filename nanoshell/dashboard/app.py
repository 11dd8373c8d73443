"""The dashboard itself: the desk at which panels show runs, and from which runs are steered."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.notifications import Notify

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.asciionly import AsciiOnly
from nanoshell.dashboard.asking import NEW_SAMPLES, Requests
from nanoshell.dashboard.course import Snapshot
from nanoshell.dashboard.faults import place_of, tell_author
from nanoshell.dashboard.harmless import Harmless
from nanoshell.dashboard.isolation import DeskScreen, cause_of, slot_of
from nanoshell.dashboard.keys import bindings, find
from nanoshell.dashboard.layout import Layout, keep_layout, load_layout
from nanoshell.dashboard.menus import writes
from nanoshell.dashboard.notices import Notice
from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.questions import AskLine, Confirm
from nanoshell.dashboard.remap import keymap
from nanoshell.dashboard.showing import Showing
from nanoshell.dashboard.slots import PanelSlot, panel_slots
from nanoshell.dashboard.small import LEAST_COLUMNS, LEAST_LINES
from nanoshell.dashboard.steering import Steering, deaf_words
from nanoshell.dashboard.table import ACTIONS, RUN
from nanoshell.dashboard.themes import adopt_themes, colour_filters, textual_theme, wants_no_colour
from nanoshell.dashboard.views import ChartGrid, build_views

if TYPE_CHECKING:
    from textual.actions import ActionParseResult
    from textual.binding import BindingType
    from textual.dom import DOMNode

    from nanoshell.dashboard.handover import LogFile
    from nanoshell.plugin.registry import Entry
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.session import Session

SHOW_SECONDS = 6.0
GLANCE_SECONDS = 2.5
"""What is said about a key that is pressed again and again covers the charts no longer."""


class Feed(Protocol):
    """What reads the runs and hands over what has changed; `nanoshell.dashboard.watch.Watcher` is one."""

    def start(self, deliver: Callable[[Snapshot], None]) -> None:
        """Begin to read aside; ``deliver`` is called in another thread with whatever is new."""

    def stop(self) -> None:
        """Read nothing from now on."""

    def focus(self, name: str) -> None:
        """Give the run ``name`` the focus, and show it where it is not shown."""

    def show(self, name: str, shown: bool) -> None:
        """Show the run ``name``, or no longer."""

    def rest(self, resting: bool) -> None:
        """Look less often while nobody does, or as often as before."""


class DashboardApp(Steering, Showing, inherit_bindings=False):
    """The program that `nanoshell dashboard` runs: it is the `Desk` of its panels.

    ``runs_dir`` is the folder of the runs, ``runs`` names those that are shown; without any it is the newest.
    ``panels`` are entries of the registry of panels. With ``read_only`` nothing is asked of a run.
    ``keys`` are words such as ``pause=p``, of the setting ``dashboard_keys``.
    """

    CSS_PATH = "dashboard.tcss"
    TITLE = "nanoshell"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (LEAST_COLUMNS, "-wide")]  # noqa: RUF012 - as it is declared
    VERTICAL_BREAKPOINTS = [(0, "-low"), (LEAST_LINES, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(ACTIONS),
        *(Binding(str(number), f"view({number - 1})", show=False) for number in range(1, 10)),
    ]

    class Arrived(Message):
        """What the feed hands over."""

        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__()
            self.snapshot = snapshot

    class Said(Message):
        """What another thread has to say."""

        def __init__(self, text: str, severity: str, about: str) -> None:
            super().__init__()
            self.text, self.severity, self.about = text, severity, about

    def __init__(
        self,
        runs_dir: Path,
        runs: Sequence[str] = (),
        *,
        session: Session | None = None,
        read_only: bool = False,
        ascii: bool = False,  # noqa: A002
        panels: Iterable[Entry[Callable[..., Any]]] = (),
        sections: Iterable[Entry[Callable[[RunDirectory], Any]]] = (),
        feed: Feed | None = None,
        state_path: Path | None = None,
        theme: str = "terminal",
        keys: Sequence[str] = (),
    ) -> None:
        kept = load_layout(state_path)
        views = build_views(panel_slots(panels), read_only=read_only)
        super().__init__(views, kept.view, kept.sight)
        self.no_color = wants_no_colour(theme)
        few = self.no_color or self.console.color_system not in ("truecolor", "256")
        adopt_themes(self)
        self.theme = textual_theme(theme, few=few)
        colours = colour_filters(self.theme, no_colour=self.no_color)
        self.own_filters = [Harmless(), *colours, *[AsciiOnly()] * ascii]
        self.failure: BaseException | None = None
        self.log_file: LogFile | None = None
        self.run_sections = tuple(sections)
        self._state_path = state_path
        self._layout_kept = kept
        self._runs_dir = runs_dir
        self._session = None if read_only else session
        self._read_only = read_only
        self._ascii = ascii
        self._kept = dict(kept.kept)
        self._wanted_keys = keys
        self._feed = feed or _watcher(runs_dir, runs, kept.colours)
        self._requests = Requests(self._session, self.say)

    # The desk

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def runs_dir(self) -> Path:
        return self._runs_dir

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def ascii(self) -> bool:
        return self._ascii

    def ask_run(self, action: str, **arguments: Any) -> None:
        """Ask the focused run's worker for ``action``; what it answers appears on the screen."""
        if self._read_only:
            self.tell("nothing can be asked of a run here: the dashboard only reads", severity="warning")
        elif (run := self.listening_run()) is not None:
            self.ask_of(run, action, **arguments)

    def ask_of(self, run: RunDirectory, action: str, **arguments: Any) -> None:
        """Ask the worker of ``run`` for ``action``. Until it answers, the line at the top says so."""
        self._requests.ask(run, action, **arguments)
        self.tell_headline()

    def unanswered(self, run: str) -> list[str]:
        """Return what the run of that name was asked for and has not answered, in a word or two each."""
        return [asked.words for asked in self._requests.pending(run)]

    def rate_asked(self, run: RunDirectory) -> float | None:
        """Return the learning rate that ``run`` was asked to have and has not answered to, None for none."""
        rates = [asked.learning_rate for asked in self._requests.pending(run.name)]
        return next((rate for rate in reversed(rates) if rate is not None), None)

    def focus_run(self, name: str) -> None:
        """Give the run ``name`` the focus, and show it where it is not shown."""
        self._feed.focus(name)

    def show_run(self, name: str, shown: bool) -> None:
        """Show the run ``name`` beside the others, or no longer."""
        self._feed.show(name, shown)

    def rest_feed(self, resting: bool) -> None:
        """Let what reads the runs look less often, or as often as before."""
        self._feed.rest(resting)

    def recall(self, key: str) -> Any:
        """Return what was remembered as ``key``, also the last time; None where nothing was."""
        return self._kept.get(key)

    def remember(self, key: str, value: Any) -> None:
        """Remember ``value`` for this time and the next. Raises `TypeError` where JSON cannot hold it."""
        json.dumps(value)
        self._kept[key] = value
        self.spread()

    def tell(self, text: str, *, severity: str = "information", about: str = "") -> None:
        """Say ``text`` for some seconds, in the place of what was said ``about`` the same."""
        self._notify(text, severity, about, GLANCE_SECONDS if about else SHOW_SECONDS)

    def _notify(self, text: str, severity: str, about: str, seconds: float) -> None:
        known: Any = severity if severity in ("warning", "error") else "information"
        said = "\n".join(map(plain, text.splitlines()))
        self.post_message(Notify(Notice(said, severity=known, timeout=seconds, about=about)))

    def ask_first(self, owner: DOMNode, action: Action) -> None:
        """Ask the question of ``action``, and let ``owner`` do it where the answer is yes."""
        run = self._snapshot.focused
        name = run.run.name if run else "the run"

        def answered() -> None:
            now = self._snapshot.focused
            if run is not None and (now is None or now.run.path != run.run.path):
                self.tell(f"{name} has the focus no more: nothing was done", severity="warning")
            else:
                self.call_later(self.run_action, action.id, owner)

        self.ask_yes(action.question.replace("{run}", name), answered)

    def ask_yes(self, question: str, then: Callable[[], None]) -> None:
        """Ask ``question``, and do ``then`` where the answer is yes."""
        self.push_screen(Confirm(question), lambda yes: then() if yes else None)

    def ask_line(
        self, question: str, text: str, check: Callable[[str], str], then: Callable[[str], None]
    ) -> None:
        """Ask for a line of text, ``text`` to begin with, and hand it to ``then`` unless it stays empty."""

        def checked(line: str) -> str:
            try:
                return check(line)
            except Exception as error:
                return f"it cannot be checked: {type(error).__name__}: {plain(str(error))}"

        def answered(line: str | None) -> None:
            try:
                if line:
                    then(line)
            except Exception as error:
                if not self._tell_fault("the answer to a question", error):
                    raise

        self.push_screen(AskLine(question, text, checked), answered)

    def listening_run(self) -> RunDirectory | None:
        """Return the run that steering is about; None, and it is said why, where none answers."""
        course = self._snapshot.focused
        why = deaf_words(course.run.name, course.status) if course is not None else "no run is shown"
        if why:
            self.tell(why, severity="warning", about="who answers")
        return course.run if course is not None and not why else None

    # From opening to leaving

    def on_mount(self) -> None:
        self.set_class(self._ascii, "-ascii")
        self._use_keys()
        self.begin_to_show(self._layout_kept.maximized)
        self.begin_capture_print(self)
        self.take_terminal_once()
        self.app_suspend_signal.subscribe(self, lambda _app: self._feed.rest(True), immediate=True)
        self.app_resume_signal.subscribe(self, lambda _app: self._come_back(), immediate=True)
        self._feed.start(self._arrive_aside)

    def _come_back(self) -> None:
        """Draw the whole screen anew: the terminal has shown something else meanwhile."""
        self._feed_rests = False
        self._feed.rest(False)
        self.refresh(layout=True)

    def on_unmount(self) -> None:
        self._keep_layout()
        self._feed.stop()
        self._requests.close()

    def _use_keys(self) -> None:
        panels = [slot.panel for view in self.views for slot in view.slots if slot.panel is not None]
        self.keymap = keymap(self._wanted_keys, ACTIONS, panels)
        self.set_keymap({name: ",".join(keys) for name, keys in self.keymap.keys.items()})
        if self.keymap.problems:
            self.tell("\n".join(["dashboard_keys:", *self.keymap.problems]), severity="warning")

    def _keep_layout(self) -> None:
        maximized = next((view.maximized for view in self.views if isinstance(view, ChartGrid)), None)
        known, seen = self._layout_kept.colours, self._snapshot.colours
        colours = {**{name: known[name] for name in known if name not in seen}, **seen}
        layout = Layout(
            self.view.place, maximized.panel_id if maximized else "", self._sight, self._kept, colours
        )
        if layout != self._layout_kept or list(colours) != list(known):
            keep_layout(self._state_path, layout)

    def get_default_screen(self) -> DeskScreen:
        """Return the screen of the panels."""
        return DeskScreen(id="_default")

    def fault(self, error: Exception) -> None:
        """Let the panel that has raised ``error`` stand for it; what is nobody's ends the dashboard."""
        cause = cause_of(error)
        slot = slot_of(cause, self._slots())
        if slot is not None and slot.error is None:
            slot.fail(cause)
        elif slot is None:
            self.failure = self.failure or error
            self.end_at_once()

    def _slots(self) -> list[PanelSlot]:
        return [slot for view in self.views for slot in view.slots]

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do ``action``. What a panel raises is said, and the panel stays."""
        if self._read_only and writes(default_namespace, action):
            self.tell("this dashboard only reads", severity="warning", about="only reads")
            return True
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except (Exception, SystemExit) as error:
            if not self._tell_fault(str(action), error):
                raise
            return True

    def _tell_fault(self, what: str, error: BaseException) -> bool:
        """Tell that ``what`` of a panel has raised ``error``; return False where it was no panel's."""
        slot = slot_of(error, self._slots())
        if slot is not None:
            self.tell(
                f"{what} of panel '{slot.panel_id}' (plugin '{slot.entry.provider}') failed: "
                f"{type(error).__name__}: {error}" + (f" ({where})" if (where := place_of(error)) else ""),
                severity="error",
            )
            tell_author(slot.entry, error)
        return slot is not None

    def on_print(self, event: events.Print) -> None:
        if self.log_file is not None:
            self.log_file.write(event.text)

    def say(self, text: str, severity: str = "information", about: str = "") -> None:
        """Say ``text`` as `tell` does, but for as long as what is about nothing, from any thread."""
        self.post_message(self.Said(text, severity, about))

    def _arrive_aside(self, snapshot: Snapshot) -> None:
        self.post_message(self.Arrived(snapshot))

    def on_dashboard_app_arrived(self, message: Arrived) -> None:
        self.show_snapshot(message.snapshot)

    def on_dashboard_app_said(self, message: Said) -> None:
        seen = message.about == NEW_SAMPLES and self.view.place == "samples"
        if message.text and not seen:
            self._notify(message.text, message.severity, message.about, SHOW_SECONDS)
        self.tell_headline()

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: nothing that writes where the dashboard only reads."""
        name = str(parameters[0]) if action == "ask_first" and parameters else action
        found = find(ACTIONS, name)
        return not (found and found.writes and self._read_only)

    def action_ask_first(self, name: str) -> None:
        """Do the action ``name`` once its question has been answered with yes."""
        found = find(ACTIONS, name)
        if found is not None and (found.group != RUN or self.listening_run() is not None):
            self.ask_first(self, found)

    def leave(self) -> None:
        """End the dashboard, from wherever it is."""
        self.exit()

    def action_leave(self) -> None:
        """End the dashboard."""
        self.exit()

    def action_suspend(self) -> None:
        """Let the shell have the terminal; ``fg`` comes back. What started this program rests, too."""
        if self.can_suspend:
            self.app_suspend_signal.publish(self)
            os.kill(0, signal.SIGTSTP)


def _watcher(runs_dir: Path, runs: Sequence[str], colours: Mapping[str, int]) -> Feed:
    from nanoshell.dashboard.watch import Watcher

    found: Feed = Watcher(runs_dir, runs, colours)
    return found
