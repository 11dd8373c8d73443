"""The dashboard as a desk: views, keys, what panels are handed and when, steering, and what is remembered."""

from __future__ import annotations

import json
import re
from pathlib import Path

from textual.pilot import Pilot

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import Sight
from nanoshell.dashboard.keys import written
from nanoshell.dashboard.table import ACTIONS
from nanoshell.dashboard.views import ChartGrid
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import Counter, HandFeed, desk, kind, play, screen_text, until

CHARTS = [kind(panel_id=f"chart{n}", title=f"Chart {n}") for n in range(5)]
RUNS = kind(panel_id="runs", title="Runs", place="runs")
CHAT = kind(panel_id="chat", title="Chat", place="chat")
OWN = kind(panel_id="own", title="Mine", place="")


def test_views_are_chosen_by_number_and_plugins_panels_get_one_of_their_own(tmp_path: Path) -> None:
    app = desk(tmp_path, *CHARTS[:2], RUNS, CHAT, OWN)

    async def scene(pilot: Pilot[None]) -> None:
        assert [view.title for view in app.views] == ["Charts", "Runs", "Chat", "Mine"]
        assert "1 Charts  2 Runs  3 Chat  4 Mine" in screen_text(app)
        await pilot.press("4")
        await until(pilot, lambda: "Mine seen" in screen_text(app))
        assert "Chart 0" not in screen_text(app)
        await pilot.press("9")
        assert app.chosen == 3
        await pilot.press("escape")
        await until(pilot, lambda: "Chart 0 seen" in screen_text(app))

    play(app, scene)


def test_80_by_24_shows_two_charts_and_pages_and_a_large_screen_all(tmp_path: Path) -> None:
    app = desk(tmp_path, *CHARTS)

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "PgUp PgDn 1/3" in screen_text(app))
        shown: list[list[str]] = [[]]
        for _page in range(3):
            await pilot.press("pagedown")
            await pilot.pause()
            shown.append([slot.title for slot in app.view.visible_slots()])
        assert [len(page) for page in shown[1:]] == [2, 1, 1]
        await pilot.resize_terminal(160, 48)
        await until(pilot, lambda: len(list(app.view.visible_slots())) == 5)
        regions = [slot.region for slot in app.view.visible_slots()]
        assert not any(a.overlaps(b) for a in regions for b in regions if a is not b)

    play(app, scene)


def test_enter_maximises_a_chart_and_escape_brings_the_grid_back(tmp_path: Path) -> None:
    app = desk(tmp_path, *CHARTS)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("tab", "enter")
        await pilot.pause()
        assert [slot.title for slot in app.view.visible_slots()] == ["Chart 1"]
        assert next(iter(app.view.visible_slots())).region.height == 21
        await pilot.press("escape")
        await pilot.pause()
        assert len(list(app.view.visible_slots())) == 2

    play(app, scene)


def test_only_visible_panels_are_updated_and_nothing_where_nothing_changed(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, *CHARTS, RUNS, feed=feed)
    run = FakeRun(tmp_path)

    async def scene(pilot: Pilot[None]) -> None:
        panels = {slot.panel_id: slot.panel for view in app.views for slot in view.slots}
        first, third, runs = (panels[name] for name in ("chart0", "chart2", "runs"))
        assert isinstance(first, Counter)
        assert isinstance(third, Counter)
        assert isinstance(runs, Counter)
        given = feed.give(run.run)
        await until(pilot, lambda: app.view.slots[0].saw(given))
        before = first.updates
        for _ in range(3):
            app.spread()
            await pilot.pause(0.3)
        assert first.updates == before
        for _ in range(20):  # a burst is one update, of the newest
            last = feed.give(run.run)
        await until(pilot, lambda: app.view.slots[0]._seen is last)
        assert first.updates <= before + 2
        assert (third.updates, runs.updates) == (0, 0)
        await pilot.press("2")
        await until(pilot, lambda: runs.updates == 1)

    with run:
        play(app, scene)


def test_the_header_tells_how_the_run_in_focus_stands_and_what_is_wrong(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, *CHARTS[:1], feed=feed)
    status = RunStatus("running", step=120, total_steps=1000, loss=2.5, val_loss=2.25, eta_seconds=3661.0)

    async def scene(pilot: Pilot[None]) -> None:
        assert "looking for runs in" in screen_text(app)
        alert = {"type": "alert", "kind": "plateau", "message": "the loss stands still"}
        feed.give(run.run, status=status, alerts=(alert,))
        await until(pilot, lambda: "plateau" in screen_text(app))
        lines = screen_text(app).splitlines()
        for part in ("fake-1", "running", "120/1,000", "loss 2.5000", "val 2.2500", "left 1h00m"):
            assert part in lines[0]
        assert lines[1] == "! plateau: the loss stands still"
        feed.give(run.run, status=status, alerts=(alert, {**alert, "cleared": True}))
        await until(pilot, lambda: "plateau" not in screen_text(app))

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_one_table_feeds_help_and_footer_and_no_key_is_tmuxs_or_the_terminals(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, *CHARTS[:1], feed=feed)
    keys = [key for action in ACTIONS for key in action.keys]
    assert len(keys) == len(set(keys))
    assert not set(keys) & {"ctrl+a", "ctrl+b", "ctrl+s", "ctrl+q"}
    assert all(hasattr(app, f"action_{action.id}") for action in ACTIONS)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus("running"))
        await until(pilot, lambda: "P Pause" in screen_text(app).splitlines()[-1])
        assert "? Keys" in screen_text(app).splitlines()[-1]
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        text = app.screen.text.plain  # type: ignore[attr-defined]
        absent = {"next_page", "previous_page", "next_view", "previous_view", "next_run"}
        absent |= {"step_out", "suspend", "resume"}
        for action in ACTIONS:
            line = rf"^  {re.escape(written(action.keys[0]))}.* {re.escape(action.title)}"
            assert bool(re.search(line, text, re.M)) == (action.id not in absent)
        await pilot.press("escape")
        assert len(app.screen_stack) == 1

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_f1_explains_the_panel_that_has_the_keys(tmp_path: Path) -> None:
    own = kind(
        panel_id="mine",
        title="Mine",
        about="It shows [what] it shows.",
        actions=(Action("zoom", "Zoom", ("z",)),),
    )
    app = desk(tmp_path, own)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("f1")
        await until(pilot, lambda: "It shows [what] it shows." in screen_text(app))
        assert re.search(r"z +Zoom", screen_text(app))

    play(app, scene)


