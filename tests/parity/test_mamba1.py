"""Mamba: equal to Hugging Face's, and to its own recurrence however a sequence is cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.model import mamba1
from nanoshell.model.config import ModelConfig
from nanoshell.model.mamba1 import Mamba1, selective_scan
from nanoshell.training.optimizer import parameter_groups

from .recurrent import (
    assert_a_step_compiles_whole_and_in_place,
    assert_as_the_reference,
    assert_float32_stays_near,
    assert_gradients_are_finite_differences,
    assert_near_in_bfloat16,
    assert_near_under_autocast,
    assert_pieces_and_steps_equal,
    assert_rows_step_together,
    assert_the_state_does_not_grow,
)

CASES = {
    "as published": {},
    "small state, wide rank": {"mamba_state_size": 5, "mamba_dt_rank": 7, "mamba_expand": 1},
    "short convolution, wide": {"mamba_conv_kernel": 2, "mamba_expand": 3, "mamba_dt_rank": 1},
}
PLANS = {"positions one by one": 0, "spans side by side": 1 << 60}
"""The two plans of a scan, by the number of states from which a processor takes the first."""


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mamba1, "WIDE", PLANS[request.param])
    monkeypatch.setattr(mamba1, "CHUNK", 8)


def config_of(**keys: Any) -> ModelConfig:
    shape = {"hidden_size": 24, "num_layers": 2, "mamba_layers": [0, 1]}
    return ModelConfig.from_dict({**shape, **keys})


def mixer_of(config: ModelConfig, seed: int = 0) -> Mamba1:
    """Return a mixer in float64 none of whose parameters has a value of its own, such as 0 or 1."""
    torch.manual_seed(seed)
    mixer = Mamba1(config).double()
    with torch.no_grad():
        for projection in (mixer.in_proj, mixer.x_proj):
            projection.weight.mul_(3)
        mixer.dt_proj.bias.uniform_(-4, 0)
        mixer.A_log.add_(torch.rand_like(mixer.A_log))
        mixer.D.uniform_(0.5, 1.5)
        mixer.out_proj.weight.normal_(std=0.1)
    return mixer


def reference_of(config: ModelConfig, mixer: Mamba1) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    from transformers.models.mamba.modeling_mamba import MambaMixer

    shape = transformers.MambaConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        state_size=mixer.state_size,
        time_step_rank=mixer.rank,
        expand=config.mamba_expand or 2,
        conv_kernel=config.mamba_conv_kernel or 4,
    )
    reference: nn.Module = MambaMixer(shape, 0).double()
    reference.load_state_dict(mixer.state_dict(), strict=True)
    return reference.eval()


def loop(
    dt: Tensor, rates: Tensor, values: Tensor, keys: Tensor, queries: Tensor, first: Tensor
) -> list[Tensor]:
    """The recurrence as it is written, one position at a time."""
    state, y = first, []
    for position in range(dt.shape[1]):
        decay = (dt[:, position, :, None] * rates).exp()
        state = decay * state + values[:, position, :, None] * keys[:, position, None]
        y.append((state * queries[:, position, None]).sum(-1))
    return [torch.stack(y, 1), state]


def inputs(count: int, strength: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return [
        draw(2, count, 3).exp() * strength,
        -draw(3, 4).exp(),
        draw(2, count, 3),
        draw(2, count, 4),
        draw(2, count, 4),
        draw(2, 3, 4),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_the_layer_is_that_of_transformers(case: str, dtype: torch.dtype) -> None:
    config = config_of(**CASES[case])
    mixer = mixer_of(config)
    reference = reference_of(config, mixer).to(dtype)
    mixer = mixer.to(dtype)
    # Theirs computes decays and products in float32, whatever the dtype of the model.
    for count in (1, 9, 40):
        x = torch.randn(2, count, config.hidden_size, dtype=dtype)
        assert_as_the_reference(mixer, reference, x)


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("count", [1, 6, 8, 19])
def test_the_scan_is_that_of_transformers_in_float64(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    monkeypatch.setattr(Tensor, "float", Tensor.double)  # theirs rounds to float32 otherwise
    dt, rates, values, keys, queries, first = inputs(count)
    channels_first = (part.transpose(1, 2) for part in (values, dt, keys, queries))
    hidden, steps, b, c = channels_first
    theirs, last = mamba_selective_scan(hidden, steps, rates, b, c, return_last_state=True)
    ours = selective_scan(dt, rates, values * dt, keys, queries, torch.zeros_like(first))
    torch.testing.assert_close(ours, (theirs.transpose(1, 2), last), rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 19])
def test_chunks_are_the_recurrence(count: int) -> None:
    arguments = inputs(count)
    torch.testing.assert_close(list(selective_scan(*arguments)), loop(*arguments), rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("strength", [1e-4, 1.0, 1e4])
def test_float32_stays_near_float64_for_weak_and_violent_decays(strength: float) -> None:
    assert_float32_stays_near(selective_scan, inputs(150, strength=strength), 1e-4)


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("count", [1, 3, 10])
def test_gradients_are_finite_differences(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mamba1, "CHUNK", 4)
    dt, rates, *others = inputs(count)
    arguments = [dt[:1], rates, *(other[:1] for other in others)]
    assert torch.autograd.gradcheck(selective_scan, [part.requires_grad_() for part in arguments])


def test_gradients_of_the_whole_layer_are_finite_differences() -> None:
    mixer = mixer_of(config_of(hidden_size=3, mamba_state_size=2))
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    assert_gradients_are_finite_differences(mixer, x)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.sampled_from(list(CASES)))
def test_pieces_and_steps_are_the_whole(pieces: list[int], case: str) -> None:
    config = config_of(**CASES[case])
    x = torch.randn(2, sum(pieces), config.hidden_size, dtype=torch.float64)
    assert_pieces_and_steps_equal(mixer_of(config), x, pieces)


def test_rows_of_different_lengths_take_a_step_together() -> None:
    x = torch.randn(2, 14, 24, dtype=torch.float64)
    assert_rows_step_together(mixer_of(config_of()), x, (3, 12))


def test_a_step_changes_the_state_in_place_and_compiles_whole() -> None:
    x = torch.randn(2, 6, 24, dtype=torch.float64)
    assert_a_step_compiles_whole_and_in_place(mixer_of(config_of()), x)


def test_bfloat16_keeps_its_state_in_float32() -> None:
    assert_near_in_bfloat16(mixer_of(config_of()), torch.randn(2, 30, 24), 0.03)


def test_under_autocast_the_recurrence_stays_in_float32() -> None:
    assert_near_under_autocast(mixer_of(config_of()), torch.randn(2, 30, 24))


def test_a_new_layer_has_the_official_rates_and_time_steps() -> None:
    torch.manual_seed(3)
    mixer = Mamba1(config_of(hidden_size=512))
    steps = F.softplus(mixer.dt_proj.bias)
    assert 0.00099 < steps.min() < 0.0012
    assert 0.09 < steps.max() < 0.1001
    torch.testing.assert_close(mixer.A_log.exp(), torch.arange(1.0, 17.0).repeat(1024, 1))
    assert mixer.rank == 32
    assert 0.99 * 32**-0.5 < mixer.dt_proj.weight.abs().max() <= 32**-0.5
    assert torch.equal(mixer.D, torch.ones(1024))
    assert abs(mixer.out_proj.weight.std() - 0.02 / 4**0.5) < 1e-4


def test_rates_are_not_decayed() -> None:
    mixer = Mamba1(config_of())
    decayed, plain = parameter_groups(mixer, 0.1)
    names = {id(parameter): name for name, parameter in mixer.named_parameters()}
    assert {names[id(p)] for p in plain["params"]} == {"A_log", "D", "conv1d.bias", "dt_proj.bias"}
    assert len(decayed["params"]) == 5


def test_the_state_does_not_grow_with_positions() -> None:
    assert_the_state_does_not_grow(Mamba1(config_of()))


def test_training_keeps_few_states() -> None:
    mixer, count = Mamba1(config_of(mamba_state_size=64)), 256
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = mixer(torch.randn(1, count, 24))
    assert y.requires_grad
    assert sum(kept.values()) < count * mixer.inner * mixer.state_size / 2


def test_a_layer_is_laid_out_without_memory() -> None:
    with torch.device("meta"):
        mixer = Mamba1(config_of())
    assert all(parameter.is_meta for parameter in mixer.parameters())
