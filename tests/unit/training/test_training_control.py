"""What a run does on request while it trains, and that it goes on from there exactly when it is resumed."""

from __future__ import annotations

import math
import os
import signal
from typing import Any

import pytest
import torch

from nanoshell.errors import UnknownNameError
from nanoshell.model.weights import load_model
from nanoshell.runs import control
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import Event, read_events
from nanoshell.runs.process import write_process
from nanoshell.training import loop
from nanoshell.training.trainer import StepResult, Trainer
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import answers, ask, asking, await_event, beside

ROOMY = {"max_steps": 5000, "save_interval": 0}


def kinds(run: RunDirectory) -> list[str]:
    return [event["type"] for event in read_events(run.events_path)[0] if event["type"] != "heartbeat"]


def cosine(step: int, peak: float, horizon: int, warmup: int, least: float = 0.1) -> float:
    """The rate of ``step`` by the formula of SGDR, with a linear warm-up."""
    if step < warmup:
        return peak * step / warmup
    along = min(1.0, (step - warmup) / (horizon - warmup))
    return peak * (least + (1 - least) * (1 + math.cos(math.pi * along)) / 2)


# Settings


CHANGES = {"learning_rate": 3e-3, "batch_size": 3, "gradient_accumulation": 1, "weight_decay": 0.3}


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_settings_and_an_extension_survive_a_resume_to_the_bit(lab: Any, softmax: str) -> None:
    config = lab.config(gradient_accumulation=2, model_dropout=0.1, sampled_negatives=4, warmup_steps=3)

    def build() -> Trainer:
        return lab.trainer(config, lab.corpus(ids=14), softmax=softmax)

    def first(trainer: Trainer) -> list[StepResult]:
        results = [trainer.update() for _ in range(2)]
        trainer.change({"warmup_steps": 6, "max_grad_norm": 0.5, "schedule": "linear"})
        results += [trainer.update() for _ in range(2)]
        trainer.change(CHANGES)
        trainer.extend(20)
        return results + [trainer.update() for _ in range(2)]

    straight = build()
    first(straight)
    wanted = [lab.facts(straight.update()) for _ in range(5)]
    stopped = build()
    first(stopped)
    saved = lab.save(stopped)
    resumed = build()
    torch.rand(3)
    resumed.restore(saved)
    assert resumed.config == straight.config
    assert resumed.schedule == straight.schedule
    assert resumed.tokens == 8 * (4 * 2 * 4 + 2 * 3)
    assert [lab.facts(resumed.update()) for _ in range(5)] == wanted
    assert lab.same_bits(lab.weights(resumed), lab.weights(straight))
    assert lab.same_bits(lab.states(resumed), lab.states(straight))


def test_what_is_that_already_is_no_change(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6, save_interval=0), lab.corpus()))
    same, both = {"trainer.batch_size": 4}, {"batch_size": 4, "weight_decay": 0.5}
    with asking(run, {2: [("set", {"values": same})], 3: [("set", {"values": both})]}):
        run_worker(run, lab.plugins)
    first, second = lab.events(run, "control")
    assert (first["ok"], first["values"], first["message"]) == (True, {}, "batch_size is 4 already")
    assert second["values"] == {"weight_decay": 0.5}
    assert "batch_size is 4 already" in second["message"]


def test_a_new_learning_rate_is_the_peak_that_the_rest_of_the_schedule_follows(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=12, warmup_steps=3, save_interval=0), lab.corpus()))
    with asking(run, {6: [("set", {"values": {"learning_rate": 2e-3}})]}):
        run_worker(run, lab.plugins)
    rates = [event["learning_rate"] for event in lab.events(run, "step")]
    wanted = [cosine(step, 1e-2 if step <= 6 else 2e-3, 12, 3) for step in range(1, 13)]
    assert rates == pytest.approx(wanted, rel=1e-12)
    (told,) = answers(run)
    assert told["values"] == {"learning_rate": 2e-3}
    assert told["before"] == {"learning_rate": 1e-2}
    assert f"the rate of step 7 is {wanted[6]:.3g} (cosine, with its peak at 0.002)" in told["message"]
    assert f"it would have been {cosine(7, 1e-2, 12, 3):.3g}" in told["message"]


