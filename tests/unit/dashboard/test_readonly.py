"""Only reading: whichever key is pressed wherever, nothing in the folder of a run is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.table import ACTIONS
from nanoshell.plugin.manager import load_plugins
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import keys_taken, play, screen_text, type_ahead, until

LEAVING = {"leave", "suspend"}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return what is in ``folder``, with the times of last change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture
def run(tmp_path: Path) -> Any:
    with FakeRun(tmp_path / "runs") as fake:
        fake.step(20, expert_load={"1": [0.5, 0.5]}, memory=1e6)
        fake.eval()
        fake.sample()
        fake.alert()
        fake.checkpoint()
        fake.log("it trains\n" * 50)
        yield fake


async def press(app: DashboardApp, *keys: str) -> None:
    """Press ``keys``, and wait until the last has been handled."""
    type_ahead(app, *keys)
    await keys_taken(app)


async def answer(app: DashboardApp) -> None:
    """Give whatever asks for something what it asks for, and come back."""
    if len(app.screen_stack) > 1 or isinstance(app.focused, Input):
        await press(app, *"0.5", "enter", "y", "escape")
    if len(app.screen_stack) > 1:
        await press(app, "escape", "escape")
    assert len(app.screen_stack) == 1, screen_text(app)


@pytest.mark.parametrize("read_only", [True, False])
def test_no_key_of_any_panel_writes_into_a_run_that_is_only_read(
    tmp_path: Path, run: FakeRun, read_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    plugins = load_plugins(safe=True, strict=True)
    folder = tmp_path / "runs"
    before = contents(folder)
    app = DashboardApp(
        folder, read_only=read_only, panels=plugins.panels, sections=plugins.run_sections, session=None
    )
    walked: set[Action] = set()

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "running" in screen_text(app).splitlines()[0])
        panels = [(at, slot.panel) for at, view in enumerate(app.views) for slot in view.slots if slot.panel]
        for at, panel in panels:
            for action in (*panel.actions, *ACTIONS):
                if action not in walked and action.id not in LEAVING and (action.writes or read_only):
                    if app.chosen != at:
                        app.action_view(at)
                    panel.focus()
                    await press(app, *action.keys[:1])
                    await answer(app)
            walked.update(panel.actions, ACTIONS)
        await pilot.pause()

    play(app, scene)
    assert len(walked) > 80
    now = contents(folder)
    if read_only:
        assert now == before
        assert not list(Path().iterdir())
    else:
        assert now.keys() - before.keys() == {"fake-1/control.jsonl", "fake-1/notes.jsonl"}
