"""The line at the top: whole parts, the most important first; how long an ended run took."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import Course, Mark
from nanoshell.dashboard.header import alert_words, headline
from nanoshell.dashboard.panels.alerts import AlertsPanel
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.status import RunStatus
from nanoshell.training.alerts import Overfitting
from tests.unit.dashboard.stage import Counter, HandFeed, desk, play, screen_text, until
from tests.unit.dashboard.test_chart_palette import LEGIBLE, contrast

RUN = RunDirectory(Path("runs/moe-1"))
GOING = RunStatus(
    "running",
    step=1200,
    total_steps=10_000,
    loss=1.5,
    val_loss=1.25,
    tokens_per_second=1190.0,
    eta_seconds=1562.0,
)
WHOLE = "moe-1 (1 of 2)  running  1,200/10,000  loss 1.5000  val 1.2500  1.19k tok/s  left 26m"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (0, WHOLE),
        (len(WHOLE), WHOLE),
        (len(WHOLE) - 1, WHOLE.replace("  1.19k tok/s", "")),
        (70, "moe-1 (1 of 2)  running  1,200/10,000  loss 1.5000  val 1.2500"),
        (30, "moe-1 (1 of 2)  running"),
        (5, "moe-1 (1 of 2)"),
    ],
)
def test_parts_are_left_out_whole(width: int, line: str) -> None:
    assert headline(Course(RUN, GOING), 1, 2, width=width).plain == line


def test_a_reason_has_room_before_the_speed_has() -> None:
    failed = RunStatus(
        "silent", reason="silent since Monday on another machine", step=7, loss=1.5, tokens_per_second=9.0
    )
    line = headline(Course(RUN, failed), width=60).plain
    assert line == "moe-1  silent  7  silent since Monday on another machine"
    assert "9 tok/s" in headline(Course(RUN, failed), width=100).plain


@pytest.mark.parametrize(
    ("course", "said"),
    [
        (Course(RUN, GOING, problem="p" * 40), ""),
        (Course(RUN, GOING, problem="p" * 41), "p" * 41),
        (Course(RUN, RunStatus("gone", "its folder is gone"), problem="the folder of " + "p" * 90), None),
        (Course(RUN, RunStatus("crashed", "process 7 is gone; its last words: " + "w" * 90)), None),
        (Course(RUN, RunStatus("finished", "all " + "w" * 90)), ""),
    ],
)
def test_a_long_reason_stands_whole_below_the_line_and_a_short_one_in_it(
    course: Course, said: str | None
) -> None:
    why = course.problem or course.status.reason
    assert alert_words(course) == (why if said is None else said, "")
    line = headline(course, width=80).plain
    assert len(line) <= 80
    assert (why in line) == (len(why) <= 40)


@pytest.mark.parametrize("short", [True, False])
def test_what_a_log_says_does_not_steer_the_terminal(short: bool) -> None:
    evil = "of\x1b[2J no\x9b31m\u202e use\x00" + " w" * 30 * (not short)
    alert = {"kind": "spi\x1bke", "message": f"the loss\n{evil}"}
    for course in (
        Course(RUN, RunStatus("failed", evil), alerts=(alert,)),
        Course(RUN, GOING, problem=evil, alerts=(alert,)),
    ):
        reason, told = alert_words(course)
        assert bool(reason) is not short
        assert all(words.isprintable() for words in (reason, told, headline(course).plain))
        assert "no" in (headline(course).plain if short else reason)
        assert "the loss of" in told


def test_a_long_reason_can_be_read_on_a_small_screen(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, feed=feed)
    problem = " ".join(["events.jsonl is in format 99,", *["which is newer"] * 7, "; update nanoshell"])

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(RUN, status=GOING, problem=problem)
        await until(pilot, lambda: "update nanoshell" in screen_text(app))
        assert "".join(problem.split()) in "".join(screen_text(app).split())
        feed.give(RUN, status=GOING)
        await until(pilot, lambda: "1 Charts" in screen_text(app).splitlines()[1])

    play(app, scene)


def test_an_alert_has_one_row_so_that_charts_keep_theirs(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, feed=feed)
    alert = {"kind": "overfitting", "message": "the validation loss rises " * 6, "step": 5}

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(RUN, status=GOING, alerts=(alert,))
        await until(pilot, lambda: "! overfitting: the validation" in screen_text(app))
        lines = screen_text(app).splitlines()
        assert lines[1].rstrip().endswith("…")
        assert "1 Charts" in lines[2]

    play(app, scene)


def test_an_alert_can_be_read_on_light_and_dark(tmp_path: Path) -> None:
    for theme in ("textual-light", "textual-dark"):
        feed = HandFeed()
        app = desk(tmp_path, Counter, feed=feed)

        async def scene(pilot: Pilot[None]) -> None:
            app.theme = theme  # noqa: B023
            feed.give(RUN, status=GOING, alerts=({"kind": "overfitting", "message": "it rises", "step": 5},))  # noqa: B023
            await until(pilot, lambda: "! overfitting: it rises" in screen_text(app))  # noqa: B023
            strip = app.screen._compositor.render_strips()[1]  # noqa: B023
            style = next(segment.style for segment in strip if "overfitting" in segment.text)
            assert style is not None
            assert style.color is not None
            assert style.bgcolor is not None
            colours = (style.color.get_truecolor().hex, style.bgcolor.get_truecolor().hex)
            assert contrast(*colours) >= LEGIBLE

        play(app, scene)


def test_what_is_wrong_is_told_within_eighty_columns() -> None:
    watch = Overfitting()
    found = None
    for step in range(1, 9):
        watch.took(5.0 - step / 2)
        found = found or watch.evaluated(25_000 * step, 8.19512 + step * step / 9)
    assert found is not None
    event = {"kind": found.kind, "message": found.message, **found.fields}
    reason, words = alert_words(Course(RUN, GOING, alerts=(event,)))
    assert (reason, len(f"! {words}") <= 80) == ("", True)
    assert words == "overfitting: val 9.973, was 8.306 at step 25,000; training still falls"


def test_an_alert_that_is_over_gives_its_place_to_one_that_stands() -> None:
    dead, flat = ({"kind": kind, "message": "it is so"} for kind in ("dead", "plateau"))
    over = {**flat, "cleared": True}
    assert alert_words(Course(RUN, GOING, alerts=(dead, flat, over)))[1] == "dead: it is so"
    assert alert_words(Course(RUN, GOING, alerts=(flat, over))) == ("", "")
    assert alert_words(Course(RUN, GOING, alerts=(flat, over, flat)))[1] == "plateau: it is so"


def test_an_alert_that_was_read_is_taken_off_the_top_and_a_later_one_stands_there(tmp_path: Path) -> None:
    feed, state = HandFeed(), tmp_path / "dashboard.json"
    old = {"kind": "plateau", "message": "nothing improves", "step": 5, "t": 100.0}
    new = {**old, "kind": "dead", "message": "nothing is learnt", "t": 200.0}

    def top(app: DashboardApp) -> str:
        return screen_text(app).splitlines()[1]

    async def read_it(pilot: Pilot[None]) -> None:
        feed.give(RUN, status=GOING, alerts=(old,))
        await until(pilot, lambda: "! plateau: nothing improves" in top(app))
        app.action_view(1)
        await until(pilot, lambda: "x Read" in screen_text(app))
        await pilot.press("x")
        await until(pilot, lambda: "1 Charts" in top(app))
        await until(pilot, lambda: "x Read" not in screen_text(app))
        assert "nothing improves" in screen_text(app), "it stays in the list"

    async def come_back(pilot: Pilot[None]) -> None:
        feed.give(RUN, status=GOING, alerts=(old,))
        await until(pilot, lambda: "moe-1" in screen_text(app))
        assert "1 Charts" in top(app)
        feed.give(RunDirectory(tmp_path / "moe-1"), status=GOING, alerts=(old,))  # another, of that name
        await until(pilot, lambda: "! plateau: nothing improves" in top(app))
        feed.give(RUN, status=GOING, alerts=(old, new))
        await until(pilot, lambda: "! dead: nothing is learnt" in top(app))

    for scene in (read_it, come_back):
        app = desk(tmp_path, AlertsPanel, feed=feed, state_path=state)
        play(app, scene)


def test_what_a_resumed_run_took_is_said_to_be_a_part() -> None:
    status = RunStatus("finished", started=100.0, updated=177.0)
    marks = (Mark("resume", 150.0, 0.0, 0.0, "resumed from step 150"),)
    assert "took 1m17s since its resume" in headline(Course(RUN, status, marks=marks)).plain
    assert "took 1m17s  ended" in headline(Course(RUN, status)).plain


def test_an_ended_run_tells_how_long_it_took_and_when_it_ended() -> None:
    today = time.time()
    day = time.mktime((2021, 1, 31, 18, 30, 0, 0, 0, -1))
    for ended, words in ((today, time.strftime("%H:%M", time.localtime(today))), (day, "2021-01-31 18:30")):
        status = RunStatus("finished", step=7, tokens_per_second=9.0, started=ended - 3900, updated=ended)
        assert headline(Course(RUN, status)).plain == f"moe-1  finished  7  took 1h05m  ended {words}"
