"""Parameter groups, the choice among registered optimizers, and rates that scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nanoshell.errors import ConfigError, UnknownNameError
from nanoshell.plugin.registry import Registry
from nanoshell.training.config import TrainerConfig
from nanoshell.training.optimizer import adamw, build_optimizer, parameter_groups, set_learning_rate


def test_only_matrices_of_layers_are_decayed(lab: Any) -> None:
    config = lab.config(model_qk_norm=True, weight_decay=0.3)
    model = lab.trainer(config, lab.corpus()).model
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = parameter_groups(model, 0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert all(".self_attn." in name or ".mlp." in name for name in (names[id(p)] for p in decayed["params"]))
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    kept = {names[id(parameter)] for parameter in plain["params"]}
    assert {"embed_tokens.weight", "lm_head.weight", "norm.weight"} <= kept
    assert any("q_norm" in name for name in kept)
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_a_module_names_parameters_that_are_not_decayed() -> None:
    class Recurrence(nn.Module):
        no_weight_decay = frozenset({"rates"})

        def __init__(self) -> None:
            super().__init__()
            self.rates = nn.Parameter(torch.ones(4, 2))
            self.proj = nn.Linear(4, 4, bias=False)

    model = nn.Sequential(Recurrence(), nn.Linear(4, 4, bias=False))
    decayed, plain = parameter_groups(model, 0.1)
    assert [tuple(p.shape) for p in plain["params"]] == [(4, 2)]
    assert len(decayed["params"]) == 2


def test_one_step_is_adamw_as_its_paper_has_it() -> None:
    layer = nn.Linear(3, 2).double()
    trainer = TrainerConfig(learning_rate=0.1, betas=(0.8, 0.9), epsilon=1e-6, weight_decay=0.5)
    optimizer = adamw(layer, trainer)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    gradients = torch.randn(2, 3).double(), torch.randn(2).double()
    layer.weight.grad, layer.bias.grad = gradients[0].clone(), gradients[1].clone()
    optimizer.step()
    for parameter, start, gradient, decay in zip(
        (layer.weight, layer.bias), before, gradients, (0.5, 0.0), strict=True
    ):
        step = gradient / (gradient.abs() + 1e-6)  # with bias correction, m / sqrt(v) of the first step
        torch.testing.assert_close(parameter.detach(), start * (1 - 0.1 * decay) - 0.1 * step)


def test_groups_keep_the_proportion_of_their_rates() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([{"params": [layer.weight], "lr": 0.2}, {"params": [layer.bias], "lr": 1.0}])
    for rate in (1.0, 0.25):
        set_learning_rate(optimizer, rate, 1.0)
        assert [group["lr"] for group in optimizer.param_groups] == [0.2 * rate, rate]


def test_an_optimizer_that_nobody_registered_and_one_that_is_none(lab: Any) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(UnknownNameError, match="did you mean 'adamw'"):
        build_optimizer(model, TrainerConfig(optimizer="adam-w"), lab.plugins.optimizers)
    registry: Registry[Any] = Registry("optimizer")
    registry.add("list", lambda model, trainer: [], provider="theirs")
    registry.add(
        "picky", lambda model, trainer: torch.optim.SGD(model.parameters(), lr=-1), provider="theirs"
    )
    with pytest.raises(ConfigError, match=r"plugin 'theirs' is a list, not a torch\.optim\.Optimizer"):
        build_optimizer(model, TrainerConfig(optimizer="list"), registry)
    with pytest.raises(
        ConfigError, match="'picky' of plugin 'theirs' cannot be built: Invalid learning rate"
    ):
        build_optimizer(model, TrainerConfig(optimizer="picky"), registry)
