"""The exact loss over the whole vocabulary, without ever holding all logits at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 25
"""Logits held at a time: 128 MiB of float32."""


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
    if torch.is_grad_enabled() and (hidden.requires_grad or head_weight.requires_grad):
        apply: Callable[..., Tensor] = _ChunkedCrossEntropy.apply  # torch leaves it untyped
        total = apply(flat, head_weight, labels, counting, bias, cap)
    else:
        total, _, _ = _sum_over_chunks(flat, head_weight, labels, counting, bias, cap, want=(False, False))
    return total, counting.sum()


def soft_cap(logits: Tensor, cap: float) -> Tensor:
    """Return cap × tanh(logits / cap): nearly the same where they are small, never beyond ±``cap``.

    As the final logits of Gemma 2 (arXiv 2408.00118).
    """
    return torch.tanh(logits / cap) * cap


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
    rows = max(16, CHUNK_ELEMENTS // weight.shape[0])
    total = torch.zeros((), dtype=torch.promote_types(dtype, torch.float32), device=hidden.device)
    hidden_grad = torch.empty_like(hidden) if want[0] else None
    weight_grad = torch.zeros_like(weight) if want[1] else None
    labels = torch.where(counting, labels, 0)
    with torch.autocast(kind, enabled=False):
        for start in range(0, len(labels), rows):
            part = slice(start, start + rows)
            states, label, keep = operand[part], labels[part, None], counting[part, None]
            logits = (states @ table.t()).to(total.dtype)
            bend = None
            if cap is not None:
                bend = logits.div_(cap).tanh_()
                logits = bend * cap
            if bias is not None:
                logits = logits.add_(bias)
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += ((normaliser - logits.gather(1, label)) * keep).sum()
            if not any(want):
                continue
            slope = logits.sub_(normaliser).exp_()
            slope.scatter_add_(1, label, torch.full_like(normaliser, -1.0))
            if bend is not None:
                slope.mul_(bend.square_().neg_().add_(1))
            slope = slope.mul_(keep).to(dtype)
            if hidden_grad is not None:
                hidden_grad[part] = slope @ table
            if weight_grad is not None:
                if weight_grad.dtype == dtype:
                    weight_grad.addmm_(slope.t(), states)
                else:
                    weight_grad += slope.t() @ states
    return total, hidden_grad, weight_grad
