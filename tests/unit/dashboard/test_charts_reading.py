"""What charts say while logs are still being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import Course, Series, Snapshot
from nanoshell.dashboard.panels.kinds import GradientChart, LossChart
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

from .stage import HandFeed, desk, play as stage_play, until
from .still import feed_of, play, shows, text


def test_a_log_that_has_not_been_read_is_no_run_without_figures(
    nanoshell_fake_run: Callable[..., FakeRun],
) -> None:
    learning = nanoshell_fake_run()
    learning.step(3)
    told = Course(learning.run, RunStatus("running", step=9))
    begins = replace(told, status=RunStatus("starting"))

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        panel = app.query_one(LossChart)
        for unread, reading in ((begins, False), (told, True), (replace(begins, complete=False), True)):
            panel.update(Snapshot((unread,)))
            assert panel.chart.reading is reading

    play([learning], [LossChart], scene)


def test_while_older_parts_of_logs_are_read_charts_say_how_far_that_is(
    nanoshell_fake_run: Callable[..., FakeRun],
) -> None:
    runs = [nanoshell_fake_run("one"), nanoshell_fake_run("two")]
    for fake in runs:
        fake.step(1000)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        def known(course: Course, since: int) -> Course:
            every = course.series["loss"]
            part = Series(every.step[since:], every.tokens[since:], every.time[since:], every.value[since:])
            return replace(course, complete=False, series={**course.series, "loss": part})

        whole = app.snapshot.courses
        for courses, said in (
            ((known(whole[0], 600), known(whole[1], 750)), "reading 2 logs: 25%"),
            ((whole[0], known(whole[1], 500)), "reading a log: 50%"),
            ((known(whole[0], 100),), "reading the log: 90%"),
        ):
            feed_of(app).hand(*courses)
            await shows(app, pilot, lambda said=said: said in text(app))  # type: ignore[misc]
        feed_of(app).hand(*whole)
        await shows(app, pilot, lambda: "reading" not in text(app))

    play(runs, [LossChart, GradientChart], scene)


def test_before_the_runs_were_looked_at_nothing_is_said_not_to_be_there(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, LossChart, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "reading …" in text(app))
        app.set_sight(replace(app.sight, axis="time"))
        await pilot.pause()
        assert "no data yet" not in text(app)
        feed.hand()
        await until(pilot, lambda: "no data yet" in text(app))

    stage_play(app, scene)
