"""What the state space layers share: convolution, sums of decays, carried states, first time steps."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nanoshell.model.recurrence import (
    TIME_STEP_FLOOR,
    TIME_STEP_RANGE,
    CausalConv1d,
    RecurrentState,
    carry,
    draw_time_step_bias,
    segment_decays,
)


@pytest.mark.parametrize("kernel", [1, 2, 4, 7])
def test_the_convolution_is_torchs_forward_and_backward(kernel: int) -> None:
    torch.manual_seed(kernel)
    conv = CausalConv1d(5, kernel).double()
    x = torch.randn(3, 6, 5, dtype=torch.float64)
    direction = torch.randn_like(x)
    results = []
    for ours in (True, False):
        conv.zero_grad()
        source = x.clone().requires_grad_()
        if ours:
            y = conv(source)
        else:
            padded = F.pad(source.transpose(1, 2), (kernel - 1, 0))
            y = F.conv1d(padded, conv.weight, conv.bias, groups=5).transpose(1, 2)
        (y * direction).sum().backward()
        results.append([y.detach(), source.grad, conv.weight.grad, conv.bias.grad])
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 4])
@pytest.mark.parametrize("pieces", [(11,), (1,) * 11, (2, 1, 5, 3)])
def test_the_convolution_goes_on_from_its_state(kernel: int, pieces: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    conv = CausalConv1d(4, kernel).double()
    x = torch.randn(2, 11, 4, dtype=torch.float64)
    state = torch.zeros(2, *conv.state_shape, dtype=torch.float64)
    stepped = torch.zeros_like(state)
    with torch.no_grad():
        whole = conv(x)
        in_pieces = torch.cat([conv(part, state) for part in x.split(pieces, 1)], 1)
        step_by_step = torch.cat([conv.step(part, stepped) for part in x.split(1, 1)], 1)
    torch.testing.assert_close(in_pieces, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(step_by_step, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, stepped, rtol=0, atol=0)


def test_segment_decays_are_products_of_segments() -> None:
    values = -torch.rand(2, 6, dtype=torch.float64)
    decays = segment_decays(values.cumsum(-1))
    for i in range(6):
        for j in range(6):
            expected = values[:, j + 1 : i + 1].exp().prod(-1) if i >= j else torch.zeros(2).double()
            torch.testing.assert_close(decays[:, i, j], expected)


def test_strong_decays_do_not_overflow() -> None:
    assert torch.equal(segment_decays(torch.full((64,), -500.0).cumsum(-1)), torch.eye(64))


def test_carry_runs_the_recurrence() -> None:
    states, decays, first = (torch.randn(size).double() for size in ((2, 5, 3), (2, 5, 1), (2, 3)))
    before, last = carry(states, decays, first)
    state = first
    for index in range(5):
        torch.testing.assert_close(before[:, index], state)
        state = decays[:, index] * state + states[:, index]
    torch.testing.assert_close(last, state)


def test_first_time_steps_are_log_uniform_in_their_range() -> None:
    torch.manual_seed(0)
    bias = draw_time_step_bias(20_000)
    steps = F.softplus(bias.double())
    low, high = TIME_STEP_RANGE
    assert low * 0.999 <= steps.min() < low * 1.01
    assert high * 0.99 < steps.max() <= high * 1.001
    assert low > TIME_STEP_FLOOR
    assert (steps.log().median() - torch.tensor(low * high).log() / 2).abs() < 0.1


def test_a_state_keeps_the_recurrence_in_float32_or_wider() -> None:
    for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        state = RecurrentState(3, (3, 8), (4, 2), dtype, "cpu")
        assert (state.conv.dtype, state.ssm.dtype) == (dtype, wide)
        assert (state.conv.shape, state.ssm.shape, state.length) == ((3, 3, 8), (3, 4, 2), 0)
        assert not state.rewind(1)
        assert state.rewind(0)
