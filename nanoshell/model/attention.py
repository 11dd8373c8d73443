"""Grouped-query attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.model.cache import KeyValueState
from nanoshell.model.layers import RMSNorm, Rotary, initialise

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig


class GroupedQueryAttention(nn.Module):
    """Causal attention in which several query heads share a key and value head (Ainslie et al. 2023).

    Rotary positions; optionally queries and keys are normalised a head at a time (QK-norm, Dehghani et al.
    2023, in the form of Qwen3). The mixer ``attention``.
    """

    name_in_layer = "self_attn"

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        self.num_heads, self.kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        hidden = config.hidden_size
        self.q_proj = nn.Linear(hidden, self.num_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.num_heads * self.head_dim, hidden, bias=False)
        self.q_norm = self._norm(config) if config.qk_norm else None
        self.k_norm = self._norm(config) if config.qk_norm else None
        self.rotary = Rotary(self.head_dim, config.max_seq_len, config.rope_theta)
        for projection in (self.q_proj, self.k_proj, self.v_proj):
            initialise(projection)
        initialise(self.o_proj, output_of=config)

    def new_state(
        self, batch: int, max_positions: int, dtype: torch.dtype, device: torch.device | str
    ) -> KeyValueState:
        """Return an empty cache of keys and values."""
        return KeyValueState(batch, self.kv_heads, max_positions, self.head_dim, dtype, device)

    def forward(self, x: Tensor, state: KeyValueState | None = None) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape; see `nanoshell.Mixer` for ``state``."""
        batch, count, _ = x.shape
        queries, keys, values = self._project(x)
        start = 0 if state is None else state.length
        cos, sin = self.rotary.at(start, count)
        queries, keys = self.rotary.turn(queries, cos, sin), self.rotary.turn(keys, cos, sin)
        if state is not None:
            keys, values = state.append(keys, values)
        mixed = _attend(queries, keys, values, start)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, count, -1))
        return output

    def step(self, x: Tensor, state: KeyValueState, positions: Tensor) -> Tensor:
        """Return (batch, 1, hidden) for one position of each row; see `nanoshell.StepMixer`."""
        batch = x.shape[0]
        queries, keys, values = self._project(x)
        cos, sin = self.rotary.of(positions)
        queries, keys = self.rotary.turn(queries, cos, sin), self.rotary.turn(keys, cos, sin)
        state.write(keys[:, :, 0], values[:, :, 0], positions)
        grouped = queries.view(batch, self.kv_heads, -1, self.head_dim)
        place = torch.arange(state.keys.shape[2], device=x.device)
        visible = (place <= positions[:, None])[:, None, None]
        mixed = F.scaled_dot_product_attention(grouped, state.keys, state.values, attn_mask=visible)
        output: Tensor = self.o_proj(mixed.reshape(batch, 1, -1))
        return output

    def attention_weights(self, x: Tensor) -> Tensor:
        """Return the weights (batch, heads, seq, seq) with which positions of ``x`` see each other.

        They are for looking at: `forward` gives what they lead to, and holds no such matrix.
        """
        queries, keys, _ = self._project(x)
        cos, sin = self.rotary.at(0, x.shape[1])
        queries, keys = self.rotary.turn(queries, cos, sin), self.rotary.turn(keys, cos, sin)
        keys = keys.repeat_interleave(self.num_heads // self.kv_heads, 1)
        return causal_weights(queries, keys, self.head_dim**-0.5)

    def _norm(self, config: ModelConfig) -> RMSNorm:
        return RMSNorm(self.head_dim, config.rms_norm_eps, weight=config.norm_weight)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, (batch, heads, seq, head_dim) each, not yet turned."""
        shape = (*x.shape[:2], -1, self.head_dim)
        queries = self.q_proj(x).view(shape).transpose(1, 2)
        keys = self.k_proj(x).view(shape).transpose(1, 2)
        values = self.v_proj(x).view(shape).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        return queries, keys, values


def causal_weights(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Return the softmax of ``scale`` × queries · keys over the positions up to each one's own.

    Both are (batch, heads, seq, head_dim); the result is (batch, heads, seq, seq), in float32 or wider.
    """
    wide = torch.promote_types(queries.dtype, torch.float32)
    scores = queries.to(wide) @ keys.to(wide).transpose(-1, -2) * scale
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu_(1)
    return scores.masked_fill(later, -math.inf).softmax(-1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
    """Attention of queries (batch, heads, count, head_dim), at positions from ``start``, over all keys."""
    batch, heads, count, head_dim = queries.shape
    kv_heads, length = keys.shape[1], keys.shape[2]
    if count == 1:
        # One position sees every key, so a group of heads can stand where positions do: no key is copied.
        grouped = queries.view(batch, kv_heads, heads // kv_heads, head_dim)
        return F.scaled_dot_product_attention(grouped, keys, values).view(batch, heads, 1, head_dim)
    shared = heads != kv_heads
    if start == 0:
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=shared)
    position = torch.arange(length, device=queries.device)
    visible = position <= position[start:, None]
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible, enable_gqa=shared)
