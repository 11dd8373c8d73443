"""Mamba-3 equals a loop over its equations in complex numbers, in whatever pieces it is computed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell.errors import ConfigError
from nanoshell.model.config import ModelConfig
from nanoshell.model.mamba3 import Mamba3
from nanoshell.model.trapezoid import added_turns, wrapped

from .recurrent import (
    assert_a_step_compiles_whole_and_in_place,
    assert_gradients_are_finite_differences,
    assert_near_in_bfloat16,
    assert_pieces_and_steps_equal,
    assert_rows_step_together,
    in_pieces,
)

SHAPES: dict[str, dict[str, Any]] = {
    "one in, one out": {},
    "without rotation": {"mamba3_complex_rope": False},
    "all channels turn": {"mamba3_rope_fraction": 1.0, "mamba2_n_groups": 2},
    "an odd share of channels turns": {"mamba3_rope_fraction": 0.8, "mamba2_n_groups": 4},
    "odd state without rotation": {"mamba3_complex_rope": False, "mamba2_state_size": 5},
    "three in, three out": {"mamba3_mimo_rank": 3, "mamba2_n_groups": 2},
    "two in, two out, without rotation": {"mamba3_mimo_rank": 2, "mamba3_complex_rope": False},
    "two in, two out, chunks of one": {"mamba3_mimo_rank": 2, "mamba2_chunk_size": 1},
    "with a convolution": {"mamba3_use_conv": True, "mamba2_conv_kernel": 3},
    "three in, with a convolution": {"mamba3_use_conv": True, "mamba3_mimo_rank": 3, "mamba2_n_groups": 4},
}


def config_of(**changes: Any) -> ModelConfig:
    shape = {
        "hidden_size": 10,
        "num_layers": 2,
        "mixer": "mamba3",
        "mamba2_num_heads": 4,
        "mamba2_head_dim": 5,
        "mamba2_state_size": 8,
        "mamba2_chunk_size": 4,
    }
    return ModelConfig.from_dict({**shape, **changes})


def layer_of(seed: int = 0, **changes: Any) -> Mamba3:
    """Return a layer in float64 whose weights are all random, with time steps and turns of any size."""
    torch.manual_seed(seed)
    layer = Mamba3(config_of(**changes)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
        layer.in_proj.weight.mul_(0.5)
    return layer.requires_grad_(False)


def inputs_of(batch: int, length: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, length, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_the_equations(layer: Mamba3, config: ModelConfig, x: Tensor) -> Tensor:
    """Return what the paper's equations give for ``x`` (batch, seq, hidden), a row at a time.

    With A + iθ for the state's rate of decay and rotation, Δ the step, λ the balance of its two ends,

        h_t = e^{Δ(A + iθ)} (h_{t-1} + (1 - λ) Δ B_{t-1} x_{t-1}) + λ Δ B_t x_t,   y_t = Re(C_t h_t).
    """
    heads, channels = config.mamba_heads
    state, rank = config.mamba2_state_size or 0, config.mamba3_mimo_rank or 1
    groups, angles = config.mamba2_n_groups or 1, config.mamba3_angles
    weights = dict(layer.named_parameters())
    projected = x @ weights["in_proj.weight"].T
    inner, shared = heads * channels, rank * groups * state
    gate, mixed, size, rate, balance, angle = projected.split(
        (inner, inner + 2 * shared, heads, heads, heads, angles), -1
    )
    if config.mamba3_use_conv:
        kernel = weights["conv1d.weight"]
        padded = F.pad(mixed.mT, (kernel.shape[-1] - 1, 0))
        mixed = F.silu(F.conv1d(padded, kernel, weights["conv1d.bias"], groups=len(kernel)).mT)
    values, keys, queries = mixed.split((inner, shared, shared), -1)
    rows = []
    for row in range(len(x)):
        outputs = []
        for head in range(heads):
            own = slice(head * channels, (head + 1) * channels)
            group = head * groups // heads
            b, c = (
                as_complex(
                    normed(
                        part[row].view(-1, rank, groups, state)[:, :, group], weights[f"{name}_norm.weight"]
                    )
                    + weights[f"{name}_bias"][head],
                    angles,
                )
                for part, name in ((keys, "B"), (queries, "C"))
            )
            step = F.softplus(size[row, :, head] + weights["dt_bias"][head])
            decay = F.softplus(rate[row, :, head]).clamp(min=1e-4)
            turn = F.pad(math.pi * angle[row].tanh(), (0, b.shape[-1] - angles))
            u, z = values[row, :, own], gate[row, :, own]
            up, through, down = (
                weights[name][head] if rank > 1 else torch.ones(1, channels, dtype=x.dtype)
                for name in ("mimo_x", "mimo_z", "mimo_o")
            )
            outputs.append(
                one_head(
                    b.conj(),
                    c,
                    u[:, None] * up,
                    step,
                    torch.complex(-decay[:, None].expand_as(turn), turn),
                    balance[row, :, head].sigmoid(),
                    weights["D"][head],
                    F.silu(z[:, None] * through) * down,
                )
            )
        rows.append(torch.cat(outputs, -1))
    return torch.stack(rows) @ weights["out_proj.weight"].T


def one_head(
    b: Tensor, c: Tensor, u: Tensor, step: Tensor, rate: Tensor, balance: Tensor, skip: Tensor, gate: Tensor
) -> Tensor:
    """Return (seq, channels) for inputs ``u`` (seq, rank, channels), ``b`` and ``c`` (seq, rank, state)."""
    h = torch.zeros(b.shape[-1], u.shape[-1], dtype=torch.complex128)
    added = torch.zeros_like(h)
    outputs = []
    for t in range(len(u)):
        alpha = (step[t] * rate[t]).exp()[:, None]
        beta, gamma = (1 - balance[t]) * step[t] * alpha, balance[t] * step[t]
        before, added = added, sum(torch.outer(b[t, r], u[t, r].to(h.dtype)) for r in range(len(u[t])))
        h = alpha * h + beta * before + gamma * added
        y = torch.stack([(c[t, r] @ h).real for r in range(len(u[t]))])
        outputs.append(((y + skip * u[t]) * gate[t]).sum(0))
    return torch.stack(outputs)


def normed(x: Tensor, scale: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * scale


def as_complex(x: Tensor, angles: int) -> Tensor:
    """Return complex numbers for the pairs of channels that turn, then real ones for the others."""
    half = x.shape[-1] // 2
    if not angles:
        return x.to(torch.complex128)
    pairs = torch.complex(x[..., :angles], x[..., half : half + angles])
    return torch.cat((pairs, x[..., angles:half], x[..., half + angles :]), -1)


@pytest.mark.parametrize("length", [1, 4, 11])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_layer_equals_a_loop_over_the_equations(shape: str, length: int) -> None:
    layer, x = layer_of(**SHAPES[shape]), inputs_of(2, length)
    expected = by_the_equations(layer, config_of(**SHAPES[shape]), x)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def test_no_state_lasts_for_ever() -> None:
    layer, x = layer_of(), inputs_of(2, 11)
    rates = slice(sum(layer.sizes[:3]), sum(layer.sizes[:4]))
    layer.in_proj.weight[rates] *= 10
    raw = F.softplus(x @ layer.in_proj.weight[rates].T)
    assert 0.2 < (raw < 1e-4).double().mean() < 0.8
    torch.testing.assert_close(layer(x), by_the_equations(layer, config_of(), x), rtol=1e-9, atol=1e-9)


@given(st.sampled_from(sorted(SHAPES)), st.lists(st.integers(1, 11), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_pieces_and_single_steps_equal_the_whole(shape: str, pieces: list[int]) -> None:
    assert_pieces_and_steps_equal(layer_of(**SHAPES[shape]), inputs_of(2, sum(pieces)), pieces)


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
def test_the_size_of_a_chunk_changes_nothing(chunk: int) -> None:
    x = inputs_of(2, 13)
    for shape in ("one in, one out", "three in, three out"):
        one, other = layer_of(**SHAPES[shape]), layer_of(**{**SHAPES[shape], "mamba2_chunk_size": chunk})
        torch.testing.assert_close(other(x), one(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", ["one in, one out", "three in, with a convolution"])
def test_rows_that_stand_at_different_positions_step_together(shape: str) -> None:
    assert_rows_step_together(layer_of(**SHAPES[shape]), inputs_of(2, 13), (3, 9))


@pytest.mark.parametrize("shape", ["one in, one out", "three in, with a convolution"])
def test_gradients_are_those_of_finite_differences(shape: str) -> None:
    changes = {"mamba2_num_heads": 2, "mamba2_head_dim": 2, "mamba2_state_size": 4, "hidden_size": 2}
    groups = {"mamba2_n_groups": 2} if "mamba2_n_groups" in SHAPES[shape] else {}
    layer = layer_of(**{**SHAPES[shape], **changes, **groups, "mamba2_chunk_size": 2})
    x = torch.randn(1, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_gradients_are_finite_differences(layer, x)


def test_float32_agrees_with_float64_over_a_long_sequence() -> None:
    wide = layer_of(mamba3_mimo_rank=2, mamba2_chunk_size=32)
    narrow = layer_of(mamba3_mimo_rank=2, mamba2_chunk_size=32).float()
    x = inputs_of(1, 2000)
    expected = wide(x)
    for result in (narrow(x.float()), in_pieces(narrow, x.float(), [700, 1, 799, 500])[0]):
        error = (result.double() - expected).abs().max() / expected.abs().max()
        assert error < 1e-4


def test_angles_keep_their_direction_over_a_hundred_thousand_positions() -> None:
    turns = torch.rand(1, 100_000, 1, 1, generator=torch.Generator().manual_seed(5)) * 0.4
    exact = math.fsum(turns.flatten().tolist()) % 1
    naive = turns.cumsum(1)[0, -1].item() % 1
    assert away(naive, exact) > 1e-4  # what would happen without care
    assert away(added_turns(turns)[0, -1].item(), exact) < 1e-6
    place = torch.zeros(1, 1)
    for step in turns[0, :20_000]:
        place = wrapped(place + step)
    assert away(place.item(), math.fsum(turns[0, :20_000].flatten().tolist()) % 1) < 2e-5


def away(turn: float, other: float) -> float:
    """Return how far apart two directions are, in whole turns."""
    return abs((turn - other + 0.5) % 1 - 0.5)


def test_bfloat16_weights_give_nearly_the_same() -> None:
    assert_near_in_bfloat16(layer_of(mamba3_mimo_rank=2), inputs_of(2, 9), 0.03)


def test_a_step_changes_the_state_in_place_and_compiles_whole() -> None:
    layer = layer_of(mamba3_use_conv=True, mamba3_mimo_rank=2)
    assert_a_step_compiles_whole_and_in_place(layer, inputs_of(3, 4))


def test_a_new_layer_starts_as_the_paper_says() -> None:
    torch.manual_seed(2)
    layer = Mamba3(config_of(hidden_size=128, mamba2_num_heads=64, mamba2_head_dim=4, mamba3_mimo_rank=4))
    step = F.softplus(layer.dt_bias)
    assert step.min() >= 0.00099
    assert step.max() <= 0.101
    assert 0.005 < step.log().mean().exp() < 0.02
    for weight, value in ((layer.mimo_x, 0.25), (layer.mimo_z, 1.0), (layer.mimo_o, 0.25), (layer.D, 1.0)):
        assert torch.equal(weight, torch.full_like(weight, value))
    assert torch.equal(layer.B_bias, torch.ones(64, 4, 8))
    assert layer.no_weight_decay <= dict(layer.named_parameters()).keys()


def test_the_state_has_one_size_whatever_the_number_of_positions() -> None:
    layer = layer_of(mamba3_mimo_rank=2).bfloat16()
    state = layer.new_state(2, 1_000_000, torch.bfloat16, "cpu")
    shapes = {name: tensor.shape for name, tensor in state.tensors().items()}
    assert sum(shape.numel() for shape in shapes.values()) == 2 * 4 * (8 * 5 + 2 * 8 + 2 * 5 + 2)
    layer(inputs_of(2, 7).bfloat16(), state)
    assert {name: tensor.shape for name, tensor in state.tensors().items()} == shapes
    assert state.length == 7
    assert state.ssm.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mamba2_state_size": 7}, "mamba2_state_size 7 is odd"),
        ({"mamba2_state_size": 2}, "mamba3_rope_fraction 0.5 of mamba2_state_size 2 is no pair"),
        ({"mamba3_rope_fraction": 0.0}, "mamba3_rope_fraction"),
    ],
)
def test_a_state_that_cannot_turn_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**changes)
    config_of(**{**changes, "mamba3_complex_rope": False, "mamba3_rope_fraction": 0.5})


def trained_on_parity(turns: bool, most: int) -> tuple[int, float]:
    """Return how many steps, ``most`` at the most, made the loss small, and the share of right guesses."""
    config = config_of(
        hidden_size=16,
        mamba2_head_dim=8,
        mamba2_chunk_size=16,
        mamba3_complex_rope=turns,
    )
    torch.manual_seed(0)
    embed, layer, head = nn.Embedding(2, 16), Mamba3(config), nn.Linear(16, 2)
    nn.init.constant_(layer.dt_bias, 0.54)  # time steps of 1: half a turn is in reach
    parts = nn.ModuleList([embed, layer, head])
    optimizer = torch.optim.Adam(parts.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=250)
    steps = 0
    while steps < most:
        bits = torch.randint(2, (32, 16))
        logits = head(layer(F.rms_norm(embed(bits), (16,))))
        loss = F.cross_entropy(logits.flatten(0, 1), bits.cumsum(1).flatten() % 2)
        if loss < 0.05:
            break
        steps += 1
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    bits = torch.randint(2, (256, 16))
    with torch.no_grad():
        guesses = head(layer(F.rms_norm(embed(bits), (16,)))).argmax(-1)
    return steps, float((guesses == bits.cumsum(1) % 2)[:, 8:].float().mean())


def test_only_a_state_that_turns_learns_parity() -> None:
    """The other is given as many steps."""
    steps, right = trained_on_parity(turns=True, most=250)
    assert right > 0.95
    assert trained_on_parity(turns=False, most=steps)[1] < 0.6
