"""A worker that really trains is steered from the dashboard in a real terminal, and answers on the screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoshell.plugin.manager import load_plugins
from nanoshell.runs.control import request
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import read_events
from nanoshell.training.launch import TrainRequest, start_run
from nanoshell.training.presets import load_config
from tests.e2e.test_dashboard_terminal import Window, window as window
from tests.e2e.test_processes import PRESET, at_step, until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


@pytest.fixture
def training(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run of a tiny model that would train for long."""
    (tmp_path / "tiny.yaml").write_text(PRESET)
    wanted = TrainRequest(
        load_config(tmp_path / "tiny.yaml"), "nano-start:completions", tmp_path / "runs", name="tiny"
    )
    run = start_run(wanted, load_plugins(safe=True, strict=True))
    try:
        until(run, at_step(1))
        yield run
    finally:
        if not run.status().ended:
            request(run, "stop")
            until(run, lambda event: event["type"] == "state" and event.get("state") == "stopped")


def test_a_run_is_paused_resumed_changed_and_stopped_by_keys(window: Window, training: RunDirectory) -> None:
    window.type(f"n dash {training.name}; echo ended with $?", "Enter")
    window.wait_until(window.is_open)
    window.wait_for("P Pause")
    window.type("P")
    window.wait_for(f"{training.name}: paused")
    window.wait_until(lambda: "paused" in window.screen().split("\n")[0] and "R Resume" in window.screen())
    assert "P Pause" not in window.screen()
    window.type("R")
    window.wait_until(lambda: "running" in window.screen().split("\n")[0] and "P Pause" in window.screen())
    window.type("S")
    window.wait_for(f"Save {training.name} and stop it?")
    window.type("y")
    window.wait_until(lambda: "stopped" in window.screen().split("\n")[0])
    assert "Pause" not in window.screen().split("\n")[23]
    window.type("q")
    window.wait_for("\nended with 0\n")
    answers = [event for event in read_events(training.events_path)[0] if event["type"] == "control"]
    assert [(answer["action"], answer["ok"]) for answer in answers] == [
        ("pause", True),
        ("resume", True),
        ("stop", True),
    ]
    assert training.latest_checkpoint() is not None
