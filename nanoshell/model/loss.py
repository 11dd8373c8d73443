"""The exact loss over the whole vocabulary, without ever holding all logits at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_BYTES = 1 << 26
"""Logits held at a time on the processor: 64 MiB. Products of so many rows run at full speed."""

ACCELERATOR_CHUNK_BYTES = 1 << 29
"""An accelerator needs larger products to be busy."""

BLOCK_BYTES = 1 << 22
"""The processor takes the softmax of so many logits at a time: they stay in its cache for all passes."""

MULTIPLIED_ROWS = 1 << 14
"""A product that is added in another dtype is made so many rows at a time, and never whole beside its sum."""

SMALL_ELEMENTS = 1 << 20
"""Up to so many logits in all are left to autograd: what is spared does not pay for the parts."""


def full_loss(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    ignore_index: int = -100,
    *,
    bias: Tensor | None = None,
    cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy (nats, float32 scalar) and the number of targets that count.

    ``hidden`` is (…, hidden), ``head_weight`` (vocab, hidden), ``targets`` (…); targets equal to
    ``ignore_index`` count for nothing. Divide the sum by the number of counting targets of the whole batch,
    over all its micro-batches. A ``cap`` bends the logits as `soft_cap` does, before a ``bias`` (vocab,) is
    added to them, which gets no gradient. The logits of a few hundred tokens at a time are made, turned into
    loss and gradient, and dropped. Under autocast the products run in its dtype, the softmax in float32.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    labels = targets.reshape(-1)
    counting = labels != ignore_index
    shaping = (bias, cap)
    if labels.numel() * head_weight.shape[0] <= SMALL_ELEMENTS:
        total = _of_few(flat, head_weight, labels, ignore_index, *shaping)
    elif torch.is_grad_enabled() and (hidden.requires_grad or head_weight.requires_grad):
        apply: Callable[..., Tensor] = _ChunkedCrossEntropy.apply  # torch leaves it untyped
        total = apply(flat, head_weight, labels, counting, *shaping)
    else:
        total, _, _ = _sum_over_chunks(flat, head_weight, labels, counting, *shaping, want=(False, False))
    return total, counting.sum()


def soft_cap(logits: Tensor, cap: float) -> Tensor:
    """Return cap × tanh(logits / cap): nearly the same where they are small, never beyond ±``cap``.

    As the final logits of Gemma 2 (arXiv 2408.00118).
    """
    return torch.tanh(logits / cap) * cap


def _of_few(
    hidden: Tensor, weight: Tensor, labels: Tensor, ignore_index: int, bias: Tensor | None, cap: float | None
) -> Tensor:
    logits = F.linear(hidden.to(weight.dtype), weight)
    logits = logits.to(_softmax_dtype(logits.dtype))
    if cap is not None:
        logits = soft_cap(logits, cap)
    if bias is not None:
        logits = logits + bias
    return F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="sum")


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Makes the gradients in the forward pass, while a chunk's logits exist, so that none is made twice."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        counting: Tensor,
        bias: Tensor | None,
        cap: float | None,
    ) -> Tensor:
        want = (ctx.needs_input_grad[0], ctx.needs_input_grad[1])
        total, hidden_grad, weight_grad = _sum_over_chunks(
            hidden, weight, labels, counting, bias, cap, want=want
        )
        ctx.hidden_grad, ctx.weight_grad = hidden_grad, weight_grad
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        hidden_grad, weight_grad = ctx.hidden_grad, ctx.weight_grad
        ctx.hidden_grad = ctx.weight_grad = None
        return (
            None if hidden_grad is None else hidden_grad.mul_(scale),
            None if weight_grad is None else weight_grad.mul_(scale),
            None,
            None,
            None,
            None,
        )


def _sum_over_chunks(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    counting: Tensor,
    bias: Tensor | None,
    cap: float | None,
    *,
    want: tuple[bool, bool],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the summed loss and, where wanted, its gradients for ``hidden`` and ``weight``."""
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    operand, table = hidden.detach().to(dtype), weight.detach().to(dtype)
    rows, block = _portions(len(labels), weight.shape[0] * dtype.itemsize, kind)
    losses = torch.empty(len(labels), dtype=_softmax_dtype(dtype), device=hidden.device)
    hidden_grad = torch.empty_like(hidden) if want[0] else None
    weight_grad = torch.empty_like(weight) if want[1] else None
    buffer = torch.empty(rows, weight.shape[0], dtype=dtype, device=hidden.device)
    labels = torch.where(counting, labels, 0)
    with torch.autocast(kind, enabled=False), torch.no_grad():
        for start in range(0, len(labels), rows):
            part = slice(start, start + rows)
            states = operand[part]
            logits = torch.mm(states, table.t(), out=buffer[: len(states)])
            for first in range(0, len(states), block):
                inner = slice(first, first + block)
                outer = slice(start + first, start + min(first + block, len(states)))
                losses[outer] = _loss_and_slope(logits[inner], labels[outer], counting[outer], bias, cap)
            slope = logits  # what `_loss_and_slope` has left in its place
            if hidden_grad is not None:
                _multiply(slope, table, hidden_grad[part], add=False)
            if weight_grad is not None:
                _multiply(slope.t(), states, weight_grad, add=start > 0)
    return losses.sum(), hidden_grad, weight_grad


def _loss_and_slope(
    logits: Tensor, labels: Tensor, counting: Tensor, bias: Tensor | None, cap: float | None
) -> Tensor:
    """Return the loss of each row of ``logits`` (rows, vocab), and leave its slope in their place."""
    scores = logits.to(_softmax_dtype(logits.dtype))
    bend = None
    if cap is not None:
        bend = (scores / cap).tanh_()
        scores = bend * cap
    if bias is not None:
        scores = scores + bias
    label, keep = labels[:, None], counting[:, None]
    # The largest probability is 1 / Σ exp(score - largest): it gives the normaliser without another sum.
    largest, own = scores.amax(-1, keepdim=True), scores.gather(1, label)
    slope = scores.softmax(-1)
    loss = (largest - own - slope.amax(-1, keepdim=True).log()) * keep
    slope.scatter_add_(1, label, torch.full_like(loss, -1.0))
    if bend is not None:
        slope.mul_(bend.square_().neg_().add_(1))
    torch.mul(slope, keep, out=logits) if logits.dtype == slope.dtype else logits.copy_(slope.mul_(keep))
    return loss[:, 0]


def _multiply(left: Tensor, right: Tensor, out: Tensor, *, add: bool) -> None:
    """Write ``left`` @ ``right`` to ``out``, or add it there."""
    if out.dtype == right.dtype:
        torch.addmm(out, left, right, beta=float(add), out=out)
        return
    for start in range(0, len(out), MULTIPLIED_ROWS):
        part = slice(start, start + MULTIPLIED_ROWS)
        if add:
            out[part] += left[part] @ right
        else:
            out[part] = left[part] @ right


def _portions(tokens: int, row_bytes: int, kind: str) -> tuple[int, int]:
    """Return how many tokens' logits to hold at a time, and of how many to take the softmax at a time."""
    rows = max(16, (CHUNK_BYTES if kind == "cpu" else ACCELERATOR_CHUNK_BYTES) // row_bytes)
    rows = -(-tokens // -(-tokens // rows))  # chunks of one size: a small one at the end is slow
    return rows, max(1, BLOCK_BYTES // row_bytes) if kind == "cpu" else rows


def _softmax_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
