"""How much a layer keeps of each position for its gradient, by formula. No torch here.

The formulas count the tensors that autograd holds after a forward pass in float32 on the processor, where
attention keeps no (positions × positions) matrix. The tests compare them with what it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nanoshell.model.config import NO_FEED_FORWARD, ModelConfig

LARGE_GATE = 1 << 20
"""From so many channels of all positions on, a gated feed-forward keeps two tensors in place of four."""
LARGE_SCAN = 1 << 21
"""From so many pairs of positions and heads on, Mamba-2 computes its inside again for the gradient."""
SCANNED = 32
"""Positions of which Mamba-1 keeps one state."""


@dataclass(frozen=True)
class Batch:
    """A batch of ``windows`` with ``length`` positions each."""

    windows: int
    length: int

    @property
    def tokens(self) -> int:
        """Positions of all windows."""
        return self.windows * self.length


def kept_by_layer(config: ModelConfig, mixer: str, feed_forward: str, batch: Batch) -> float | None:
    """Return how many numbers a layer of these kinds keeps for each position; None for others than ours."""
    if mixer not in _OF_MIXER or feed_forward not in _OF_FEED_FORWARD:
        return None
    inside = _OF_FEED_FORWARD[feed_forward](config, batch)
    normed = 0 if feed_forward == NO_FEED_FORWARD else kept_by_norm(config)
    return kept_by_norm(config) + _OF_MIXER[mixer](config, batch) + normed + inside


def kept_by_norm(config: ModelConfig) -> float:
    """Numbers that a norm keeps for each position: its input, its scale, and what it hands on."""
    return (2 + config.norm_weight) * config.hidden_size + 1


def _attention(config: ModelConfig, batch: Batch) -> float:
    """Queries, keys, values, the mix, and a normaliser for each head."""
    heads, kv_heads, head_dim = config.num_heads, config.num_kv_heads, config.head_dim
    kept = 2 * (heads + kv_heads) * head_dim + heads
    if not config.qk_norm:
        return kept
    normed = (1 + config.norm_weight) * (heads + kv_heads) * head_dim + heads + kv_heads
    return kept + normed + heads * head_dim


def _mla(config: ModelConfig, batch: Batch) -> float:
    heads, latent, queries = config.num_heads, config.kv_latent_dim or 0, config.q_latent_dim or 0
    nope, rope, value = config.latent_head_dims
    normed = 2 * (queries + latent) + 1 + bool(queries) if config.mla_latent_norm else 0
    width = max(nope + rope, value)
    # Values wider than keys take torch's plain way, which does keep the matrix.
    pairs = batch.length if value > nope + rope else 0
    attended = heads * (2 * (nope + rope) + 2 * width + 1 + value * (value != width) + pairs)
    return queries + latent + rope + normed + attended


def _mamba1(config: ModelConfig, batch: Batch) -> float:
    inner, state = config.hidden_size * (config.mamba_expand or 2), config.mamba_state_size or 16
    rank = config.mamba_dt_rank or -(-config.hidden_size // 16)
    states = inner * state / min(SCANNED, batch.length) + 2 * inner * state / batch.tokens
    return 11 * inner + rank + 2 * state + states


def _mamba2(config: ModelConfig, batch: Batch) -> float:
    heads, head_dim = config.mamba_heads
    inner, state, groups = heads * head_dim, config.mamba2_state_size or 128, config.mamba2_n_groups or 1
    written = inner + 2 * groups * state
    projected = inner + written + heads
    if _is_scanned_again(config, batch):
        return 2 * written + projected + inner + inner * state / batch.length
    length = _chunk(config.mamba2_chunk_size or 64, batch.length)
    pairs = (groups + 2 * heads) * length
    copied = 3 * groups * state if groups > 1 else 0
    return 3 * written + projected + 9 * inner + pairs + copied + 2 * inner * state / length + 5 * heads


def _is_scanned_again(config: ModelConfig, batch: Batch) -> bool:
    return batch.tokens * config.mamba_heads[0] * (config.mamba2_chunk_size or 64) >= LARGE_SCAN


def _mamba3(config: ModelConfig, batch: Batch) -> float:
    heads, head_dim = config.mamba_heads
    rank, state, groups = (
        config.mamba3_mimo_rank or 1,
        config.mamba2_state_size or 128,
        config.mamba2_n_groups or 1,
    )
    inner, shared = heads * head_dim, rank * groups * state
    written = inner + 2 * shared
    projected = inner + written + 3 * heads + config.mamba3_angles
    positions = batch.length * rank
    length = _chunk(max((config.mamba2_chunk_size or 64) // rank, 1) * rank, positions)
    scanned = rank * (6 * heads * state + 3 * heads * length + 2 * inner * state / length)
    several = 9 * inner * rank + inner + 3 * heads * rank * rank if rank > 1 else 7 * inner
    convolved = 3 * written if config.mamba3_use_conv else 0
    return projected + convolved + 2 * shared + scanned + several + heads * (2 * config.mamba3_angles + 13)


def _chunk(size: int, length: int) -> int:
    """Return the length of the chunks that ``length`` positions are cut into, of at most ``size`` each."""
    return -(-length // -(-length // size))


def _swiglu(config: ModelConfig, batch: Batch) -> float:
    return _gated(config.feed_forward_size, batch.tokens)


def _gated(size: int, tokens: float) -> float:
    return (2 if size * tokens >= LARGE_GATE else 4) * size


def _relu2(config: ModelConfig, batch: Batch) -> float:
    return 2 * config.relu2_size


def _moe(config: ModelConfig, batch: Batch) -> float:
    """What the chosen experts keep, as if each were given as many tokens as the others."""
    size, experts, chosen = (
        config.expert_size or config.feed_forward_size,
        config.num_experts or 1,
        config.num_chosen_experts,
    )
    shared = _gated(config.shared_expert_size or size, batch.tokens) if config.shared_expert_enabled else 0
    computed = chosen * _gated(size, batch.tokens * chosen / experts)
    return 2 * chosen * config.hidden_size + computed + shared + experts + 7 * chosen + 5


def _none(config: ModelConfig, batch: Batch) -> float:
    return 0


Formula = Callable[[ModelConfig, Batch], float]
_OF_MIXER: dict[str, Formula] = {
    "attention": _attention,
    "mla": _mla,
    "mamba1": _mamba1,
    "mamba2": _mamba2,
    "mamba3": _mamba3,
}
_OF_FEED_FORWARD: dict[str, Formula] = {
    "swiglu": _swiglu,
    "relu2": _relu2,
    "moe": _moe,
    NO_FEED_FORWARD: _none,
}
