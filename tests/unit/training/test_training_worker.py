"""The worker in this process: requests, events, failures."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from nanoshell.model.weights import load_model
from nanoshell.runs import control
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import Event, read_events
from nanoshell.runs.process import write_process
from nanoshell.training.trainer import Trainer
from nanoshell.training.worker import SIGNALS, StopSignal, run_worker
from tests.unit.training.steering import await_event, beside


def state(run: RunDirectory) -> Event:
    return [event for event in read_events(run.events_path)[0] if event["type"] == "state"][-1]


def kinds(run: RunDirectory) -> list[str]:
    return [event["type"] for event in read_events(run.events_path)[0] if event["type"] != "heartbeat"]


def test_a_run_from_its_first_event_to_its_last(lab: Any) -> None:
    config = lab.config(max_steps=6, save_interval=2, eval_interval=3, val_fraction=0.2, batch_size=2)
    run = lab.prepare(lab.request(config, lab.corpus()))
    assert run_worker(run, lab.plugins) == 0
    assert kinds(run) == [
        *("state", "state", "step", "step", "checkpoint", "step", "checkpoint", "eval"),
        *("step", "checkpoint", "step", "step", "checkpoint", "eval", "state"),
    ]
    events = read_events(run.events_path)[0]
    assert (events[0]["state"], events[0]["format"]) == ("starting", 1)
    running = lab.events(run, "state")[1]
    assert (running["state"], running["total_steps"], running["horizon"]) == ("running", 6, 6)
    assert running["machine"].keys() >= {"cpus", "memory"}
    assert (running["device"], running["dtype"], running["softmax"], running["threads"]) == (
        *("cpu", "float32", "full"),
        1,
    )
    steps = lab.events(run, "step")
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    wanted = {"step", "loss", "grad_norm", "learning_rate", "epoch", "it/s", "tokens/s"}
    assert all(wanted <= step.keys() for step in steps)
    assert [step["tokens"] for step in steps] == [16, 32, 48, 64, 80, 96]
    evaluation = lab.events(run, "eval")[-1]
    assert (evaluation["split"], evaluation["step"]) == ("validation", 6)
    assert evaluation["val_loss"] > 0
    status = run.status()
    assert (status.state, status.step, status.total_steps) == ("finished", 6, 6)
    assert status.val_loss == pytest.approx(evaluation["val_loss"])
    best = status.best_step
    assert run.best_checkpoint() == run.checkpoints_dir / f"step-{best:06d}"
    assert [checkpoint.step for checkpoint in run.checkpoints()] == ([3, 4, 6] if best == 3 else [4, 6])
    model = load_model(run.latest_checkpoint(), lab.plugins.mixers)
    assert model.config == config.model


def test_with_sampled_softmax_the_end_tells_the_exact_loss(lab: Any) -> None:
    config = lab.config(max_steps=2, softmax="sampled", sampled_negatives=4)
    run = lab.prepare(lab.request(config, lab.corpus(ids=10)))
    assert run_worker(run, lab.plugins) == 0
    (found,) = lab.events(run, "eval")
    assert found["split"] == "train"
    assert "val_loss" not in found
    assert found["loss"] > 0


def test_max_steps_stops_without_bending_the_schedule(lab: Any) -> None:
    rates = {}
    for stop in (None, 3):
        run = lab.prepare(lab.request(lab.config(max_steps=8), lab.corpus(), max_steps=stop))
        run_worker(run, lab.plugins)
        rates[stop] = [event["learning_rate"] for event in lab.events(run, "step")]
    assert rates[3] == rates[None][:3]
    assert state(run)["state"] == "finished"
    assert "after step 3 as asked; its schedule goes on to 8" in state(run)["reason"]
    assert run.status().total_steps == 3


def test_requests_are_carried_out_between_steps_and_answered(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=1_000_000, save_interval=0), lab.corpus()))
    answers = {}

    def ask(action: str) -> Event:
        found = control.wait_for(run, control.request(run, action), timeout=300, poll=0.002)
        assert found is not None, action
        answers[action] = found
        return found

    def act() -> None:
        await_event(run, lambda event: event.get("step") == 2)
        ask("pause")
        await_event(run, lambda event: event.get("state") == "paused")
        assert run.status().state == "paused"
        first, second = ask("snapshot"), ask("snapshot")
        assert first["path"] == second["path"] == f"snapshots/step-{first['step']:06d}"
        assert load_model(run.path / first["path"], lab.plugins.mixers).config.name == "small"
        assert not (run.path / first["path"] / "trainer.json").exists()
        saved = ask("checkpoint")
        assert saved["path"] == f"checkpoints/step-{saved['step']:06d}"
        assert saved["step"] == first["step"], "it stood still"
        assert "can: stop, pause" in ask("dance")["hint"]
        assert "did you mean 'evaluate'" in ask("evalute")["message"]
        ask("resume")
        await_event(run, lambda event: event["type"] == "step" and event["step"] > saved["step"])
        ask("stop")

    with beside(act):
        assert run_worker(run, lab.plugins) == 0
    assert [answers[name]["ok"] for name in ("pause", "snapshot", "resume", "stop", "dance")] == [
        *(True, True, True, True),
        False,
    ]
    final = state(run)
    assert (final["state"], final["reason"]) == ("stopped", "asked to stop")
    assert run.latest_checkpoint() == run.checkpoints_dir / f"step-{final['step']:06d}"
    states = [event["state"] for event in lab.events(run, "state")]
    assert states == ["starting", "running", "paused", "running", "stopping", "stopped"]


def test_requests_from_before_the_worker_are_ignored_and_those_while_it_starts_are_not(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=3), lab.corpus()))
    control.request(run, "stop")
    assert run_worker(run, lab.plugins) == 0
    assert state(run)["state"] == "finished"
    again = lab.prepare(lab.request(lab.config(max_steps=3), lab.corpus()))
    write_process(again)
    control.request(again, "stop")
    assert run_worker(again, lab.plugins) == 0
    assert (state(again)["state"], state(again)["step"]) == ("stopped", 0)
    assert [checkpoint.step for checkpoint in again.checkpoints()] == [0]


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_that_asks_to_end_is_remembered(number: signal.Signals) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are the main thread's")
    stop = StopSignal()
    before = signal.getsignal(number)
    with stop.caught():
        os.kill(os.getpid(), number)
    assert stop.name == number.name
    assert signal.getsignal(number) is before


def test_divergence_ends_the_run_and_says_what_to_do(lab: Any) -> None:
    config = lab.config(max_steps=40, learning_rate=1e30, save_interval=1, max_grad_norm=0, warmup_steps=0)
    run = lab.prepare(lab.request(config, lab.corpus()))
    assert run_worker(run, lab.plugins) == 1
    final = state(run)
    assert final["state"] == "failed"
    figure = r"[\w.+-]{1,10}"
    assert re.search(rf"diverged at step \d+: loss {figure}, gradient norm {figure}$", final["reason"])
    assert "lower the learning rate" in final["hint"]
    (alert,) = lab.events(run, "alert")
    assert (alert["kind"], alert["message"]) == ("divergence", final["reason"])
    last = lab.events(run, "step")[-1]
    assert last["not_finite"]
    assert run.checkpoints()[-1].step == last["step"] - 1
    assert run.status().state == "failed"


@pytest.mark.parametrize(
    ("error", "reason", "hint"),
    [
        (RuntimeError("mat1 and mat2\nshapes"), "RuntimeError: mat1 and mat2 shapes", "worker.log"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory does not suffice", "batch_size"),
        (MemoryError(), "memory does not suffice", "batch_size"),
    ],
)
def test_an_unexpected_failure_is_a_final_state_with_its_traceback_in_the_log(
    lab: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    reason: str,
    hint: str,
) -> None:
    run = lab.prepare(lab.request(lab.config(), lab.corpus()))

    def fail(trainer: Trainer) -> None:
        raise error

    monkeypatch.setattr(Trainer, "update", fail)
    assert run_worker(run, lab.plugins) == 1
    assert state(run)["state"] == "failed"
    assert reason in state(run)["reason"]
    assert hint in state(run)["hint"]
    assert state(run).get("unexpected", False) is (hint == "worker.log")
    assert "Traceback" in capsys.readouterr().err


def test_a_folder_that_takes_no_checkpoint_ends_the_run_with_one_message(
    lab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = lab.prepare(lab.request(lab.config(save_interval=2), lab.corpus()))
    run.checkpoints_dir.write_text("")
    assert run_worker(run, lab.plugins) == 1
    final = state(run)
    assert final["state"] == "failed"
    assert "cannot write" in final["reason"]
    assert [alert["kind"] for alert in lab.events(run, "alert")] == ["storage"]
    assert "Traceback" not in capsys.readouterr().err


def test_data_that_changed_under_a_run_is_told(lab: Any) -> None:
    corpus: Path = lab.corpus()
    run = lab.prepare(lab.request(lab.config(), corpus))
    corpus.write_bytes(corpus.read_bytes()[:-40])
    assert run_worker(run, lab.plugins) == 1
    assert "has changed" in state(run)["reason"]
    corpus.unlink()
    assert run_worker(run, lab.plugins) == 1
    assert "are gone" in state(run)["reason"]
