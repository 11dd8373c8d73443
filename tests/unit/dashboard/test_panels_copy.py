"""What y copies: of a sample, of a log, of a conversation what is seen, to the clipboard and to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from nanoshell import Session, open_session
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.panels.alerts import AlertsPanel
from nanoshell.dashboard.panels.chat import ChatPanel
from nanoshell.dashboard.panels.log import LogPanel
from nanoshell.dashboard.panels.overview import OverviewPanel
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.dashboard.panels.samples import SamplesPanel
from nanoshell.testing import FakeRun, plugins_with

from .still import play, shows, text, with_samples

Make = Callable[..., FakeRun]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, nanoshell_home: Path) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(DashboardApp, "copy_to_clipboard", lambda app, text: found.append(text))
    return found


@pytest.fixture
def session(nanoshell_home: Path) -> Iterator[Session]:
    made = open_session(plugins=plugins_with())
    yield made
    made.close()


def notices(app: DashboardApp) -> list[str]:
    return [notice.message for notice in app._notifications]


def test_of_samples_the_text_that_is_shown(copied: list[str], nanoshell_fake_run: Make) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("y", "left", "y", "d", "y")
        assert copied == ["Once upon the fox sat", "Once upon the dog sat", "Once upon the dog sat"]
        path = Path(notices(app)[-1].split(": ", 1)[1])
        assert path.read_text("utf-8") == copied[-1]

    play([with_samples(nanoshell_fake_run)], [SamplesPanel], scene)


def test_of_a_log_the_line_found_else_the_newest(copied: list[str], nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run()
    fake.log("".join(f"line {number}{' Needle' if number == 3 else ''}\n" for number in range(50)))

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "line 49" in text(app))
        await pilot.press("y", "slash", *"needle", "enter", "y")
        assert copied == ["line 49", "line 3 Needle"]

    play([fake], [LogPanel], scene)


def test_of_a_conversation_the_last_reply(
    copied: list[str], session: Session, nanoshell_fake_run: Make
) -> None:
    session.conversation.add("user", "Say y.")
    session.conversation.add("assistant", "First.\nSecond line.")
    session.conversation.add("user", "And now?")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "Second line." in text(app))
        await pilot.press("y")
        assert copied == [], "it is a letter of what is being said"
        await pilot.press("ctrl+y", "escape", "escape", "y")  # the first puts the notice away
        assert copied == ["First.\nSecond line."] * 2

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)


def test_of_a_run_its_folder_and_of_alerts_the_newest_with_its_advice(
    copied: list[str], nanoshell_fake_run: Make
) -> None:
    fake = nanoshell_fake_run()
    fake.step(3)
    fake.alert("the loss is no number", "divergence", hint="lower the learning rate")

    async def folder(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: text(app).count("fake-1") > 1)  # at the top, and in the panel
        copied.clear()
        await pilot.press("y")
        await shows(app, pilot, lambda: copied == [str(fake.run.path.resolve())])

    for panel in (RunsPanel, OverviewPanel):
        play([fake], [panel], folder)

    async def alerts(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "lower the learning rate" in text(app))
        copied.clear()
        await pilot.press("y")
        await shows(app, pilot, lambda: copied)
        first, second = copied[0].splitlines()
        assert first.endswith("divergence: the loss is no number")
        assert second == "lower the learning rate"

    play([fake], [AlertsPanel], alerts)


def test_where_there_is_nothing_it_is_said(copied: list[str], nanoshell_fake_run: Make) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("y")
        await shows(app, pilot, lambda: notices(app) == ["there is nothing to copy here"])
        assert not copied

    for panel in (SamplesPanel, AlertsPanel):
        play([nanoshell_fake_run()], [panel], scene)
