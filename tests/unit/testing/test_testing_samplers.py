"""`check_sampler` passes a plain step, and names the rule that each broken one breaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nanoshell.testing import check_sampler
from nanoshell.testing.samplers import RULES
from tests.unit.testing.broken import assert_told

Step = Callable[[Tensor, Tensor], Any]


def scaled(value: float) -> Step:
    return lambda logits, history: logits / value


def of(step: Step) -> Callable[[float], Step]:
    """Return a factory that hands out ``step``."""
    return lambda value: step


def wide(logits: Tensor, history: Tensor) -> Tensor:
    return torch.cat([logits, logits[:, :1]], 1)


def nan_where_forbidden(logits: Tensor, history: Tensor) -> Tensor:
    return logits - logits.amin(-1, keepdim=True)


def freeing(logits: Tensor, history: Tensor) -> Tensor:
    return logits.clamp(min=-1e9)


def banning(logits: Tensor, history: Tensor) -> Tensor:
    return torch.full_like(logits, -math.inf)


def in_place(logits: Tensor, history: Tensor) -> Tensor:
    return logits.mul_(0.5)


def changing_history(logits: Tensor, history: Tensor) -> Tensor:
    history[:] = 0
    return logits.clone()


def by_the_mean(logits: Tensor, history: Tensor) -> Tensor:
    return logits - logits[logits.isfinite()].mean()


def last_five(logits: Tensor, history: Tensor) -> Tensor:
    logits = logits.clone()
    logits[:, 0] -= history[:, 4] * 0
    return logits


class Counting:
    """Keeps what it has seen, in the class: every reply adds to every other."""

    seen = 0

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        length = history.shape[1]
        if 6 <= length <= 9:
            Counting.seen += 1
        return logits - Counting.seen if length == 9 else logits.clone()


def counting(value: float) -> Step:
    return Counting()


BROKEN: list[tuple[str, Callable[[float], Any]]] = [
    ("builds", lambda value: 1 / 0),
    ("builds", lambda value: None),
    ("shape", of(wide)),
    ("shape", of(lambda logits, history: logits.double())),
    ("shape", of(lambda logits, history: None)),
    ("numbers", of(nan_where_forbidden)),
    ("forbidden", of(freeing)),
    ("choice", of(banning)),
    ("arguments", of(in_place)),
    ("arguments", of(changing_history)),
    ("rows", of(by_the_mean)),
    ("own", counting),
    ("history", of(last_five)),
]


def test_a_step_that_keeps_every_rule() -> None:
    check_sampler(scaled, 0.5)
    check_sampler(lambda value, floor: scaled(value), 0.5, uses={"floor": 1})
    check_sampler(of(banning), 1, leaves_some=False)


@pytest.mark.parametrize(("rule", "factory"), BROKEN)
def test_a_broken_step_is_told(rule: str, factory: Callable[[float], Any]) -> None:
    assert_told(lambda: check_sampler(factory, 0.5), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)
