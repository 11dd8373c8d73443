"""Attention weights: a direct formula in float64, what the layers make of them, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from nanoshell.errors import NanoshellError, UsageError
from nanoshell.inspection.attention import attending_layers, attention_layer, attention_map

IDS = [7, 3, 96, 3, 50, 11, 0, 42]
MLA = {"kv_latent_dim": 12, "q_latent_dim": 10, "d_rope": 4}
MAMBA = {"mamba2_num_heads": 4, "mamba2_head_dim": 16, "mamba2_state_size": 8}
KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "grouped": {"kv_heads": 2},
    "qk norm": {"kv_heads": 1, "qk_norm": True},
    "latent": MLA,
    "latent, as deepseek": {**MLA, "mla_rope_query": "latent", "mla_latent_norm": True},
    "latent, without query latent": {"kv_latent_dim": 12, "d_rope": 4, "v_head_dim": 6},
    "behind mamba": {"mamba_layers": [0], **MAMBA},
}


def turned(vectors: np.ndarray, theta: float) -> np.ndarray:
    """Turn (positions, channels) by rotary angles, as complex numbers."""
    half = vectors.shape[-1] // 2
    numbers = vectors[:, :half] + 1j * vectors[:, half:]
    rates = theta ** (-np.arange(half) / half)
    numbers = numbers * np.exp(1j * np.arange(len(vectors))[:, None] * rates)
    return np.concatenate([numbers.real, numbers.imag], -1)


def test_rows_are_the_softmax_of_turned_queries_and_keys(build) -> None:
    model = build(kv_heads=2)
    weight = {name: value.double().numpy() for name, value in model.state_dict().items()}
    embedded = weight["embed_tokens.weight"][IDS]
    scale = np.sqrt((embedded**2).mean(-1, keepdims=True) + model.config.rms_norm_eps)
    x = embedded / scale * weight["layers.0.input_layernorm.weight"]
    queries = x @ weight["layers.0.self_attn.q_proj.weight"].T
    keys = x @ weight["layers.0.self_attn.k_proj.weight"].T
    found = attention_map(model, IDS, 0).numpy()
    for head in range(4):
        query = turned(queries[:, head * 8 : head * 8 + 8], model.config.rope_theta)
        key = turned(keys[:, head // 2 * 8 : head // 2 * 8 + 8], model.config.rope_theta)
        for row in range(len(IDS)):
            scores = np.exp(key[: row + 1] @ query[row] / math.sqrt(8))
            expected = np.zeros(len(IDS))
            expected[: row + 1] = scores / scores.sum()
            np.testing.assert_allclose(found[head, row], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_sum_to_1_and_see_nothing_that_follows(build, kind: str) -> None:
    model = build(**KINDS[kind])
    for layer in attending_layers(model):
        weights = attention_map(model, IDS, layer)
        assert weights.shape == (4, len(IDS), len(IDS))
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, len(IDS)))
        assert not weights.triu(1).any()
        assert weights.std() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_gives_the_values_mixed_with_these_weights(build, kind: str) -> None:
    model = build(**KINDS[kind])
    layer = attending_layers(model)[-1]
    seen: dict[str, Any] = {}
    mixer = model.layers[layer].mixer_module
    hook = mixer.register_forward_hook(lambda _module, args, output: seen.update(x=args[0], output=output))
    with torch.no_grad():
        model(torch.tensor([IDS]))
    hook.remove()
    x = seen["x"][0]
    with torch.no_grad():
        if hasattr(mixer, "v_proj"):
            values = mixer.v_proj(x).view(len(IDS), mixer.kv_heads, -1)
            values = values.repeat_interleave(mixer.num_heads // mixer.kv_heads, 1)
        else:
            latents = mixer.w_dkv(x)
            latents = latents if mixer.kv_latent_norm is None else mixer.kv_latent_norm(latents)
            values = mixer.w_uv(latents).view(len(IDS), mixer.num_heads, -1)
        mixed = torch.einsum("hij,jhc->ihc", attention_map(model, IDS, layer), values)
        output = mixer.o_proj(mixed.reshape(len(IDS), -1))
    torch.testing.assert_close(output, seen["output"][0], rtol=1e-4, atol=1e-5)


def test_looking_leaves_no_trace(build) -> None:
    model = build(**MLA)
    before = model(torch.tensor([IDS]))
    attention_map(model, IDS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(model(torch.tensor([IDS])), before)


def test_half_precision_is_weighed_in_float32(build) -> None:
    weights = attention_map(build(kv_heads=2).bfloat16(), IDS)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, len(IDS)))


def test_the_layer_is_the_last_that_attends_or_one_that_does(build) -> None:
    model = build(num_layers=4, mamba_layers=[0, 3], **MAMBA)
    assert attending_layers(model) == [1, 2]
    assert attention_layer(model, None) == 2
    assert attention_layer(model, 1) == 1
    with pytest.raises(UsageError, match="layer 3 is mamba2") as raised:
        attention_layer(model, 3)
    assert "1, 2" in raised.value.hint
    for unknown in (-1, 4):
        with pytest.raises(UsageError, match="counted from 0 to 3"):
            attention_layer(model, unknown)


def test_a_model_without_attention_says_so(build) -> None:
    with pytest.raises(UsageError, match="no layer of this model attends: they are mamba2"):
        attention_map(build(mamba_layers=[0, 1], **MAMBA), IDS)


def test_more_tokens_than_positions_are_refused(build) -> None:
    with pytest.raises(NanoshellError, match="25 tokens"):
        attention_map(build(), list(range(25)))


def test_ids_that_the_model_does_not_have_are_refused(build) -> None:
    with pytest.raises(UsageError, match="no token"):
        attention_map(build(), [])
    for wrong in (97, 200, -1):
        with pytest.raises(NanoshellError, match=f"id {wrong}, and the model knows the ids below 97"):
            attention_map(build(), [3, wrong])


@pytest.mark.parametrize("name", ["embed_tokens.weight", "layers.1.self_attn.q_proj.weight"])
def test_a_diverged_model_has_no_map(build, name: str) -> None:
    model = build()
    with torch.no_grad():
        model.get_parameter(name).fill_(math.nan)
    with pytest.raises(NanoshellError, match="attention weights are not finite"):
        attention_map(model, IDS)


def test_a_plugins_mixer_may_tell_its_weights(build) -> None:
    model = build()
    model.layers[1].mixer_module.attention_weights = lambda x: torch.eye(x.shape[1])[None, None]
    assert torch.equal(attention_map(model, IDS), torch.eye(len(IDS))[None])