def test_the_layout_is_remembered_and_a_broken_file_is_no_reason_to_fail(tmp_path: Path) -> None:
    kept = tmp_path / "dashboard.json"

    def again() -> DashboardApp:
        return desk(tmp_path, *CHARTS, RUNS, state_path=kept)

    first, second = again(), again()

    async def arrange(pilot: Pilot[None]) -> None:
        await pilot.press("tab", "enter", "2")
        first.set_sight(Sight(axis="tokens", smoothing=0.9, log_x=True, left=3.0, follow=False, cursor=5.0))
        await pilot.pause()

    async def find(pilot: Pilot[None]) -> None:
        assert app.view.title == "Runs"
        assert app.sight == Sight(axis="tokens", smoothing=0.9, log_x=True)
        await pilot.press("1")
        await pilot.pause()
        assert [slot.title for slot in app.view.visible_slots()] == ["Chart 1"]

    play(first, arrange)
    app = again()
    play(app, find)
    kept.write_text('{"view": 3, "maximized": [], "sight": {"axis": "moon", "smoothing": 7, "log_x": 1}')
    play(second, lambda pilot: pilot.pause())
    kept.write_text('{"view": 3, "maximized": [], "sight": {"axis": "moon", "smoothing": 7, "log_x": 1}}')
    third = again()
    play(third, lambda pilot: pilot.pause())
    assert (third.sight, third.view.title) == (Sight(), "Charts")


def test_of_very_many_runs_those_that_were_shown_last_keep_their_colours(tmp_path: Path) -> None:
    kept = tmp_path / "dashboard.json"

    def show(name: str, first: int) -> list[str]:
        """Show the run ``name``, and return of which runs the colours are kept, the first and the last."""
        folder = tmp_path / f"{name}-runs"
        with FakeRun(folder, name) as run:
            run.step()
            app = DashboardApp(folder, [run.run.name], state_path=kept)

            async def seen(pilot: Pilot[None]) -> None:
                await until(pilot, lambda: app.snapshot.courses)
                assert app.snapshot.colours[run.run.name] == first

            play(app, seen)
        names = list(json.loads(kept.read_text())["colours"])
        assert len(names) == 500
        return [names[0], names[-1]]

    kept.write_text(json.dumps({"colours": {f"run-{at}": at % 7 for at in range(1, 501)}}))
    assert show("new", 7) == ["run-2", "new-1"]
    kept.write_text(json.dumps({"colours": {f"run-{at}": at % 7 for at in range(1, 501)}}))
    assert show("run", 1) == ["run-2", "run-1"], "it was known before, and moves to the newest"


def test_ascii_draws_nothing_else(tmp_path: Path) -> None:
    drawn = kind(panel_id="drawn", title="Größe ─ ⣿", render=lambda self: "⣿⡇ ┼─ ▁▂ 日本 …", about="×")
    app = desk(tmp_path, drawn, ascii=True)

    async def scene(pilot: Pilot[None]) -> None:
        for key in ("question_mark", "escape", "f1", "escape", "ctrl+p", "escape"):
            await pilot.press(key)
            await pilot.pause()
            assert screen_text(app).isascii(), screen_text(app)
        app.tell("said …")
        await pilot.pause()
        assert screen_text(app).isascii(), screen_text(app)

    play(app, scene)


def test_the_charts_that_have_nothing_to_show_are_left_out(tmp_path: Path) -> None:
    feed = HandFeed()
    rare = kind(panel_id="rare", title="Rare", wanted=lambda self, snapshot: bool(snapshot.courses))
    app = desk(tmp_path, CHARTS[0], rare, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "Rare" not in screen_text(app))
        feed.give(run.run)
        await until(pilot, lambda: "Rare seen" in screen_text(app))
        assert isinstance(app.view, ChartGrid)

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_the_feed_rests_while_the_terminal_is_with_the_shell(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, *CHARTS[:1], feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        app.app_suspend_signal.publish(app)
        assert feed.asked == [("rest", True)]
        app.app_resume_signal.publish(app)
        assert feed.asked == [("rest", True), ("rest", False)]

    play(app, scene)
