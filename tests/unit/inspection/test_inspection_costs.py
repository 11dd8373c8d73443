"""Estimates of memory and operations against what torch holds and counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nanoshell.inspection.activations import Batch, kept_by_layer
from nanoshell.inspection.costs import inference_memory, token_cost, training_memory
from nanoshell.model.config import ModelConfig
from nanoshell.model.parameters import parameter_split
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.training.muon import muon
from nanoshell.training.objective import Objective
from nanoshell.training.optimizer import adamw

SHAPE = {"hidden_size": 64, "num_heads": 4, "vocab_size": 300, "max_seq_len": 256, "intermediate_size": 96}
MAMBA = {
    "mamba2_num_heads": 8,
    "mamba2_head_dim": 16,
    "mamba2_state_size": 32,
    "mamba2_chunk_size": 16,
    "feed_forward": "none",
}
MLA = {"kv_latent_dim": 32, "q_latent_dim": 24, "d_rope": 8}
KINDS: dict[str, dict[str, Any]] = {
    "attention": {},
    "grouped": {"kv_heads": 2},
    "qk norm": {"kv_heads": 2, "qk_norm": True},
    "bare norms": {"qk_norm": True, "norm_weight": False},
    "relu2": {"feed_forward": "relu2"},
    "wide feed-forward": {"intermediate_size": 4096},
    "mla": MLA,
    "mla with norms": {**MLA, "mla_latent_norm": True},
    "mla, wide values": {"kv_latent_dim": 32, "d_rope": 8, "v_head_dim": 32},
    "experts": {"feed_forward": "moe", "num_experts": 4, "experts_per_tok": 2},
    "shared expert": {
        "feed_forward": "moe",
        "num_experts": 2,
        "experts_per_tok": 1,
        "shared_expert_enabled": True,
    },
    "mamba1": {"mixer": "mamba1"},
    "mamba2": {"mixer": "mamba2", **MAMBA},
    "mamba2 in groups": {"mixer": "mamba2", **MAMBA, "mamba2_n_groups": 2, "mamba2_chunk_size": 64},
    "mamba2, computed again": {"mixer": "mamba2", **MAMBA, "mamba2_chunk_size": 2048},
    "mamba3": {"mixer": "mamba3", **MAMBA},
    "mamba3 of rank 2": {"mixer": "mamba3", **MAMBA, "mamba3_mimo_rank": 2, "mamba3_use_conv": True},
}


class Kept:
    """Counts the bytes that autograd keeps while it is entered, each storage once, parameters left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        self._own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self._alive: list[Tensor] = []
        self._sizes: dict[int, int] = {}

    def __enter__(self) -> Kept:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._hooks.__exit__(*exception)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._alive.append(tensor)  # a storage that is freed could lend its address to another
            self._sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())


def model_of(plugins: Any, **keys: Any) -> Transformer:
    return build_model(ModelConfig(**{**SHAPE, "num_layers": 1, **keys}), plugins.mixers, seed=0).train()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [Batch(4, 64), Batch(2, 200)])
def test_a_layer_keeps_what_the_formula_says(plugins, kind: str, batch: Batch) -> None:
    """Within 5 %."""
    model = model_of(plugins, **KINDS[kind])
    x = torch.randn(batch.windows, batch.length, 64, requires_grad=True)
    kept = Kept(model)
    with kept:
        model.layers[0](x)
    expected = kept_by_layer(model.config, *model.config.layer_kinds[0], batch)
    assert expected is not None
    assert 4 * expected * batch.tokens == pytest.approx(kept.bytes, rel=0.05)


