"""Mamba-3: a state space layer with trapezoidal steps, a rotating state, and several inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.model.layers import RMSNorm, initialise
from nanoshell.model.recurrence import (
    CausalConv1d,
    RecurrentState,
    at_least_float32,
    draw_time_step_bias,
)
from nanoshell.model.trapezoid import Steps, add, added_turns, advance, scan, turned, wrapped

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig

SLOWEST_DECAY = 1e-4
"""The least rate at which a state decays, so that none lasts for ever."""


class Mamba3State(RecurrentState):
    """What a Mamba-3 layer remembers of each row, whatever the number of positions seen.

    ``ssm`` (batch, heads, channels, state) is the state after the last position, whose ``keys`` (batch, rank,
    heads, state), turned, and ``values`` (batch, rank, heads, channels) count once more at the next.
    ``turns`` (batch, heads, angles) is how far the state has turned, in whole turns.
    """

    def __init__(
        self,
        batch: int,
        conv: tuple[int, int],
        ssm: tuple[int, int, int],
        rank: int,
        angles: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        super().__init__(batch, conv, ssm, dtype, device)
        heads, channels, state_size = ssm
        self.keys = self.ssm.new_zeros(batch, rank, heads, state_size)
        self.values = self.ssm.new_zeros(batch, rank, heads, channels)
        self.turns = self.ssm.new_zeros(batch, heads, angles)

    def keep(self, ssm: Tensor, keys: Tensor, values: Tensor, turns: Tensor) -> None:
        """Replace what is remembered, in place."""
        self.ssm.copy_(ssm.detach())
        self.keys.copy_(keys.detach())
        self.values.copy_(values.detach())
        self.turns.copy_(turns.detach())


class _Inputs(NamedTuple):
    """What the recurrence is made of, position by position, in float32 or wider.

    ``gate`` and ``values`` are (batch, seq, rank, heads, channels), ``keys`` and ``queries`` (batch, seq,
    rank, heads, state) and not yet turned, ``turns`` (batch, seq, heads, angles).
    """

    gate: Tensor
    values: Tensor
    keys: Tensor
    queries: Tensor
    steps: Steps
    turns: Tensor


class Mamba3(nn.Module):
    """Mamba-3 (Lahoti et al. 2026, arXiv 2603.15569), the mixer ``mamba3``. It needs no positions.

    Each head follows a linear differential equation whose state decays, and turns in the complex plane, at
    rates that the input sets; its steps in time are the input's choice too. In the terms of attention: B is a
    key, x the values, C a query. Three things set it apart from Mamba-2: the input is integrated over a step
    by the exponential-trapezoidal rule, whose weights are chosen position by position, in place of a
    convolution; keys and queries are turned by the sum of all turns so far, which equals a complex state; and
    with a rank above 1 (``mamba3_mimo_rank``) each head reads and writes several keys at a position.

    Parameters are those of the official code, with its sign of the turn. There, at rank 1, neighbouring
    channels turn together; here and there at higher rank, channel i and channel i + state / 2. That is the
    same layer with its state's channels in another order.
    """

    name_in_layer = "mamba3"
    no_weight_decay = frozenset({"dt_bias", "B_bias", "C_bias", "D"})

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        self.heads, self.head_dim = config.mamba_heads
        self.groups = config.mamba2_n_groups or 1
        self.state_size = config.mamba2_state_size or 128
        self.rank = config.mamba3_mimo_rank or 1
        self.angles = config.mamba3_angles
        self.chunk = max((config.mamba2_chunk_size or 64) // self.rank, 1)
        inner = self.heads * self.head_dim
        shared = self.rank * self.groups * self.state_size
        self.sizes = [inner, inner + 2 * shared, *[self.heads] * 3, self.angles]
        self.mixed_sizes = [inner, shared, shared]
        self.in_proj = nn.Linear(config.hidden_size, sum(self.sizes), bias=False)
        self.conv1d = (
            CausalConv1d(inner + 2 * shared, config.mamba2_conv_kernel or 4)
            if config.mamba3_use_conv
            else None
        )
        self.dt_bias = nn.Parameter(draw_time_step_bias(self.heads))
        self.B_norm = RMSNorm(self.state_size, config.rms_norm_eps)
        self.C_norm = RMSNorm(self.state_size, config.rms_norm_eps)
        self.B_bias = nn.Parameter(torch.ones(self.heads, self.rank, self.state_size))
        self.C_bias = nn.Parameter(torch.ones(self.heads, self.rank, self.state_size))
        self.D = nn.Parameter(torch.ones(self.heads))
        if self.rank > 1:
            size = (self.heads, self.rank, self.head_dim)
            self.mimo_x = nn.Parameter(torch.ones(size) / self.rank)
            self.mimo_z = nn.Parameter(torch.ones(size))
            self.mimo_o = nn.Parameter(torch.ones(size) / self.rank)
        self.out_proj = nn.Linear(inner, config.hidden_size, bias=False)
        initialise(self.out_proj, output_of=config)

    def new_state(
        self, batch: int, max_positions: int, dtype: torch.dtype, device: torch.device | str
    ) -> Mamba3State:
        """Return the state before position 0; its size does not depend on ``max_positions``."""
        conv = (0, 0) if self.conv1d is None else self.conv1d.state_shape
        ssm = (self.heads, self.head_dim, self.state_size)
        return Mamba3State(batch, conv, ssm, self.rank, self.angles, dtype, device)

    def forward(self, x: Tensor, state: Mamba3State | None = None) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape; see `nanoshell.Mixer` for ``state``."""
        projected, mixed = self._project(x)
        if self.conv1d is not None:
            mixed = F.silu(self.conv1d(mixed, None if state is None else state.conv))
        with torch.autocast(x.device.type, enabled=False):
            inputs = self._inputs(projected, mixed)
            turns = added_turns(inputs.turns, None if state is None else state.turns)
            keys, queries = turned(inputs.keys, inputs.queries, turns)
            if state is None:
                start = keys.new_zeros(len(x), self.heads, self.head_dim, self.state_size)
            else:
                start = add(state.ssm, state.keys, state.values, inputs.steps.carried[:, 0])
            read, last = scan(queries, keys, inputs.values, inputs.steps, start, self.chunk)
            read = self._gated(read, inputs)
        if state is not None:
            state.keep(last, keys[:, -1], inputs.values[:, -1], turns[:, -1])
            state.length += x.shape[1]
        output: Tensor = self.out_proj(read.to(x.dtype))
        return output

    def step(self, x: Tensor, state: Mamba3State, positions: Tensor) -> Tensor:
        """Return (batch, 1, hidden) for one position of each row; see `nanoshell.StepMixer`."""
        projected, mixed = self._project(x)
        if self.conv1d is not None:
            mixed = F.silu(self.conv1d.step(mixed, state.conv))
        inputs = self._inputs(projected, mixed)
        turns = wrapped(state.turns[:, None] + inputs.turns)
        keys, queries = turned(inputs.keys, inputs.queries, turns)
        start = add(state.ssm, state.keys, state.values, inputs.steps.carried[:, 0])
        read, last = advance(queries, keys, inputs.values, inputs.steps, start)
        state.keep(last, keys[:, 0], inputs.values[:, 0], turns[:, 0])
        output: Tensor = self.out_proj(self._gated(read, inputs).to(x.dtype))
        return output

    def _project(self, x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the projections of ``x``, and of them the part that a convolution would mix."""
        gate, mixed, *rest = torch.split(self.in_proj(x), self.sizes, -1)
        return (gate, *rest), mixed

    def _inputs(self, projected: tuple[Tensor, ...], mixed: Tensor) -> _Inputs:
        wide = at_least_float32(mixed.dtype)
        gate, size, rate, balance, angles = (part.to(wide) for part in projected)
        values, keys, queries = torch.split(mixed.to(wide), self.mixed_sizes, -1)
        size = F.softplus(size + self.dt_bias.to(wide))
        rate = F.softplus(rate).clamp(min=SLOWEST_DECAY)
        gate, values = self._by_channel(gate), self._by_channel(values)
        if self.rank > 1:
            gate = gate * _ranks_first(self.mimo_z, wide)
            values = values * _ranks_first(self.mimo_x, wide)
        return _Inputs(
            gate,
            values,
            self._by_head(keys, self.B_norm, self.B_bias),
            self._by_head(queries, self.C_norm, self.C_bias),
            Steps.of(rate, size, balance.sigmoid()),
            size[..., None] * (angles.tanh() / 2)[:, :, None],
        )

    def _by_channel(self, x: Tensor) -> Tensor:
        """Return ``x`` (batch, seq, inner) as (batch, seq, 1, heads, channels)."""
        return x.reshape(*x.shape[:2], 1, self.heads, self.head_dim)

    def _by_head(self, x: Tensor, norm: nn.Module, bias: Tensor) -> Tensor:
        """Return ``x`` (batch, seq, …), normalised a group at a time, with the bias of each head of a group:
        (batch, seq, rank, heads, state)."""
        normed: Tensor = norm(x.reshape(*x.shape[:2], self.rank, self.groups, 1, self.state_size))
        biases = _ranks_first(bias, x.dtype).reshape(self.rank, self.groups, -1, self.state_size)
        by_head = normed + biases
        return by_head.flatten(3, 4)

    def _gated(self, read: Tensor, inputs: _Inputs) -> Tensor:
        """Return (batch, seq, inner): what was ``read`` (batch, seq, rank, heads, channels) and a share of
        the values, through the gate; the ranks added up."""
        mixed = torch.addcmul(read, inputs.values, self.D.to(read.dtype)[:, None]) * F.silu(inputs.gate)
        if self.rank > 1:
            mixed = mixed * _ranks_first(self.mimo_o, read.dtype)
        return mixed.sum(2).flatten(2)


def _ranks_first(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``weight`` (heads, rank, …) as (rank, heads, …) in ``dtype``."""
    return weight.transpose(0, 1).to(dtype)
