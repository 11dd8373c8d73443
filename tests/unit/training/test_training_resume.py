"""Going on with a run, or from a checkpoint: exactly, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
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
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import read_events
from nanoshell.runs.process import refuse_live
from nanoshell.training import launch
from nanoshell.training.resume import find_resume_point
from nanoshell.training.trainer import Trainer
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import asking


def losses(lab: Any, run: RunDirectory) -> dict[int, tuple[float, float]]:
    return {event["step"]: (event["loss"], event["grad_norm"]) for event in lab.events(run, "step")}


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
    assert losses(lab, run) == losses(lab, whole)
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
    before = losses(lab, run)
    lab.prepare(lab.request(None, None, resume=f"{run.name}@2"))
    run_worker(run, lab.plugins)
    assert lab.events(run, "resume")[-1]["from_step"] == 2
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [2, 4, 6, 8]
    assert {step: value for step, value in losses(lab, run).items() if step <= 6} == before
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
    assert sorted(losses(lab, fresh)) == [4, 5, 6]


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
        "was trained with another config: model.hidden_size 16 -> 32; trainer.batch_size 4 -> 9"
    )
    assert "--force" not in other.hint
    longer = refused(overrides={"learning_rate": 0.5, "warmup_steps": 2})
    assert "trainer.learning_rate 0.01 -> 0.5; trainer.warmup_steps None -> 2" in longer.message
    assert "--force" in longer.hint
    assert "was trained on" in refused(source="other.txt").message
    assert "nothing left to do: it is at step 2 of 2" in refused(max_steps=2).message
    assert isinstance(refused(resume="smal-2"), UnknownNameError)
    assert isinstance(refused(resume=f"{run.name}@3"), UnknownNameError)
    assert "training cannot go on from it" in refused(resume=str(lab.folder)).message
    corpus = lab.corpus()
    corpus.write_bytes(b"\1\0\0\0" * 404)
    changed = refused()
    assert isinstance(changed, DataError)
    assert "the data has changed since the run began: tokens 400 -> 404; documents 34 -> 1" in changed.message
    assert f"{corpus} 1600 bytes" in changed.message
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


def on_another_host(run: RunDirectory, seconds: float) -> None:
    """Make ``run`` one that a worker of another host wrote to until ``seconds`` ago, and did not end."""
    then = time.time() - seconds
    events = [event for event in read_events(run.events_path)[0] if event.get("state") != "stopped"]
    written = [{**event, "t": then} for event in events if event.get("state") != "finished"]
    run.events_path.write_text("".join(json.dumps(event) + "\n" for event in written))
    process = {**json.loads(run.process_path.read_text()), "host": "elsewhere"}
    run.process_path.write_text(json.dumps(process))
    for path in (run.events_path, run.process_path, run.record_path):
        os.utime(path, (then, then))


def test_a_run_of_another_host_goes_on_once_it_is_silent_and_is_untouched_before(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    on_another_host(run, 0)
    record = run.record_path.read_bytes()
    with pytest.raises(RunError, match=r"is being written by process \d+ on elsewhere"):
        lab.prepare(lab.request(None, None, resume=run.name))
    assert run.record_path.read_bytes() == record
    on_another_host(run, 3600)
    started: list[RunDirectory] = []

    def start(run: RunDirectory, arguments: Sequence[str], **options: Any) -> None:
        refuse_live(run)  # as the launch does, after the record has been written
        started.append(run)

    monkeypatch.setattr(launch, "start_worker", start)
    launch.start_run(lab.request(None, None, resume=run.name), lab.plugins)
    assert started == [run]


def test_what_changes_no_update_may_change_on_resume(lab: Any) -> None:
    config = lab.config(max_steps=6)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    overrides = {"save_interval": 1, "trainer.max_checkpoints": 3}
    lab.prepare(lab.request(None, None, resume=run.name, overrides=overrides))
    run_worker(run, lab.plugins)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [4, 5, 6]


def test_auto_goes_on_with_the_newest_that_fits_else_begins(lab: Any) -> None:
    config = lab.config(max_steps=4)

    def auto(config: Any, source: Any) -> str:
        run: RunDirectory = lab.prepare(lab.request(config, source, resume="auto", max_steps=2))
        return run.name

    assert auto(config, lab.corpus()) == "small-1", "nothing is there"
    run = RunDirectory(lab.runs_dir / "small-1")
    assert auto(config, lab.corpus()) == "small-1", "it has no checkpoint yet, and begins again"
    assert auto(lab.config(max_steps=4, batch_size=2), lab.corpus()) == "small-2", "the first is another"
    shutil.rmtree(lab.runs_dir / "small-2")
    run_worker(run, lab.plugins)
    assert auto(config, lab.corpus()) == "small-2", "the first is at the last step that is asked for"
    shutil.rmtree(lab.runs_dir / "small-2")
    resumed = lab.prepare(lab.request(None, None, resume="auto", max_steps=3))
    assert resumed == run
    assert auto(lab.config(max_steps=4, model_name="other"), lab.corpus()) == "other-1"


def test_auto_refuses_what_differs_from_the_newest_of_the_name(lab: Any) -> None:
    config = lab.config(max_steps=4)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)

    def auto(config: Any, source: Any, **options: Any) -> RunDirectory:
        found: RunDirectory = lab.prepare(lab.request(config, source, resume="auto", **options))
        return found

    with pytest.raises(ConfigError, match=r"model.hidden_size 16 -> 32"):
        auto(lab.config(max_steps=4, model_hidden_size=32), lab.corpus())
    with pytest.raises(UsageError, match="the run was trained on"):
        auto(config, lab.corpus(seed=3))
    assert auto(None, lab.corpus(seed=3)).name == "nano-start-1", "without a name, the data tells runs apart"
    shutil.rmtree(lab.runs_dir / "nano-start-1")
    assert auto(config, lab.corpus(seed=3), name="other").name == "other-1"
    assert auto(config, lab.corpus()) == run


def test_auto_passes_over_what_is_at_its_horizon_or_trains(lab: Any) -> None:
    config = lab.config(max_steps=4)
    older, newer = (lab.prepare(lab.request(config, lab.corpus(), max_steps=2)) for _ in range(2))
    for run in (older, newer):
        run_worker(run, lab.plugins)

    def auto() -> RunDirectory:
        found: RunDirectory = lab.prepare(lab.request(config, lab.corpus(), resume="auto"))
        return found

    assert auto() == newer
    run_worker(newer, lab.plugins)
    assert auto() == older
    on_another_host(older, 0)
    assert auto().name == "small-3"


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


def test_text_that_changed_is_refused_with_the_file_and_forced_with_a_trace(lab: Any) -> None:
    folder = lab.folder / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("the quick brown fox jumps over the lazy dog " * 9)
    (folder / "b.txt").write_text("pack my box with five dozen liquor jugs " * 9)
    config = lab.config(max_steps=8, save_interval=1, max_checkpoints=0)
    run = lab.prepare(lab.request(config, folder, max_steps=3))
    assert run_worker(run, lab.plugins) == 0
    record = run.record_path.read_text()
    (folder / "b.txt").write_text("sphinx of black quartz, judge my vow " * 12)
    (folder / "c.txt").write_text("the five boxing wizards jump quickly")
    with pytest.raises(DataError) as caught:
        lab.prepare(lab.request(None, None, resume=run.name))
    said = caught.value.message
    assert "documents 2 -> 3" in said
    assert f"{folder / 'b.txt'} 360 bytes" in said
    assert f"{folder / 'c.txt'} not there -> 36 bytes" in said
    assert "a.txt" not in said
    assert run.record_path.read_text() == record
    lab.prepare(lab.request(None, None, resume=run.name, force=True))
    assert run_worker(run, lab.plugins) == 0
    event = lab.events(run, "resume")[-1]
    assert (event["from_step"], event["begun_anew"]) == (3, ["data position"])
    assert event["forced"] == run.record()["provenance"]["resumes"][-1]["forced"]
    assert {"what": "documents", "before": 2, "now": 3} in event["forced"]
    assert sorted(losses(lab, run)) == list(range(1, 9))
    lab.prepare(lab.request(None, None, resume=f"{run.name}@6"))
    assert run_worker(run, lab.plugins) == 0
    assert "forced" not in lab.events(run, "resume")[-1]


def test_a_config_that_is_forced_keeps_the_weights_and_what_fits_of_the_rest(lab: Any) -> None:
    config = lab.config(max_steps=6, save_interval=1, max_checkpoints=0)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=3))
    run_worker(run, lab.plugins)
    saved = run.latest_checkpoint()
    overrides = {"learning_rate": 0.002, "model.dropout": 0.25, "weight_decay": 0.0}
    lab.prepare(lab.request(None, None, resume=run.name, overrides=overrides, force=True, max_steps=5))
    assert run_worker(run, lab.plugins) == 0
    event = lab.events(run, "resume")[-1]
    assert event["begun_anew"] == [], "other rates and the dropout change no shape"
    assert [entry["what"] for entry in event["forced"]] == [
        "model.dropout",
        "trainer.learning_rate",
        "trainer.weight_decay",
    ]
    assert [event["learning_rate"] < 0.0021 for event in lab.events(run, "step")] == [False] * 3 + [True] * 2
    wanted = lab.config(max_steps=6, learning_rate=0.002, model_dropout=0.25, weight_decay=0.0)
    trainer = lab.trainer(wanted, lab.corpus())
    trainer.adopt(saved, run.record()["corpus"]["sha256"])
    for event in lab.events(run, "step")[3:]:
        assert trainer.update().loss == event["loss"]
    # From now on it is the run's own config, and going on is exact again.
    lab.prepare(lab.request(None, None, resume=f"{run.name}@4", max_steps=6))
    assert run_worker(run, lab.plugins) == 0
    assert "forced" not in lab.events(run, "resume")[-1]
    told = {event["step"]: event["loss"] for event in lab.events(run, "step")[:5]}
    assert losses(lab, run)[5][0] == told[5]
    with pytest.raises(ConfigError, match=r"another config: trainer.learning_rate 0.002 -> 0.01"):
        lab.prepare(lab.request(None, None, resume=run.name, overrides={"learning_rate": 0.01}))


@pytest.mark.parametrize(
    ("overrides", "anew"),
    [
        ({"optimizer": "sgd"}, ["optimizer state"]),
        ({"seed": 5, "batch_size": 2}, ["data position"]),
        ({"shuffle": "documents"}, ["data position"]),
        ({"batch_size": 2}, []),
    ],
)
def test_what_does_not_fit_a_forced_config_begins_anew(
    lab: Any, overrides: dict[str, Any], anew: list[str]
) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6), lab.corpus(), max_steps=3))
    run_worker(run, lab.plugins)
    lab.prepare(lab.request(None, None, resume=run.name, overrides=overrides, force=True))
    assert run_worker(run, lab.plugins) == 0
    assert lab.events(run, "resume")[-1]["begun_anew"] == anew
    assert run.status().step == 6


def test_the_shape_of_a_model_and_its_tokenizer_are_never_forced(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    record = run.record_path.read_text()
    for key, value in (("model.hidden_size", 32), ("model.num_layers", 3), ("model.tokenizer", "speakers")):
        with pytest.raises(ConfigError, match=f"--force cannot .*: {key} ") as caught:
            lab.prepare(lab.request(None, None, resume=run.name, overrides={key: value}, force=True))
        assert "start a new run" in caught.value.hint
    with pytest.raises(UsageError, match="--force is for going on"):
        lab.prepare(lab.request(lab.config(), lab.corpus(), force=True))
    assert run.record_path.read_text() == record


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
    assert losses(lab, run) == losses(lab, whole)


@pytest.mark.parametrize("step", [3, 6], ids=["on the way", "at the end"])
def test_an_evaluation_that_a_worker_did_not_come_to_is_made_up_for(lab: Any, step: int) -> None:
    config = lab.config(max_steps=6, eval_interval=3, save_interval=3, val_fraction=0.2)
    run, whole = (lab.prepare(lab.request(config, lab.corpus())) for _ in range(2))
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
    asked = [("set", {"values": {"learning_rate": 2e-3}}), ("extend", {"steps": 2}), ("stop", {})]
    with asking(run, {3: asked}):
        assert run_worker(run, lab.plugins) == 0
    assert run.latest_checkpoint().name == "step-000003"
    run.process_path.unlink()  # the next worker is another process, and these requests are not for it
    lab.prepare(lab.request(None, None, resume="auto"))
    assert run_worker(run, lab.plugins) == 0
    events = lab.events(run, "step")
    assert [event["step"] for event in events] == list(range(1, 9))
    assert events[2]["learning_rate"] > 2e-3 >= events[3]["learning_rate"]
