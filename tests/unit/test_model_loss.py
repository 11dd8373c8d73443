"""The chunked loss against torch's own cross-entropy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn import functional as F

from nanoshell.model import loss
from nanoshell.model.loss import full_loss


def example(tokens: int, vocab: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, tokens, 8, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(vocab, 8, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randint(vocab, (2, tokens), generator=generator)
    targets[torch.rand(2, tokens, generator=generator) < 0.2] = -100
    return hidden, weight, targets


def reference(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | float = 0.0,
    cap: float | None = None,
) -> Tensor:
    logits = hidden @ weight.t()
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    logits = logits + bias
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


@given(
    st.integers(1, 60),
    st.integers(1, 90),
    st.integers(0, 1000),
    st.sampled_from([1, 500, 1 << 25]),
    st.booleans(),
    st.sampled_from([None, 0.7, 15.0]),
)
@settings(max_examples=40, deadline=None)
def test_loss_and_gradients_equal_torchs(
    tokens: int, vocab: int, seed: int, chunk: int, biased: bool, cap: float | None
) -> None:
    hidden, weight, targets = example(tokens, vocab, seed, torch.float64)
    bias = torch.linspace(-1, 1, vocab, dtype=torch.float64) if biased else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK_ELEMENTS", chunk)
        total, count = full_loss(hidden, weight, targets, bias=bias, cap=cap)
        grads = torch.autograd.grad(total * 0.3, (hidden, weight))
    expected = reference(hidden, weight, targets, 0.0 if bias is None else bias, cap)
    assert int(count) == int((targets != -100).sum())
    torch.testing.assert_close(total, expected)
    for ours, theirs in zip(grads, torch.autograd.grad(expected * 0.3, (hidden, weight)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_float32_is_close_and_without_gradients_nothing_is_kept() -> None:
    hidden, weight, targets = example(40, 300, 0, torch.float32)
    with torch.no_grad():
        total, _ = full_loss(hidden, weight, targets)
    assert not total.requires_grad
    torch.testing.assert_close(total, reference(hidden, weight, targets).detach(), rtol=1e-5, atol=1e-5)


def test_only_the_wanted_gradient_is_made() -> None:
    hidden, weight, targets = example(10, 20, 0, torch.float32)
    full_loss(hidden, weight.detach(), targets)[0].backward()
    expected = torch.autograd.grad(reference(hidden, weight, targets), hidden)[0]
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad, expected)
    assert weight.grad is None


def test_under_autocast_products_run_in_bfloat16_and_gradients_keep_their_dtype() -> None:
    hidden, weight, targets = example(64, 200, 0, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = full_loss(hidden, weight, targets)
    expected = reference(hidden, weight, targets)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(expected.item(), rel=0.02)
    assert total.item() != expected.item()
    total.backward()
    exact = torch.autograd.grad(expected, weight)[0]
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert ((weight.grad - exact).norm() / exact.norm()).item() < 0.03


def test_nothing_to_learn_from_is_zero() -> None:
    hidden, weight, _ = example(5, 7, 0, torch.float32)
    total, count = full_loss(hidden, weight, torch.full((2, 5), -100))
    total.backward()
    assert (total.item(), int(count)) == (0.0, 0)
    assert weight.grad is not None
    assert not weight.grad.any()
