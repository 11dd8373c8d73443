"""The recurrence of Mamba-3, over whole sequences and one position at a time; its rotating state.

A head remembers a matrix (channels, state), to which each position adds the outer product of its values
(channels,) and of a key (state,), and which each position reads with a query (state,). Where positions have a
rank, each adds and reads that many at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nanoshell.model.mamba2 import state_space_dual


@dataclass(frozen=True)
class Steps:
    """How far each position moves a head's state: all (batch, seq, heads).

    ``decay`` is the logarithm, at most 0, of what is left of the state. Of what a position adds, ``own``
    counts at once, and ``carried`` of the next position is added to the state just before that one decays it:
    the two ends of a step over which the input is integrated by the trapezoidal rule.
    """

    decay: Tensor
    own: Tensor
    carried: Tensor

    @classmethod
    def of(cls, rate: Tensor, size: Tensor, balance: Tensor) -> Steps:
        """Return the steps for the state's ``rate`` of decay, the ``size`` of the step in time, and the
        ``balance`` between its ends, from 0 (all on its beginning) to 1 (on its end: Euler, as Mamba-2).
        """
        own = balance * size
        return cls(-rate * size, own, size - own)


def scan(
    queries: Tensor, keys: Tensor, values: Tensor, steps: Steps, start: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """Return what every position reads, in the shape of ``values``, and the last state.

    The state h of a head follows, at each position t with its key k and values v,

        h_t = exp(decay_t) (h_{t-1} + carried_t v_{t-1} k_{t-1}) + own_t v_t k_t

    and is read as h_t q_t. ``queries`` and ``keys`` are (batch, seq, rank, heads, state), ``values`` (batch,
    seq, rank, heads, channels). ``start`` (batch, heads, channels, state) is the state before the first
    position, with what that position carries already added to it.

    A key counts twice, at its position and at the next, always with the same values. So all positions behind
    the reading one see it with the sum of both weights: one pass of `state_space_dual`, in chunks of
    ``chunk`` positions, does for the trapezoid what it does for Euler's rule. The position itself sees its
    own keys without what is carried later, and all of them: where they stand one after another in that pass,
    each saw those before it only.
    """
    batch, length, rank, heads, channels = values.shape
    later = F.pad(steps.carried[:, 1:], (0, 0, 0, 1))
    weight = steps.own + later
    read, last = state_space_dual(
        (values * weight[:, :, None, :, None]).flatten(1, 2),
        F.pad(steps.decay[:, :, None], (0, 0, 0, rank - 1)).flatten(1, 2),
        keys.flatten(1, 2),
        queries.flatten(1, 2),
        start,
        chunk * rank,
    )
    read = read.view(batch, length, rank, heads, channels)
    if rank == 1:
        itself = -later[:, :, None] * (queries * keys).sum(-1)
        return torch.addcmul(read, itself[..., None], values), last
    seen = torch.ones(rank, rank, dtype=values.dtype, device=values.device).tril()
    missing = steps.own[..., None, None] - weight[..., None, None] * seen
    itself = torch.einsum("btrhn,btshn->bthrs", queries, keys) * missing
    return read + torch.einsum("bthrs,btshp->btrhp", itself, values), last


def advance(
    queries: Tensor, keys: Tensor, values: Tensor, steps: Steps, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `scan` returns, for a sequence of one position."""
    decayed = steps.decay[:, 0].exp()[..., None, None] * start
    state = add(decayed, keys[:, 0], values[:, 0], steps.own[:, 0])
    return torch.einsum("bhpn,btrhn->btrhp", state, queries), state


def add(state: Tensor, keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Return ``state`` with the products of one position's ``values`` and ``keys``, times ``weight``."""
    return state + torch.einsum("brhp,brhn->bhpn", values * weight[:, None, :, None], keys)


def turned(keys: Tensor, queries: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Return both (batch, seq, rank, heads, state), turned by ``turns`` (batch, seq, heads, angles), which
    count whole turns.

    Channel i turns together with channel i + state / 2, for the first channels of both halves, as many as
    there are angles; the others stay as they are.
    """
    if not turns.shape[-1]:
        return keys, queries
    apply: Callable[..., tuple[Tensor, Tensor]] = _Turn.apply  # torch leaves it untyped
    return apply(keys, queries, (2 * math.pi) * turns[:, :, None])


def added_turns(turns: Tensor, start: Tensor | None = None) -> Tensor:
    """Return where the angles stand after each of ``turns`` (batch, seq, heads, angles), from ``start``
    (batch, heads, angles), all in whole turns, between -1/2 and 1/2.

    Counted so, and not in radians, because a whole turn is a number that floats hold exactly: dropping them
    loses nothing. The sum runs in float64, since a float32 of a few hundred turns no longer tells apart
    directions that thousands of positions later must agree.
    """
    wide = torch.float32 if turns.device.type == "mps" else torch.float64  # Apple's GPUs have no wider one
    total = turns.to(wide).cumsum(1)
    if start is not None:
        total = total + start[:, None]
    return wrapped(total).to(turns.dtype)


def wrapped(turns: Tensor) -> Tensor:
    """Return ``turns`` without the whole ones."""
    return turns - turns.round()


class _Turn(torch.autograd.Function):
    """Turn keys and queries. Written by hand, since autograd would fill a whole tensor with zeros for every
    part of one that turns."""

    @staticmethod
    def forward(ctx: Any, keys: Tensor, queries: Tensor, radians: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = radians.cos(), radians.sin()
        results = _rotate(keys, cos, sin), _rotate(queries, cos, sin)
        ctx.save_for_backward(*results, cos, sin)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        *results, cos, sin = ctx.saved_tensors
        pull = torch.zeros_like(cos)
        for result, grad in zip(results, grads, strict=True):
            (a, b), (grad_a, grad_b) = _pairs(result, cos), _pairs(grad, cos)
            pull += (grad_b * a - grad_a * b).sum(2, keepdim=True)
        grad_keys, grad_queries = (_rotate(grad, cos, -sin) for grad in grads)
        return grad_keys, grad_queries, pull


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    result = x.clone()
    (a, b), (new_a, new_b) = _pairs(x, cos), _pairs(result, cos)
    new_a.mul_(cos).addcmul_(b, sin, value=-1)
    new_b.mul_(cos).addcmul_(a, sin)
    return result


def _pairs(x: Tensor, cos: Tensor) -> tuple[Tensor, Tensor]:
    """Return views of the channels that turn: those of the first half, and their partners in the second."""
    half, angles = x.shape[-1] // 2, cos.shape[-1]
    return x[..., :angles], x[..., half : half + angles]