def test_a_rate_that_is_set_before_the_first_step_holds_for_groups_with_rates_of_their_own(lab: Any) -> None:
    trainer = lab.trainer(lab.config(warmup_steps=0, schedule="constant"), lab.corpus())
    trainer.optimizer.param_groups[1]["lr"] = 5e-2
    trainer.change({"learning_rate": 1e-3})
    trainer.update()
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([1e-3, 5e-3])


def test_a_new_batch_size_goes_on_from_the_same_window_and_counts_its_tokens(lab: Any) -> None:
    config = lab.config(max_steps=6, save_interval=0, batch_size=4)
    trainer, reader = (lab.trainer(config, lab.corpus()) for _ in range(2))
    starts = []
    for size in (4, 4, 3, 1, 6):
        if trainer.config.trainer.batch_size != size:
            trainer.change({"batch_size": size})
        trainer.update()
        starts += [start for batch in trainer.last_batches for start in batch.starts.tolist()]
    reader.change({"batch_size": 1})
    alone = [reader.loader.next_batch().starts.tolist()[0] for _ in range(18)]
    assert starts == alone
    assert trainer.tokens == 18 * 8
    assert trainer.schedule.horizon == 6, "the horizon stays in steps"


def test_weight_decay_reaches_the_matrices_alone_also_from_zero(lab: Any) -> None:
    trainer = lab.trainer(lab.config(weight_decay=0.0), lab.corpus())
    trainer.update()
    trainer.change({"weight_decay": 0.25})
    decays = {
        parameter: group["weight_decay"]
        for group in trainer.optimizer.param_groups
        for parameter in group["params"]
    }
    model = trainer.model
    assert decays[model.layers[0].mlp.up_proj.weight] == 0.25
    assert decays[model.norm.weight] == 0
    assert decays[model.embed_tokens.weight] == 0


def test_settings_that_change_no_update_hold_at_once(lab: Any) -> None:
    config = lab.config(max_steps=9, save_interval=0, eval_interval=0, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus()))
    values = {
        "save_interval": 2,
        "eval_interval": 4,
        "eval_tokens": 24,
        "max_checkpoints": 1,
        "keep_best": False,
    }
    with asking(run, {3: [("set", {"values": values})]}):
        run_worker(run, lab.plugins)
    assert [event["step"] for event in lab.events(run, "checkpoint")] == [3, 4, 6, 8, 9]
    assert [event["step"] for event in lab.events(run, "eval")] == [4, 8, 9]
    assert all(event["tokens"] <= 24 + 256 for event in lab.events(run, "eval"))
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [9]
    assert not (run.checkpoints_dir / "best").exists()


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("evalute", {}, "did you mean 'evaluate'"),
    ("set", {"values": {"learning_rat": 1e-3}}, "did you mean 'learning_rate'"),
    ("set", {"values": {"batch_size": 2, "learning_rate": -1}}, "learning_rate' is -1"),
    ("set", {"values": {"batch_size": 2, "schedule": "cosin"}}, "schedule"),
    ("set", {"values": {"batch_size": 2, "seq_len": 4}}, "'seq_len' cannot change"),
    ("set", {"values": {"batch_size": 2, "warmup_steps": None}}, "needs a value"),
    ("set", {"values": {"sample_settings": {"temprature": 1}}}, "did you mean 'temperature'"),
    ("set", {"values": {"sample_prompts": ["a" * 30]}}, "31 tokens"),
    ("set", {"value": {"batch_size": 2}}, "did you mean 'values'"),
    ("set", {"values": 5}, "needs values"),
    ("extend", {"steps": 0}, "steps is 0"),
    ("extend", {"steps": 1, "epochs": 1}, "either steps or epochs"),
    ("extend", {"epochs": "many"}, "epochs is 'many'"),
    ("sample", {"settings": {"temperature": -3}}, "temperature is -3"),
    ("sample", {"prompts": "abc"}, "prompts is 'abc'"),
    ("sample", {"tokens": 2.5}, "tokens is 2.5"),
    ("pause", {"now": True}, "unknown part of 'pause'"),
]


