"""The learning rate over the steps: its shape holds for every setting."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, strategies as st

from nanoshell.training.config import TrainerConfig
from nanoshell.training.schedule import Schedule, build_schedule

KINDS = ("constant", "linear", "cosine", "trapezoid")
settings = st.builds(
    Schedule,
    kind=st.sampled_from(KINDS),
    peak=st.floats(1e-6, 1),
    horizon=st.integers(1, 400),
    warmup=st.integers(0, 50),
    min_ratio=st.floats(0, 1),
    decay_ratio=st.floats(0.01, 1),
)


@given(settings)
def test_it_rises_to_the_peak_and_never_rises_again(schedule: Schedule) -> None:
    rates = [schedule.at(step) for step in range(1, max(schedule.horizon, schedule.warmup) + 20)]
    top = schedule.warmup
    tolerance = 1e-9 * schedule.peak
    assert all(0 <= rate <= schedule.peak + tolerance for rate in rates)
    assert all(a < b for a, b in pairwise(rates[:top]))
    after = rates[max(top, 1) - 1 :]
    assert all(a >= b - tolerance for a, b in pairwise(after))


@given(settings)
def test_it_ends_where_it_should_and_stays_there(schedule: Schedule) -> None:
    if schedule.warmup >= schedule.horizon:
        return
    end = schedule.peak * (1.0 if schedule.kind == "constant" else schedule.min_ratio)
    if schedule.kind == "trapezoid" and not round(schedule.horizon * schedule.decay_ratio):
        return
    assert schedule.at(schedule.horizon) == pytest.approx(end, abs=1e-12)
    assert schedule.at(schedule.horizon * 3) == pytest.approx(end, abs=1e-12)


def test_the_shapes_at_their_middle() -> None:
    cosine = Schedule("cosine", 1.0, 100, 0, 0.0)
    assert cosine.at(50) == pytest.approx(0.5)
    assert cosine.at(25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert Schedule("linear", 1.0, 100, 0, 0.2).at(50) == pytest.approx(0.6)
    trapezoid = Schedule("trapezoid", 1.0, 100, 10, 0.0, 0.4)
    assert trapezoid.at(5) == pytest.approx(0.5)
    assert trapezoid.at(60) == 1.0
    assert trapezoid.at(80) == pytest.approx(0.5)


@pytest.mark.parametrize(("horizon", "warmup"), [(10, 0), (1000, 20), (1_000_000, 200)])
def test_a_warmup_that_is_not_given_is_a_fiftieth_and_has_a_limit(horizon: int, warmup: int) -> None:
    assert build_schedule(TrainerConfig(), horizon).warmup == warmup


def test_a_warmup_longer_than_the_horizon_ends_with_it() -> None:
    schedule = build_schedule(TrainerConfig(warmup_steps=50, learning_rate=1.0), 10)
    assert schedule.at(10) == 1.0


@pytest.mark.parametrize("kind", ["linear", "cosine", "trapezoid"])
def test_it_falls_as_torchs_schedules_do(kind: str) -> None:
    peak, horizon, warmup, low = 0.3, 90, 7, 0.1
    schedule = Schedule(kind, peak, horizon, warmup, low, 0.4)  # type: ignore[arg-type]
    start = {"trapezoid": 54}.get(kind, warmup)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    falls: torch.optim.lr_scheduler.LRScheduler
    if kind == "cosine":
        falls = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, horizon - start, peak * low)
    else:
        falls = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, low, horizon - start)
    for step in range(start, horizon + 1):
        assert schedule.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        falls.step()
    flat = [schedule.at(step) for step in range(warmup, start)]
    assert flat == [peak] * len(flat)


def test_what_auto_becomes() -> None:
    assert build_schedule(TrainerConfig(schedule="auto"), 10).kind == "trapezoid"
    assert build_schedule(TrainerConfig(schedule="linear"), 10).kind == "linear"
