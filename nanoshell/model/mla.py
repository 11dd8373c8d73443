"""Multi-head latent attention: keys and values are made from one small vector for each position."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.model.attention import causal_weights
from nanoshell.model.cache import LayerState
from nanoshell.model.layers import RMSNorm, Rotary, initialise

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig


class LatentState(LayerState):
    """What latent attention keeps of each position: its latent, and behind it the turned rotary key.

    Both stand in one tensor, (batch, max_positions, kv_latent + rotary), so that one product with the
    queries reads them; the values are a view of its first channels.
    """

    def __init__(
        self, batch: int, max_positions: int, channels: int, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        # Zeros: what `Mixer.step` hides by a mask is still multiplied by 0, and must not be NaN.
        self.latents = torch.zeros(batch, max_positions, channels, dtype=dtype, device=device)
        self.length = 0

    def append(self, latents: Tensor) -> Tensor:
        """Add what is kept of the next positions, and return a view of that of all positions so far."""
        end = self.length + latents.shape[1]
        if end > self.latents.shape[1]:
            raise ValueError(f"a cache of {self.latents.shape[1]} positions cannot hold {end}")
        self.latents[:, self.length : end] = latents
        self.length = end
        return self.latents[:, :end]

    def write(self, latents: Tensor, positions: Tensor) -> None:
        """Put one position of each row, (batch, channels), at ``positions`` (batch,)."""
        row = torch.arange(len(positions), device=positions.device)
        self.latents[row, positions] = latents

    def rewind(self, length: int) -> bool:
        """Forget all positions from ``length`` on, which is always possible."""
        self.length = min(length, self.length)
        return True


class MultiHeadLatentAttention(nn.Module):
    """Multi-head latent attention of DeepSeek-V2 (arXiv 2405.04434). The mixer ``mla``.

    A position is kept as a latent of ``kv_latent_dim`` channels and a rotary key of ``d_rope`` that the heads
    share; keys (``w_uk``) and values (``w_uv``) of all heads are linear in the latent. Where many positions
    are computed at once they are made; where few are, the queries go into the space of the latents instead,
    by the transposed ``w_uk``, and the mix of latents comes out of it by ``w_uv``: the same sum in another
    order, which reads the latents alone and makes no key or value.

    Queries come from a latent of their own (``q_latent_dim``), or straight from the hidden state. The rotary
    part of a query is made from the hidden state or (``mla_rope_query: latent``, as in DeepSeek) from the
    query latent. With ``mla_latent_norm``, as in DeepSeek, latents are normalised.
    """

    name_in_layer = "self_attn"

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        hidden, heads = config.hidden_size, config.num_heads
        if config.kv_latent_dim is None:  # a config checks it; this is for whoever builds the module alone
            raise ValueError("latent attention needs kv_latent_dim")
        self.num_heads, self.kv_latent = heads, config.kv_latent_dim
        self.nope_dim, self.rope_dim, self.value_dim = config.latent_head_dims
        query_from = config.q_latent_dim or hidden
        self.rope_from_latent = config.mla_rope_query == "latent"
        self.w_dkv = nn.Linear(hidden, self.kv_latent, bias=False)
        self.w_kr = nn.Linear(hidden, self.rope_dim, bias=False)
        self.w_dq = nn.Linear(hidden, query_from, bias=False) if config.q_latent_dim else None
        self.w_uq = nn.Linear(query_from, heads * self.nope_dim, bias=False)
        self.w_qr = nn.Linear(
            query_from if self.rope_from_latent else hidden, heads * self.rope_dim, bias=False
        )
        self.w_uk = nn.Linear(self.kv_latent, heads * self.nope_dim, bias=False)
        self.w_uv = nn.Linear(self.kv_latent, heads * self.value_dim, bias=False)
        self.o_proj = nn.Linear(heads * self.value_dim, hidden, bias=False)
        norm, eps = config.mla_latent_norm, config.rms_norm_eps
        self.q_latent_norm = RMSNorm(query_from, eps) if norm and self.w_dq is not None else None
        self.kv_latent_norm = RMSNorm(self.kv_latent, eps) if norm else None
        self.rotary = Rotary(self.rope_dim, config.max_seq_len, config.rope_theta)
        self.scale = 1 / math.sqrt(self.nope_dim + self.rope_dim)
        for projection in (self.w_dkv, self.w_kr, self.w_dq, self.w_uq, self.w_qr, self.w_uk, self.w_uv):
            if projection is not None:
                initialise(projection)
        initialise(self.o_proj, output_of=config)

    def new_state(
        self, batch: int, max_positions: int, dtype: torch.dtype, device: torch.device | str
    ) -> LatentState:
        """Return an empty cache of latents and rotary keys."""
        return LatentState(batch, max_positions, self.kv_latent + self.rope_dim, dtype, device)

    def forward(self, x: Tensor, state: LatentState | None = None) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape; see `nanoshell.Mixer` for ``state``."""
        batch, count, _ = x.shape
        start = 0 if state is None else state.length
        cos, sin = self.rotary.at(start, count)
        queries, rope_queries = self._queries(x)
        rope_queries = self.rotary.turn(rope_queries, cos, sin)
        kept = self._kept(x, cos, sin)
        if state is not None:
            kept = state.append(kept)
        if start and self._is_cheaper_absorbed(count, kept.shape[1]):
            visible = _visible(start, kept.shape[1], x.device) if count > 1 else None
            mixed = self._attend_latents(queries, rope_queries, kept, visible)
        else:
            mixed = self._attend_heads(queries, rope_queries, kept, start)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, count, -1))
        return output

    def step(self, x: Tensor, state: LatentState, positions: Tensor) -> Tensor:
        """Return (batch, 1, hidden) for one position of each row; see `nanoshell.StepMixer`."""
        cos, sin = self.rotary.of(positions)
        queries, rope_queries = self._queries(x)
        rope_queries = self.rotary.turn(rope_queries, cos, sin)
        state.write(self._kept(x, cos[:, 0], sin[:, 0])[:, 0], positions)
        place = torch.arange(state.latents.shape[1], device=x.device)
        visible = (place <= positions[:, None])[:, None, None]
        mixed = self._attend_latents(queries, rope_queries, state.latents, visible)
        output: Tensor = self.o_proj(mixed.reshape(x.shape[0], 1, -1))
        return output

    def attention_weights(self, x: Tensor) -> Tensor:
        """Return the weights (batch, heads, seq, seq) with which positions of ``x`` see each other.

        They are for looking at: `forward` gives what they lead to, and holds no such matrix.
        """
        cos, sin = self.rotary.at(0, x.shape[1])
        queries, rope_queries = self._queries(x)
        whole = torch.cat((queries, self.rotary.turn(rope_queries, cos, sin).to(queries.dtype)), -1)
        return causal_weights(whole, self._keys(self._kept(x, cos, sin)), self.scale)

    def _queries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts of the queries without and with (not yet turned) a position, heads before seq."""
        latent = x if self.w_dq is None else self.w_dq(x)
        if self.q_latent_norm is not None:
            latent = self.q_latent_norm(latent)
        shape = (*x.shape[:2], self.num_heads, -1)
        queries = self.w_uq(latent).view(shape).transpose(1, 2)
        rope_queries = self.w_qr(latent if self.rope_from_latent else x).view(shape).transpose(1, 2)
        return queries, rope_queries

    def _kept(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return what is kept of positions, (batch, seq, kv_latent + rope): see `LatentState`."""
        latents = self.w_dkv(x)
        if self.kv_latent_norm is not None:
            latents = self.kv_latent_norm(latents)
        return torch.cat((latents, self.rotary.turn(self.w_kr(x), cos, sin)), -1)

    def _is_cheaper_absorbed(self, count: int, length: int) -> bool:
        """Whether ``count`` queries over ``length`` positions take fewer products in the space of latents.

        There, a score and a value cost a latent each, but no key or value is made of the positions.
        """
        made = self.nope_dim + self.value_dim
        absorbed = count * (2 * self.kv_latent * length + self.kv_latent * made)
        return absorbed < length * (count * made + self.kv_latent * made)

    def _keys(self, kept: Tensor) -> Tensor:
        """Return the keys of all heads, (batch, heads, seq, nope + rope), made from what is kept."""
        latents, rope_keys = kept[..., : self.kv_latent], kept[..., self.kv_latent :]
        keys = self.w_uk(latents).view(*kept.shape[:2], self.num_heads, -1)
        rope_keys = rope_keys[:, :, None].expand(-1, -1, self.num_heads, -1)
        return torch.cat((keys, rope_keys.to(keys.dtype)), -1).transpose(1, 2)

    def _attend_heads(self, queries: Tensor, rope_queries: Tensor, kept: Tensor, start: int) -> Tensor:
        """Return the mix (batch, heads, count, value_dim) over keys and values that are made for each head.

        Queries stand at positions from ``start``; ``kept`` is that of all positions.
        """
        batch, length, _ = kept.shape
        keys = self._keys(kept)
        values = (
            self.w_uv(kept[..., : self.kv_latent]).view(batch, length, self.num_heads, -1).transpose(1, 2)
        )
        whole = torch.cat((queries, rope_queries.to(queries.dtype)), -1)
        visible = _visible(start, length, kept.device) if start else None
        # The kernels that hold no (positions × positions) matrix want values as wide as keys.
        padding = max(0, whole.shape[-1] - self.value_dim)
        mixed = F.scaled_dot_product_attention(
            whole,
            keys,
            F.pad(values, (0, padding)),
            attn_mask=visible,
            is_causal=not start,
            scale=self.scale,
        )
        return mixed[..., : self.value_dim]

    def _attend_latents(
        self, queries: Tensor, rope_queries: Tensor, kept: Tensor, visible: Tensor | None
    ) -> Tensor:
        """Return the mix (batch, heads, count, value_dim) over ``kept`` itself, by the absorbed form.

        ``visible`` can be broadcast to (batch, heads, count, positions). The weights are read as they lie:
        their rows are those of one head after those of another.
        """
        batch, heads, count, _ = queries.shape
        up_keys = self.w_uk.weight.view(heads, self.nope_dim, self.kv_latent)
        up_values = self.w_uv.weight.view(heads, self.value_dim, self.kv_latent)
        in_latents = self._by_head(queries, up_keys)
        whole = torch.cat((in_latents, rope_queries), -1).reshape(batch, heads * count, -1)
        scores = (whole @ kept.transpose(1, 2)).view(batch, heads, count, -1) * self.scale
        if visible is not None:
            scores = scores.masked_fill(~visible, -math.inf)
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(kept.dtype)
        mixed = weights.view(batch, heads * count, -1) @ kept[..., : self.kv_latent]
        return self._by_head(mixed.view(batch, heads, count, -1), up_values.transpose(1, 2))

    @staticmethod
    def _by_head(x: Tensor, weights: Tensor) -> Tensor:
        """Return ``x`` (batch, heads, count, in) times the matrix (in, out) of each head."""
        batch, heads, count, _ = x.shape
        rows = x.transpose(0, 1).reshape(heads, batch * count, -1)
        return torch.bmm(rows, weights).view(heads, batch, count, -1).transpose(0, 1)


def _visible(start: int, length: int, device: torch.device) -> Tensor:
    """Return which of ``length`` positions those from ``start`` on see: (length - start, length)."""
    position = torch.arange(length, device=device)
    return position <= position[start:, None]