def test_what_cannot_be_done_is_answered_with_the_nearest_name_and_changes_nothing(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4, save_interval=0), lab.corpus()))
    with asking(run, {2: [(action, given) for action, given, _ in WRONG]}):
        assert run_worker(run, lab.plugins) == 0
    told = answers(run)
    assert [event["ok"] for event in told] == [False] * len(WRONG)
    for event, (action, given, words) in zip(told, WRONG, strict=True):
        assert words in event["message"] + event["hint"], (action, given, event)
        assert event["step"] == 2
    untouched = lab.prepare(lab.request(lab.config(max_steps=4, save_interval=0), lab.corpus()))
    run_worker(untouched, lab.plugins)
    losses = [[event["loss"] for event in lab.events(each, "step")] for each in (run, untouched)]
    assert losses[0] == losses[1]
    assert not lab.trainer(lab.config(), lab.corpus()).config.trainer.sample_settings


def test_a_trainer_is_left_alone_by_a_change_that_fails(lab: Any) -> None:
    trainer = lab.trainer(lab.config(), lab.corpus())
    before = trainer.config
    with pytest.raises(UnknownNameError, match="betas"):
        trainer.change({"learning_rate": 1.0, "betas": [0.5, 0.5]})
    assert trainer.config is before


# Extending


def test_extending_moves_the_end_and_the_schedule(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6, warmup_steps=0, save_interval=0), lab.corpus()))
    with asking(run, {3: [("extend", {"steps": 4})]}):
        run_worker(run, lab.plugins)
    (told,) = answers(run)
    assert (told["horizon"], told["total_steps"]) == (10, 10)
    assert "it goes on to step 10" in told["message"]
    rates = [event["learning_rate"] for event in lab.events(run, "step")]
    wanted = [cosine(step, 1e-2, 6 if step <= 3 else 10, 0) for step in range(1, 11)]
    assert rates == pytest.approx(wanted, rel=1e-12)
    assert (run.status().state, run.status().step, run.status().total_steps) == ("finished", 10, 10)


def test_extending_by_epochs_counts_the_batches_of_now(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=3, save_interval=0), lab.corpus()))
    script = {2: [("set", {"values": {"batch_size": 8}}), ("extend", {"epochs": 0.5})]}
    with asking(run, script):
        run_worker(run, lab.plugins)
    windows = lab.events(run, "state")[1]["windows_per_epoch"]
    assert run.status().step == 3 + math.ceil(0.5 * windows / 8)


def test_a_run_that_max_steps_would_stop_goes_on_for_as_many_steps_as_it_is_extended(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=9, save_interval=0), lab.corpus(), max_steps=3))
    with asking(run, {3: [("extend", {"steps": 2})]}):  # at the very end
        run_worker(run, lab.plugins)
    (told,) = answers(run)
    assert (told["horizon"], told["total_steps"]) == (11, 5)
    assert run.status().step == 5
    assert "its schedule goes on to 11" in run.status().reason


def test_a_run_that_has_finished_goes_on_when_a_request_to_extend_it_awaits_its_worker(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=3, save_interval=0), lab.corpus()))
    run_worker(run, lab.plugins)
    run.process_path.unlink()
    write_process(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "status", lambda run: Running())
        control.request(run, "extend", steps=2)
    assert run_worker(run, lab.plugins) == 0
    assert [event["step"] for event in lab.events(run, "step")] == [1, 2, 3, 4, 5]


class Running:
    ended = False


# While it is paused


