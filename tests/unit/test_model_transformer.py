"""The transformer: decoding with a cache equals the full forward pass, for our kinds and a stranger's."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from nanoshell.errors import ConfigError
from nanoshell.model.config import ModelConfig
from nanoshell.model.layers import Rotary
from nanoshell.model.mixer import FeedForward, Mixer
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.plugin.registry import Registry

POSITIONS = 24


class RunningMean(nn.Module):
    """A mixer of a stranger: the mean of all positions so far. It keeps its sum and count between calls."""

    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__()
        self.out = nn.Linear(config.hidden_size, config.hidden_size)
        self.register_buffer("bias", torch.full((1,), float(layer_index)), persistent=False)

    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> dict[str, Any]:
        return {"sum": torch.zeros(batch, 1, 1, dtype=dtype, device=device), "count": 0}

    def forward(self, x: Tensor, state: dict[str, Any] | None = None) -> Tensor:
        start, before = (state["count"], state["sum"]) if state else (0, 0)
        total = x.cumsum(1) + before
        count = torch.arange(start + 1, start + x.shape[1] + 1, dtype=x.dtype)[:, None]
        if state is not None:
            state["sum"], state["count"] = total[:, -1:], start + x.shape[1]
        mixed: Tensor = self.out(total / count) + self.bias
        return mixed


@pytest.fixture(scope="module")
def mixers() -> Registry[Any]:
    registry = load_plugins(safe=True).mixers
    registry.add("running_mean", RunningMean, provider="stranger", kind="mixer")
    return registry


def config_of(**changes: Any) -> ModelConfig:
    shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 97, "max_seq_len": POSITIONS}
    return ModelConfig.from_dict({**shape, **changes})


CONFIGS = {
    "plain": config_of(),
    "grouped": config_of(kv_heads=2),
    "one kv head, tied": config_of(kv_heads=1, tie_embeddings=True),
    "qk norm": config_of(qk_norm=True, kv_heads=2),
    "no feed-forward": config_of(feed_forward="none"),
    "a stranger's": config_of(mixer="running_mean"),
}


@given(
    st.sampled_from(sorted(CONFIGS)),
    st.lists(st.integers(1, POSITIONS - 1), max_size=6),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_decoding_in_any_pieces_equals_the_full_forward(
    mixers: Registry[Any], name: str, cuts: list[int], batch: int, seed: int
) -> None:
    model = build_model(CONFIGS[name], mixers, seed=seed).double()
    ids = torch.randint(97, (batch, POSITIONS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        full = model(ids)
        cache = model.new_cache(batch)
        bounds = [0, *sorted(set(cuts)), POSITIONS]
        pieces = [model(ids[:, start:end], cache) for start, end in pairwise(bounds)]
    torch.testing.assert_close(torch.cat(pieces, 1), full, rtol=1e-9, atol=1e-9)
    assert cache.length == POSITIONS


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_no_position_sees_a_later_one(name: str, mixers: Registry[Any]) -> None:
    model = build_model(CONFIGS[name], mixers, seed=1)
    ids = torch.randint(97, (1, POSITIONS))
    changed = ids.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % 97
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_batch_rows_do_not_see_each_other(mixers: Registry[Any]) -> None:
    model = build_model(CONFIGS["grouped"], mixers, seed=1)
    ids = torch.randint(97, (3, POSITIONS))
    with torch.no_grad():
        together = model(ids)
        alone = torch.cat([model(row[None]) for row in ids])
    torch.testing.assert_close(together, alone)


def test_a_cache_and_the_positions_are_finite(mixers: Registry[Any]) -> None:
    model = build_model(CONFIGS["plain"], mixers, seed=1)
    cache = model.new_cache(1, 4)
    with torch.no_grad():
        model(torch.zeros(1, 4, dtype=torch.long), cache)
        with pytest.raises(ValueError, match="4 positions cannot hold 5"):
            model(torch.zeros(1, 1, dtype=torch.long), cache)
        with pytest.raises(ValueError, match="beyond the 24"):
            model(torch.zeros(1, POSITIONS + 1, dtype=torch.long))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_no_positions_are_refused_and_change_no_cache(name: str, mixers: Registry[Any]) -> None:
    model = build_model(CONFIGS[name], mixers, seed=1).eval()
    cache = model.new_cache(2)
    ids = torch.arange(6).view(2, 3)
    model.hidden(ids, cache)
    for nothing in (ids[:, :0], torch.zeros(0, 0, dtype=torch.long)):
        with pytest.raises(ValueError, match="hold no position"):
            model.hidden(nothing, cache)
        with pytest.raises(ValueError, match="hold no position"):
            model(nothing)
    assert cache.length == 3


def test_rotary_scores_depend_on_distance_alone_and_keep_lengths() -> None:
    rotary = Rotary(8, 100, 10_000.0)
    query, key = torch.randn(2, 1, 8, dtype=torch.float64)

    def score(at: int, other: int) -> float:
        return float((rotary.turn(query, *rotary.at(at, 1)) * rotary.turn(key, *rotary.at(other, 1))).sum())

    assert math.isclose(score(3, 1), score(90, 88), rel_tol=1e-4, abs_tol=1e-5)
    torch.testing.assert_close(rotary.turn(query, *rotary.at(50, 1)).norm(), query.norm(), rtol=1e-6, atol=0)
    torch.testing.assert_close(rotary.turn(query, *rotary.at(0, 1)), query)


def test_initialisation_is_seeded_small_and_scaled_by_depth(mixers: Registry[Any]) -> None:
    state = torch.get_rng_state()
    config = config_of(hidden_size=128, num_layers=8)
    first, second = build_model(config, mixers, seed=5), build_model(config, mixers, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert value.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        elif name == "embed_tokens.weight":
            assert value.std().item() == pytest.approx(128**-0.5, rel=0.05)
        elif "norm" not in name:
            assert value.std().item() == pytest.approx(0.02, rel=0.05)
    with torch.no_grad():
        logits = first(torch.randint(97, (4, POSITIONS)))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(97, (4 * POSITIONS,)))
    assert loss.item() == pytest.approx(math.log(97), abs=0.15)


def test_outputs_that_start_at_zero_leave_embedding_and_head_alone(mixers: Registry[Any]) -> None:
    keys = {"hidden_size": 32, "num_layers": 3, "mamba_layers": [1]}
    model = build_model(config_of(**keys, zero_init_output=True), mixers, seed=5)
    usual = build_model(config_of(**keys), mixers, seed=5).state_dict()
    zero = {name for name, value in model.state_dict().items() if not value.any() and usual[name].any()}
    assert zero == {
        *(f"layers.{index}.self_attn.o_proj.weight" for index in (0, 2)),
        *(f"layers.{index}.mlp.down_proj.weight" for index in (0, 2)),
        next(name for name in usual if name.startswith("layers.1.") and name.endswith("out_proj.weight")),
    }
    rest = {name: value for name, value in model.state_dict().items() if name not in zero}
    assert all(torch.equal(value, usual[name]) for name, value in rest.items())
    ids = torch.randint(97, (2, 8))
    expected = model.logits(model.norm(model.embed_tokens(ids)))
    torch.testing.assert_close(model(ids), expected, rtol=0, atol=0)


def test_a_squared_relu_norms_without_weights_and_a_cap_by_their_formulas(mixers: Registry[Any]) -> None:
    config = config_of(
        hidden_size=24,
        num_layers=1,
        qk_norm=True,
        feed_forward="relu2",
        norm_weight=False,
        logit_soft_cap=0.2,
    )
    model = build_model(config, mixers, seed=0).double()
    names = set(model.state_dict())
    assert not [name for name in names if "norm" in name]
    assert {name for name in names if ".mlp." in name} == {
        "layers.0.mlp.up_proj.weight",
        "layers.0.mlp.down_proj.weight",
    }
    layer: Any = model.layers[0]
    assert layer.mlp.up_proj.weight.shape == (4 * 24, 24)
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    up, down = layer.mlp.up_proj.weight, layer.mlp.down_proj.weight
    torch.testing.assert_close(layer.mlp(x), (x @ up.t()).clamp_min(0).pow(2) @ down.t())
    normed = x / (x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps).sqrt()
    torch.testing.assert_close(layer.input_layernorm(x), normed)
    scores = 30 * torch.randn(2, 5, 24, dtype=torch.float64)
    raw = scores @ model.head_weight.t()
    assert float(raw.detach().abs().max()) > 0.2
    torch.testing.assert_close(model.logits(scores), 0.2 * torch.tanh(raw / 0.2))


def test_names_of_parameters_are_those_of_llama(mixers: Registry[Any]) -> None:
    names = set(Transformer(config_of(num_layers=1), mixers).state_dict())
    attention = {f"layers.0.self_attn.{part}_proj.weight" for part in "qkvo"}
    feed_forward = {f"layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
    norms = {"layers.0.input_layernorm.weight", "layers.0.post_attention_layernorm.weight", "norm.weight"}
    assert names == attention | feed_forward | norms | {"embed_tokens.weight", "lm_head.weight"}
    assert "layers.1.mixer.out.weight" in Transformer(config_of(mixer="running_mean"), mixers).state_dict()


def test_dropout_acts_in_training_alone(mixers: Registry[Any]) -> None:
    model = build_model(config_of(dropout=0.5), mixers, seed=0)
    ids = torch.randint(97, (1, 8))
    with torch.no_grad():
        assert not torch.equal(model.train()(ids), model(ids))
        assert torch.equal(model.eval()(ids), model(ids))


def test_every_parameter_learns(mixers: Registry[Any]) -> None:
    for config in CONFIGS.values():
        model = build_model(config, mixers, seed=0)
        model(torch.randint(97, (2, 8))).square().mean().backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


def test_unregistered_kinds_and_impossible_sizes_are_config_errors(mixers: Registry[Any]) -> None:
    with pytest.raises(ConfigError, match="no mixer 'mamba9'"):
        build_model(config_of(mixer=["mamba9", "attention"]), mixers)
    with pytest.raises(ConfigError, match="does not fit in memory"):
        build_model(config_of(hidden_size=1 << 24, vocab_size=1 << 31, num_heads=1 << 10), mixers)


def test_our_layers_fulfil_the_public_contracts(mixers: Registry[Any]) -> None:
    config = config_of()
    assert isinstance(mixers.get("attention")(config, 0), Mixer)
    assert isinstance(mixers.get("swiglu")(config, 0), FeedForward)
    assert isinstance(RunningMean(config, 0), Mixer)
