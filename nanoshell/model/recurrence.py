"""What the state space layers share: their state, a causal convolution, sums of decays, first time steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from nanoshell.model.cache import LayerState

TIME_STEP_RANGE = (0.001, 0.1)
"""Time steps of a new layer, drawn log-uniformly (Gu and Dao 2023)."""
TIME_STEP_FLOOR = 1e-4


class RecurrentState(LayerState):
    """What a state space layer remembers of each row; its size does not depend on the positions seen.

    ``conv`` (batch, kernel - 1, channels) holds the last inputs of the convolution, in the model's dtype;
    ``ssm`` (batch, …) the state of the recurrence, in float32 or wider, since it sums over all positions.
    """

    def __init__(
        self,
        batch: int,
        conv: tuple[int, int],
        ssm: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.conv = torch.zeros((batch, *conv), dtype=dtype, device=device)
        self.ssm = torch.zeros((batch, *ssm), dtype=at_least_float32(dtype), device=device)
        self.length = 0


class CausalConv1d(nn.Module):
    """A convolution of each channel with itself over the last ``kernel`` positions, with a bias.

    Named, shaped and drawn as a depthwise ``nn.Conv1d``: ``weight`` (channels, 1, kernel), ``bias``
    (channels,), both uniform within ±1/sqrt(kernel). Positions before the first are zeros.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel))
        self.bias = nn.Parameter(torch.empty(channels))
        if not self.weight.is_meta:
            bound = kernel**-0.5
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def state_shape(self) -> tuple[int, int]:
        """The shape (kernel - 1, channels) of one row of what `forward` and `step` take as ``state``."""
        return self.weight.shape[2] - 1, self.weight.shape[0]

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Return (batch, seq, channels) for ``x`` of the same shape.

        With ``state`` (batch, kernel - 1, channels), it holds the inputs before ``x``, and takes its last.
        """
        past = self.weight.shape[2] - 1
        if state is None:
            window = F.pad(x, (0, 0, past, 0))
        else:
            window = torch.cat((state.to(x.dtype), x), 1)
            state.copy_(window[:, window.shape[1] - past :].detach())
        return _convolve(window, self.weight[:, 0].t().to(x.dtype), self.bias.to(x.dtype))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return (batch, 1, channels) for the next input ``x`` of that shape; ``state`` as in `forward`."""
        window = torch.cat((state, x), 1)
        state.copy_(window[:, 1:].detach())
        return (window * self.weight[:, 0].t()).sum(1, keepdim=True) + self.bias


class _Convolve(torch.autograd.Function):
    """Sums of shifted products. On a processor three times as fast as ``F.conv1d`` with as many groups as
    channels, forward and backward, and positions may stay before channels."""

    @staticmethod
    def forward(ctx: FunctionCtx, window: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(window, weight)
        kernel = len(weight)
        count = window.shape[1] - kernel + 1
        result = torch.addcmul(bias, window[:, :count], weight[0])
        for k in range(1, kernel):
            result.addcmul_(window[:, k : k + count], weight[k])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        window, weight = ctx.saved_tensors
        count = grad.shape[1]
        grad_window, grad_weight = torch.zeros_like(window), torch.empty_like(weight)
        for k in range(len(weight)):
            grad_window[:, k : k + count].addcmul_(grad, weight[k])
            grad_weight[k] = (window[:, k : k + count] * grad).sum((0, 1))
        return grad_window, grad_weight, grad.sum((0, 1))


def _convolve(window: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    apply: Callable[..., Tensor] = _Convolve.apply  # torch leaves it untyped
    return apply(window, weight, bias)


def segment_decays(total: Tensor) -> Tensor:
    """Return (…, count, count): at [i, j] what position i finds of what j left, and 0 where j is later.

    ``total`` (…, count) sums the logarithms of decays, at most 0, up to each position. Nothing overflows: it
    is differences of sums that are taken the exponential of, and above the diagonal it is minus infinity.
    """
    count = total.shape[-1]
    later = torch.ones(count, count, dtype=torch.bool, device=total.device).triu_(1)
    return (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill_(later, -math.inf).exp_()


def carry(states: Tensor, decays: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Run the recurrence ``state = decay × state + new`` over chunks.

    ``states`` (batch, chunks, …) is what each chunk adds, ``decays`` (batch, chunks, …), broadcast against
    it, what it leaves of the state before, ``first`` (batch, …) the state before the first chunk. Returns the
    states before each chunk, in the shape of ``states``, and the one after the last.
    """
    before, state = [], first
    for index in range(states.shape[1]):
        before.append(state)
        state = torch.addcmul(states[:, index], decays[:, index], state)
    return torch.stack(before, 1), state


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a recurrence is computed for inputs of ``dtype``: float32, or float64."""
    return torch.promote_types(dtype, torch.float32)


def draw_time_step_bias(count: int) -> Tensor:
    """Return biases (count,) from which softplus makes time steps log-uniform in `TIME_STEP_RANGE`.

    As in the official code of Mamba (Gu and Dao 2023). On the meta device, they are empty.
    """
    low, high = map(math.log, TIME_STEP_RANGE)
    drawn = torch.empty(count)
    if drawn.is_meta:
        return drawn
    step = drawn.uniform_(low, high).exp().clamp(min=TIME_STEP_FLOOR)
    return step + torch.log(-torch.expm1(-step))
