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


def test_a_run_does_all_that_keys_ask_of_it(window: Window, training: RunDirectory) -> None:
    window.type(f"n dash {training.name}; echo ended with $?", "Enter")
    window.wait_until(window.is_open)
    window.wait_for("P Pause")
    window.type("P")
    window.wait_for(f"{training.name}: paused")
    window.wait_until(lambda: "paused" in window.screen().split("\n")[0] and "R Resume" in window.screen())
    assert "P Pause" not in window.screen()
    window.type("C")
    window.wait_for(f"{training.name}: saved checkpoints/step-")
    window.type("E")
    window.wait_for(f"{training.name}: exact training loss")
    window.type("G")
    # Where the notice breaks its line goes by the digits of the step: wait for one word, below the tabs.
    window.wait_until(lambda: any("Samples" in line for line in window.screen().split("\n")[2:]))
    window.type("}")
    window.wait_for("learning rate 0.003 -> 0.00375")
    window.type("{")
    window.wait_for("learning rate 0.00375 -> 0.003")
    window.type("L", "0.005", "Enter")  # at once: no key may be lost while the question opens
    window.wait_for("learning rate 0.003 -> 0.005")
    window.type("L", "C-u", "0.05", "Enter")
    window.wait_for("from 0.005 to 0.05")
    window.type("n", "X", "500", "Enter")
    window.wait_for("goes on to step 100,500")
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
    assert all(answer["ok"] for answer in answers)
    actions = ["pause", "checkpoint", "evaluate", "sample", "set", "set", "set", "extend", "resume", "stop"]
    assert [answer["action"] for answer in answers] == actions
    rates = [answer["values"]["learning_rate"] for answer in answers if answer["action"] == "set"]
    assert rates == [0.00375, 0.003, 0.005]
