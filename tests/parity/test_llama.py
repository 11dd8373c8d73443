"""Our transformer and Hugging Face's Llama and Qwen3 give the same logits for the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nanoshell.model.config import ModelConfig
from nanoshell.plugin.manager import load_plugins

from .reference import assert_gradients_agree, assert_logits_agree, gradients_of, ours_with

transformers = pytest.importorskip("transformers")

CASES = {
    "full heads": {},
    "grouped": {"kv_heads": 2},
    "one kv head, tied": {"kv_heads": 1, "tie_embeddings": True},
    "wide feed-forward, other base": {
        "intermediate_size": 150,
        "rope_theta": 500_000.0,
        "rms_norm_eps": 1e-6,
    },
    "qk norm": {"kv_heads": 2, "qk_norm": True},
}


def config_of(case: str) -> ModelConfig:
    shape = {"hidden_size": 64, "num_layers": 3, "num_heads": 4, "vocab_size": 211, "max_seq_len": 64}
    return ModelConfig.from_dict({**shape, **CASES[case]})


def reference_of(config: ModelConfig) -> Any:
    """Return the other implementation, with random weights of its own, norms included."""
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.feed_forward_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": 0.1,
    }
    torch.manual_seed(11)
    if config.qk_norm:
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def in_our_names(reference: Any, config: ModelConfig) -> dict[str, Any]:
    """Return the weights of ``reference`` under our names: they differ by the prefix ``model.`` alone."""
    renamed = {name.removeprefix("model."): value for name, value in reference.state_dict().items()}
    if config.tie_embeddings:
        renamed.pop("lm_head.weight", None)
    return renamed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_logits_agree(case: str, dtype: torch.dtype) -> None:
    config = config_of(case)
    reference = reference_of(config).to(dtype)
    model = ours_with(in_our_names(reference, config), config).to(dtype)
    assert_logits_agree(model, reference, 48)


def test_gradients_agree() -> None:
    config = config_of("grouped")
    reference = reference_of(config).double()
    model = ours_with(in_our_names(reference, config), config).double()
    theirs = {name.removeprefix("model."): value for name, value in gradients_of(reference).items()}
    assert_gradients_agree(gradients_of(model), theirs)


def test_greedy_texts_agree_with_generate() -> None:
    from nanoshell.generation.engine import Engine, GenerationRequest
    from nanoshell.tokenizer.bpe import cl100k_base

    config = config_of("grouped")
    reference = reference_of(config)
    model = ours_with(in_our_names(reference, config), config)
    engine = Engine(model, cl100k_base(), load_plugins(safe=True).samplers)
    prompt = [3, 1, 4, 1, 5]
    generation = engine.generate(GenerationRequest(prompt, 30, {"temperature": 0}))
    ours = [token.id for token in generation]
    theirs = reference.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=30,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0, len(prompt) :].tolist()
    assert ours == theirs
