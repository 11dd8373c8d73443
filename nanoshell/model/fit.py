"""What must hold between the keys of latent attention and of experts; which kinds read a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nanoshell.model.validation import BadValueError

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig


def check_latent_attention(config: ModelConfig) -> None:
    """Raise `BadValueError` where no layer ``mla`` can be built of ``config``."""
    if config.kv_latent_dim is None:
        raise BadValueError(
            "kv_latent_dim is missing, and there are mla layers", "add it: the channels kept of each position"
        )
    if "num_heads" not in config.model_fields_set:
        raise BadValueError("num_heads is missing, and there are mla layers", "add num_heads")
    derived = [key for key in ("qk_nope_dim", "v_head_dim", "d_rope") if getattr(config, key) is None]
    if derived and config.hidden_size % config.num_heads:
        raise BadValueError(
            f"num_heads {config.num_heads} does not divide hidden_size {config.hidden_size}, from which "
            f"{' and '.join(derived)} follow",
            f"choose another number of heads, or set {', '.join(derived)}",
        )
    if config.latent_head_dims[1] % 2:
        raise BadValueError(
            f"d_rope {config.d_rope} is odd, and rotary positions turn channels in pairs",
            "choose an even number",
        )
    if config.mla_rope_query == "latent" and config.q_latent_dim is None:
        raise BadValueError(
            "mla_rope_query is 'latent', and without q_latent_dim queries have no latent",
            "set q_latent_dim, or mla_rope_query: hidden",
        )


def check_experts(config: ModelConfig) -> None:
    """Raise `BadValueError` where no layer ``moe`` can be built of ``config``, or none that learns."""
    if not config.num_experts:
        raise BadValueError("num_experts is missing, and there are moe layers", "add num_experts")
    if config.num_chosen_experts > config.num_experts:
        raise BadValueError(
            f"experts_per_tok {config.experts_per_tok} is more than num_experts {config.num_experts}",
            "a token can be sent to each expert once",
        )
    if config.router_norm and config.num_chosen_experts == 1:
        raise BadValueError(
            "router_norm with one expert a token makes its weight 1 whatever the router says, so that the "
            "router learns nothing",
            "leave router_norm out, or raise experts_per_tok",
        )


_READ_BY: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("kv_heads", "qk_norm"), frozenset({"attention"})),
    **dict.fromkeys(("num_heads", "rope_theta"), frozenset({"attention", "mla"})),
    **dict.fromkeys(
        ("kv_latent_dim", "q_latent_dim", "d_rope", "qk_nope_dim", "v_head_dim"), frozenset({"mla"})
    ),
    "intermediate_size": frozenset({"swiglu", "moe"}),
}
_READ_BY_PREFIX: Mapping[str, frozenset[str]] = {
    "mla_": frozenset({"mla"}),
    **dict.fromkeys(("num_experts", "experts_", "expert_", "shared_expert_", "router_"), frozenset({"moe"})),
    "mamba_layers": frozenset({"mamba1", "mamba2", "mamba3"}),
    "mamba_": frozenset({"mamba1"}),
    "mamba2_": frozenset({"mamba2", "mamba3"}),
    "mamba3_": frozenset({"mamba3"}),
}


def readers(key: str) -> frozenset[str] | None:
    """Return the kinds of layers, of ours, that read ``key`` of a config; None where it is no layer's."""
    if key in _READ_BY:
        return _READ_BY[key]
    return next((kinds for prefix, kinds in _READ_BY_PREFIX.items() if key.startswith(prefix)), None)
