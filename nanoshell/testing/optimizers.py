"""The contract of an optimizer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nanoshell.testing.contract import Contract, name_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nanoshell.training.config import TrainerConfig

RULES = MappingProxyType(
    {
        "builds": "factory(model, trainer) returns a torch.optim.Optimizer",
        "parameters": "it trains every parameter of the model, each once",
        "learns": "the loss of a small model falls",
        "rate": "at a learning rate of 0 nothing moves: the schedule, which sets lr of each group, rules it",
        "idle": "a parameter without a gradient is passed over",
        "saves": "its state is tensors, numbers and text, which a checkpoint can hold",
        "resumes": "with the state of another one it goes on exactly as that one does",
    }
)
_STEPS = 20


def check_optimizer(
    factory: Callable[..., Any],
    *,
    learning_rate: float = 0.01,
    options: Mapping[str, Any] | None = None,
    **trainer: Any,
) -> None:
    """Check the optimizer that ``factory(model, trainer)`` builds over a model of one layer.

    ``options`` are its ``optimizer_options``, ``trainer`` further keys of that section.
    """
    import torch

    from nanoshell.training.config import TrainerConfig

    contract = Contract("optimizer", name_of(factory), RULES)
    section = TrainerConfig(learning_rate=learning_rate, optimizer_options=dict(options or {}), **trainer)
    with torch.random.fork_rng(devices=[]):
        model = _model()
        optimizer = _build(contract, factory, model, section)
        trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
        twice = len(trained) - len(set(trained))
        left = [name for name, p in model.named_parameters() if id(p) not in trained]
        contract.must("parameters", not left, f"it leaves out {', '.join(left[:3])}")
        contract.must("parameters", not twice, f"{twice} come twice")
        _check_course(contract, optimizer, model)
        _check_state(contract, factory, optimizer, model, section)
        _check_still(contract, optimizer, model)


def _model() -> nn.Module:
    from nanoshell.model.config import ModelConfig
    from nanoshell.model.transformer import build_model
    from nanoshell.testing.loading import plugins_with

    keys = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 40, "max_seq_len": 16}
    return build_model(ModelConfig.from_dict(keys, "keys of the check"), plugins_with().mixers, seed=1)


def _build(contract: Contract, factory: Callable[..., Any], model: nn.Module, section: TrainerConfig) -> Any:
    import torch

    with contract.keeping("builds", "factory(model, trainer)"):
        made = factory(model, section)
    contract.must("builds", isinstance(made, torch.optim.Optimizer), f"it returned {type(made).__name__}")
    return made


def _loss(model: nn.Module) -> Tensor:
    """Return the loss of guessing the next of 15 ids that follow a rule."""
    import torch
    from torch.nn import functional

    ids = (torch.arange(16) * 7)[None] % 40
    return functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:])


def _update(optimizer: Any, model: nn.Module) -> float:
    import torch

    optimizer.zero_grad()
    loss = _loss(model)
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach())


def _check_course(contract: Contract, optimizer: Any, model: nn.Module) -> None:
    with contract.keeping("learns", "a step"):
        losses = [_update(optimizer, model) for _ in range(_STEPS)]
    fell = losses[-1] < losses[0]
    contract.must("learns", fell, f"from {losses[0]:.3f} to {losses[-1]:.3f} in {_STEPS} steps")


def _check_still(contract: Contract, optimizer: Any, model: nn.Module) -> None:
    import torch

    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in model.parameters()]
    _update(optimizer, model)
    moved = [
        name
        for (name, p), old in zip(model.named_parameters(), before, strict=True)
        if not torch.equal(p.detach(), old)
    ]
    contract.must("rate", not moved, f"{', '.join(moved[:3])} moved")
    optimizer.zero_grad(set_to_none=True)
    with contract.keeping("idle", "a step without gradients"):
        optimizer.step()


def _check_state(
    contract: Contract,
    factory: Callable[..., Any],
    optimizer: Any,
    model: nn.Module,
    section: TrainerConfig,
) -> None:
    import torch

    state = optimizer.state_dict()
    plain = {
        str(index): {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
        for index, values in state["state"].items()
    }
    with contract.keeping("saves", "writing its state as JSON"):
        json.dumps([plain, state["param_groups"]])
    twin = copy.deepcopy(model)
    with contract.keeping("resumes", "load_state_dict"):
        resumed = _build(contract, factory, twin, section)
        resumed.load_state_dict(copy.deepcopy(state))
        for _ in range(3):
            _update(optimizer, model)
            _update(resumed, twin)
    pairs = zip(model.named_parameters(), twin.parameters(), strict=True)
    apart = [name for (name, one), other in pairs if not torch.equal(one, other)]
    contract.must("resumes", not apart, f"after three steps {', '.join(apart[:3])} are apart")
