"""What layers compute again for the gradient: the same bits, and far fewer of them kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nanoshell.model import layers, mamba2
from nanoshell.model.config import ModelConfig
from nanoshell.model.layers import SwiGLU
from nanoshell.model.mamba2 import Mamba2

CONFIG = ModelConfig(
    name="narrow",
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    intermediate_size=64,
    vocab_size=32,
    max_seq_len=64,
    mamba_layers=(0,),
    mamba2_num_heads=8,
    mamba2_head_dim=4,
    mamba2_state_size=8,
    mamba2_chunk_size=16,
)
KINDS = [(Mamba2, mamba2, 0.4), (SwiGLU, layers, 0.7)]


def kept(module: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    """Return ``module(x)`` and the bytes that are kept for its gradient beside parameters and ``x``."""
    known = {tensor.data_ptr() for tensor in (*module.parameters(), x)}
    sizes: dict[int, int] = {}
    alive: list[Any] = []  # an address that is free again would count once for two tensors

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result: Tensor = module(x)
    return result, sum(sizes.values())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("kind", "room", "share"), KINDS)
def test_gradients_have_the_same_bits_and_less_is_kept(
    kind: Callable[..., nn.Module], room: Any, share: float, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = kind(CONFIG)
    x = torch.randn(2, 48, 16)
    results, sizes = [], []
    for threshold in (1 << 62, 0):
        monkeypatch.setattr(room, "RECOMPUTED_ELEMENTS", threshold)
        inputs = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y, size = kept(module, inputs)
        gradients = torch.autograd.grad(y.float().square().sum(), [inputs, *module.parameters()])
        results.append((y, *gradients))
        sizes.append(size)
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)
    assert 0 < sizes[1] < share * sizes[0]


def test_no_product_of_matrices_is_done_twice_in_a_feed_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = SwiGLU(CONFIG), torch.randn(2, 48, 16)
    counts = []
    for threshold in (1 << 62, 0):
        monkeypatch.setattr(layers, "RECOMPUTED_ELEMENTS", threshold)
        with FlopCounterMode(display=False) as counter:
            module(x).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_a_pass_with_a_state_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mamba2, "RECOMPUTED_ELEMENTS", 0)
    torch.manual_seed(0)
    module, x = Mamba2(CONFIG), torch.randn(1, 40, 16)
    state = module.new_state(1, 64, torch.float32, "cpu")
    with torch.no_grad():
        module(x[:, :24], state)
        rest = module(x[:, 24:], state)
    torch.testing.assert_close(rest, module(x)[:, 24:].detach(), rtol=1e-4, atol=1e-5)
