"""What was set or extended while a run trained outlasts its worker, however that ends."""

from __future__ import annotations

from typing import Any

import pytest

from nanoshell.files import storage_error
from nanoshell.runs.events import effective_events, read_events
from nanoshell.training import saving
from nanoshell.training.trainer import StepResult, Trainer
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import Asked, answers, asking


def test_a_run_that_was_set_and_extended_goes_on_as_if_it_had_not_stopped(lab: Any) -> None:
    config = lab.config(max_steps=8, save_interval=0, model_dropout=0.1)
    script = {
        3: [("set", {"values": {"trainer.learning_rate": 2e-3, "batch_size": 2}})],
        4: [("extend", {"steps": 4})],
    }
    stopped, straight = (lab.prepare(lab.request(config, lab.corpus())) for _ in range(2))
    with asking(straight, script):
        assert run_worker(straight, lab.plugins) == 0
    with asking(stopped, {**script, 6: [("stop", {})]}):
        assert run_worker(stopped, lab.plugins) == 0
    assert stopped.status().total_steps == 12
    assert stopped.status().step == 6
    lab.prepare(lab.request(None, None, resume=stopped.name))
    stopped.process_path.unlink()  # or this process is taken for the worker that was asked before
    assert run_worker(stopped, lab.plugins) == 0
    rows = [
        [(event["step"], event["loss"], event["learning_rate"], event["tokens"]) for event in events]
        for events in (lab.events(stopped, "step"), lab.events(straight, "step"))
    ]
    assert rows[0] == rows[1]
    assert [row[0] for row in rows[0]] == list(range(1, 13))
    weights = [(run.latest_checkpoint() / "model.safetensors").read_bytes() for run in (stopped, straight)]
    assert weights[0] == weights[1]
    assert stopped.status().total_steps == straight.status().total_steps == 12
    assert stopped.record()["trainer"]["learning_rate"] == 1e-2, "the record stays as it was asked for"


def test_what_was_answered_outlasts_a_kill_and_is_void_with_the_course_it_was_for(lab: Any) -> None:
    config = lab.config(max_steps=8, save_interval=2, max_checkpoints=0)
    run = lab.prepare(lab.request(config, lab.corpus()))
    asked: list[Asked] = [
        ("set", {"values": {"learning_rate": 2e-3, "save_interval": 0}}),
        ("extend", {"steps": 3}),
    ]
    update = Trainer.update

    def killed(trainer: Trainer) -> StepResult:
        if trainer.step == 6:
            raise RuntimeError("the machine burns")
        return update(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", killed)
        with asking(run, {3: asked}):
            assert run_worker(run, lab.plugins) == 1
    run.process_path.unlink()  # the next worker is another process
    lab.prepare(lab.request(None, None, resume=run.name))
    assert run_worker(run, lab.plugins) == 0
    assert lab.events(run, "resume")[-1]["from_step"] == 3
    rates = {event["step"]: event["learning_rate"] for event in lab.events(run, "step")}
    assert rates[3] > 2e-3 > rates[4]
    assert (run.status().step, run.status().total_steps) == (11, 11)
    lab.prepare(lab.request(None, None, resume=f"{run.name}@2", max_steps=3))
    assert run_worker(run, lab.plugins) == 0
    told = effective_events(read_events(run.events_path)[0])
    assert [event for event in told if event["type"] == "control"] == []
    assert lab.events(run, "step")[-1]["learning_rate"] == rates[3]


def test_a_setting_on_a_full_disk_holds_and_says_that_it_is_not_saved(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=3, save_interval=0), lab.corpus()))
    save, full = saving.save_checkpoint, [storage_error(run.path, OSError(28, "No space left on device"))]

    def once(*given: Any, **options: Any) -> Any:
        if full:
            raise full.pop()
        return save(*given, **options)

    with pytest.MonkeyPatch.context() as patch, asking(run, {2: [("set", {"values": {"batch_size": 2}})]}):
        patch.setattr(saving, "save_checkpoint", once)
        assert run_worker(run, lab.plugins) == 0
    (told,) = answers(run)
    assert told["ok"]
    assert "not saved yet: " in told["message"]
    assert lab.events(run, "step")[-1]["tokens"] == (4 + 4 + 2) * 8


def test_what_is_asked_for_anew_on_resume_comes_before_what_was_set(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4, save_interval=3), lab.corpus(), max_steps=3))
    script = {1: [("set", {"values": {"save_interval": 2, "eval_interval": 7}})]}
    with asking(run, script):
        run_worker(run, lab.plugins)
    lab.prepare(lab.request(None, None, resume=run.name, overrides={"save_interval": 1}))
    trainer = lab.trainer(
        lab.config(max_steps=4, save_interval=1), lab.corpus()
    )  # as the worker would build it from the record
    trainer.restore(run.latest_checkpoint())
    assert trainer.config.trainer.save_interval == 1
    assert trainer.config.trainer.eval_interval == 7