def test_a_paused_run_evaluates_samples_saves_and_is_set_and_extended(lab: Any) -> None:
    config = lab.config(**ROOMY, val_fraction=0.2, warmup_steps=0)
    run = lab.prepare(lab.request(config, lab.corpus()))
    told: dict[str, Event] = {}

    def act() -> None:
        await_event(run, lambda event: event.get("step") == 2)
        told["pause"] = ask(run, "pause")
        await_event(run, lambda event: event.get("state") == "paused")
        told["again"] = ask(run, "pause")
        told["evaluate"] = ask(run, "evaluate")
        told["sample"] = ask(run, "sample", prompts=["ab", "c"], tokens=3, settings={"temperature": 0.5})
        told["set"] = ask(run, "set", values={"learning_rate": 5e-3, "save_interval": 1})
        told["checkpoint"] = ask(run, "checkpoint")
        told["snapshot"] = ask(run, "snapshot")
        told["extend"] = ask(run, "extend", steps=7)
        assert run.status().state == "paused"
        told["resume"] = ask(run, "resume")
        after = told["pause"]["step"]
        await_event(run, lambda event: event["type"] == "step" and event["step"] > after)
        told["stop"] = ask(run, "stop")

    with beside(act):
        assert run_worker(run, lab.plugins) == 0
    assert all(event["ok"] for event in told.values()), told
    assert len({event["step"] for name, event in told.items() if name not in ("stop",)}) == 1
    assert told["again"]["message"] == "it is paused already"
    evaluated = lab.events(run, "eval")[0]
    figures = ("split", "val_loss", "perplexity", "bits_per_byte", "tokens", "best")
    assert {name: told["evaluate"][name] for name in figures} == {name: evaluated[name] for name in figures}
    assert evaluated["perplexity"] == pytest.approx(math.exp(evaluated["val_loss"]))
    assert told["sample"]["samples"] == 2
    assert [event["prompt"] for event in lab.events(run, "sample")] == ["ab", "c"]
    assert told["set"]["before"] == {"learning_rate": 1e-2, "save_interval": 0}
    assert load_model(run.path / told["snapshot"]["path"], lab.plugins.mixers)
    assert told["extend"]["total_steps"] == 5007
    assert run.status().total_steps == 5007
    assert lab.events(run, "checkpoint")[0]["step"] == told["pause"]["step"], "saved before the evaluation"


@pytest.mark.parametrize("during", ["pause", "evaluate", "sample"])
def test_a_signal_ends_whatever_the_run_is_doing_and_saves(
    lab: Any, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    config = lab.config(**ROOMY, val_fraction=0.2, model_max_seq_len=64, seq_len=8)
    run = lab.prepare(lab.request(config, lab.corpus()))
    strike = {"pause": signal.SIGINT, "evaluate": signal.SIGTERM, "sample": signal.SIGHUP}[during]

    def act() -> None:
        await_event(run, lambda event: event.get("step") == 2)
        if during == "pause":
            ask(run, "pause")
            await_event(run, lambda event: event.get("state") == "paused")
            os.kill(os.getpid(), strike)

    wanted = loop.Loop._wants_to_stop

    def strike_in_the_middle(self: loop.Loop) -> bool:
        os.kill(os.getpid(), strike)
        return wanted(self)

    if during != "pause":
        monkeypatch.setattr(loop.Loop, "_wants_to_stop", strike_in_the_middle)
    arguments = {"tokens": 60} if during == "sample" else {}
    with asking(run, {2: [(during, arguments)]} if during != "pause" else {}), beside(act):
        assert run_worker(run, lab.plugins) == 0
    final = lab.events(run, "state")[-1]
    assert (final["state"], final["reason"]) == ("stopped", f"signal {strike.name}")
    assert run.latest_checkpoint() == run.checkpoints_dir / f"step-{final['step']:06d}"
    if during == "sample":
        (sample,) = lab.events(run, "sample")
        assert (sample["stop"], sample["tokens"]) == ("interrupted", 1)
    if during == "evaluate":
        assert "broken off" in answers(run)[0]["message"]
        assert lab.events(run, "eval") == []


def test_a_request_to_stop_breaks_off_a_long_sample_and_the_evaluation_behind_it(lab: Any) -> None:
    config = lab.config(**ROOMY, model_max_seq_len=64, seq_len=8)
    run = lab.prepare(lab.request(config, lab.corpus()))
    script = {2: [("sample", {"prompts": ["a", "b"], "tokens": 60}), ("evaluate", {}), ("stop", {})]}
    with asking(run, script):
        assert run_worker(run, lab.plugins) == 0
    (sample,) = lab.events(run, "sample")
    assert sample["stop"] == "interrupted"
    assert [event["ok"] for event in answers(run)] == [True, False, True]
    assert run.status().step == 2
