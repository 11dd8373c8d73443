"""The best checkpoint, what is saved before an evaluation, and what a run does where the disk is full."""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nanoshell.errors import StorageError
from nanoshell.files import storage_error
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import Event, comparable_evaluations, effective_events
from nanoshell.runs.locate import locate_model
from nanoshell.training import loop, saving
from nanoshell.training.evaluation import Evaluation
from nanoshell.training.trainer import StepResult, Trainer
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import ask, asking, await_event, beside

# The best checkpoint


def judged_by(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float]) -> None:
    """Let evaluations find ``losses``, by step."""

    def evaluate(trainer: Trainer, interrupted: Any) -> Evaluation:
        return Evaluation(losses[trainer.step], 10, "validation", 10)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)


def test_the_best_checkpoint_is_kept_and_can_be_named(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by(monkeypatch, {2: 3.0, 4: 2.5, 6: 2.7, 8: math.nan, 10: 2.6})
    config = lab.config(max_steps=10, eval_interval=2, save_interval=5, max_checkpoints=1, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=6))
    assert run_worker(run, lab.plugins) == 0
    assert [event["best"] for event in lab.events(run, "eval")] == [True, True, False]
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [4, 6]
    lab.prepare(lab.request(None, None, resume=run.name))
    assert run_worker(run, lab.plugins) == 0
    assert [event["best"] for event in lab.events(run, "eval")] == [True, True, False, False, False]
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [4, 10]
    assert run.best_checkpoint() == run.checkpoints_dir / "step-000004"
    assert locate_model(lab.runs_dir, f"{run.name}@best").path == run.best_checkpoint()
    status = run.status()
    assert (status.best_val_loss, status.best_step, status.val_loss) == (2.5, 4, 2.6)


def test_the_best_of_a_course_that_a_resume_left_is_the_best_no_more(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(monkeypatch, {2: 3.0, 4: 2.0, 6: 2.9})
    config = lab.config(max_steps=6, eval_interval=2, save_interval=0, max_checkpoints=0, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=4))
    run_worker(run, lab.plugins)
    assert run.best_checkpoint() == run.checkpoints_dir / "step-000004"
    judged_by(monkeypatch, {4: 3.5, 6: 2.9})
    lab.prepare(lab.request(None, None, resume=f"{run.name}@2"))
    run_worker(run, lab.plugins)
    assert [event["best"] for event in lab.events(run, "eval")][2:] == [False, True]
    assert run.best_checkpoint() == run.checkpoints_dir / "step-000006"
    assert (run.status().best_val_loss, run.status().best_step) == (2.9, 6)


