"""`check_optimizer` passes gradient descent, and names the rule that each broken one breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nanoshell.testing import check_optimizer
from nanoshell.testing.optimizers import RULES
from tests.unit.testing.broken import assert_told


class Descent(torch.optim.Optimizer):
    """Gradient descent with momentum, in plain sight."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.move(parameter, group["lr"])

    def move(self, parameter: nn.Parameter, rate: float) -> None:
        state = self.state[parameter]
        speed = state.setdefault("speed", torch.zeros_like(parameter))
        speed.mul_(0.5).add_(parameter.grad)
        parameter.sub_(rate * speed)


def over(kind: type[Descent]) -> Callable[[nn.Module, Any], Descent]:
    """Return a factory of ``kind`` over all parameters."""
    return lambda model, trainer: kind(list(model.parameters()), trainer.learning_rate)


class Uphill(Descent):
    def move(self, parameter: nn.Parameter, rate: float) -> None:
        super().move(parameter, -rate)


class Headstrong(Descent):
    def move(self, parameter: nn.Parameter, rate: float) -> None:
        super().move(parameter, 0.01)


class Needy(Descent):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(group["lr"] * parameter.grad)


class Hoarding(Descent):
    def move(self, parameter: nn.Parameter, rate: float) -> None:
        super().move(parameter, rate)
        self.state[parameter]["seen"] = {1, 2}


class Absent(Descent):
    """Keeps its momentum where no checkpoint looks."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr)
        self.speeds: dict[int, torch.Tensor] = {}

    def move(self, parameter: nn.Parameter, rate: float) -> None:
        speed = self.speeds.setdefault(id(parameter), torch.zeros_like(parameter))
        speed.mul_(0.5).add_(parameter.grad)
        parameter.sub_(rate * speed)


BROKEN: list[tuple[str, Any]] = [
    ("builds", lambda model, trainer: None),
    ("builds", lambda model: None),
    ("parameters", lambda model, trainer: Descent(list(model.parameters())[1:], trainer.learning_rate)),
    ("learns", over(Uphill)),
    ("rate", over(Headstrong)),
    ("idle", over(Needy)),
    ("saves", over(Hoarding)),
    ("resumes", over(Absent)),
]


def test_an_optimizer_that_keeps_every_rule() -> None:
    check_optimizer(over(Descent), learning_rate=0.1)


def test_it_is_told_its_options() -> None:
    def build(model: nn.Module, trainer: Any) -> Descent:
        assert (trainer.optimizer_options, trainer.weight_decay) == ({"nesterov": True}, 0.5)
        return over(Descent)(model, trainer)

    check_optimizer(build, learning_rate=0.1, options={"nesterov": True}, weight_decay=0.5)


@pytest.mark.parametrize(("rule", "factory"), BROKEN)
def test_a_broken_optimizer_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_optimizer(factory, learning_rate=0.1), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)
