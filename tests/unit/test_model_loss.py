"""The chunked loss against torch's own cross-entropy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

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
    st.sampled_from([1, 4000, 1 << 26]),
    st.sampled_from([1, 700, 1 << 22]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.7, 15.0]),
)
@settings(max_examples=80, deadline=None)
def test_loss_and_gradients_equal_torchs(
    tokens: int, vocab: int, seed: int, chunk: int, block: int, small: bool, biased: bool, cap: float | None
) -> None:
    hidden, weight, targets = example(tokens, vocab, seed, torch.float64)
    bias = torch.linspace(-1, 1, vocab, dtype=torch.float64) if biased else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK_BYTES", chunk)
        patch.setattr(loss, "BLOCK_BYTES", block)
        patch.setattr(loss, "SMALL_ELEMENTS", 1 << 20 if small else 0)
        total, count = full_loss(hidden, weight, targets, bias=bias, cap=cap)
        grads = torch.autograd.grad(total * 0.3, (hidden, weight))
    expected = reference(hidden, weight, targets, 0.0 if bias is None else bias, cap)
    assert int(count) == int((targets != -100).sum())
    torch.testing.assert_close(total, expected)
    for ours, theirs in zip(grads, torch.autograd.grad(expected * 0.3, (hidden, weight)), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.fixture(params=["chunked", "small"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of computing it, whatever the size."""
    if request.param == "chunked":
        monkeypatch.setattr(loss, "SMALL_ELEMENTS", 0)
        monkeypatch.setattr(loss, "CHUNK_BYTES", 20_000)
        monkeypatch.setattr(loss, "BLOCK_BYTES", 4_000)
        monkeypatch.setattr(loss, "MULTIPLIED_ROWS", 70)
    return str(request.param)


class Largest(TorchDispatchMode):
    """Notes the most elements of a tensor of any operation inside the block, beside those ``known``."""

    def __init__(self, known: set[torch.Size]) -> None:
        super().__init__()
        self.known, self.elements = known, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and not {tensor.shape, tensor.shape[::-1]} & self.known:
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_more_than_a_chunk_of_logits_exists_forward_and_backward(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "SMALL_ELEMENTS", 0)
    monkeypatch.setattr(loss, "CHUNK_BYTES", 40 * 3000 * dtype.itemsize)
    hidden, weight, targets = example(500, 3000, 0, torch.float32)
    with Largest({weight.shape}) as largest, torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        full_loss(hidden, weight, targets)[0].backward()
    assert 30 * 3000 < largest.elements <= 40 * 3000


@pytest.mark.usefixtures("path")
def test_a_score_that_underflows_in_the_softmax_still_has_its_loss() -> None:
    hidden, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[400.0, 0.0], [-400.0, 0.0]])
    total, _ = full_loss(hidden, weight, torch.tensor([1]))
    assert total.item() == pytest.approx(800.0)


@pytest.mark.usefixtures("path")
def test_float32_is_close_and_without_gradients_nothing_is_kept() -> None:
    hidden, weight, targets = example(40, 300, 0, torch.float32)
    with torch.no_grad():
        total, _ = full_loss(hidden, weight, targets)
    assert not total.requires_grad
    torch.testing.assert_close(total, reference(hidden, weight, targets).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("path")
def test_only_the_wanted_gradient_is_made() -> None:
    hidden, weight, targets = example(10, 20, 0, torch.float32)
    full_loss(hidden, weight.detach(), targets)[0].backward()
    expected = torch.autograd.grad(reference(hidden, weight, targets), hidden)[0]
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad, expected)
    assert weight.grad is None


@pytest.mark.usefixtures("path")
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


@pytest.mark.usefixtures("path")
def test_nothing_to_learn_from_is_zero() -> None:
    hidden, weight, _ = example(5, 7, 0, torch.float32)
    total, count = full_loss(hidden, weight, torch.full((2, 5), -100))
    total.backward()
    assert (total.item(), int(count)) == (0.0, 0)
    assert weight.grad is not None
    assert not weight.grad.any()
