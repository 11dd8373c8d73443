"""What a model costs: memory to train and to use it, operations for each token. By formula, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nanoshell.inspection.activations import Batch, kept_by_layer, kept_by_norm
from nanoshell.model.config import ModelConfig, mixer_names
from nanoshell.model.parameters import ParameterSplit
from nanoshell.training.flops import flops_per_token

FLOAT32 = 4
"""Bytes of a number in training: weights, gradients and the optimizer's state are float32 in every dtype."""
LOGIT_CHUNK_BYTES = 1 << 26
"""Logits that the loss over a large vocabulary holds at a time; see `nanoshell.model.loss`."""
SMALL_LOGITS = 1 << 20
"""Up to so many logits in all, the loss keeps every one for its gradient."""
_ID_BYTES = 8


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that a step of training holds at its peak, and for which batch that is."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    total: int
    batch_size: int
    seq_len: int


@dataclass(frozen=True)
class InferenceMemory:
    """Bytes that one conversation takes: the weights, and the cache of what was seen.

    The cache grows by ``cache_per_position`` with each token, beside a ``state`` of one size that recurrent
    layers carry; ``cache`` is both with all ``positions`` filled.
    """

    weights: int
    cache_per_position: int
    state: int
    positions: int
    cache: int
    total: int


@dataclass(frozen=True)
class TokenCost:
    """Floating point operations for one token with ``positions`` in view: forward alone, and to train on."""

    forward: int
    training: int
    positions: int


def training_memory(
    config: ModelConfig,
    split: ParameterSplit,
    *,
    batch_size: int,
    seq_len: int,
    optimizer: str = "adamw",
    rows: int | None = None,
    recomputed: bool = False,
) -> TrainingMemory | None:
    """Return an estimate of the memory of training in float32 on micro-batches of (batch_size, seq_len).

    Parameters, gradients and states of the optimizer are counted exactly: AdamW keeps two numbers for each
    parameter, Muon one for those of the layers' matrices (norms and biases inside layers are counted among
    them); any other is counted as AdamW. Activations are the tensors kept for the gradient, by the formulas
    of `kept_by_layer`, without what a single operation needs while it runs. ``rows`` are the rows of
    embedding and head that sampled softmax trains, where fewer than all; ``recomputed`` stands for
    ``gradient_checkpointing``. None where a kind of layer is not ours to count.
    """
    batch = Batch(batch_size, seq_len)
    activations = _activations(config, batch, rows, recomputed)
    if split.total is None or split.mixers is None or split.feed_forwards is None or activations is None:
        return None
    layers = split.mixers + split.feed_forwards
    tables = split.embedding + split.head
    compact = 0 if rows is None else tables // config.vocab_size * rows
    trained = layers + split.norms + (tables if rows is None else compact)
    states = 2 * trained - (layers if optimizer == "muon" else 0)
    parts = [split.total + compact, trained, states]
    weights, gradients, kept = (FLOAT32 * part for part in parts)
    total = weights + gradients + kept + activations
    return TrainingMemory(weights, gradients, kept, activations, total, batch_size, seq_len)


def _activations(config: ModelConfig, batch: Batch, rows: int | None, recomputed: bool) -> int | None:
    layers = [kept_by_layer(config, *kinds, batch) for kinds in config.layer_kinds]
    known = [layer for layer in layers if layer is not None]
    if len(known) < len(layers):
        return None
    # Recomputing keeps the input of each layer, and the inside of one at a time.
    inside = len(known) * config.hidden_size + max(known) if recomputed else sum(known)
    vocabulary = rows or config.vocab_size
    if batch.tokens * vocabulary <= SMALL_LOGITS:
        logits = batch.tokens * vocabulary
    else:
        chunk = max(16, LOGIT_CHUNK_BYTES // (FLOAT32 * vocabulary))
        logits = min(batch.tokens, chunk) * vocabulary + batch.tokens * config.hidden_size
    numbers = batch.tokens * (inside + kept_by_norm(config)) + logits
    return round(FLOAT32 * numbers) + 2 * _ID_BYTES * batch.tokens


def inference_memory(
    config: ModelConfig, split: ParameterSplit, *, itemsize: int = FLOAT32, positions: int | None = None
) -> InferenceMemory | None:
    """Return the memory of one reply, with numbers of ``itemsize`` bytes and ``positions`` at most.

    By default these are all that the model has. States of recurrent layers stay in float32. None where a kind
    of layer is not ours to count.
    """
    names = mixer_names(config)
    if split.total is None or not _CACHED.keys() >= set(names):
        return None
    per_position = fixed = 0
    for name in names:
        growing, narrow, wide = _CACHED[name](config)
        per_position += growing * itemsize
        fixed += narrow * itemsize + wide * max(itemsize, FLOAT32)
    positions = positions or config.max_seq_len
    weights, cache = split.total * itemsize, fixed + positions * per_position
    return InferenceMemory(weights, per_position, fixed, positions, cache, weights + cache)


def token_cost(
    config: ModelConfig, positions: int | None = None, head_rows: int | None = None
) -> TokenCost | None:
    """Return the operations of one token by the rule of `flops_per_token`; a third is the forward pass.

    Using a model always takes the whole head; ``head_rows`` are those that sampled softmax trains. None where
    a kind of layer is not ours to count.
    """
    positions = positions or config.max_seq_len
    training, whole = flops_per_token(config, positions, head_rows), flops_per_token(config, positions)
    if training is None or whole is None:
        return None
    return TokenCost(whole // 3, training, positions)


def _attention(config: ModelConfig) -> tuple[int, int, int]:
    return 2 * config.num_kv_heads * config.head_dim, 0, 0


def _mla(config: ModelConfig) -> tuple[int, int, int]:
    return (config.kv_latent_dim or 0) + config.latent_head_dims[1], 0, 0


def _mamba1(config: ModelConfig) -> tuple[int, int, int]:
    inner = config.hidden_size * (config.mamba_expand or 2)
    return 0, ((config.mamba_conv_kernel or 4) - 1) * inner, inner * (config.mamba_state_size or 16)


def _mamba2(config: ModelConfig) -> tuple[int, int, int]:
    heads, head_dim = config.mamba_heads
    state = config.mamba2_state_size or 128
    convolved = heads * head_dim + 2 * (config.mamba2_n_groups or 1) * state
    return 0, ((config.mamba2_conv_kernel or 4) - 1) * convolved, heads * head_dim * state


def _mamba3(config: ModelConfig) -> tuple[int, int, int]:
    heads, head_dim = config.mamba_heads
    rank, state = config.mamba3_mimo_rank or 1, config.mamba2_state_size or 128
    written = heads * head_dim + 2 * rank * (config.mamba2_n_groups or 1) * state
    convolved = ((config.mamba2_conv_kernel or 4) - 1) * written if config.mamba3_use_conv else 0
    last = rank * heads * (state + head_dim) + heads * config.mamba3_angles
    return 0, convolved, heads * head_dim * state + last


_CACHED: dict[str, Callable[[ModelConfig], tuple[int, int, int]]] = {
    "attention": _attention,
    "mla": _mla,
    "mamba1": _mamba1,
    "mamba2": _mamba2,
    "mamba3": _mamba3,
}
"""Numbers that a layer remembers: for each position; once, in the model's dtype; once, in float32."""
