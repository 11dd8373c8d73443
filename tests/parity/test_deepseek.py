"""Latent attention and mixture of experts give the logits of Hugging Face's DeepSeek-V2 and DeepSeek-V3."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nanoshell.model.config import ModelConfig

from .reference import assert_gradients_agree, assert_logits_agree, gradients_of, ours_with

transformers = pytest.importorskip("transformers")

LENGTH = 40
BASE = {
    "hidden_size": 64,
    "num_layers": 3,
    "num_heads": 4,
    "vocab_size": 211,
    "max_seq_len": 64,
    "intermediate_size": 96,
    "rms_norm_eps": 1e-6,  # their latents are always normalised with it
    "kv_latent_dim": 32,
    "d_rope": 8,
    "mla_latent_norm": True,
    "num_experts": 6,
    "experts_per_tok": 2,
    "expert_size": 24,
    "shared_expert_enabled": True,
    "shared_expert_size": 48,
    "router_norm": False,
    "feed_forward": ["swiglu", "moe", "moe"],
}
WITH_QUERY_LATENT = {"q_latent_dim": 40, "mla_rope_query": "latent"}
V3 = {"router_score": "sigmoid", "router_bias": True, "router_norm": True, "router_scale": 2.5}
CASES: dict[str, dict[str, Any]] = {
    "v2": WITH_QUERY_LATENT,
    "v2 lite": {},
    "v2, unequal heads, one expert a token": {
        **WITH_QUERY_LATENT,
        "num_heads": 2,
        "d_rope": 12,
        "qk_nope_dim": 20,
        "v_head_dim": 48,
        "experts_per_tok": 1,
        "router_norm": None,
        "router_scale": 16.0,
    },
    "v2, all dense": {**WITH_QUERY_LATENT, "feed_forward": "swiglu", "rope_theta": 500_000.0},
    "v3": {**WITH_QUERY_LATENT, **V3},
    "v3, more experts, weights as they are": {
        **V3,
        "num_experts": 12,
        "experts_per_tok": 5,
        "router_norm": False,
        "router_scale": 1.0,
        "qk_nope_dim": 24,
        "v_head_dim": 12,
        "feed_forward": "moe",
    },
}


def config_of(case: str) -> ModelConfig:
    return ModelConfig.from_dict({**BASE, **CASES[case]})


def reference_of(config: ModelConfig) -> Any:
    """Return the other implementation with random weights of its own, norms and bias included."""
    nope, rope, value = config.latent_head_dims
    kinds = config.feed_forward
    dense = {"swiglu": config.num_layers, "moe": 0}[kinds] if isinstance(kinds, str) else 1
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "moe_intermediate_size": config.expert_size,
        "num_hidden_layers": config.num_layers,
        "first_k_dense_replace": dense,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "q_lora_rank": config.q_latent_dim,
        "kv_lora_rank": config.kv_latent_dim,
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": value,
        "n_routed_experts": config.num_experts,
        "num_experts_per_tok": config.num_chosen_experts,
        "n_shared_experts": 2,  # of moe_intermediate_size each
        "routed_scaling_factor": config.router_scale,
        "norm_topk_prob": bool(config.router_norm),
        "n_group": 1,
        "topk_group": 1,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "initializer_range": 0.1,
        "experts_implementation": "eager",  # the others know no float64
    }
    torch.manual_seed(11)
    if config.router_bias:
        model = transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(**shape))
    else:
        model = transformers.DeepseekV2ForCausalLM(transformers.DeepseekV2Config(**shape))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif "experts." in name or "mlp.gate." in name:
                parameter.normal_(std=0.1)
        for name, buffer in model.named_buffers():
            if "correction_bias" in name:
                buffer.normal_(std=0.2)
    return model.eval()


def _attention(theirs: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Return our weights of one attention; theirs turn channel 2i with 2i + 1, ours i with i + d/2."""
    heads, latent = config.num_heads, config.kv_latent_dim
    nope, rope, value = config.latent_head_dims
    order = torch.cat((torch.arange(0, rope, 2), torch.arange(1, rope, 2)))
    by_head = theirs["q_b_proj.weight" if config.q_latent_dim else "q_proj.weight"].unflatten(0, (heads, -1))
    down = theirs["kv_a_proj_with_mqa.weight"]
    up = theirs["kv_b_proj.weight"].unflatten(0, (heads, nope + value))
    ours = {
        "w_uq.weight": by_head[:, :nope].flatten(0, 1),
        "w_qr.weight": by_head[:, nope:][:, order].flatten(0, 1),
        "w_dkv.weight": down[:latent],
        "w_kr.weight": down[latent:][order],
        "w_uk.weight": up[:, :nope].flatten(0, 1),
        "w_uv.weight": up[:, nope:].flatten(0, 1),
        "o_proj.weight": theirs["o_proj.weight"],
        "kv_latent_norm.weight": theirs["kv_a_layernorm.weight"],
    }
    if config.q_latent_dim:
        ours["w_dq.weight"] = theirs["q_a_proj.weight"]
        ours["q_latent_norm.weight"] = theirs["q_a_layernorm.weight"]
    return ours


def _experts(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our weights of one layer's experts; theirs hold all in one tensor, gate before up."""
    ours = {"router.gate.weight": theirs["gate.weight"]}
    if "gate.e_score_correction_bias" in theirs:
        ours["router.bias"] = theirs["gate.e_score_correction_bias"]
    for name, tensor in theirs.items():
        if name.startswith("shared_experts."):
            ours[name.replace("shared_experts", "shared_expert")] = tensor
    for index, down in enumerate(theirs["experts.down_proj"]):
        gate, up = theirs["experts.gate_up_proj"][index].chunk(2)
        parts = {"gate_proj": gate, "up_proj": up, "down_proj": down}
        ours |= {f"experts.{index}.{name}.weight": part for name, part in parts.items()}
    return ours


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def in_our_names(theirs: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Return tensors of their model (weights, or gradients) under our names and in our order of channels."""
    plain = {name.removeprefix("model."): tensor for name, tensor in theirs.items()}
    ours = {
        name: tensor for name, tensor in plain.items() if ".self_attn." not in name and ".mlp." not in name
    }
    for index in range(config.num_layers):
        attention = _attention(_under(f"layers.{index}.self_attn.", plain), config)
        ours |= {f"layers.{index}.self_attn.{name}": tensor for name, tensor in attention.items()}
        mixing = _under(f"layers.{index}.mlp.", plain)
        kind, parts = ("moe", _experts(mixing)) if "experts.down_proj" in mixing else ("mlp", mixing)
        ours |= {f"layers.{index}.{kind}.{name}": tensor for name, tensor in parts.items()}
    return ours


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_logits_agree(case: str, dtype: torch.dtype) -> None:
    config = config_of(case)
    reference = reference_of(config).to(dtype)
    model = ours_with(in_our_names(reference.state_dict(), config), config).to(dtype)
    assert_logits_agree(model, reference, LENGTH)


@pytest.mark.parametrize("case", ["v2, unequal heads, one expert a token", "v3"])
def test_gradients_agree(case: str) -> None:
    """Those of the router too, which here come from the weights of the chosen experts alone."""
    config = config_of(case)
    reference = reference_of(config).double()
    model = ours_with(in_our_names(reference.state_dict(), config), config).double()
    ours = gradients_of(model)
    assert_gradients_agree(ours, in_our_names(gradients_of(reference), config))
    assert all(gradient.norm() > 1e-4 for name, gradient in ours.items() if "router" in name)
