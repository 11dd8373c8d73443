"""What is asked of a run that cannot answer: refused at the key, with what to do instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.panels.samples import SamplesPanel
from nanoshell.dashboard.steering import deaf_words
from nanoshell.errors import RunError
from nanoshell.runs.control import request
from nanoshell.runs.status import RunStatus
from nanoshell.spelling import spelled_with
from nanoshell.testing import FakeRun
from tests.unit.dashboard.desk import run as play_scene, shown
from tests.unit.dashboard.stage import Counter, HandFeed, desk, play, until


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (RunStatus("running"), ""),
        (RunStatus("silent"), ""),
        (RunStatus("stopped"), "a-1 was stopped; go on with it: :train --resume a-1"),
        (RunStatus("crashed"), "a-1 has crashed; go on with it: :train --resume a-1"),
        (RunStatus("failed"), "a-1 has failed; go on with it: :train --resume a-1"),
        (
            RunStatus("finished", step=9, total_steps=10),
            "a-1 has finished; go on with it: :train --resume a-1",
        ),
        (
            RunStatus("finished", step=10, total_steps=10),
            "a-1 has finished: it has done all its steps. More are a new run: :train",
        ),
        (
            RunStatus("gone", "its folder is gone"),
            "a-1 is gone: its folder is gone. There is nothing left that could be asked, or gone on with",
        ),
    ],
)
def test_why_a_run_answers_nothing_and_what_to_do(status: RunStatus, said: str) -> None:
    with spelled_with(":"):
        assert deaf_words("a-1", status) == said


@pytest.mark.parametrize("state", ["stopped", "crashed", "gone"])
def test_no_key_asks_for_a_number_that_nobody_would_take(tmp_path: Path, state: str) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(fake.run, status=RunStatus(state, "why"))  # type: ignore[arg-type]
        await until(pilot, lambda: app.snapshot.courses)
        for key in ("L", "X", "S", "P", "E", "left_curly_bracket", "right_curly_bracket"):
            await pilot.press("escape", key)
            await until(pilot, lambda: app.notices)
            assert len(app.screen_stack) == 1, key
            (told,) = app.notices
            assert told.message == deaf_words("fake-1", app.snapshot.courses[0].status)
        assert not fake.run.control_path.exists()

    with FakeRun(tmp_path) as fake:
        fake.step()
        play(app, scene)


def test_a_prompt_is_not_tried_on_a_run_that_is_gone(tmp_path: Path) -> None:
    async def scene() -> None:
        with FakeRun(tmp_path) as fake:
            fake.step()
            async with shown(tmp_path, [Counter, SamplesPanel], [fake], session=object()) as desk:
                panel = desk.app.query_one(SamplesPanel)
                await desk.press("t", *"Hi")
                gone = RunStatus("gone", "its folder is gone")
                course = desk.app.snapshot.courses[0]
                desk.feed.hand(type(course)(fake.run, gone))
                await desk.until(lambda: desk.app.snapshot.courses[0].status is gone)
                await desk.press("enter")
                await desk.until(lambda: any("is gone" in notice for notice in desk.notices))
                assert "asked" not in desk.text
                assert not panel.query_one(Input).has_focus
                await desk.press("escape", "t")
                await desk.until(lambda: any("is gone" in notice for notice in desk.notices))
                assert not panel.query_one(Input).has_focus

    play_scene(scene)


def test_a_run_without_its_folder_is_not_said_to_go_on(tmp_path: Path) -> None:
    with FakeRun(tmp_path) as fake:
        fake.vanish()
    with pytest.raises(RunError, match="its folder is gone") as raised:
        request(fake.run, "pause")
    assert not raised.value.hint