def test_what_is_learnt_is_saved_before_an_evaluation_that_ends_the_process(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(trainer: Trainer, interrupted: Any) -> Evaluation:
        raise MemoryError

    monkeypatch.setattr(Trainer, "evaluate", fail)
    run = lab.prepare(lab.request(lab.config(max_steps=9, eval_interval=3, save_interval=0), lab.corpus()))
    assert run_worker(run, lab.plugins) == 1
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000003"


def test_the_best_on_other_held_out_text_is_the_best_no_more(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(monkeypatch, {2: 1.0, 4: 4.0, 6: 3.2, 8: 3.5})
    config = lab.config(max_steps=8, eval_interval=2, save_interval=0, max_checkpoints=0, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    other = {"learning_rate": 1e-3}  # which leaves the held-out text as it is
    lab.prepare(lab.request(None, None, resume=run.name, overrides=other, force=True, max_steps=3))
    run_worker(run, lab.plugins)
    assert (run.status().best_val_loss, run.status().best_step) == (1.0, 2)
    lab.prepare(lab.request(None, lab.corpus(seed=5), resume=run.name, force=True, max_steps=6))
    run_worker(run, lab.plugins)
    assert [event["best"] for event in lab.events(run, "eval")] == [True, True, True]
    assert (run.status().best_val_loss, run.status().best_step) == (3.2, 6)
    lab.prepare(lab.request(None, None, resume=run.name))
    run_worker(run, lab.plugins)
    assert [event["best"] for event in lab.events(run, "eval")][3:] == [False]
    assert run.best_checkpoint() == run.checkpoints_dir / "step-000006"


def test_a_loss_on_fewer_tokens_is_not_compared(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {2: 1.0, 4: 4.0, 6: 5.0}

    def evaluate(trainer: Trainer, interrupted: Any) -> Evaluation:
        return Evaluation(losses[trainer.step], trainer.config.trainer.eval_tokens, "validation", 10)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    config = lab.config(max_steps=6, eval_interval=2, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus()))
    with asking(run, {3: [("set", {"values": {"eval_tokens": 24}})]}):
        run_worker(run, lab.plugins)
    assert [event["best"] for event in lab.events(run, "eval")] == [True, True, False]
    counting = comparable_evaluations(effective_events(lab.events(run, "eval")))
    assert [event["step"] for event in counting] == [4, 6]


def test_a_best_whose_checkpoint_was_not_kept_is_in_nobodys_way(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(monkeypatch, {2: 1.0, 4: 3.0, 6: 2.9, 8: 3.1})
    config = lab.config(max_steps=8, eval_interval=2, max_checkpoints=1, keep_best=False, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus()))
    with asking(run, {5: [("set", {"values": {"keep_best": True}})]}):
        run_worker(run, lab.plugins)
    assert [event["best"] for event in lab.events(run, "eval")] == [True, False, True, False]
    assert run.best_checkpoint() == run.checkpoints_dir / "step-000006"


# A full disk


class Disk:
    """Lets checkpoints be saved, or not, for want of room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = True
        self.tries = 0
        save = saving.save_checkpoint

        def checked(run: RunDirectory, step: int, *arguments: Any, **options: Any) -> tuple[Path, int]:
            if not self.room:
                self.tries += 1
                raise storage_error(run.checkpoints_dir, OSError(28, "No space left on device"))
            return save(run, step, *arguments, **options)

        monkeypatch.setattr(saving, "save_checkpoint", checked)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(loop, "ROOM_SECONDS", 0.0)
    monkeypatch.setattr(loop, "MOST_ROOM_SECONDS", 0.0)
    return Disk(monkeypatch)


def test_a_full_disk_pauses_the_run_which_obeys_and_goes_on_when_there_is_room(lab: Any, disk: Disk) -> None:
    config = lab.config(max_steps=7, save_interval=2, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus()))
    told: dict[str, Event] = {}

    def act() -> None:
        await_event(run, lambda event: event["type"] == "checkpoint" and event["step"] == 4)
        await_event(run, lambda event: event.get("state") == "paused")
        assert run.status().state == "paused"
        assert "the disk is full" in run.status().reason
        told["evaluate"] = ask(run, "evaluate")
        told["checkpoint"] = ask(run, "checkpoint")
        told["resume"] = ask(run, "resume")
        disk.room = True

    def update(trainer: Trainer) -> StepResult:
        if trainer.step == 4:
            disk.room = False
        return take_step(trainer)

    take_step = Trainer.update
    with pytest.MonkeyPatch.context() as patch, beside(act):
        patch.setattr(Trainer, "update", update)
        assert run_worker(run, lab.plugins) == 0
    assert disk.tries > 2
    full, again = lab.events(run, "alert")
    assert (full["kind"], full["step"]) == ("storage", 6)
    assert "the last good checkpoint is kept: step-000004" in full["hint"]
    assert (again["kind"], again["cleared"]) == ("storage", True)
    assert [event["step"] for event in lab.events(run, "checkpoint")] == [2, 4, 6, 7]
    assert [event["step"] for event in lab.events(run, "step")] == [1, 2, 3, 4, 5, 6, 7]
    assert told["evaluate"]["ok"]
    assert "the disk is full" in told["checkpoint"]["message"]
    assert "trying again" in told["resume"]["message"]
    assert run.status().state == "finished"


def test_nothing_is_tried_while_the_disk_says_that_a_checkpoint_does_not_fit(
    lab: Any, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4, save_interval=2), lab.corpus()))
    asked: list[int] = []

    def usage(path: Path) -> SimpleNamespace:
        size = lab.events(run, "checkpoint")[0]["bytes"]
        asked.append(1)
        disk.room = len(asked) > 3
        assert disk.tries == 1, "the first time nobody knew"
        return SimpleNamespace(free=size + (1 if disk.room else -1))

    def update(trainer: Trainer) -> StepResult:
        disk.room = trainer.step < 2
        return take_step(trainer)

    take_step = Trainer.update
    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr(saving.shutil, "disk_usage", usage)
    assert run_worker(run, lab.plugins) == 0
    assert len(asked) == 4
    assert [event["step"] for event in lab.events(run, "checkpoint")] == [2, 4]


def test_a_run_that_waits_for_room_can_be_stopped_and_says_what_is_lost(lab: Any, disk: Disk) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=50, save_interval=2), lab.corpus()))

    def act() -> None:
        await_event(run, lambda event: event.get("state") == "paused")
        ask(run, "stop")

    def no_room(trainer: Trainer) -> StepResult:
        disk.room = trainer.step < 2
        return take_step(trainer)

    take_step = Trainer.update
    with pytest.MonkeyPatch.context() as patch, beside(act):
        patch.setattr(Trainer, "update", no_room)
        assert run_worker(run, lab.plugins) == 0
    final = lab.events(run, "state")[-1]
    assert (final["state"], final["step"]) == ("stopped", 4)
    assert "asked to stop" in final["reason"]
    assert "since the last checkpoint is lost" in final["reason"]
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000002"


def test_events_that_find_no_room_are_written_later_and_the_run_waits_for_that(
    lab: Any, monkeypatch: pytest.MonkeyPatch, disk: Disk
) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6, save_interval=0), lab.corpus()))
    write, room = os.write, {"left": 10**9}

    def limited(handle: int, data: Any) -> int:
        if os.fstat(handle).st_ino != run.events_path.stat().st_ino:
            return write(handle, data)
        if room["left"] <= 0:
            raise OSError(28, "No space left on device")
        count = write(handle, bytes(data)[: room["left"]])
        room["left"] -= count
        return count

    def update(trainer: Trainer) -> StepResult:
        if trainer.step == 2:
            room["left"] = 100  # the next event is cut in the middle
        elif trainer.step > 2:
            assert room["left"] > 10**8, "the run has to wait"
        return take_step(trainer)

    def wait(self: loop.Loop, *given: Any) -> bool:
        assert not self._events.flush()
        room["left"] = 10**9
        return wait_for_room(self, *given)

    wait_for_room, take_step = loop.Loop._wait_for_room, Trainer.update
    monkeypatch.setattr("nanoshell.runs.events.os.write", limited)
    monkeypatch.setattr(loop.Loop, "_wait_for_room", wait)
    monkeypatch.setattr(saving.Saver, "has_room", lambda saver: False)  # for a checkpoint, which is large
    monkeypatch.setattr(Trainer, "update", update)
    assert run_worker(run, lab.plugins) == 0
    assert [event["step"] for event in lab.events(run, "step")] == [1, 2, 3, 4, 5, 6]
    assert [event["kind"] for event in lab.events(run, "alert")] == ["storage", "storage"]
    assert all(line.startswith("{") for line in run.events_path.read_text().splitlines())
    assert run.status().state == "finished"


def test_what_is_no_lack_of_room_ends_the_run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> tuple[Path, int]:
        raise storage_error(Path("checkpoints"), OSError(13, "Permission denied"))

    monkeypatch.setattr(saving, "save_checkpoint", refuse)
    run = lab.prepare(lab.request(lab.config(save_interval=2), lab.corpus()))
    assert run_worker(run, lab.plugins) == 1
    assert "permission denied" in run.status().reason
    assert [event["kind"] for event in lab.events(run, "alert")] == ["storage"]
    assert not StorageError("x").no_room


def test_a_run_that_cannot_even_tell_its_end_fails_and_its_log_may_be_full_too(
    lab: Any, monkeypatch: pytest.MonkeyPatch, disk: Disk
) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=50, save_interval=0), lab.corpus()))
    write, full = os.write, []

    def limited(handle: int, data: Any) -> int:
        if full and os.fstat(handle).st_ino == run.events_path.stat().st_ino:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    class FullLog:
        def write(self, text: str) -> int:
            if full:
                raise OSError(28, "No space left on device")
            return len(text)

        def flush(self) -> None:
            pass

    def update(trainer: Trainer) -> StepResult:
        if trainer.step == 2:
            full.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return take_step(trainer)

    take_step = Trainer.update
    monkeypatch.setattr("nanoshell.runs.events.os.write", limited)
    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr(sys, "stderr", FullLog())
    assert run_worker(run, lab.plugins) == 1
    assert [event["step"] for event in lab.events(run, "step")] == [1, 2]
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000003", "only the log was without room"
