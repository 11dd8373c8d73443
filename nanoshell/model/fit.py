"""What must hold between the keys of a kind of layer; which kinds read a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nanoshell.model.validation import BadValueError

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig


def check_attention(config: ModelConfig) -> None:
    """Raise `BadValueError` where no layer ``attention`` can be built of ``config``."""
    if "num_heads" not in config.model_fields_set:
        raise BadValueError(
            "num_heads is missing, and there are attention layers",
            f"add num_heads; it must divide hidden_size {config.hidden_size}",
        )
    if config.hidden_size % config.num_heads:
        raise BadValueError(
            f"num_heads {config.num_heads} does not divide hidden_size {config.hidden_size}",
            f"num_heads may be {listed(_divisors(config.hidden_size))}",
        )
    if config.head_dim % 2:
        raise BadValueError(
            f"hidden_size {config.hidden_size} / num_heads {config.num_heads} gives {config.head_dim} "
            "channels a head, an odd number; rotary positions turn them in pairs",
            "choose num_heads so that hidden_size / num_heads is even",
        )
    if config.num_heads % config.num_kv_heads:
        raise BadValueError(
            f"kv_heads {config.kv_heads} does not divide num_heads {config.num_heads}",
            f"kv_heads may be {listed(_divisors(config.num_heads))}",
        )


def check_mamba_heads(config: ModelConfig) -> None:
    """Raise `BadValueError` where the heads of ``mamba2`` and ``mamba3`` do not fill their width."""
    expand = config.mamba2_expand or 2
    inner, (heads, head_dim) = config.hidden_size * expand, config.mamba_heads
    product = f"hidden_size {config.hidden_size} × mamba2_expand {expand} is {inner}"
    if config.mamba2_num_heads and config.mamba2_head_dim and inner != heads * head_dim:
        raise BadValueError(
            f"{product}, but mamba2_num_heads {heads} × mamba2_head_dim {head_dim} is {heads * head_dim}",
            "the two products must be equal",
        )
    for key in ("mamba2_num_heads", "mamba2_head_dim"):
        value = getattr(config, key)
        if value and inner % value:
            raise BadValueError(
                f"{product}, and {key} {value} does not divide it",
                f"{key} may be {listed(_divisors(inner))}",
            )
    if config.mamba2_n_groups and heads % config.mamba2_n_groups:
        raise BadValueError(
            f"mamba2_n_groups {config.mamba2_n_groups} does not divide the {heads} heads of a Mamba layer",
            f"mamba2_n_groups may be {listed(_divisors(heads))}",
        )


def check_turning_state(config: ModelConfig) -> None:
    """Raise `BadValueError` where the state of a ``mamba3`` layer has no pairs of channels to turn."""
    if (config.mamba2_state_size or 128) % 2:
        raise BadValueError(
            f"mamba2_state_size {config.mamba2_state_size} is odd, and channels of the state of a mamba3 "
            "layer turn in pairs",
            "choose an even number, or set mamba3_complex_rope: false",
        )
    if not config.mamba3_angles:
        raise BadValueError(
            f"mamba3_rope_fraction {config.mamba3_rope_fraction} of mamba2_state_size "
            f"{config.mamba2_state_size or 128} is no pair of channels that could turn",
            "raise one of them, or set mamba3_complex_rope: false",
        )


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
    "intermediate_size": frozenset({"swiglu", "relu2", "moe"}),
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


def listed(numbers: list[int]) -> str:
    """Return ``numbers`` as a text, the first twelve of them."""
    shown = ", ".join(map(str, numbers[:12]))
    return shown + (" …" if len(numbers) > 12 else "")


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, min(number, 4096) + 1) if number % n == 0]
