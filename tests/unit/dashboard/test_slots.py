"""The rooms of panels: who takes long is named, and of two panels with one id one works."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from nanoshell.dashboard.panels.kinds import LossChart
from nanoshell.dashboard.slots import SLOW_SECONDS, SLOW_TIMES
from nanoshell.plugin.registry import Entry
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import Counter, HandFeed, desk, kind, play, screen_text, until


class SlowToDraw(Counter):
    def render(self) -> str:
        time.sleep(1.2 * SLOW_SECONDS)
        return super().render()


class SlowWithin(Counter):
    """What is slow is a widget of Textual's own kind, that stands in the panel."""

    class Lines(Static):
        def render_line(self, y: int) -> object:  # type: ignore[override]
            if y == 0:
                time.sleep(1.2 * SLOW_SECONDS)
            return super().render_line(y)

    def compose(self) -> ComposeResult:
        yield self.Lines("within")

    def update(self, snapshot: object) -> None:
        self.updates += 1
        self.query_one(self.Lines).update(f"within {self.updates}")


@pytest.mark.parametrize("slow", [SlowToDraw, SlowWithin])
def test_what_is_slow_to_draw_is_named_and_updated_less_often(tmp_path: Path, slow: type[Counter]) -> None:
    feed = HandFeed()
    app = desk(tmp_path, kind(slow, panel_id="slow", title="Slow"), kind(panel_id="quick"), feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        room = app.view.slots[0]

        def named() -> bool:
            feed.give(run.run)
            return " ms to draw, by plugin tests)" in screen_text(app)

        await until(pilot, named)
        assert room.throttled
        assert not app.view.slots[1].throttled
        last = feed.give(run.run)
        await until(pilot, lambda: room.saw(last))  # late, but not never

    with FakeRun(tmp_path) as run:
        play(app, scene, size=(160, 24))


def test_the_others_go_on_while_a_slow_one_rests(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, kind(panel_id="slow", title="Slow"), kind(panel_id="quick"), feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        slow, quick = app.view.slots
        for _ in range(SLOW_TIMES):
            slow.judge(3600.0, "an update")
        for _ in range(3):
            new = feed.give(run.run)
            await until(pilot, lambda new=new: quick.saw(new))  # type: ignore[misc]
            assert not slow.saw(new)

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_one_that_is_quick_again_is_slow_no_more(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, kind(panel_id="now-and-then", title="Now"), feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        room = app.view.slots[0]
        for _ in range(SLOW_TIMES):
            room.judge(2 * SLOW_SECONDS, "to draw")
        await until(pilot, lambda: "to draw, by plugin tests)" in screen_text(app))

        def forgiven() -> bool:
            feed.give(run.run)
            return not room.throttled and "by plugin" not in screen_text(app)

        await until(pilot, forgiven)

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_of_panels_with_one_id_the_first_works_and_the_others_are_told(tmp_path: Path) -> None:
    mine = kind(panel_id="loss", title="My loss", place="")
    other = kind(panel_id="own", title="Own", place="")
    panels = [
        Entry("loss", LossChart, "panels"),
        Entry("mine", mine, "learner"),
        Entry("own", other, "learner"),
        Entry("again", other, "stranger"),
    ]
    feed = HandFeed()
    app = desk(tmp_path, feed=feed, panels=panels)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        told = {}
        for index, view in enumerate(app.views):
            app.action_view(index)
            (slot,) = view.slots
            seen = "has failed" if slot.error else "Loss" if index == 0 else "Own seen"
            await until(pilot, lambda words=seen: words in screen_text(app))
            told[slot.entry.name] = " ".join(screen_text(app).split())
        assert "The panel" not in told["loss"] + told["own"]
        assert "The panel 'My loss' of plugin 'learner' has failed" in told["mine"]
        assert "its panel_id 'loss' is that of the panel" in told["mine"]
        assert "of plugin 'panels', which works" in told["mine"]
        assert "plugin disable learner" in told["mine"]
        assert "its panel_id 'own' is that of the panel 'Own' of plugin 'learner'" in told["again"]
        assert "plugin disable stranger" in told["again"]

    with FakeRun(tmp_path) as run:
        play(app, scene, size=(120, 30))
