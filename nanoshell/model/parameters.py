"""How many parameters a model has, by formula: a preset can be described without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nanoshell.model.config import NO_FEED_FORWARD, ModelConfig, feed_forward_names, mixer_names


@dataclass(frozen=True)
class ParameterSplit:
    """How many parameters each part of a model has. A tied ``head`` counts as 0: it is the embedding.

    ``mixers``, ``feed_forwards`` and with them ``total`` are None where a kind of layer is not ours to count.
    """

    embedding: int
    mixers: int | None
    feed_forwards: int | None
    norms: int
    head: int

    @property
    def total(self) -> int | None:
        """All parameters, each counted once."""
        if self.mixers is None or self.feed_forwards is None:
            return None
        return self.embedding + self.mixers + self.feed_forwards + self.norms + self.head


def parameter_split(config: ModelConfig) -> ParameterSplit:
    """Return the parameters of each part by formula, for our own kinds of layers.

    For others the part is None; `nanoshell.model.transformer.count_parameters` asks the module itself.
    """
    feed_forwards = feed_forward_names(config)
    with_feed_forward = sum(name != NO_FEED_FORWARD for name in feed_forwards)
    table = config.vocab_size * config.hidden_size
    return ParameterSplit(
        embedding=table,
        mixers=_sum(config, mixer_names(config), _OF_MIXER),
        feed_forwards=_sum(config, feed_forwards, _OF_FEED_FORWARD),
        norms=(config.num_layers + with_feed_forward + 1) * config.hidden_size * config.norm_weight,
        head=0 if config.tie_embeddings else table,
    )


def _sum(
    config: ModelConfig, kinds: Iterable[str], formulas: Mapping[str, Callable[[ModelConfig], int]]
) -> int | None:
    names = list(kinds)
    if not formulas.keys() >= set(names):
        return None
    return sum(formulas[name](config) for name in names)


def _attention(config: ModelConfig) -> int:
    keys_and_values = 2 * config.num_kv_heads * config.head_dim
    norms = 2 * config.head_dim if config.qk_norm and config.norm_weight else 0
    return config.hidden_size * (2 * config.hidden_size + keys_and_values) + norms


def _mla(config: ModelConfig) -> int:
    hidden, heads, latent = config.hidden_size, config.num_heads, config.kv_latent_dim or 0
    nope, rope, value = config.latent_head_dims
    query_from = config.q_latent_dim or hidden
    rope_from = query_from if config.mla_rope_query == "latent" else hidden
    norms = latent + (config.q_latent_dim or 0) if config.mla_latent_norm else 0
    queries = hidden * (config.q_latent_dim or 0) + heads * (query_from * nope + rope_from * rope)
    keys_and_values = hidden * (latent + rope) + latent * heads * (nope + value)
    return queries + keys_and_values + heads * value * hidden + norms


def _mamba1(config: ModelConfig) -> int:
    hidden, inner = config.hidden_size, config.hidden_size * (config.mamba_expand or 2)
    state, rank = config.mamba_state_size or 16, config.mamba_dt_rank or -(-hidden // 16)
    selection = inner * (rank + 2 * state) + (rank + 1) * inner
    return (
        3 * hidden * inner + _convolution(inner, config.mamba_conv_kernel) + selection + inner * (state + 1)
    )


def _mamba2(config: ModelConfig) -> int:
    heads, head_dim = config.mamba_heads
    inner, convolved = heads * head_dim, _written(config, heads * head_dim)
    projections = config.hidden_size * (2 * inner + convolved + heads)
    return projections + _convolution(convolved, config.mamba2_conv_kernel) + 3 * heads + inner


def _mamba3(config: ModelConfig) -> int:
    heads, head_dim = config.mamba_heads
    rank, state = config.mamba3_mimo_rank or 1, config.mamba2_state_size or 128
    inner, written = heads * head_dim, _written(config, heads * head_dim, rank)
    projections = config.hidden_size * (2 * inner + written + 3 * heads + config.mamba3_angles)
    convolution = _convolution(written, config.mamba2_conv_kernel) if config.mamba3_use_conv else 0
    several = 3 * inner * rank if rank > 1 else 0
    return projections + convolution + several + 2 * state * (1 + heads * rank) + 2 * heads


def _written(config: ModelConfig, inner: int, rank: int = 1) -> int:
    """Channels of x, B and C."""
    return inner + 2 * rank * (config.mamba2_n_groups or 1) * (config.mamba2_state_size or 128)


def _convolution(channels: int, kernel: int | None) -> int:
    return channels * ((kernel or 4) + 1)


def _swiglu(config: ModelConfig) -> int:
    return 3 * config.hidden_size * config.feed_forward_size


def _relu2(config: ModelConfig) -> int:
    return 2 * config.hidden_size * config.relu2_size


def _moe(config: ModelConfig) -> int:
    size, experts = config.expert_size or config.feed_forward_size, config.num_experts or 1
    shared = (config.shared_expert_size or size) if config.shared_expert_enabled else 0
    return config.hidden_size * (experts + 3 * (experts * size + shared))


def _none(config: ModelConfig) -> int:
    return 0


_OF_MIXER = {"attention": _attention, "mla": _mla, "mamba1": _mamba1, "mamba2": _mamba2, "mamba3": _mamba3}
_OF_FEED_FORWARD = {"swiglu": _swiglu, "relu2": _relu2, "moe": _moe, NO_FEED_FORWARD: _none}
