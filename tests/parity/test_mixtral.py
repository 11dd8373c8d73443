"""A mixture of experts behind grouped-query attention gives the logits of Hugging Face's Mixtral."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nanoshell.model.config import ModelConfig

from .reference import assert_logits_agree, ours_with

transformers = pytest.importorskip("transformers")

CASES: dict[str, dict[str, Any]] = {
    "two of four": {"num_experts": 4},
    "three of eight, wider": {
        "num_experts": 8,
        "experts_per_tok": 3,
        "intermediate_size": 150,
        "kv_heads": 1,
    },
    "all of three": {"num_experts": 3, "experts_per_tok": 3, "hidden_size": 32, "kv_heads": 4},
}


def config_of(case: str) -> ModelConfig:
    shape = {
        "hidden_size": 64,
        "num_layers": 3,
        "num_heads": 4,
        "kv_heads": 2,
        "vocab_size": 211,
        "max_seq_len": 64,
        "feed_forward": "moe",
    }
    return ModelConfig.from_dict({**shape, **CASES[case]})


def reference_of(config: ModelConfig) -> Any:
    """Return the other implementation with random weights of its own, norms included."""
    torch.manual_seed(11)
    model = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.feed_forward_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            num_local_experts=config.num_experts,
            num_experts_per_tok=config.num_chosen_experts,
            max_position_embeddings=config.max_seq_len,
            rms_norm_eps=config.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            sliding_window=None,
            experts_implementation="eager",  # the others know no float64
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(0.5, 1.5) if "norm" in name else parameter.normal_(std=0.1)
    return model.eval()


def in_our_names(theirs: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Return tensors of their model under our names; theirs hold all experts in one, gate before up."""
    ours = {}
    for name, tensor in theirs.items():
        plain = name.removeprefix("model.").replace("mlp.gate.", "moe.router.gate.")
        owner = plain.partition("mlp.experts.")[0]
        if plain.endswith("experts.gate_up_proj"):
            for index, both in enumerate(tensor):
                gate, up = both.chunk(2)
                ours[f"{owner}moe.experts.{index}.gate_proj.weight"] = gate
                ours[f"{owner}moe.experts.{index}.up_proj.weight"] = up
        elif plain.endswith("experts.down_proj"):
            for index, down in enumerate(tensor):
                ours[f"{owner}moe.experts.{index}.down_proj.weight"] = down
        else:
            ours[plain] = tensor
    return ours


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_logits_agree(case: str, dtype: torch.dtype) -> None:
    config = config_of(case)
    reference = reference_of(config).to(dtype)
    model = ours_with(in_our_names(reference.state_dict(), config), config).to(dtype)
    assert_logits_agree(model, reference, 48)


def test_the_balance_loss_is_that_of_the_reference() -> None:
    """Theirs counts each of the k choices as a whole, so it is k times ours; over all layers at once."""
    config = config_of("three of eight, wider")
    reference = reference_of(config)
    model = ours_with(in_our_names(reference.state_dict(), config), config).train()
    ids = torch.randint(config.vocab_size, (2, 48), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(ids)
        output = reference(ids, output_router_logits=True)
    shares, probabilities = [], []
    for layer, logits in zip(model.layers, output.router_logits, strict=True):
        routing = layer.feed_forward_module.take_routing()
        shares.append(routing.load / routing.load.sum())
        probabilities.append(logits.softmax(-1).mean(0))
        alone = transformers.models.mixtral.modeling_mixtral.load_balancing_loss_func((logits,), 8, 3)
        assert float(routing.balance_loss) == pytest.approx(float(alone) / 3, rel=1e-4)
    together = 8 * float((torch.stack(shares).mean(0) * torch.stack(probabilities).mean(0)).sum())
    assert together == pytest.approx(float(output.aux_loss) / 3, rel=1e-4)