@pytest.mark.parametrize("kind", ["attention", "mla", "mamba2"])
@pytest.mark.parametrize(("optimizer", "build"), [("adamw", adamw), ("muon", muon)])
def test_training_takes_what_the_estimate_says(plugins, kind: str, optimizer: str, build: Any) -> None:
    """Weights and gradients to the byte, states of the optimizer within 3 %, activations within 5 %."""
    from nanoshell.training.config import TrainerConfig

    model = model_of(plugins, num_layers=3, **KINDS[kind])
    ids = torch.randint(300, (3, 48))
    kept = Kept(model)
    with kept:
        loss = Objective(model, None)(ids, ids)
    loss.backward()
    chosen = build(model, TrainerConfig())
    chosen.step()
    states = [value for state in chosen.state.values() for value in state.values()]
    split = parameter_split(model.config)
    found = training_memory(model.config, split, batch_size=3, seq_len=48, optimizer=optimizer)
    assert found is not None
    parameters = list(model.parameters())
    assert found.weights == sum(parameter.nbytes for parameter in parameters)
    assert found.gradients == sum(p.grad.nbytes for p in parameters if p.grad is not None)
    held = sum(state.nbytes for state in states if isinstance(state, Tensor))
    assert found.optimizer == pytest.approx(held, rel=0.03)
    assert found.activations == pytest.approx(kept.bytes, rel=0.05)
    assert found.total == found.weights + found.gradients + found.optimizer + found.activations


def test_recomputed_layers_keep_their_input_and_one_inside(plugins) -> None:
    model = model_of(plugins, num_layers=4)
    split, size = parameter_split(model.config), {"batch_size": 2, "seq_len": 64}
    whole = training_memory(model.config, split, **size)
    again = training_memory(model.config, split, recomputed=True, **size)
    assert whole is not None
    assert again is not None
    inside = kept_by_layer(model.config, "attention", "swiglu", Batch(2, 64))
    assert whole.activations - again.activations == pytest.approx(4 * 128 * (3 * inside - 4 * 64))


def test_sampled_softmax_trains_the_rows_that_it_holds(plugins) -> None:
    config = ModelConfig(**{**SHAPE, "num_layers": 1, "vocab_size": 50_000, "tie_embeddings": True})
    split = parameter_split(config)
    found = training_memory(config, split, batch_size=1, seq_len=8, rows=100)
    assert found is not None
    assert split.total is not None
    trained = split.total - 50_000 * 64 + 100 * 64
    assert (found.weights, found.gradients) == (4 * (split.total + 100 * 64), 4 * trained)
    assert found.optimizer == 8 * trained


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_takes_the_cache_to_the_byte(plugins, kind: str, dtype: torch.dtype) -> None:
    model = model_of(plugins, num_layers=2, **KINDS[kind]).to(dtype).eval()

    def cached(positions: int) -> int:
        states = model.new_cache(1, positions).states
        return sum(tensor.nbytes for state in states for tensor in state.tensors().values())

    split = parameter_split(model.config)
    found = inference_memory(model.config, split, itemsize=dtype.itemsize, positions=100)
    assert found is not None
    assert found.cache == cached(100)
    assert found.cache_per_position == cached(101) - cached(100)
    assert found.state == found.cache - 100 * found.cache_per_position
    assert found.weights == sum(parameter.nbytes for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["attention", "grouped", "relu2", "shared expert"])
def test_operations_are_those_that_torch_counts(plugins, kind: str) -> None:
    """Within 4 %: torch counts a router and no head that is not used, and the rule no norm."""
    model = model_of(plugins, num_layers=3, **KINDS[kind])
    ids = torch.randint(300, (2, 64))
    found = token_cost(model.config, 64)
    assert found is not None
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            logits = model(ids)
        with FlopCounterMode(display=False) as backward:
            logits.sum().backward()
    assert found.forward == pytest.approx(forward.get_total_flops() / 128, rel=0.04)
    whole = forward.get_total_flops() + backward.get_total_flops()
    assert found.training == pytest.approx(whole / 128, rel=0.04)


def test_a_plugins_layer_is_not_ours_to_count() -> None:
    config = ModelConfig(**{**SHAPE, "num_layers": 1, "mixer": "theirs"})
    split = parameter_split(config)
    assert kept_by_layer(config, "theirs", "swiglu", Batch(1, 8)) is None
    assert training_memory(config, split, batch_size=1, seq_len=8) is None
    assert inference_memory(config, split) is None
    assert token_cost(config) is None
