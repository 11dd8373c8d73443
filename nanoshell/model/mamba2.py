"""Mamba-2."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nanoshell.model.layers import initialise
from nanoshell.model.recurrence import (
    CausalConv1d,
    RecurrentState,
    at_least_float32,
    carry,
    draw_time_step_bias,
    segment_decays,
)

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig

FIRST_DECAY_RANGE = (1.0, 16.0)
"""Where the decay rates of a new layer lie, uniformly (Dao and Gu 2024, official code)."""

RECOMPUTED_ELEMENTS = 1 << 21
"""From so many pairs of positions of a chunk and head on, a layer computes its inside again for the gradient
rather than keep two numbers for each of them, and a dozen for each channel: three quarters of its memory."""


class Mamba2(nn.Module):
    """The selective state space of Dao and Gu (2024, arXiv:2405.21060), whose decay is one number a head.

    A short convolution and SiLU over ``x``, ``B`` and ``C``; then, a head at a time, with time step ``dt``,
    ``state = exp(-dt × exp(A_log)) × state + dt × x ⊗ B`` and ``y = state · C + D × x``; then a gated norm.
    Heads share ``B`` and ``C`` in ``mamba2_n_groups`` groups. The mixer ``mamba2``.

    The time step is the softplus of what is projected, with no clamp, so that its gradient never vanishes.
    Parameters are named and laid out as in the official code.
    """

    name_in_layer = "mamba2"

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.mamba_heads
        self.state_size, self.groups = config.mamba2_state_size or 128, config.mamba2_n_groups or 1
        self.chunk_size = config.mamba2_chunk_size or 64
        self.inner = self.num_heads * self.head_dim
        convolved = self.inner + 2 * self.groups * self.state_size
        self.in_proj = nn.Linear(config.hidden_size, self.inner + convolved + self.num_heads, bias=False)
        self.conv1d = CausalConv1d(convolved, config.mamba2_conv_kernel or 4)
        self.dt_bias = nn.Parameter(draw_time_step_bias(self.num_heads))
        self.A_log = nn.Parameter(_draw_decay_rates(self.num_heads))
        self.D = nn.Parameter(torch.ones(self.num_heads))
        self.norm = GatedRMSNorm(self.inner, self.groups, config.rms_norm_eps)
        self.out_proj = nn.Linear(self.inner, config.hidden_size, bias=False)
        initialise(self.out_proj, output_of=config)

    def new_state(
        self, batch: int, max_positions: int, dtype: torch.dtype, device: torch.device | str
    ) -> RecurrentState:
        """Return the state before position 0; it does not grow with positions."""
        ssm = (self.num_heads, self.head_dim, self.state_size)
        return RecurrentState(batch, self.conv1d.state_shape, ssm, dtype, device)

    def forward(self, x: Tensor, state: RecurrentState | None = None) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape; see `nanoshell.Mixer` for ``state``."""
        batch, count, _ = x.shape
        gate, mixed, dt = self._project(x)
        mixed = self.conv1d(mixed, None if state is None else state.conv)
        first = x.new_zeros(batch, self.num_heads, self.head_dim, self.state_size, dtype=torch.float32)
        if state is not None:
            first = state.ssm
        is_large = dt.numel() * self.chunk_size >= RECOMPUTED_ELEMENTS
        if is_large and state is None and torch.is_grad_enabled():
            normed, last = checkpoint(
                self._scan, mixed, dt, gate, first, use_reentrant=False, preserve_rng_state=False
            )
        else:
            normed, last = self._scan(mixed, dt, gate, first)
        if state is not None:
            state.ssm.copy_(last.detach())
            state.length += count
        output: Tensor = self.out_proj(normed.to(x.dtype))
        return output

    def step(self, x: Tensor, state: RecurrentState, positions: Tensor) -> Tensor:
        """Return (batch, 1, hidden) for one position of each row; see `nanoshell.StepMixer`."""
        batch = x.shape[0]
        gate, mixed, dt = self._project(x)
        mixed = F.silu(self.conv1d.step(mixed, state.conv))
        values, keys, queries, dt, log_decay = self._discretise(mixed, dt)
        added = (values * dt[..., None]).view(batch, self.groups, -1, 1) * keys.transpose(1, 2)
        state.ssm.mul_(log_decay.exp().view(batch, -1, 1, 1)).add_(added.view(state.ssm.shape))
        grouped = state.ssm.to(values.dtype).view(batch, self.groups, -1, self.state_size)
        y = (grouped @ queries.view(batch, self.groups, -1, 1)).view(values.shape)
        y = torch.addcmul(y, values, self.D.to(y.dtype)[:, None])
        normed = self.norm(y.view(batch, 1, self.inner), gate)
        output: Tensor = self.out_proj(normed.to(x.dtype))
        return output

    def _scan(self, mixed: Tensor, dt: Tensor, gate: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return what goes into the last projection (batch, seq, inner), and the state after all positions.

        It is all between the projections but the convolution: little work, and many tensors to be kept.
        """
        with torch.autocast(mixed.device.type, enabled=False):
            values, keys, queries, dt, log_decay = self._discretise(F.silu(mixed), dt)
            y, last = state_space_dual(
                values * dt[..., None], log_decay, keys, queries, first.to(values.dtype), self.chunk_size
            )
            y = torch.addcmul(y, values, self.D.to(y.dtype)[:, None])
            return self.norm(y.flatten(2), gate), last

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gate, what is to be convolved, and the raw time steps, (batch, seq, …) each."""
        sizes = [self.inner, self.inner + 2 * self.groups * self.state_size, self.num_heads]
        gate, mixed, dt = torch.split(self.in_proj(x), sizes, -1)
        return gate, mixed, dt

    def _discretise(self, mixed: Tensor, dt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return x (batch, seq, heads, head_dim), B and C (batch, seq, groups, state), time steps and the
        logarithms of decays, (batch, seq, heads) each, in the dtype of the recurrence."""
        dtype, shape = at_least_float32(mixed.dtype), dt.shape[:2]
        sizes = [self.inner, self.groups * self.state_size, self.groups * self.state_size]
        values, keys, queries = torch.split(mixed.to(dtype), sizes, -1)
        dt = F.softplus(dt.to(dtype) + self.dt_bias.to(dtype))
        return (
            values.view(*shape, self.num_heads, self.head_dim),
            keys.view(*shape, self.groups, self.state_size),
            queries.view(*shape, self.groups, self.state_size),
            dt,
            -dt * self.A_log.to(dtype).exp(),
        )


class GatedRMSNorm(nn.Module):
    """Root mean square norm of ``x × silu(gate)``, a group of channels at a time, with a learnt scale.

    As Mamba-2 has it: the gate comes before the norm (``norm_before_gate=False`` of the official code).
    """

    def __init__(self, size: int, groups: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.shape = (groups, size // groups)
        self.eps = eps

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Return (…, size) for ``x`` and ``gate`` of that shape, in the dtype of ``x``."""
        gated = (x * F.silu(gate.to(x.dtype))).view(*x.shape[:-1], *self.shape)
        normed = F.rms_norm(gated, self.shape[1:], None, self.eps).flatten(-2)
        return normed * self.weight.to(x.dtype)


def state_space_dual(
    values: Tensor, log_decay: Tensor, keys: Tensor, queries: Tensor, first: Tensor, chunk_size: int
) -> tuple[Tensor, Tensor]:
    """Run ``state = exp(log_decay) × state + value ⊗ key``, ``y = state · query`` over all positions.

    By the duality of Dao and Gu (2024, section 6): within a chunk as attention under a mask of decays, from
    chunk to chunk by the state. ``values`` (batch, seq, heads, head_dim); ``log_decay`` (batch, seq, heads),
    at most 0; ``keys`` and ``queries`` (batch, seq, groups, state), one group for heads / groups neighbouring
    heads; ``first`` (batch, heads, head_dim, state). Returns y in the shape of ``values`` and the last state.
    """
    batch, count, heads, head_dim = values.shape
    groups, state_size = keys.shape[2:]
    chunks = -(-count // chunk_size)
    length = -(-count // chunks)
    if chunks * length != count:  # positions that add nothing and do not decay
        padding = (0, 0, 0, 0, 0, chunks * length - count)
        values, keys, queries = (F.pad(part, padding) for part in (values, keys, queries))
        log_decay = F.pad(log_decay, padding[2:])
    chunked = (batch, chunks, length)
    values = values.view(*chunked, heads, head_dim)
    keys = keys.view(*chunked, groups, state_size).transpose(2, 3)
    queries = queries.view(*chunked, groups, state_size).transpose(2, 3)
    total = log_decay.view(*chunked, heads).cumsum(2)

    weights = _weigh(queries @ keys.transpose(-1, -2), total.transpose(2, 3))
    within = (weights @ values.transpose(2, 3)).transpose(2, 3)

    remaining = values * (total[:, :, -1:] - total).exp()[..., None]
    by_group = remaining.view(*chunked, groups, -1).permute(0, 1, 3, 4, 2)
    added = (by_group @ keys).view(batch, chunks, heads, head_dim, state_size)
    before, last = carry(added, total[:, :, -1, :, None, None].exp(), first)
    seen = queries @ before.view(batch, chunks, groups, -1, state_size).transpose(-1, -2)
    seen = seen.transpose(2, 3).reshape(values.shape)
    y = torch.addcmul(within, seen, total.exp()[..., None])
    return y.reshape(batch, -1, heads, head_dim)[:, :count], last


def _draw_decay_rates(heads: int) -> Tensor:
    rates = torch.empty(heads)
    return rates if rates.is_meta else rates.uniform_(*FIRST_DECAY_RANGE).log()


class _Weigh(torch.autograd.Function):
    """Scores times decays, written by hand: they are the largest tensors of a layer, and autograd would pass
    over them five times on the way back instead of twice."""

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, total: Tensor) -> Tensor:
        decays = segment_decays(total)
        decays = decays.view(*scores.shape[:3], -1, *scores.shape[3:])
        ctx.save_for_backward(scores, decays)
        return (scores.unsqueeze(3) * decays).flatten(2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        scores, decays = ctx.saved_tensors
        product = grad.view(decays.shape) * decays
        grad_scores = product.sum(3)
        product *= scores.unsqueeze(3)
        return grad_scores, (product.sum(-1) - product.sum(-2)).flatten(2, 3)


def _weigh(scores: Tensor, total: Tensor) -> Tensor:
    """Return attention weights (batch, chunks, heads, length, length): ``scores`` of groups times decays.

    ``scores`` (batch, chunks, groups, length, length); ``total`` (batch, chunks, heads, length) sums the
    logarithms of decays up to each position.
    """
    apply: Callable[..., Tensor] = _Weigh.apply  # torch leaves it untyped
    return apply(scores, total)
