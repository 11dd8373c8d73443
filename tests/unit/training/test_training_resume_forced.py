"""Going on although config or data are others: ``--force``, and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest

from nanoshell.errors import (
    ConfigError,
    DataError,
    UsageError,
)
from nanoshell.training.opening import choose_numerics, open_trainer
from nanoshell.training.record import read_record
from nanoshell.training.team import Team
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import asking


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
    assert sorted(lab.losses(run)) == list(range(1, 9))
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
    assert lab.losses(run)[5][0] == told[5]
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


def test_a_rate_that_was_set_on_the_way_holds_after_a_resume_that_is_forced(lab: Any) -> None:
    config = lab.config(max_steps=6, schedule="constant", warmup_steps=0)
    run = lab.prepare(lab.request(config, lab.corpus()))
    with asking(run, {2: [("set", {"values": {"learning_rate": 1e-3}})], 3: [("stop", {})]}):
        run_worker(run, lab.plugins)
    run.process_path.unlink()  # the next worker is another process
    lab.prepare(lab.request(None, lab.corpus(seed=5), resume=run.name, force=True))
    (record, saved) = read_record(run), run.latest_checkpoint()
    numerics, _ = choose_numerics(record, lab.plugins, saved)
    trainer, _ = open_trainer(run, record, lab.plugins, numerics, saved, Team())
    assert trainer.update().learning_rate == 1e-3
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [1e-3, 1e-3]


def test_whether_the_step_is_compiled_can_be_forced(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    for wanted in (True, False):
        lab.prepare(lab.request(None, None, resume=run.name, overrides={"compile": wanted}, force=True))
        assert choose_numerics(read_record(run), lab.plugins, run.latest_checkpoint())[0].compiled is wanted


def test_checkpoints_that_a_forced_resume_leaves_behind_are_not_taken_for_its_own(lab: Any) -> None:
    config = lab.config(max_steps=6, save_interval=1, max_checkpoints=0)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=4))
    run_worker(run, lab.plugins)
    lab.prepare(lab.request(None, lab.corpus(seed=5), resume=f"{run.name}@3", force=True))
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [1, 2, 3]
    lab.prepare(lab.request(None, None, resume=f"{run.name}@2"))  # the worker came to nothing before
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [1, 2]
    assert run_worker(run, lab.plugins) == 0
    assert "forced" in lab.events(run, "resume")[-1]
    lab.prepare(lab.request(None, lab.corpus(seed=5), resume=f"{run.name}@4"))
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [1, 2, 3, 4, 5, 6], "they are its own"


def test_a_snapshot_is_one_of_the_course_that_goes_on(lab: Any) -> None:
    run = lab.prepare(
        lab.request(lab.config(max_steps=6, save_interval=2, max_checkpoints=0), lab.corpus(), max_steps=3)
    )
    with asking(run, {3: [("snapshot", {})]}):
        run_worker(run, lab.plugins)
    run.process_path.unlink()  # the next worker is another process
    lab.prepare(lab.request(None, lab.corpus(seed=5), resume=f"{run.name}@2", force=True))
    with asking(run, {3: [("snapshot", {}), ("checkpoint", {})]}):
        run_worker(run, lab.plugins)
    snapshot = run.path / lab.events(run, "control")[-2]["path"] / "model.safetensors"
    assert snapshot.read_bytes() == (run.checkpoints_dir / "step-000003" / "model.safetensors").read_bytes()
