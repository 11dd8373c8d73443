"""Mixtures of experts of every form, with random weights."""

from __future__ import annotations

from typing import Any

import torch

from nanoshell.model.config import ModelConfig
from nanoshell.model.moe import MixtureOfExperts

HIDDEN = 12
FORMS: dict[str, dict[str, Any]] = {
    "two of four": {},
    "one of two, shared": {"num_experts": 2, "experts_per_tok": 1, "shared_expert_enabled": True},
    "all of three": {"num_experts": 3, "experts_per_tok": 3},
    "one alone": {"num_experts": 1},
    "sigmoid, bias, scale": {
        "num_experts": 6,
        "experts_per_tok": 3,
        "router_score": "sigmoid",
        "router_bias": True,
        "router_scale": 2.5,
    },
    "weights as they are": {"num_experts": 5, "router_norm": False},
    "other sizes": {"expert_size": 7, "shared_expert_enabled": True, "shared_expert_size": 9},
}


def config_of(**changes: Any) -> ModelConfig:
    shape = {
        "hidden_size": HIDDEN,
        "intermediate_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "vocab_size": 40,
        "max_seq_len": 16,
        "num_experts": 4,
        "feed_forward": "moe",
    }
    return ModelConfig.from_dict({**shape, **changes})


def mixture_of(seed: int = 0, **changes: Any) -> MixtureOfExperts:
    """Return a mixture in float64 whose scores are far from even, in evaluation mode."""
    torch.manual_seed(seed)
    mixture = MixtureOfExperts(config_of(**changes)).double()
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.normal_(std=0.5)
        if mixture.router.bias is not None:
            mixture.router.bias.normal_(std=0.2)
    return mixture.eval()


def watch(mixture: MixtureOfExperts) -> dict[int, list[int]]:
    """Return where the tokens of every call of an expert will be noted, by expert."""
    seen: dict[int, list[int]] = {}
    for index, expert in enumerate(mixture.experts):
        expert.register_forward_hook(
            lambda module, inputs, output, index=index: seen.setdefault(index, []).append(
                inputs[0].shape[:-1].numel()
            )
        )
    return seen
