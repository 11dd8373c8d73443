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
    for count in (1, 8, 21):
        x = torch.randn(2, count, config.hidden_size, dtype=dtype)
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        direction = torch.randn_like(x)
        results = []
        for network, source in ((mixer, ours), (reference, theirs)):
            network.zero_grad()
            y = network(source)
            (y * direction).sum().backward()
            grads = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
            results.append({"y": y.detach(), "x": source.grad, **grads})
        # Theirs computes the scan and the norm in float32, whatever the dtype of the model.
        torch.testing.assert_close(results[0], results[1], rtol=2e-4, atol=2e-5)


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
    arguments = inputs(150, strength=strength)
    exact = state_space_dual(*arguments, 64)
    single = [argument.float().requires_grad_() for argument in arguments]
    y, last = state_space_dual(*single, 64)
    (y.sum() + last.sum()).backward()
    assert all(argument.grad is not None and torch.isfinite(argument.grad).all() for argument in single)
    # Sums of decays are differences of totals, whose rounding grows with the total of a chunk.
    torch.testing.assert_close((y.double(), last.double()), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_gradients_are_finite_differences(count: int) -> None:
    arguments = [argument[:1].requires_grad_() for argument in inputs(count)]
    assert torch.autograd.gradcheck(lambda *parts: state_space_dual(*parts, 2), arguments)


def test_gradients_of_the_whole_layer_are_finite_differences() -> None:
    mixer = mixer_of(config_of(hidden_size=4, mamba2_num_heads=2, mamba2_state_size=3, mamba2_chunk_size=2))
    names = [name for name, _ in mixer.named_parameters()]
    x = torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (x,))
        return result

    assert torch.autograd.gradcheck(run, (x, *mixer.parameters()))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.sampled_from(list(CASES)))
def test_pieces_and_steps_are_the_whole(pieces: list[int], case: str) -> None:
    config = config_of(**CASES[case])
    mixer, count = mixer_of(config), sum(pieces)
    x = torch.randn(2, count, config.hidden_size, dtype=torch.float64)
    new = lambda: mixer.new_state(2, count, torch.float64, "cpu")  # noqa: E731
    state, stepped = new(), new()
    with torch.no_grad():
        whole = mixer(x)
        in_pieces = torch.cat([mixer(part, state) for part in x.split(pieces, 1)], 1)
        positions = torch.arange(count)[:, None].expand(-1, 2)
        parts = zip(x.split(1, 1), positions, strict=True)
        step_by_step = torch.cat([mixer.step(part, stepped, at) for part, at in parts], 1)
    torch.testing.assert_close(in_pieces, whole, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(step_by_step, whole, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(state.tensors(), stepped.tensors(), rtol=1e-10, atol=1e-11)
    assert (state.length, stepped.length) == (count, 0)


def test_rows_of_different_lengths_take_a_step_together() -> None:
    mixer = mixer_of(config_of(**CASES["groups"]))
    x = torch.randn(2, 14, 32, dtype=torch.float64)
    lengths = (3, 12)
    with torch.no_grad():
        states = []
        for row, length in enumerate(lengths):
            state = mixer.new_state(1, 14, torch.float64, "cpu")
            mixer(x[row : row + 1, :length], state)
            states.append(state)
        joined = states[0].join(states[1:])
        for ahead in range(2):
            now = torch.stack([x[row, length + ahead] for row, length in enumerate(lengths)])[:, None]
            y = mixer.step(now, joined, torch.tensor(lengths) + ahead)
            for row, length in enumerate(lengths):
                expected = mixer(x[row : row + 1, : length + ahead + 1])[0, -1]
                torch.testing.assert_close(y[row, 0], expected, rtol=1e-10, atol=1e-11)


def test_a_step_changes_the_state_in_place_and_compiles_whole() -> None:
    mixer = mixer_of(config_of(**CASES["groups"])).float()
    x = torch.randn(2, 6, 32)
    state = mixer.new_state(2, 6, torch.float32, "cpu")
    tensors = state.tensors()
    step = torch.compile(mixer.step, fullgraph=True, backend="eager")
    with torch.no_grad():
        parts = [step(part, state, torch.full((2,), at)) for at, part in enumerate(x.split(1, 1))]
        torch.testing.assert_close(torch.cat(parts, 1), mixer(x), rtol=1e-4, atol=1e-5)
    assert all(tensor is tensors[name] for name, tensor in state.tensors().items())


def test_bfloat16_keeps_its_state_in_float32() -> None:
    config = config_of(**CASES["one group"])
    exact, mixer = mixer_of(config), mixer_of(config).bfloat16()
    x = torch.randn(2, 30, 32).bfloat16()
    state = mixer.new_state(2, 30, torch.bfloat16, "cpu")
    with torch.no_grad():
        y = torch.cat((mixer(x[:, :29], state), mixer.step(x[:, 29:], state, torch.tensor([29, 29]))), 1)
        expected = exact(x.double())
    assert y.dtype == torch.bfloat16
    assert state.ssm.dtype == torch.float32
    assert (y - expected).norm() < 0.03 * expected.norm()


def test_under_autocast_the_recurrence_stays_in_float32() -> None:
    mixer = mixer_of(config_of(**CASES["one group"])).float()
    x = torch.randn(2, 30, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = mixer(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in mixer.parameters())
    expected = mixer(x)
    assert (y - expected).norm() < 0.03 * expected.norm()


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
    mixer = Mamba2(config_of(**CASES["one group"]))
    states = [mixer.new_state(1, size, torch.float32, "cpu").tensors() for size in (1, 1_000_000)]
    assert [t.shape for t in states[0].values()] == [t.shape for t in states[1].values()]


def test_a_layer_is_laid_out_without_memory() -> None:
    with torch.device("meta"):
        mixer = Mamba2(config_of())
    assert all(parameter.is_meta for parameter in mixer.parameters())
