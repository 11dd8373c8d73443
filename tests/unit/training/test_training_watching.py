"""Alerts over several workers of a run: what stands is not told again, and what is over is said to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import EventLog
from nanoshell.training import alerts
from nanoshell.training.trainer import StepResult, Trainer
from nanoshell.training.watching import recall
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import asking
from tests.unit.training.test_training_saving import judged_by

VALIDATION = {15: 1.1, 30: 1.0, 45: 1.1, 60: 1.2, 75: 1.3, 90: 1.4, 105: 0.9, 120: 0.8}


class Killed(BaseException):
    """The end of a worker that can do nothing about it."""


@pytest.fixture
def begin(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RunDirectory]:
    """Return what makes runs that overfit at step 75, are best again at 105, and soon on a plateau."""
    monkeypatch.setattr(alerts, "PLATEAU_STEPS", 8)
    monkeypatch.setattr(alerts, "PLATEAU_SURE", 0.0)
    monkeypatch.setattr(alerts, "PLATEAU_GAIN", 0.9)
    judged_by(monkeypatch, VALIDATION)
    config = lab.config(max_steps=120, save_interval=0, eval_interval=15, val_fraction=0.2)
    return lambda: lab.prepare(lab.request(config, lab.corpus()))


def told(lab: Any, run: RunDirectory) -> list[tuple[str, int, bool]]:
    return [(event["kind"], event["step"], "cleared" in event) for event in lab.events(run, "alert")]


def test_a_run_in_pieces_tells_what_a_whole_one_tells(lab: Any, begin: Callable[[], RunDirectory]) -> None:
    whole = begin()
    assert run_worker(whole, lab.plugins) == 0
    expected = told(lab, whole)
    assert ("overfitting", 75, False) in expected
    assert ("overfitting", 105, True) in expected
    assert [kind for kind, *_ in expected].count("plateau") == 1

    stopped, steps = begin(), (25, 75)
    with asking(stopped, {step: [("stop", {})] for step in steps}):
        for _ in steps:
            run_worker(stopped, lab.plugins)
            assert stopped.status().state == "stopped"
            stopped.control_path.unlink()  # to a worker in this process, which is older, it would be new
            lab.prepare(lab.request(None, None, resume=stopped.name))
        assert run_worker(stopped, lab.plugins) == 0
    assert stopped.status().state == "finished"
    assert told(lab, stopped) == expected

    killed, update = begin(), Trainer.update
    for at in (17, 79):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Trainer, "update", dying(update, at))
            run_worker(killed, lab.plugins)
        (killed.path / "process.json").unlink()  # this process lives on, and would be taken for the worker
        lab.prepare(lab.request(None, None, resume=killed.name))
    assert run_worker(killed, lab.plugins) == 0
    assert [event["from_step"] for event in lab.events(killed, "resume")] == [15, 75]
    assert told(lab, killed) == expected


def dying(update: Callable[[Trainer], StepResult], at: int) -> Callable[[Trainer], StepResult]:
    def dies(trainer: Trainer) -> StepResult:
        if trainer.step == at:
            raise Killed
        return update(trainer)

    return dies


def test_what_hung_found_no_room_or_diverged_is_over_when_the_next_worker_gets_on(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6, save_interval=2), lab.corpus(), max_steps=3))
    assert run_worker(run, lab.plugins) == 0
    log = EventLog(run.events_path)
    for kind in ("stalled", "storage", "divergence"):
        log.write("alert", kind=kind, message="so it was", step=3)
    lab.prepare(lab.request(None, None, resume=run.name))
    assert run_worker(run, lab.plugins) == 0
    assert told(lab, run)[3:] == [("divergence", 3, True), ("stalled", 4, True), ("storage", 4, True)]


def test_a_forced_config_is_watched_anew(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6, save_interval=2), lab.corpus(), max_steps=3))
    assert run_worker(run, lab.plugins) == 0
    EventLog(run.events_path).write("alert", kind="dead", message="no gradient", step=3)
    lab.prepare(
        lab.request(None, None, resume=run.name, overrides={"trainer.learning_rate": 0.02}, force=True)
    )
    assert run_worker(run, lab.plugins) == 0
    assert told(lab, run) == [("dead", 3, False), ("dead", 3, True)]


def test_a_log_that_is_damaged_or_not_there_recalls_what_it_can(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4), lab.corpus()))
    assert recall(run.events_path, 4).standing == frozenset()
    run.events_path.write_bytes(
        b'{"type": "alert", "kind": "dead"}\n\0\0{"type\n[1]\n{"type": "step", "step": "x", "loss": null}\n'
        b'{"type": "control", "ok": true, "action": "set", "before": {"learning_rate": 1}}\n'
        b'{"type": "state", "horizon": "many"}\n{"type": "resume", "from_step": null}\n{"type": "ste'
    )
    assert recall(run.events_path, 4).standing == frozenset({"dead"})
