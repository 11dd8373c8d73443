"""The dashboard itself: the desk at which panels show runs, and from which runs are steered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.asciionly import AsciiOnly
from nanoshell.dashboard.asking import Requests
from nanoshell.dashboard.course import Sight, Snapshot
from nanoshell.dashboard.footer import CpuMeter, KeyFooter
from nanoshell.dashboard.header import AlertLine, Headline
from nanoshell.dashboard.isolation import DeskScreen, place_of, slot_of
from nanoshell.dashboard.keys import bindings, find, written
from nanoshell.dashboard.layout import Layout, keep_layout, load_layout
from nanoshell.dashboard.menus import Menus
from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.questions import AskLine, Confirm
from nanoshell.dashboard.steering import Steering
from nanoshell.dashboard.table import ACTIONS
from nanoshell.dashboard.themes import textual_theme
from nanoshell.dashboard.views import ChartGrid, PanelSlot, TabBar, View, build_views

if TYPE_CHECKING:
    from textual.actions import ActionParseResult
    from textual.binding import BindingType
    from textual.dom import DOMNode

    from nanoshell.dashboard.handover import LogFile
    from nanoshell.plugin.registry import Entry
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.session import Session

REFRESH_SECONDS = 0.25
"""Panels are updated at most so often."""

SHARE_SECONDS = 2.0

SHOW_SECONDS = 6.0


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


class DashboardApp(Steering, Menus, inherit_bindings=False):
    """The program that `nanoshell dashboard` runs: it is the `Desk` of its panels.

    ``runs_dir`` is the folder of the runs, ``runs`` names those that are shown; without any it is the newest.
    ``panels`` are entries of the registry of panels. With ``read_only`` nothing is asked of a run.
    """

    CSS_PATH = "dashboard.tcss"
    TITLE = "nanoshell"
    ENABLE_COMMAND_PALETTE = False
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

        def __init__(self, text: str, severity: str) -> None:
            super().__init__()
            self.text, self.severity = text, severity

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
    ) -> None:
        super().__init__()
        self.theme = textual_theme(theme, few=self.console.color_system not in ("truecolor", "256"))
        if ascii:
            self._filters.append(AsciiOnly())
        self.failure: BaseException | None = None
        self.log_file: LogFile | None = None
        self.run_sections = tuple(sections)
        self._state_path = state_path
        self._layout_kept = load_layout(state_path)
        self.runs_dir = runs_dir
        self._session = None if read_only else session
        self._read_only = read_only
        self._ascii = ascii
        self._snapshot = Snapshot(now=time.time())
        self._sight = self._layout_kept.sight
        self._kept = dict(self._layout_kept.kept)
        self._feed = feed or _watcher(runs_dir, runs)
        self._requests = Requests(self._session, self.say)
        self._meter = CpuMeter()
        self._spread_at = 0.0
        self._spread_due = False
        self.views = build_views(map(PanelSlot, panels), read_only=read_only)
        names = [view.place for view in self.views]
        kept = self._layout_kept.view
        self.chosen = names.index(kept) if kept in names else 0

    # The desk

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def ascii(self) -> bool:
        return self._ascii

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def sight(self) -> Sight:
        return self._sight

    def set_sight(self, sight: Sight) -> None:
        """Let all charts look at their runs so."""
        if sight == self._sight:
            return
        self._sight = sight
        for slot in self.view.visible_slots():
            try:
                slot.look(sight)
            except Exception as error:
                slot.fail(error, place_of(error))

    def ask_run(self, action: str, **arguments: Any) -> None:
        """Ask the focused run's worker for ``action``; what it answers appears on the screen."""
        if self._read_only:
            self.tell("nothing can be asked of a run here: the dashboard only reads", severity="warning")
        elif (run := self.focused_run()) is not None:
            self._requests.ask(run, action, **arguments)

    def focus_run(self, name: str) -> None:
        """Give the run ``name`` the focus, and show it where it is not shown."""
        self._feed.focus(name)

    def show_run(self, name: str, shown: bool) -> None:
        """Show the run ``name`` beside the others, or no longer."""
        self._feed.show(name, shown)

    def recall(self, key: str) -> Any:
        """Return what was remembered as ``key``, also the last time; None where nothing was."""
        return self._kept.get(key)

    def remember(self, key: str, value: Any) -> None:
        """Remember ``value``, which JSON can hold, for this time and the next."""
        self._kept[key] = value
        self.spread()

    def tell(self, text: str, *, severity: str = "information") -> None:
        """Say ``text`` for some seconds."""
        known: Any = severity if severity in ("warning", "error") else "information"
        said = "\n".join(map(plain, text.splitlines()))
        self.notify(said, severity=known, timeout=SHOW_SECONDS, markup=False)

    def ask_first(self, owner: DOMNode, action: Action) -> None:
        """Ask the question of ``action``, and let ``owner`` do it where the answer is yes."""
        run = self._snapshot.focused
        question = action.question.replace("{run}", run.run.name if run else "the run")

        async def answered(yes: bool | None) -> None:
            if yes:
                await self.run_action(action.id, owner)

        self.push_screen(Confirm(question), answered)

    def ask_line(
        self, question: str, text: str, check: Callable[[str], str], then: Callable[[str], None]
    ) -> None:
        """Ask for a line of text, ``text`` to begin with, and hand it to ``then`` unless it stays empty."""
        self.push_screen(AskLine(question, text, check), lambda line: then(line) if line else None)

    def focused_run(self) -> RunDirectory | None:
        """Return the run that steering is about; where there is none, say so and return None."""
        course = self._snapshot.focused
        if course is None:
            self.tell("no run is shown", severity="warning")
        return course.run if course else None

    # What is on the screen

    def compose(self) -> ComposeResult:
        yield Headline(id="headline")
        yield AlertLine(id="alert")
        yield TabBar(view.title for view in self.views)
        with Container(id="views"):
            yield from self.views
        yield KeyFooter()

    def on_mount(self) -> None:
        self.set_class(self._ascii, "-ascii")
        self.query_one(AlertLine).display = False
        self.query_one(Headline).tell(self._snapshot, self._empty())
        for view in self.views:
            if isinstance(view, ChartGrid):
                view.maximize_id(self._layout_kept.maximized)
        self._choose(self.chosen)
        self.begin_capture_print(self)
        self.set_interval(SHARE_SECONDS, self._tell_share)
        self._feed.start(self._arrive_aside)

    def on_unmount(self) -> None:
        self._keep_layout()
        self._feed.stop()
        self._requests.close()

    def _keep_layout(self) -> None:
        maximized = next((view.maximized for view in self.views if isinstance(view, ChartGrid)), None)
        layout = Layout(self.view.place, maximized.panel_id if maximized else "", self._sight, self._kept)
        if layout != self._layout_kept:
            keep_layout(self._state_path, layout)

    def get_default_screen(self) -> DeskScreen:
        """Return the screen of the panels."""
        return DeskScreen(id="_default")

    def _handle_exception(self, error: Exception) -> None:
        """Let the panel that has raised ``error`` stand for it; what is nobody's ends the dashboard."""
        slot = slot_of(error)
        if slot is not None and slot.error is None:
            slot.fail(error, place_of(error))
        elif slot is None:
            self.failure = self.failure or error
            self.exit(return_code=1)
            self._close_messages_no_wait()

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do ``action``. What a panel raises is said, and the panel stays."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except Exception as error:
            slot = slot_of(error)
            if slot is None:
                raise
            self.tell(
                f"{action} of panel '{slot.panel_id}' (plugin '{slot.entry.provider}') failed: "
                f"{type(error).__name__}: {error}",
                severity="error",
            )
            return True

    def on_print(self, event: events.Print) -> None:
        if self.log_file is not None:
            self.log_file.write(event.text)

    def say(self, text: str, severity: str = "information") -> None:
        """Say ``text`` as `tell` does, from any thread."""
        self.post_message(self.Said(text, severity))

    def _arrive_aside(self, snapshot: Snapshot) -> None:
        self.post_message(self.Arrived(snapshot))

    def _empty(self) -> str:
        return f"no run is shown; {self.runs_dir} has none yet" if not self._snapshot.courses else ""

    def on_dashboard_app_arrived(self, message: Arrived) -> None:
        self._snapshot = message.snapshot
        self.spread()

    def on_dashboard_app_said(self, message: Said) -> None:
        self.tell(message.text, severity=message.severity)

    def spread(self) -> None:
        """Hand what is new to the panels that are visible, now or when their time has come."""
        if self._spread_due:
            return
        wait = self._spread_at + REFRESH_SECONDS - time.monotonic()
        if wait > 0:
            self._spread_due = True
            self.set_timer(wait, self._spread)
        else:
            self._spread()

    def _spread(self) -> None:
        self._spread_due = False
        self._spread_at = time.monotonic()
        self.query_one(Headline).tell(self._snapshot, self._empty())
        self.query_one(AlertLine).tell(self._snapshot)
        if isinstance(self.view, ChartGrid):
            self.view.sift(self._snapshot)
        self._show_place()
        later = 0.0
        for slot in self.view.visible_slots():
            try:
                again = slot.show(self._snapshot, self._sight)
            except Exception as error:
                slot.fail(error, place_of(error))
                continue
            later = min(later, again) if later and again else later or again
        if later and not self._spread_due:
            self._spread_due = True
            self.set_timer(later, self._spread)

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self.views[self.chosen]

    def _choose(self, index: int) -> None:
        self.chosen = index
        for view in self.views:
            view.display = view is self.view
        if (first := self.view.first_focus()) is not None:
            first.focus()
        self.call_after_refresh(self._spread)
        self._show_keys()

    def _show_place(self) -> None:
        pages = self.view.pages if isinstance(self.view, ChartGrid) else 1
        page = self.view.page + 1 if isinstance(self.view, ChartGrid) else 1
        self.query_one(TabBar).choose(self.chosen, f"PgUp PgDn {page}/{pages}" if pages > 1 else "")

    def _show_keys(self) -> None:
        possible = [action for _owner, action in self.possible_actions() if action.footer and action.keys]
        own = [action for action in possible if action not in ACTIONS]
        ours = [action for action in possible if action in ACTIONS]
        shown = [*ours[:3], *own, *ours[3:]]
        self.query_one(KeyFooter).show([(written(action.keys[0]), action.title) for action in shown])

    def on_descendant_focus(self) -> None:
        if self.screen is self.screen_stack[0]:
            self._show_keys()

    def _tell_share(self) -> None:
        self.query_one(KeyFooter).tell_share(self._meter.share())

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: nothing that writes where the dashboard only reads."""
        name = str(parameters[0]) if action == "ask_first" and parameters else action
        found = find(ACTIONS, name)
        return not (found and found.writes and self._read_only)

    def action_ask_first(self, name: str) -> None:
        """Do the action ``name`` once its question has been answered with yes."""
        found = find(ACTIONS, name)
        if found is not None:
            self.ask_first(self, found)

    def action_view(self, index: int) -> None:
        """Show the view ``index``."""
        if index < len(self.views):
            self._choose(index)

    def action_maximize(self) -> None:
        """Give the panel that has the keys all the room of its grid, or bring the grid back."""
        grid, panel = self.view, self.focused_panel
        if isinstance(grid, ChartGrid):
            slot = next((slot for slot in grid.slots if panel and slot.panel is panel), None)
            grid.maximize(None if grid.maximized else slot)
            self.call_after_refresh(self._spread)

    def action_next_page(self) -> None:
        """Show further charts."""
        self._turn(1)

    def action_previous_page(self) -> None:
        """Show the charts before."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        if isinstance(self.view, ChartGrid):
            self.view.turn(by)
            self.call_after_refresh(self._spread)

    def action_next_run(self) -> None:
        """Give the next of the runs that are shown the focus."""
        courses = self._snapshot.courses
        if len(courses) > 1:
            self.focus_run(courses[(self._snapshot.focus + 1) % len(courses)].run.name)

    def action_step_out(self) -> None:
        """Leave the innermost thing that is open: the maximised chart, then a field, then the view."""
        if isinstance(self.view, ChartGrid) and self.view.maximized is not None:
            self.action_maximize()
        elif self.chosen:
            self._choose(0)

    def leave(self) -> None:
        """End the dashboard, from wherever it is."""
        self.exit()

    def action_leave(self) -> None:
        """End the dashboard."""
        self.exit()

    def action_suspend(self) -> None:
        """Let the shell have the terminal; ``fg`` comes back. What started this program rests, too."""
        if self._driver is not None and self._driver.can_suspend:
            self.app_suspend_signal.publish(self)
            os.kill(0, signal.SIGTSTP)


def _watcher(runs_dir: Path, runs: Sequence[str]) -> Feed:
    from nanoshell.dashboard.watch import Watcher

    found: Feed = Watcher(runs_dir, runs)
    return found
