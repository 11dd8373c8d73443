"""AdamW with the groups that small language models want, and the choice among registered optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nanoshell.errors import ConfigError, NanoshellError
from nanoshell.training.plain_optimizer import AdamW

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Registry
    from nanoshell.training.config import TrainerConfig

VOCABULARY_PARAMETERS = frozenset({"embed_tokens.weight", "lm_head.weight"})
"""The matrices with one row for each id: never decayed, since a row that the data seldom uses would fade."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups: matrices of the layers, decayed; norms, biases, embedding and head, not decayed.

    A module can name parameters of its own in ``no_weight_decay``, which are not decayed either.
    """
    exempt = exempt_parameters(model)
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and name not in VOCABULARY_PARAMETERS
            (decayed if is_matrix and id(parameter) not in exempt else plain).append(parameter)
    groups = [(decayed, weight_decay), (plain, 0.0)]
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def exempt_parameters(model: nn.Module) -> set[int]:
    """Return the ids (of Python) of the parameters that modules name in ``no_weight_decay``."""
    return {
        id(getattr(module, name))
        for module in model.modules()
        for name in getattr(module, "no_weight_decay", ())
    }


def adamw(model: nn.Module, trainer: TrainerConfig) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) over the parameters of ``model``, in `parameter_groups`."""
    return AdamW(
        parameter_groups(model, trainer.weight_decay),
        lr=trainer.learning_rate,
        betas=trainer.betas,
        eps=trainer.epsilon,
        fused=True,
    )


def build_optimizer(
    model: nn.Module, trainer: TrainerConfig, optimizers: Registry[Any]
) -> torch.optim.Optimizer:
    """Return the optimizer that ``trainer.optimizer`` names. What ``auto`` is is said before: see `resolve`.

    Raises `UnknownNameError` for a name that nobody registered and `ConfigError` where the plugin that did
    brings something else than an optimizer.
    """
    entry = optimizers.entry(trainer.optimizer)
    try:
        optimizer = entry.value(model, trainer)
    except NanoshellError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"optimizer '{entry.name}' of plugin '{entry.provider}' cannot be built: {error}",
            hint="check trainer.learning_rate, betas, epsilon, weight_decay and optimizer_options",
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(
            f"optimizer '{entry.name}' of plugin '{entry.provider}' is a {type(optimizer).__name__}, "
            "not a torch.optim.Optimizer"
        )
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, peak: float) -> None:
    """Give every group ``rate``, times what the group's own first rate was of ``peak``.

    An optimizer may thus train its matrices at another rate than its embeddings; the schedule scales both.
    """
    for group in optimizer.param_groups:
        scale = group.setdefault("rate_scale", group["lr"] / peak)
        group["lr"] = rate * scale
