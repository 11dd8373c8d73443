"""Mamba, the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nanoshell.model.layers import initialise
from nanoshell.model.recurrence import CausalConv1d, RecurrentState, at_least_float32, draw_time_step_bias

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig

CHUNK = 32
"""Positions whose states exist at once while a sequence is scanned; the memory of a scan goes with it."""
WIDE = 8192
"""Numbers in the states of one position from which a processor is busy with one position at a time."""


class Mamba1(nn.Module):
    """The selective state space of Gu and Dao (2023, arXiv:2312.00752), with a state of its own a channel.

    A short convolution and SiLU; from its result time steps ``dt`` (through a narrow layer), ``B`` and ``C``;
    then ``state = exp(-dt × exp(A_log)) × state + dt × x × B`` and ``y = state · C + D × x``, a channel at a
    time; then the product with a gate. The mixer ``mamba1``. Parameters are named as in the official code.
    """

    name_in_layer = "mamba1"
    no_weight_decay = frozenset({"A_log"})

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.inner = hidden * (config.mamba_expand or 2)
        self.state_size = config.mamba_state_size or 16
        self.rank = config.mamba_dt_rank or -(-hidden // 16)
        self.in_proj = nn.Linear(hidden, 2 * self.inner, bias=False)
        self.conv1d = CausalConv1d(self.inner, config.mamba_conv_kernel or 4)
        self.x_proj = nn.Linear(self.inner, self.rank + 2 * self.state_size, bias=False)
        self.dt_proj = nn.Linear(self.rank, self.inner)
        self.A_log = nn.Parameter(_s4d_real(self.inner, self.state_size))
        self.D = nn.Parameter(torch.ones(self.inner))
        self.out_proj = nn.Linear(self.inner, hidden, bias=False)
        initialise(self.out_proj, output_of=config)
        if not self.A_log.is_meta:
            nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
            with torch.no_grad():
                self.dt_proj.bias.copy_(draw_time_step_bias(self.inner))

    def new_state(
        self, batch: int, max_positions: int, dtype: torch.dtype, device: torch.device | str
    ) -> RecurrentState:
        """Return the state before position 0; it does not grow with positions."""
        return RecurrentState(batch, self.conv1d.state_shape, (self.inner, self.state_size), dtype, device)

    def forward(self, x: Tensor, state: RecurrentState | None = None) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape; see `nanoshell.Mixer` for ``state``."""
        mixed, gate = self.in_proj(x).chunk(2, -1)
        mixed = F.silu(self.conv1d(mixed, None if state is None else state.conv))
        dt, keys, queries = self._select(mixed)
        with torch.autocast(x.device.type, enabled=False):
            values, rates = mixed.to(dt.dtype), -self.A_log.to(dt.dtype).exp()
            first = values.new_zeros(len(x), self.inner, self.state_size)
            if state is not None:
                first = state.ssm.to(dt.dtype)
            y, last = selective_scan(dt, rates, values * dt, keys, queries, first)
            y = torch.addcmul(y, values, self.D.to(y.dtype))
        if state is not None:
            state.ssm.copy_(last.detach())
            state.length += x.shape[1]
        output: Tensor = self.out_proj(y.to(x.dtype) * F.silu(gate))
        return output

    def step(self, x: Tensor, state: RecurrentState, positions: Tensor) -> Tensor:
        """Return (batch, 1, hidden) for one position of each row; see `nanoshell.StepMixer`."""
        mixed, gate = self.in_proj(x).chunk(2, -1)
        mixed = F.silu(self.conv1d.step(mixed, state.conv))
        dt, keys, queries = self._select(mixed)
        values, rates = mixed.to(dt.dtype), -self.A_log.to(dt.dtype).exp()
        decays, added = _discretise(dt, rates, values * dt, keys)
        state.ssm.mul_(decays[:, 0]).add_(added[:, 0])
        y = (state.ssm.to(dt.dtype) @ queries.transpose(1, 2)).transpose(1, 2)
        y = torch.addcmul(y, values, self.D.to(y.dtype))
        output: Tensor = self.out_proj(y.to(x.dtype) * F.silu(gate))
        return output

    def _select(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return time steps (batch, seq, inner), B and C (batch, seq, state), as the input selects them, in
        the dtype of the recurrence."""
        dtype = at_least_float32(mixed.dtype)
        sizes = [self.rank, self.state_size, self.state_size]
        narrow, keys, queries = torch.split(self.x_proj(mixed), sizes, -1)
        raw = F.linear(narrow, self.dt_proj.weight).to(dtype) + self.dt_proj.bias.to(dtype)
        return F.softplus(raw), keys.to(dtype), queries.to(dtype)


def selective_scan(
    dt: Tensor, rates: Tensor, values: Tensor, keys: Tensor, queries: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """Run ``state = exp(dt × rates) × state + value × key``, ``y = state · query`` over all positions.

    ``dt`` and ``values`` (batch, seq, channels), ``rates`` (channels, state), at most 0, ``keys`` and
    ``queries`` (batch, seq, state), ``first`` (batch, channels, state). Returns y (batch, seq, channels) and
    the last state. States are kept once in `CHUNK` positions and made again on the way back, since all of
    them together would be many times what the rest of the layer keeps (Gu and Dao 2023, section 3.3.2).
    """
    apply: Callable[..., tuple[Tensor, Tensor]] = _SelectiveScan.apply  # torch leaves it untyped
    return apply(dt, rates, values, keys, queries, first)


class _SelectiveScan(torch.autograd.Function):
    """The gradient of a state is itself a scan, from the last position to the first, with the decay of the
    position after, ``queries`` for ``keys`` and the gradient of y for ``values``."""

    @staticmethod
    def forward(
        ctx: Any, dt: Tensor, rates: Tensor, values: Tensor, keys: Tensor, queries: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor]:
        y, state, starts = torch.empty_like(values), first, []
        for at in _chunks(dt):
            starts.append(state)
            _, states = _scan(dt[:, at], rates, values[:, at], keys[:, at], state)
            y[:, at] = (states @ queries[:, at, :, None])[..., 0]
            state = states[:, -1].clone()  # a view would keep all states of the chunk
        ctx.save_for_backward(dt, rates, values, keys, queries, *starts)
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor, ...]:
        dt, rates, values, keys, queries, *starts = ctx.saved_tensors
        grad_dt, grad_rates = torch.empty_like(dt), torch.zeros_like(rates)
        grad_values, grad_keys = torch.empty_like(values), torch.empty_like(keys)
        grad_queries, grad_state = torch.empty_like(queries), grad_last
        dt_after = F.pad(dt[:, 1:], (0, 0, 0, 1))
        for at, start in reversed(list(zip(_chunks(dt), starts, strict=True))):
            decays, states = _scan(dt[:, at], rates, values[:, at], keys[:, at], start)
            backwards = (part[:, at].flip(1) for part in (dt_after, grad_y, queries))
            steps, sources, directions = backwards
            _, grads = _scan(steps, rates, sources, directions, grad_state)
            grad_state, grads = grads[:, -1], grads.flip(1)
            grad_queries[:, at] = (grad_y[:, at, None] @ states)[:, :, 0]
            grad_values[:, at] = (grads @ keys[:, at, :, None])[..., 0]
            grad_keys[:, at] = (values[:, at, None] @ grads)[:, :, 0]
            exponents = decays.mul_(grads)  # from here on the gradient of dt × rates
            exponents[:, 1:] *= states[:, :-1]
            exponents[:, 0] *= start
            grad_rates += (exponents * dt[:, at, :, None]).sum((0, 1))
            grad_dt[:, at] = exponents.mul_(rates).sum(-1)
        grad_first = grad_state * (dt[:, 0, :, None] * rates).exp()
        return grad_dt, grad_rates, grad_values, grad_keys, grad_queries, grad_first


def _chunks(dt: Tensor) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, dt.shape[1], CHUNK))


def _discretise(dt: Tensor, rates: Tensor, values: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each position leaves of the state and what it adds, (batch, seq, channels, state) each."""
    return (dt[..., None] * rates).exp(), values[..., None] * keys[:, :, None]


def _scan(dt: Tensor, rates: Tensor, values: Tensor, keys: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decays and states of all positions, (batch, seq, channels, state) each."""
    decays, states = _discretise(dt, rates, values, keys)
    states[:, 0].addcmul_(decays[:, 0], first)
    count = dt.shape[1]
    wide = first.numel() >= WIDE and first.device.type == "cpu"
    _run(decays, states, count if wide else max(1, round(count**0.5)))
    return decays, states


def _run(decays: Tensor, states: Tensor, span: int) -> None:
    """Make ``states``, which hold what each position adds, the states, in place.

    All spans of ``span`` positions run side by side, one position after the other; then each takes what the
    span before left to it. Products of decays only shrink, and nothing is divided by them.
    """
    count = states.shape[1]
    left = decays if span >= count else decays.clone()
    for index in range(1, min(span, count)):
        here = states[:, index::span]
        before = slice(index - 1, None, span)
        here.addcmul_(left[:, index::span], states[:, before][:, : here.shape[1]])
    if span >= count:
        return
    for index in range(1, span):
        here = left[:, index::span]
        here.mul_(left[:, index - 1 :: span][:, : here.shape[1]])
    for start in range(span, count, span):
        end = start + span
        states[:, start:end].addcmul_(left[:, start:end], states[:, start - 1 : start])


def _s4d_real(channels: int, state_size: int) -> Tensor:
    """Return the logarithms of 1 to ``state_size`` for each channel (Gu et al. 2022, S4D-Real)."""
    return torch.arange(1, state_size + 1, dtype=torch.get_default_dtype()).log().repeat(channels, 1)
