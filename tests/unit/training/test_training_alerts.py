"""Alerts: on series that are made up, on runs that diverge and hang, and never on a run that learns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import EventLog, number
from nanoshell.training import alerts
from nanoshell.training.alerts import (
    DEAD_STEPS,
    STALL_FIRST_SECONDS,
    STALL_SECONDS,
    Alert,
    Dead,
    Overfitting,
    Plateau,
    StallWatch,
)
from nanoshell.training.trainer import StepResult, Trainer
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import await_event
from tests.unit.training.test_training_saving import judged_by


def plateaus(losses: Sequence[float], horizon: int | None = None) -> list[int]:
    """Return the steps, from 1, at which a plateau is told, and negative those at which it is over."""
    watch = Plateau(horizon or len(losses))
    told = [(step, watch.took(step, float(loss))) for step, loss in enumerate(losses, 1)]
    return [-step if alert.cleared else step for step, alert in told if alert is not None]


def noisy(losses: np.ndarray, share: float, seed: int) -> np.ndarray:
    return losses * (1 + share * np.random.default_rng(seed).standard_normal(len(losses)))


# Plateaus


@settings(max_examples=150, deadline=None)
@given(
    steps=st.integers(1, 4000),
    start=st.floats(0.5, 12),
    fall=st.floats(0.01, 0.5),
    noise=st.floats(0, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_noisy_series_that_falls_steadily_is_no_plateau(
    steps: int, start: float, fall: float, noise: float, seed: int
) -> None:
    """``fall`` is the share of the loss that goes in every tenth of the run."""
    along = np.arange(1, steps + 1) / steps
    assert plateaus(noisy(start * (1 - fall) ** (10 * along), noise, seed)) == []


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(700, 4000),
    exponent=st.floats(0.05, 0.5),
    noise=st.floats(0, 0.1),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_power_law_of_a_long_run_is_no_plateau(
    steps: int, exponent: float, noise: float, seed: int
) -> None:
    series = 10 * np.arange(1, steps + 1) ** -exponent
    assert plateaus(noisy(series, noise, seed)) == []


@settings(max_examples=60, deadline=None)
@given(steps=st.integers(1, 639), seed=st.integers(0, 2**32 - 1))
def test_a_tiny_run_is_never_on_a_plateau(steps: int, seed: int) -> None:
    assert plateaus(noisy(np.full(steps, 3.0), 0.01, seed)) == []


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1600, 6000),
    until=st.floats(0.05, 0.25),
    noise=st.floats(0, 0.02),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_loss_that_stands_still_is_told_once(steps: int, until: float, noise: float, seed: int) -> None:
    falling = np.linspace(6, 3, int(steps * until))
    series = np.concatenate([falling, np.full(steps - len(falling), 3.0)])
    told = plateaus(noisy(series, noise, seed))
    assert len(told) == 1
    assert told[0] > len(falling)


def test_a_plateau_is_told_again_after_it_was_over() -> None:
    def flat(level: float) -> np.ndarray:
        return np.full(1200, level)

    series = np.concatenate([flat(4.0), np.linspace(4, 2, 1200), flat(2.0)])
    told = plateaus(series, horizon=4000)
    first, over, second = told
    assert first <= 1200 < -over < 2400 < second


def test_what_is_learnt_and_what_has_no_time_left_is_no_plateau() -> None:
    assert plateaus([0.01] * 2000) == []
    flat_end = [*np.linspace(5, 3, 1850), *[3.0] * 150]
    assert plateaus(flat_end) == []


def test_a_plateau_tells_both_means() -> None:
    watch = Plateau(1600)
    (told,) = [alert for step in range(1, 1000) if (alert := watch.took(step, 3.0)) is not None]
    assert told.kind == "plateau"
    assert told.fields == {"loss": 3.0, "loss_before": 3.0}
    assert "has not improved for 160 steps: 3 on average" in told.message


# Dead models


def test_a_model_without_a_gradient_is_told_once_and_again_only_after_it_lived() -> None:
    def told(norms: Sequence[float], loss: float = 4.2) -> list[int]:
        watch = Dead()
        found = [(step, watch.took(step, loss, norm, 1e9)) for step, norm in enumerate(norms, 1)]
        return [-step if alert.cleared else step for step, alert in found if alert is not None]

    assert told([1.0, *[0.0] * 50]) == [1 + DEAD_STEPS]
    assert told([0.0] * (DEAD_STEPS - 1) + [1e-6] + [0.0] * (DEAD_STEPS - 1)) == []
    assert told([*[0.0] * DEAD_STEPS, 1.0, *[0.0] * DEAD_STEPS]) == [
        DEAD_STEPS,
        -DEAD_STEPS - 1,
        2 * DEAD_STEPS + 1,
    ]
    assert told([0.0] * 50, loss=0.0) == [], "what is known by heart has no gradient either"


def test_a_model_that_is_dead_is_told_by_its_run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    update = Trainer.update

    def dead(trainer: Trainer) -> StepResult:
        return replace(update(trainer), grad_norm=0.0)

    monkeypatch.setattr(Trainer, "update", dead)
    run = lab.prepare(lab.request(lab.config(max_steps=8, save_interval=0), lab.corpus()))
    run_worker(run, lab.plugins)
    (alert,) = lab.events(run, "alert")
    assert (alert["kind"], alert["step"], alert["since"]) == ("dead", DEAD_STEPS, 1)
    assert alert["message"] == "the gradient has been 0 since step 1: the model no longer learns"
    assert "lower the learning rate" in alert["hint"]


# Overfitting


def overfits(pairs: Sequence[tuple[float, float]]) -> list[Alert | None]:
    """Return what is told after each pair of the training loss of 10 steps and a validation loss."""
    watch = Overfitting()
    told = []
    for index, (training, validation) in enumerate(pairs, 1):
        for _ in range(10):
            watch.took(training)
        told.append(watch.evaluated(10 * index, validation))
    return told


def test_validation_that_rises_while_training_falls_is_told_once() -> None:
    pairs = [(3.0, 3.1), (2.5, 2.8), (2.2, 2.9), (2.0, 3.0), (1.8, 3.1), (1.6, 3.2), (1.5, 3.4)]
    told = overfits(pairs)
    assert [alert is not None for alert in told] == [False] * 4 + [True, False, False]
    alert = told[4]
    assert alert is not None
    assert alert.kind == "overfitting"
    assert dict(alert.fields) == {"val_loss": 3.1, "best_val_loss": 2.8, "best_step": 20}
    better = [*pairs, (1.4, 2.7), (1.3, 2.8), (1.2, 2.9), (1.1, 3.0)]
    found = [(index, alert.cleared) for index, alert in enumerate(overfits(better)) if alert]
    assert found == [(4, False), (7, True), (10, False)]


@pytest.mark.parametrize(
    "pairs",
    [
        [(3.0, 3.0), (3.1, 3.1), (3.2, 3.2), (3.3, 3.3), (3.4, 3.4)],  # training gets worse, too
        [(3.0, 3.0), (2.9, 3.001), (2.8, 3.002), (2.7, 3.003), (2.6, 3.004)],  # by a hair
        [(3.0, 3.0), (2.9, 3.3), (2.8, 3.2), (2.7, 3.3), (2.6, 3.2), (2.5, 3.3)],  # up and down
    ],
)
def test_what_is_no_overfitting(pairs: list[tuple[float, float]]) -> None:
    assert overfits(pairs) == [None] * len(pairs)


@settings(max_examples=100, deadline=None)
@given(
    evaluations=st.integers(1, 60),
    fall=st.floats(0.005, 0.2),
    noise=st.floats(0, 0.01),
    seed=st.integers(0, 2**32 - 1),
)
def test_noisy_losses_that_fall_together_are_no_overfitting(
    evaluations: int, fall: float, noise: float, seed: int
) -> None:
    falling = 4 * (1 - fall) ** np.arange(evaluations)
    pairs = list(zip(noisy(falling, noise, seed), noisy(falling, noise, seed + 1), strict=True))
    assert not any(overfits([(float(a), float(b)) for a, b in pairs]))


# Stalls


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def looks(watch: StallWatch, clock: Clock, seconds: float) -> Iterator[tuple[float, Alert]]:
    """Let ``seconds`` go by with a look every 3, and yield what is told and after how long."""
    began = clock.now
    while clock.now < began + seconds:
        clock.now += 3
        if (alert := watch.look()) is not None:
            yield clock.now - began, alert


@pytest.mark.parametrize(("usual", "limit"), [(0.0, STALL_SECONDS), (21.0, 210.0)])
def test_a_step_that_takes_ten_times_as_long_is_told_once_and_cleared(usual: float, limit: float) -> None:
    clock = Clock()
    watch = StallWatch(clock)
    for _ in range(5):
        with watch.doing("a step"):
            assert list(looks(watch, clock, usual)) == []
            clock.now += usual % 3
    with watch.doing("a step"):
        told = list(looks(watch, clock, limit + 100))
    assert [alert.kind for _, alert in told] == ["stalled"]
    assert limit <= told[0][0] <= 1.2 * limit
    assert watch.went_on() == Alert("stalled", "it goes on", cleared=True)
    assert watch.went_on() is None
    with watch.doing("a step"):
        assert len(list(looks(watch, clock, limit + 100))) == 1, "another one is told again"


def test_nothing_is_stalled_while_nothing_is_done_or_it_shows_signs_or_nobody_knows_yet() -> None:
    clock = Clock()
    watch = StallWatch(clock)
    with watch.doing("a step"):
        told = list(looks(watch, clock, STALL_FIRST_SECONDS + 10))
        assert told[0][0] >= STALL_FIRST_SECONDS, "the first one may take its time"
    watch.went_on()
    with watch.doing("an evaluation"):
        clock.now += 1
    assert list(looks(watch, clock, 10_000)) == [], "it is paused"
    with watch.doing("an evaluation"):
        for _ in range(20):
            watch.sign()
            assert list(looks(watch, clock, STALL_SECONDS - 10)) == []


def test_what_is_done_within_something_else_is_watched_and_counted_by_itself() -> None:
    clock = Clock()
    watch = StallWatch(clock)
    with watch.doing("an evaluation"):
        clock.now += 1
    for _ in range(3):
        with watch.doing("saving"):
            clock.now += 1
            with watch.waiting():
                assert list(looks(watch, clock, 3000)) == [], "for room on the disk"
                with watch.doing("an evaluation"):
                    clock.now += 2
            clock.now += 1
    with watch.doing("saving"):
        with watch.waiting():
            assert list(looks(watch, clock, 500)) == []
        ((after, alert),) = looks(watch, clock, STALL_SECONDS + 30)
    assert STALL_SECONDS <= after <= STALL_SECONDS + 3
    assert "in saving, which takes 2 s as a rule" in alert.message


def test_a_process_that_slept_has_not_stalled() -> None:
    clock = Clock()
    watch = StallWatch(clock)
    with watch.doing("a step"):
        clock.now += 0.1
    with watch.doing("a step"):
        assert list(looks(watch, clock, 9)) == []
        clock.now += 3600
        assert list(looks(watch, clock, STALL_SECONDS - 20)) == []


def test_a_run_whose_main_thread_hangs_says_so_and_that_it_goes_on(
    lab: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alerts, "STALL_SECONDS", math.inf)
    monkeypatch.setattr(alerts, "STALL_FIRST_SECONDS", math.inf)
    monkeypatch.setattr(alerts, "STALL_STEPS", 0)
    beating = EventLog.beating
    monkeypatch.setattr(EventLog, "beating", lambda log: beating(log, every=0.01))
    run = lab.prepare(lab.request(lab.config(max_steps=6, save_interval=0), lab.corpus()))
    take_step = Trainer.update

    def hang(trainer: Trainer) -> StepResult:
        if trainer.step == 3:
            alerts.STALL_SECONDS = 0.0  # however slow the machine is, no other step hangs
            await_event(run, lambda event: event["type"] == "alert")
            alerts.STALL_SECONDS = math.inf
        return take_step(trainer)

    monkeypatch.setattr(Trainer, "update", hang)
    assert run_worker(run, lab.plugins) == 0
    told = lab.events(run, "alert")
    assert [event["kind"] for event in told] == ["stalled", "stalled"]
    assert (told[0]["step"], told[0].get("cleared")) == (3, None)
    assert (told[1]["step"], told[1]["cleared"]) == (4, True)
    errors = capfd.readouterr().err
    assert "stalled: nothing has happened" in errors
    assert ", line" in errors, "it tells where"


def test_an_evaluation_and_a_sample_that_go_on_show_signs(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    signs: list[str] = []
    monkeypatch.setattr(StallWatch, "sign", lambda watch: signs.append(watch._what))
    keys = {"eval_interval": 2, "val_fraction": 0.2, "sample_interval": 3, "sample_tokens": 4}
    run = lab.prepare(lab.request(lab.config(max_steps=3, **keys), lab.corpus()))
    assert run_worker(run, lab.plugins) == 0
    assert set(signs) == {"an evaluation", "sampling"}
    assert signs.count("sampling") == lab.events(run, "sample")[0]["tokens"]


# Divergence


def diverging(lab: Any, monkeypatch: pytest.MonkeyPatch, *, at: int, **keys: Any) -> RunDirectory:
    """Run until the loss of step ``at`` is no number."""
    run: RunDirectory = lab.prepare(lab.request(lab.config(save_interval=2, **keys), lab.corpus()))
    loss_sum = Trainer._loss_sum

    def spoilt(trainer: Trainer, batch: Any) -> torch.Tensor:
        return loss_sum(trainer, batch) * (math.nan if trainer.step + 1 == at else 1.0)

    monkeypatch.setattr(Trainer, "_loss_sum", spoilt)
    assert run_worker(run, lab.plugins) == 1
    return run


def test_the_batch_that_diverged_is_kept_with_its_place_in_the_data(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = diverging(lab, monkeypatch, at=5, batch_size=3, gradient_accumulation=2, shuffle="documents")
    (alert,) = lab.events(run, "alert")
    assert (alert["kind"], alert["step"]) == ("divergence", 5)
    assert "last good checkpoint is step-000004" in alert["hint"]
    kept = json.loads((run.path / alert["path"]).read_text())
    assert (kept["format"], kept["step"], kept["loss"], kept["micro_batches"]) == (1, 5, "nan", [3, 3])
    tokens = np.fromfile(kept["corpus"], "<u4")
    reader = lab.trainer(lab.config(batch_size=6, shuffle="documents"), Path(kept["corpus"])).loader
    for _ in range(5):
        batch = reader.next_batch()
    assert [row["ids"][:8] for row in kept["rows"]] == batch.inputs.tolist()
    for row, target in zip(kept["rows"], batch.targets.tolist(), strict=True):
        assert row["ids"][8] == target[-1]
        assert tokens[row["start"]] == row["ids"][0]
        assert row["document"] == int((tokens[: row["start"]] == 31).sum())
        assert row["text"] == lab.tokenizer.decode(row["ids"])
        assert row["targets"] == 8
    assert alert["windows"] == [row["start"] for row in kept["rows"]]
    assert alert["text"] == kept["rows"][0]["text"]


def test_a_step_that_diverges_changes_nothing_and_the_run_can_go_on_before_it(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        run = diverging(lab, patch, at=5, max_steps=6)
    last = lab.events(run, "step")[-1]
    assert last["step"] == 5
    assert math.isnan(number(last, "loss") or 0.0)
    lab.prepare(lab.request(None, None, resume=run.name))
    assert run_worker(run, lab.plugins) == 0
    whole = lab.prepare(lab.request(lab.config(save_interval=2, max_steps=6), lab.corpus()))
    run_worker(whole, lab.plugins)
    weights = [(each.latest_checkpoint() / "model.safetensors").read_bytes() for each in (run, whole)]
    assert weights[0] == weights[1]


def test_overfitting_and_plateaus_of_a_run_are_events(
    lab: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alerts, "PLATEAU_STEPS", 8)
    monkeypatch.setattr(alerts, "PLATEAU_SURE", 0.0)
    monkeypatch.setattr(alerts, "PLATEAU_GAIN", 0.9)
    judged_by(monkeypatch, {step: 1 + step / 100 for step in range(15, 91, 15)})
    config = lab.config(max_steps=90, save_interval=0, eval_interval=15, val_fraction=0.2)
    run = lab.prepare(lab.request(config, lab.corpus()))
    assert run_worker(run, lab.plugins) == 0
    kinds = [event["kind"] for event in lab.events(run, "alert")]
    assert sorted(kinds) == ["overfitting", "plateau"]
    errors = capsys.readouterr().err
    assert "overfitting: the validation loss rises" in errors
    assert "plateau: the loss has not improved" in errors
