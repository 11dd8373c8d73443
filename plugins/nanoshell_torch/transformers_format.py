"""Models of attention as Hugging Face's transformers reads them: Llama, or Qwen3 where queries are normed."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoshell import ModelConfig


def to_transformers(model_dir: Path, target: Path) -> None:
    """Write the model in ``model_dir`` to the folder ``target``, which `transformers` loads by itself.

    Weights and logits are the same: names differ by a prefix. The tokenizer stays behind, since ids are all
    that such a model needs. Raises `ConfigError` for a model with layers that Llama and Qwen3 do not have.
    """
    from safetensors.torch import load_file, save_file

    from nanoshell import read_config, write_text

    config = read_config(model_dir)
    _check_kinds(config)
    weights = load_file(model_dir / "model.safetensors")
    renamed = {name if name == "lm_head.weight" else f"model.{name}": weights[name] for name in weights}
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()}
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        save_file(renamed, scratch / "model.safetensors", metadata={"format": "pt"})
        document = _document(config, min(dtypes, default="float32"))
        write_text(scratch / "config.json", json.dumps(document, indent=2) + "\n")
        scratch.chmod(0o755)
        scratch.rename(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _check_kinds(config: ModelConfig) -> None:
    from nanoshell import ConfigError

    wanted = {"a mixer 'attention'": {"attention"}, "a feed-forward 'swiglu'": {"swiglu"}}
    kinds = zip(*config.layer_kinds, strict=True)
    for (what, known), found in zip(wanted.items(), kinds, strict=True):
        others = sorted(set(found) - known)
        if others:
            raise ConfigError(
                f"the model has layers of kind '{others[0]}', and in this format each has {what}",
                hint="nano-start-transformer is a preset that can be exported",
            )
    unknown = {"norm_weight": not config.norm_weight, "logit_soft_cap": config.logit_soft_cap is not None}
    for key, given in unknown.items():
        if given:
            raise ConfigError(f"the model uses {key}, which this format does not know")


def _document(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """Return the ``config.json`` of transformers. Its own ids of special tokens would be another's."""
    family = "qwen3" if config.qk_norm else "llama"
    architecture = "Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"
    return {
        "architectures": [architecture],
        "model_type": family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.feed_forward_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": dtype,
    }
