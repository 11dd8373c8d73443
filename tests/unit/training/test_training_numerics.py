"""Numerics of a run, the arithmetic of a step, and what the first step does without."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nanoshell.errors import CheckpointError
from nanoshell.training.flops import flops_per_token
from nanoshell.training.numerics import Numerics
from nanoshell.training.plain_optimizer import AdamW


def test_numerics_survive_a_round_trip_and_damage_is_told() -> None:
    numerics = Numerics("cpu", "bfloat16", "sampled", 3, 2, True, "measured")
    assert Numerics.from_dict(numerics.to_dict(), "here") == numerics
    with pytest.raises(CheckpointError, match="here does not say with which numerics"):
        Numerics.from_dict({"device": "cpu"}, "here")


@pytest.mark.parametrize(
    ("softmax", "keys"),
    [
        ("full", {}),
        ("full", {"kv_heads": 1, "num_layers": 3, "intermediate_size": 40}),
        ("sampled", {}),
    ],
)
def test_the_arithmetic_of_a_step_is_what_torch_counts(lab: Any, softmax: str, keys: dict[str, Any]) -> None:
    shape = {"hidden_size": 32, "num_heads": 2, **keys}
    config = lab.config(
        batch_size=2, sampled_negatives=4, **{f"model_{key}": value for key, value in shape.items()}
    )
    corpus = lab.corpus(ids=14)
    trainer = lab.trainer(config, corpus, softmax=softmax)
    trainer.update()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = trainer.update()
    rows = 15 + 4 if softmax == "sampled" else None  # 14 ids and the end of a text are used
    expected = flops_per_token(config.model, config.seq_len, rows)
    assert expected is not None
    assert counter.get_total_flops() / result.tokens == pytest.approx(expected, rel=0.02)


def test_only_the_experts_that_a_token_is_given_to_count(lab: Any) -> None:
    keys = {"model_kv_latent_dim": 8, "model_d_rope": 4, "model_shared_expert_enabled": True}
    few, many = (
        lab.config(model_num_experts=experts, model_experts_per_tok=1, **keys).model for experts in (2, 8)
    )
    assert flops_per_token(few, 8) == flops_per_token(many, 8)


def test_adamw_without_wrappers_updates_as_torchs_does() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 4, generator=generator), torch.randn(4, generator=generator)]
    gradients = [[torch.randn(part.shape, generator=generator) for part in start] for _ in range(4)]
    found = []
    for kind in (AdamW, torch.optim.AdamW):
        parameters = [torch.nn.Parameter(part.clone()) for part in start]
        optimizer = kind(parameters, lr=0.01, weight_decay=0.1, fused=True)
        for step in gradients[:2]:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
            optimizer.zero_grad()
        state = optimizer.state_dict()
        optimizer = kind(parameters, lr=1.0, fused=True)
        optimizer.load_state_dict(state)
        for parameter, gradient in zip(parameters, gradients[2], strict=True):
            parameter.grad = gradient.clone()
        optimizer.step(lambda: 3.0 if torch.is_grad_enabled() else 0.0)
        found.append(parameters)
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


FIRST_STEP = """
import sys

import torch

from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import build_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.training.config import RunConfig
from nanoshell.training.optimizer import build_optimizer

plugins = load_plugins(safe=True)
config = RunConfig.from_dict(
    {"model": {"name": "m", "hidden_size": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 32}}, "test")
for name in ("adamw", "muon"):
    trainer = config.trainer.model_copy(update={"optimizer": name})
    model = build_model(config.model, plugins.mixers, seed=0)
    optimizer = build_optimizer(model, trainer, plugins.optimizers)
    model(torch.zeros(2, 8, dtype=torch.long)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
print(" ".join(name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules))
"""


def test_an_update_does_not_load_torchs_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_STEP], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "", "a second more before the first step, and a hundred megabytes"
