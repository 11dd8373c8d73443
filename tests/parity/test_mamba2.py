"""Mamba-2: equal to Hugging Face's, and to its own recurrence however a sequence is cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.model.config import ModelConfig
from nanoshell.model.mamba2 import Mamba2, state_space_dual
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
    "one group": {"mamba2_num_heads": 4, "mamba2_head_dim": 16, "mamba2_state_size": 8},
    "groups": {
        "mamba2_num_heads": 8,
        "mamba2_head_dim": 8,
        "mamba2_state_size": 5,
        "mamba2_n_groups": 4,
        "mamba2_chunk_size": 7,
    },
    "a group a head, short convolution": {
        "mamba2_num_heads": 4,
        "mamba2_head_dim": 24,
        "mamba2_state_size": 16,
        "mamba2_n_groups": 4,
        "mamba2_expand": 3,
        "mamba2_conv_kernel": 2,
    },
}


def config_of(**keys: Any) -> ModelConfig:
    shape = {"hidden_size": 32, "num_layers": 2, "mamba_layers": [0, 1], "mamba2_chunk_size": 8}
    return ModelConfig.from_dict({**shape, **keys})


def mixer_of(config: ModelConfig, seed: int = 0) -> Mamba2:
    """Return a mixer in float64 none of whose parameters has a value of its own, such as 0 or 1."""
    torch.manual_seed(seed)
    mixer = Mamba2(config).double()
    with torch.no_grad():
        mixer.in_proj.weight.mul_(3)
        mixer.dt_bias.uniform_(-4, 0)
        mixer.A_log.uniform_(-1, 2)
        for parameter in (mixer.D, mixer.norm.weight):
            parameter.uniform_(0.5, 1.5)
        mixer.out_proj.weight.normal_(std=0.1)
    return mixer


def reference_of(config: ModelConfig, mixer: Mamba2) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    shape = transformers.Mamba2Config(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_heads=mixer.num_heads,
        head_dim=mixer.head_dim,
        state_size=mixer.state_size,
        n_groups=mixer.groups,
        expand=config.mamba2_expand or 2,
        conv_kernel=config.mamba2_conv_kernel or 4,
        chunk_size=mixer.chunk_size,
        layer_norm_epsilon=config.rms_norm_eps,
    )
    reference: nn.Module = Mamba2Mixer(shape, 0).double()
    reference.load_state_dict(mixer.state_dict(), strict=True)
    return reference.eval()


def loop(values: Tensor, log_decay: Tensor, keys: Tensor, queries: Tensor, first: Tensor) -> list[Tensor]:
    """The recurrence as it is written, one position and one head at a time."""
    _, count, heads, _ = values.shape
    per_group = heads // keys.shape[2]
    state, y = first.clone(), torch.zeros_like(values)
    for position in range(count):
        for head in range(heads):
            key, query = keys[:, position, head // per_group], queries[:, position, head // per_group]
            decay = log_decay[:, position, head].exp()[:, None, None]
            state[:, head] = decay * state[:, head] + values[:, position, head, :, None] * key[:, None]
            y[:, position, head] = (state[:, head] * query[:, None]).sum(-1)
    return [y, state]


def inputs(count: int, heads: int = 4, groups: int = 2, strength: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return [
        draw(2, count, heads, 3),
        -draw(2, count, heads).exp() * strength,
        draw(2, count, groups, 5),
        draw(2, count, groups, 5),
        draw(2, heads, 3, 5),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_the_layer_is_that_of_transformers(case: str, dtype: torch.dtype) -> None:
    config = config_of(**CASES[case])
    mixer = mixer_of(config)
    reference = reference_of(config, mixer).to(dtype)
    mixer = mixer.to(dtype)
    # Theirs computes the scan and the norm in float32, whatever the dtype of the model.
    for count in (1, 8, 21):
        x = torch.randn(2, count, config.hidden_size, dtype=dtype)
        assert_as_the_reference(mixer, reference, x)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 6, 16, 23])
def test_the_scan_is_that_of_transformers_in_float64(
    count: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    monkeypatch.setattr(Tensor, "float", Tensor.double)  # theirs rounds to float32 otherwise
    values, log_decay, keys, queries, first = inputs(count, groups=groups)
    rates, steps = -torch.arange(1.0, 5.0, dtype=torch.float64), -log_decay
    theirs = mamba2_chunk_scan(
        values, steps, rates, keys, queries, chunk_size=8, initial_states=first, return_final_states=True
    )
    ours = state_space_dual(values * steps[..., None], steps * rates, keys, queries, first, 8)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 19])
def test_chunks_are_the_recurrence(count: int, groups: int) -> None:
    arguments = inputs(count, groups=groups)
    ours, theirs = state_space_dual(*arguments, 8), loop(*arguments)
    torch.testing.assert_close(list(ours), theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("strength", [1e-4, 1.0, 30.0, 1e4])
def test_float32_stays_near_float64_for_weak_and_violent_decays(strength: float) -> None:
    # Sums of decays are differences of totals, whose rounding grows with the total of a chunk.
    scan = lambda *parts: state_space_dual(*parts, 64)  # noqa: E731
    assert_float32_stays_near(scan, inputs(150, strength=strength), 1e-3)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_gradients_are_finite_differences(count: int) -> None:
    arguments = [argument[:1].requires_grad_() for argument in inputs(count)]
    assert torch.autograd.gradcheck(lambda *parts: state_space_dual(*parts, 2), arguments)


def test_gradients_of_the_whole_layer_are_finite_differences() -> None:
    mixer = mixer_of(config_of(hidden_size=4, mamba2_num_heads=2, mamba2_state_size=3, mamba2_chunk_size=2))
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    assert_gradients_are_finite_differences(mixer, x)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.sampled_from(list(CASES)))
def test_pieces_and_steps_are_the_whole(pieces: list[int], case: str) -> None:
    config = config_of(**CASES[case])
    x = torch.randn(2, sum(pieces), config.hidden_size, dtype=torch.float64)
    assert_pieces_and_steps_equal(mixer_of(config), x, pieces)


def test_rows_of_different_lengths_take_a_step_together() -> None:
    x = torch.randn(2, 14, 32, dtype=torch.float64)
    assert_rows_step_together(mixer_of(config_of(**CASES["groups"])), x, (3, 12))


def test_a_step_changes_the_state_in_place_and_compiles_whole() -> None:
    x = torch.randn(2, 6, 32, dtype=torch.float64)
    assert_a_step_compiles_whole_and_in_place(mixer_of(config_of(**CASES["groups"])), x)


def test_bfloat16_keeps_its_state_in_float32() -> None:
    assert_near_in_bfloat16(mixer_of(config_of(**CASES["one group"])), torch.randn(2, 30, 32), 0.03)


def test_under_autocast_the_recurrence_stays_in_float32() -> None:
    assert_near_under_autocast(mixer_of(config_of(**CASES["one group"])), torch.randn(2, 30, 32))


def test_a_new_layer_has_the_official_decays_and_time_steps() -> None:
    torch.manual_seed(3)
    mixer = Mamba2(config_of(hidden_size=512, mamba2_head_dim=1, mamba2_state_size=4))
    steps, rates = F.softplus(mixer.dt_bias), mixer.A_log.exp()
    assert 0.00099 < steps.min() < 0.0012
    assert 0.09 < steps.max() < 0.1001
    assert 0.999 < rates.min() < 1.2
    assert 15.8 < rates.max() < 16.001
    assert abs(rates.mean() - 8.5) < 0.5
    assert torch.equal(mixer.D, torch.ones(1024))
    assert mixer.conv1d.weight.abs().max() <= 0.5
    assert mixer.conv1d.bias.abs().max() <= 0.5
    assert abs(mixer.out_proj.weight.std() - 0.02 / 4**0.5) < 1e-4


def test_decay_rates_and_time_steps_are_not_decayed() -> None:
    mixer = Mamba2(config_of())
    decayed, plain = parameter_groups(mixer, 0.1)
    names = {id(parameter): name for name, parameter in mixer.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"in_proj.weight", "conv1d.weight", "out_proj.weight"}
    assert {"A_log", "D", "dt_bias"} <= {names[id(p)] for p in plain["params"]}


def test_the_state_does_not_grow_with_positions() -> None:
    assert_the_state_does_not_grow(Mamba2(config_of(**CASES["one group"])))


def test_a_layer_is_laid_out_without_memory() -> None:
    with torch.device("meta"):
        mixer = Mamba2(config_of())
    assert all(parameter.is_meta for parameter in mixer.parameters())
