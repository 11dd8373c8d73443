"""Going on with a run, or from a checkpoint: exactly, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from nanoshell.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NanoshellError,
    RunError,
    UnknownNameError,
    UsageError,
)
from nanoshell.narrator import SilentNarrator
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.telling import log_damage
from nanoshell.training import launch
from nanoshell.training.launch import start_run
from nanoshell.training.resume import find_resume_point
from nanoshell.training.trainer import Trainer
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import Asked, asking


def test_stopping_and_resuming_gives_the_losses_of_one_go(lab: Any) -> None:
    config = lab.config(max_steps=9, val_fraction=0.2, gradient_accumulation=2, eval_interval=2)
    whole = lab.prepare(lab.request(config, lab.corpus()))
    run_worker(whole, lab.plugins)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=4))
    run_worker(run, lab.plugins)
    same = lab.prepare(lab.request(None, None, resume=run.name, max_steps=7, argv=["again"]))
    assert same == run
    run_worker(run, lab.plugins)
    lab.prepare(lab.request(config, lab.corpus(), resume="latest"))
    run_worker(run, lab.plugins)
    assert lab.losses(run) == lab.losses(whole)
    assert [event["from_step"] for event in lab.events(run, "resume")] == [4, 7]
    assert run.status().state == "finished"
    resumes = run.record()["provenance"]["resumes"]
    assert [(entry["from_step"], entry["argv"]) for entry in resumes] == [(4, ["again"]), (7, [])]
    first = (whole.latest_checkpoint() / "model.safetensors").read_bytes()
    assert (run.latest_checkpoint() / "model.safetensors").read_bytes() == first


def test_a_run_goes_on_from_an_earlier_checkpoint_and_leaves_the_later_course(lab: Any) -> None:
    config = lab.config(max_steps=8, save_interval=2, max_checkpoints=0)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=6))
    run_worker(run, lab.plugins)
    before = lab.losses(run)
    lab.prepare(lab.request(None, None, resume=f"{run.name}@2"))
    run_worker(run, lab.plugins)
    assert lab.events(run, "resume")[-1]["from_step"] == 2
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [2, 4, 6, 8]
    assert {step: value for step, value in lab.losses(run).items() if step <= 6} == before
    lab.prepare(lab.request(None, None, resume=str(run.checkpoints_dir / "step-000004"), max_steps=5))
    run_worker(run, lab.plugins)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [2, 4, 5]
    assert run.status().step == 5


def test_a_checkpoint_outside_any_run_begins_a_new_run(lab: Any) -> None:
    config = lab.config(max_steps=6)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=3))
    run_worker(run, lab.plugins)
    outside = lab.folder / "copied"
    run.latest_checkpoint().rename(outside)
    with pytest.raises(UsageError, match="no data is chosen"):
        lab.prepare(lab.request(None, None, resume=str(outside)))
    with pytest.raises(DataError, match=r"is not the data that .*: sha256 .* -> "):
        lab.prepare(lab.request(None, lab.corpus(seed=5), resume=str(outside)))
    fresh = lab.prepare(lab.request(None, lab.corpus(), resume=str(outside)))
    assert fresh.name != run.name
    assert run_worker(fresh, lab.plugins) == 0
    assert sorted(lab.losses(fresh)) == [4, 5, 6]


def test_a_resume_says_from_where(lab: Any) -> None:
    notes: list[str] = []

    class Noting(SilentNarrator):
        def note(self, text: str) -> None:
            notes.append(text)

    def resume(name: str) -> list[str]:
        notes.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "start_worker", lambda run, arguments, **options: 0)
            start_run(lab.request(None, None, resume=name), lab.plugins, Noting())
        return list(notes)

    run = lab.prepare(lab.request(lab.config(max_steps=4, save_interval=1), lab.corpus(), max_steps=2))
    assert resume(run.name) == [f"{run.name} has no checkpoint yet: it begins anew, with 4 steps before it"]
    lab.prepare(lab.request(None, None, resume=run.name, max_steps=2))
    run_worker(run, lab.plugins)
    assert resume("auto") == [f"{run.name} goes on at step 2 of 4 (checkpoints/step-000002)"]
    assert resume(f"{run.name}@1") == [f"{run.name} goes on at step 1 of 4 (checkpoints/step-000001)"]


def test_what_cannot_be_resumed_is_told_and_changes_nothing(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    record = run.record_path.read_text()

    def refused(**options: Any) -> NanoshellError:
        config, source = options.pop("config", None), options.pop("source", None)
        with pytest.raises(NanoshellError) as caught:
            lab.prepare(lab.request(config, source, resume=options.pop("resume", run.name), **options))
        assert run.record_path.read_text() == record
        return caught.value

    other = refused(config=lab.config(max_steps=4, model_hidden_size=32, batch_size=9, save_interval=3))
    assert isinstance(other, ConfigError)
    assert other.message.endswith(
        "was trained with another config:\n  model.hidden_size 16 -> 32\n  trainer.batch_size 4 -> 9"
    )
    assert "--force" not in other.hint
    longer = refused(overrides={"learning_rate": 0.5, "warmup_steps": 2})
    assert "\n  trainer.learning_rate 0.01 -> 0.5\n  trainer.warmup_steps None -> 2" in longer.message
    assert "--force" in longer.hint
    nested = refused(overrides={"optimizer_options": {"momentum": 0.9, "nesterov": True}})
    assert "\n  trainer.optimizer_options.momentum None -> 0.9\n" in nested.message
    assert "was trained on" in refused(source="other.txt").message
    assert "nothing left to do: it is at step 2 of 2" in refused(max_steps=2).message
    assert isinstance(refused(resume="smal-2"), UnknownNameError)
    assert isinstance(refused(resume=f"{run.name}@3"), UnknownNameError)
    assert "training cannot go on from it" in refused(resume=str(lab.folder)).message
    corpus = lab.corpus()
    corpus.write_bytes(b"\1\0\0\0" * 404)
    changed = refused()
    assert isinstance(changed, DataError)
    assert f"the data has changed since the run began:\n  {corpus} 1600 bytes" in changed.message
    assert "\n  tokens 400 -> 404\n  documents 34 -> 1\n  sha256 " in changed.message
    assert changed.exit_code == other.exit_code == 2, "one code for all that is other than it was"
    assert "--force" in changed.hint


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.safetensors"])
def test_a_truncated_checkpoint_is_told_before_anything_is_made(lab: Any, name: str) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    record = run.record_path.read_bytes()
    checkpoint = run.latest_checkpoint()
    whole = (checkpoint / name).read_bytes()
    outside = lab.folder / "copied"
    shutil.copytree(checkpoint, outside)
    for kept in (len(whole) - 1, 100, 4, 0):
        for folder, source in ((checkpoint, None), (outside, lab.corpus())):
            (folder / name).write_bytes(whole[:kept])
            with pytest.raises(CheckpointError, match=f"{name} is damaged or truncated"):
                lab.prepare(lab.request(None, source, resume=str(folder)))
    assert run.record_path.read_bytes() == record
    assert [path.name for path in lab.runs_dir.iterdir()] == [run.name]


def test_what_changes_no_update_may_change_on_resume(lab: Any) -> None:
    config = lab.config(max_steps=6)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    overrides = {"save_interval": 1, "trainer.max_checkpoints": 3}
    lab.prepare(lab.request(None, None, resume=run.name, overrides=overrides))
    run_worker(run, lab.plugins)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [4, 5, 6]


def test_a_step_is_split_from_a_path_that_has_an_at_sign(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4, save_interval=1), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    moved = lab.folder / "me@home" / run.name
    moved.parent.mkdir()
    run.path.rename(moved)
    point = find_resume_point(lab.request(None, None, resume=f"{moved}@1"))
    assert point is not None
    assert (point.run, point.checkpoint) == (RunDirectory(moved), moved / "checkpoints" / "step-000001")


def test_tokens_that_are_gone_are_made_again_on_resume(lab: Any) -> None:
    text = lab.folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 9)
    run = lab.prepare(lab.request(lab.config(max_steps=4), text, max_steps=2))
    run_worker(run, lab.plugins)
    tokens = Path(run.record()["corpus"]["path"])
    before = tokens.read_bytes()
    tokens.unlink()
    lab.prepare(lab.request(None, None, resume=run.name))
    assert Path(run.record()["corpus"]["path"]).read_bytes() == before
    assert run_worker(run, lab.plugins) == 0


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_it(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6, save_interval=1), lab.corpus(), max_steps=3))
    run_worker(run, lab.plugins)
    (run.latest_checkpoint() / "trainer.safetensors").write_bytes(b"")
    point = find_resume_point(lab.request(None, None, resume=run.name))
    assert point is not None
    assert (str(point.checkpoint)[-6:], "going on from the checkpoint before it" in point.note) == (
        "000002",
        True,
    )
    lab.prepare(lab.request(None, None, resume="auto"))
    assert run_worker(run, lab.plugins) == 0
    assert lab.events(run, "resume")[-1]["from_step"] == 2
    assert run.status().step == 6


def test_what_a_damaged_log_lacks_is_told(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6, save_interval=1), lab.corpus(), max_steps=3))
    run_worker(run, lab.plugins)
    assert log_damage(run.events_path, 3) == ""
    lines = run.events_path.read_bytes().splitlines(keepends=True)
    run.events_path.write_bytes(
        b"".join(line for line in lines if b'"step": 3,' not in line) + b'{"type": "st'
    )
    said = "events.jsonl has 1 damaged line and no step 3: what stood there is missing in charts"
    assert log_damage(run.events_path, 3) == said
    assert log_damage(run.path / "nothing", 0) == ""


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again_in_its_folder(lab: Any) -> None:
    config = lab.config(max_steps=4)
    run = lab.prepare(lab.request(config, lab.corpus()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nanoshell.training.checkpoint.write_folder", lambda folder, fill: 1 / 0)
        assert run_worker(run, lab.plugins) == 1
    assert run.latest_checkpoint() is None
    run.process_path.unlink()  # the next worker is another process
    lab.prepare(lab.request(config, lab.corpus(), resume="auto"))
    assert run_worker(run, lab.plugins) == 0
    assert [path.name for path in lab.runs_dir.iterdir()] == [run.name]
    assert lab.events(run, "resume")[-1]["from_step"] == 0
    whole = lab.prepare(lab.request(config, lab.corpus()))
    run_worker(whole, lab.plugins)
    assert lab.losses(run) == lab.losses(whole)


@pytest.mark.parametrize("step", [3, 6], ids=["on the way", "at the end"])
def test_an_evaluation_that_a_worker_did_not_come_to_is_made_up_for(lab: Any, step: int) -> None:
    config = lab.config(max_steps=6, eval_interval=3, save_interval=3, val_fraction=0.2)
    whole, run = (lab.prepare(lab.request(config, lab.corpus())) for _ in range(2))
    assert run_worker(whole, lab.plugins) == 0
    evaluate = Trainer.evaluate

    def fail(trainer: Trainer, interrupted: Any) -> Any:
        if trainer.step == step:
            raise RuntimeError("the machine burns")
        return evaluate(trainer, interrupted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "evaluate", fail)
        assert run_worker(run, lab.plugins) == 1
    assert run.latest_checkpoint().name == f"step-{step:06d}"
    assert lab.prepare(lab.request(config, lab.corpus(), resume="auto")) == run
    assert run_worker(run, lab.plugins) == 0
    told = [
        [(event["step"], event["val_loss"]) for event in lab.events(each, "eval")] for each in (run, whole)
    ]
    assert told[0] == told[1]
    assert [number for number, _ in told[0]] == [3, 6]
    assert run.status().state == "finished"
    with pytest.raises(RunError, match="nothing left to do"):
        lab.prepare(lab.request(None, None, resume=run.name))


def test_what_is_set_after_a_save_is_saved_with_the_stop_at_the_same_step(lab: Any) -> None:
    config = lab.config(max_steps=6, save_interval=3)
    run = lab.prepare(lab.request(config, lab.corpus()))
    asked: list[Asked] = [
        ("set", {"values": {"learning_rate": 2e-3}}),
        ("extend", {"steps": 2}),
        ("stop", {}),
    ]
    with asking(run, {3: asked}):
        assert run_worker(run, lab.plugins) == 0
    assert run.latest_checkpoint().name == "step-000003"
    run.process_path.unlink()  # the next worker is another process, and these requests are not for it
    lab.prepare(lab.request(None, None, resume="auto"))
    assert run_worker(run, lab.plugins) == 0
    events = lab.events(run, "step")
    assert [event["step"] for event in events] == list(range(1, 9))
    assert events[2]["learning_rate"] > 2e-3 >= events[3]["learning_rate"]
