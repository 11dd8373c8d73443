"""Steering a run from the dashboard: keys that ask it for something, what is offered, and only reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard.actions import Action
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import HandFeed, desk, kind, play, requests, screen_text, until

CHART = kind(panel_id="chart", title="Chart 0")
CHAT = kind(panel_id="chat", title="Chat", place="chat")


@pytest.mark.parametrize(
    ("key", "action"),
    [("P", "pause"), ("R", "resume"), ("C", "checkpoint"), ("E", "evaluate"), ("G", "sample")],
)
def test_a_key_asks_the_run_and_its_answer_appears(tmp_path: Path, key: str, action: str) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: "fake-1" in screen_text(app))
        await pilot.press(key)
        await until(pilot, lambda: [line["action"] for line in requests(run)] == [action])
        await until(pilot, lambda: "fake-1:" in screen_text(app))

    with FakeRun(tmp_path) as run, run.answering():
        run.step()
        play(app, scene)


def test_stopping_asks_first_and_takes_no_for_an_answer(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: "fake-1" in screen_text(app))
        for answer in ("n", "escape", "enter", "q"):
            await pilot.press("S")
            await until(pilot, lambda: "Save fake-1 and stop it?" in screen_text(app))
            await pilot.press(answer)
            await until(pilot, lambda: "Save fake-1" not in screen_text(app))
        assert requests(run) == []
        await pilot.press("S", "y")
        await until(pilot, lambda: [line["action"] for line in requests(run)] == ["stop"])

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_the_learning_rate_is_scaled_and_set_and_nonsense_is_refused_where_it_is_typed(
    tmp_path: Path,
) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: "fake-1" in screen_text(app))
        peak = float(run.run.record()["trainer"]["learning_rate"])
        await pilot.press("{")
        await until(pilot, lambda: len(requests(run)) == 1)
        assert requests(run)[0]["values"]["learning_rate"] == pytest.approx(0.8 * peak, rel=0.01)
        await pilot.press("L")
        await until(pilot, lambda: "Peak of the learning rate of fake-1" in screen_text(app))
        await pilot.press("end", "x", "enter")
        await until(pilot, lambda: "is no number" in screen_text(app))
        await pilot.press("home", "ctrl+k", *"3e-4", "enter")
        await until(pilot, lambda: len(requests(run)) == 2)
        assert requests(run)[1]["values"] == {"learning_rate": 3e-4}
        await pilot.press("X", *"0.5e", "enter")
        await until(pilot, lambda: len(requests(run)) == 3)
        assert {name: requests(run)[2].get(name) for name in ("action", "epochs")} == {
            "action": "extend",
            "epochs": 0.5,
        }

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_a_refusal_and_a_run_that_has_ended_are_told(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("P")
        await until(
            pilot, lambda: "no run is shown" in screen_text(app).splitlines()[-4] or app._notifications
        )
        feed.give(run.run)
        await until(pilot, lambda: "finished" in screen_text(app).splitlines()[0])
        await pilot.press("P")
        await until(pilot, lambda: "fake-1 has finished" in screen_text(app))
        assert requests(run) == []

    with FakeRun(tmp_path) as run:
        run.step()
        run.finish()
        play(app, scene)


def test_reading_only_nothing_is_asked_and_nothing_offers_to(tmp_path: Path) -> None:
    feed = HandFeed()
    writing = kind(
        panel_id="writer",
        title="Writer",
        actions=(Action("scrawl", "Scrawl", ("w",), writes=True, footer=True),),
    )
    writing.action_scrawl = lambda self: self.desk.tell("scrawled")  # type: ignore[attr-defined]
    app = desk(tmp_path, writing, CHAT, feed=feed, read_only=True, session=object())

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: "fake-1" in screen_text(app))
        assert app.session is None
        assert "Chat" not in screen_text(app)
        for key in ("w", "P", "S", "L", "X", "{", "}"):
            await pilot.press(key)
            await until(pilot, lambda: "this dashboard only reads" in screen_text(app))
            assert len(app.screen_stack) == 1
            await pilot.press("escape")
            await until(pilot, lambda: not app.notices)
        app.ask_run("stop")
        await until(pilot, lambda: "only reads" in screen_text(app))
        assert requests(run) == []
        assert not any(word in screen_text(app) for word in ("Pause", "Scrawl", "scrawled"))
        await pilot.press("question_mark")
        await until(pilot, lambda: "Quit" in screen_text(app).replace("q Quit", ""))
        assert not any(word in screen_text(app) for word in ("Stop and save", "Train longer", "Scrawl"))

    with FakeRun(tmp_path) as run:
        play(app, scene)


@pytest.mark.parametrize(
    ("state", "footer", "help_has", "help_has_not"),
    [
        ("running", "P Pause", "Train longer", "Resume"),
        ("paused", "R Resume", "Stop and save", "Pause"),
        ("finished", "", "Quit", "Stop and save"),
    ],
)
def test_what_does_not_apply_to_the_state_of_the_run_is_not_offered(
    tmp_path: Path, state: Any, footer: str, help_has: str, help_has_not: str
) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus(state))
        await until(pilot, lambda: state in screen_text(app).splitlines()[0])
        await until(pilot, lambda: footer in screen_text(app).splitlines()[-1])
        offered = {action.title for _owner, action in app.possible_actions()}
        assert help_has in offered
        assert help_has_not not in offered
        bottom = screen_text(app).splitlines()[-1]
        assert [word for word in ("P Pause", "R Resume") if word in bottom] == [footer] * bool(footer)
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        text = app.screen.text.plain  # type: ignore[attr-defined]
        assert f" {help_has}" in text
        assert f" {help_has_not}" not in text

    with FakeRun(tmp_path) as run:
        play(app, scene)
