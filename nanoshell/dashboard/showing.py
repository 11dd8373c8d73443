"""What is on the screen: the views and their pages, the charts' sight, who is handed what is new and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.signal import Signal
from textual.timer import Timer

from nanoshell.dashboard.course import Sight, Snapshot
from nanoshell.dashboard.footer import CpuMeter, KeyFooter, in_order
from nanoshell.dashboard.header import AlertLine, Headline
from nanoshell.dashboard.keys import written
from nanoshell.dashboard.menus import Menus
from nanoshell.dashboard.pace import Pace
from nanoshell.dashboard.small import TooSmall
from nanoshell.dashboard.table import PALETTE
from nanoshell.dashboard.tabs import TabBar
from nanoshell.dashboard.views import ChartGrid, View

if TYPE_CHECKING:
    from pathlib import Path

SHARE_SECONDS = 5.0

_IN_FIELDS = ("escape", "f1")
"""Keys that are told at the bottom while a field has the others."""


class Showing(Menus, inherit_bindings=False):
    """The part of the dashboard that shows its views, and chooses among them."""

    def __init__(self, views: list[View], chosen: str, sight: Sight) -> None:
        super().__init__()
        self.views = views
        names = [view.place for view in views]
        self.chosen = names.index(chosen) if chosen in names else 0
        self._snapshot = Snapshot()
        self._heard = self._shown_any = False
        self.arrived: Signal[Snapshot] = Signal(self, "arrived")
        self._sight = sight
        self._meter = CpuMeter()
        self._spread_at = 0.0
        self._spread_due = False
        self._spread_timer: Timer | None = None
        self._late_timer: Timer | None = None
        self._pace = Pace()
        self._feed_rests = False

    def rest_feed(self, resting: bool) -> None:
        """Let what reads the runs look less often, or as often as before."""
        raise NotImplementedError

    def focus_run(self, name: str) -> None:
        """Give the run ``name`` the focus, and show it where it is not shown."""
        raise NotImplementedError

    @property
    def runs_dir(self) -> Path:
        """The folder of the runs."""
        raise NotImplementedError

    def empty_words(self) -> str:
        """Return what is said at the top where no run is shown."""
        if not self._heard:
            return f"looking for runs in {self.runs_dir} …"
        if self._shown_any:
            return "no run is shown; in the view of runs Space shows one, Enter gives it the focus"
        return f"no run yet in {self.runs_dir}: one that begins appears here by itself"

    def hint_words(self) -> str:
        """Return how a first run is begun."""
        if self.session is None:
            return "to begin one, in another terminal: nanoshell demo, or nanoshell train"
        palette = written(self.keymap.keys_of(self, PALETTE)[0])
        return f"to begin one: {palette} and demo or train; or nanoshell demo in another terminal"

    def unanswered(self, run: str) -> list[str]:
        """Return what the run of that name was asked for and has not answered, in a word or two each."""
        raise NotImplementedError

    @property
    def snapshot(self) -> Snapshot:
        """What panels were last handed."""
        return self._snapshot

    @property
    def sight(self) -> Sight:
        """How the charts look at their runs."""
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
                slot.fail(error)

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self.views[self.chosen]

    @property
    def grid(self) -> ChartGrid | None:
        """The grid of charts where that is the view which is shown."""
        return self.view if isinstance(self.view, ChartGrid) else None

    def compose(self) -> ComposeResult:
        yield Headline(id="headline")
        yield AlertLine(id="alert")
        yield TabBar(view.title for view in self.views)
        with Container(id="views"):
            yield from self.views
        yield KeyFooter("only reads" if self.read_only else "")
        yield TooSmall()

    def begin_to_show(self, maximized: str) -> None:
        """Show the chosen view; the panel ``maximized``, where there is one, has all the room of its grid."""
        self.query_one(AlertLine).display = False
        self.tell_headline()
        for view in self.views:
            if isinstance(view, ChartGrid):
                view.maximize_id(maximized)
        self._choose(self.chosen)
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self.show_keys())
        self.screen_change_signal.subscribe(self, lambda _screen: self.show_keys(), immediate=True)
        self.set_interval(SHARE_SECONDS, self._tell_share)

    # Handing on

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Let the panels show ``snapshot``, soon."""
        if snapshot.problem and snapshot.problem != self._snapshot.problem:
            self.tell(snapshot.problem, severity="error")
        self._snapshot = snapshot
        self._heard = True
        self._shown_any = self._shown_any or bool(snapshot.courses)
        self.query_one(AlertLine).hint = "" if self._shown_any else self.hint_words()
        self.arrived.publish(snapshot)
        self.spread()

    async def on_event(self, event: events.Event) -> None:
        """Take an event; what comes of keys and mouse is shown at once, and what is new soon, for a while."""
        if isinstance(event, events.InputEvent) and not event.is_forwarded:
            self._pace.notice()
            self._weigh_rest()
            if self._spread_timer is not None:  # it was set for when nobody is there
                self._spread_timer.stop()
                self._spread_due = False
                self.spread()
        await super().on_event(event)

    def on_click(self, event: events.Click) -> None:
        """Do what the key at the bottom does that is clicked: what is open covers it, and has the mouse."""
        footer = self.screen_stack[0].query_one(KeyFooter)
        if self.screen is not self.screen_stack[0] and footer.region.contains_point(event.screen_offset):
            footer.press(event.screen_x - footer.region.x)

    def spread(self) -> None:
        """Hand what is new to the panels that are visible, now or when their time has come."""
        if self._spread_due:
            return
        wait = self._spread_at + self._pace.rest_seconds - time.monotonic()
        if wait > 0:
            self._spread_due = True
            self._spread_timer = self.set_timer(wait, self._spread)
        else:
            self._spread()

    def _spread(self) -> None:
        if not self.is_running:  # the screen calls it after a refresh, and outlives the app
            return
        self._spread_due, self._spread_timer = False, None
        self._spread_at = time.monotonic()
        self.call_after_refresh(self._judge, time.thread_time())
        self.tell_headline()
        self.query_one(AlertLine).tell(self._snapshot)
        if self.grid is not None:
            self.grid.sift(self._snapshot)
        self._show_place()
        self.show_keys()
        later = 0.0
        for slot in self.view.visible_slots():
            try:
                again = slot.show(self._snapshot, self._sight)
            except (Exception, SystemExit) as error:
                slot.fail(error)
                continue
            later = min(later, again) if later and again else later or again
        if self._late_timer is not None:
            self._late_timer.stop()
        # While a slow panel rests the others go on: what is new for them does not wait for its turn.
        self._late_timer = self.set_timer(later, self.spread) if later else None

    def tell_headline(self) -> None:
        """Show at the top how the run in focus stands, and what it has not answered yet."""
        run = self._snapshot.focused
        asked = self.unanswered(run.run.name) if run is not None else ()
        self.query_one(Headline).tell(self._snapshot, self.empty_words(), asked)

    def on_chart_grid_uncovered(self) -> None:
        """Hand what is new to charts that were out of sight: a run that has ended brings nothing more."""
        self.call_after_refresh(self._spread)

    def _judge(self, begun: float) -> None:
        """Weigh an update that began at ``begun``, of this thread's time, and is drawn."""
        self._pace.judge(time.thread_time() - begun)

    def _show_place(self) -> None:
        at, count = self.grid.position if self.grid is not None else (0, 1)
        hidden = sum(slot.panel is not None and slot.panel.hidden for slot in self.view.slots)
        self.query_one(TabBar).choose(self.chosen, at + 1, count, hidden)

    def show_keys(self) -> None:
        """Show what can be done now at the bottom."""
        desk = self.screen_stack[0]
        if self.screen is not desk:
            desk.query_one(KeyFooter).show(getattr(self.screen, "last_line", ()))
            return
        besides = _IN_FIELDS if self.field is not None else ()
        found = [(action, key) for action, key in self.offered_keys() if action.footer or key in besides]
        words = [(key, action.short or action.title) for action, key in in_order(found)]
        self.query_one(KeyFooter).show(words)

    def _tell_share(self) -> None:
        self.query_one(KeyFooter).tell_share(self._meter.share())
        self._weigh_rest()

    def _weigh_rest(self) -> None:
        """Let the runs be read as seldom as nobody minds, unless parts of them are still unread."""
        resting = not self._pace.attended and all(course.complete for course in self._snapshot.courses)
        if resting != self._feed_rests:
            self._feed_rests = resting
            self.rest_feed(resting)

    # Choosing

    def fits(self, name: str) -> bool:
        """Return whether the action ``name`` of the app has something to do where one is."""
        if name in ("next_page", "previous_page"):
            return self.grid is not None and self.grid.position[1] > 1
        if name == "maximize":
            return self.grid is not None
        if name == "step_out":
            maximized = self.grid is not None and self.grid.maximized is not None
            return self.chosen > 0 or maximized or self.field is not None or bool(self.notices)
        if name in ("next_view", "previous_view"):
            return len(self.views) > 1
        if name == "next_run":
            return len(self._snapshot.courses) > 1
        return name != "suspend" or self.can_suspend

    def _choose(self, index: int) -> None:
        self.view.remember(self.screen.focused)
        self.chosen = index
        for view in self.views:
            view.display = view is self.view
        self.screen.set_focus(self.view.first_focus())
        self.call_after_refresh(self._spread)
        self.show_keys()

    def action_view(self, index: int) -> None:
        """Show the view ``index``."""
        if index < len(self.views):
            self._choose(index)

    def action_next_view(self) -> None:
        """Show the next view, after the last the first."""
        self._choose((self.chosen + 1) % len(self.views))

    def action_previous_view(self) -> None:
        """Show the view before, before the first the last."""
        self._choose((self.chosen - 1) % len(self.views))

    def action_maximize(self) -> None:
        """Give the panel that has the keys all the room of its grid, or bring the grid back."""
        grid, panel = self.grid, self.focused_panel
        if grid is not None:
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
        if self.grid is not None:
            self.grid.turn(by)
            self.call_after_refresh(self._spread)

    def action_next_run(self) -> None:
        """Give the next of the runs that are shown the focus."""
        courses = self._snapshot.courses
        if len(courses) > 1:
            self.focus_run(courses[(self._snapshot.focus + 1) % len(courses)].run.name)

    def action_step_out(self) -> None:
        """Leave the innermost that is open: what is told, a field, the maximised chart, the view."""
        panel = self.focused_panel
        if self.dismiss_notices():
            return
        if self.field is not None and panel is not None and panel.focusable:
            panel.focus()
        elif self.grid is not None and self.grid.maximized is not None:
            self.action_maximize()
        elif self.chosen:
            self._choose(0)
