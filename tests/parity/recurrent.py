"""What every recurrent mixer promises, whatever its recurrence: one result however a sequence is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Mixer = Any
"""A mixer whose state has tensors, steps and rows; in float64 where nothing else is said."""


def in_pieces(mixer: Mixer, x: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Any]:
    """Return the output for ``x`` (batch, seq, hidden) in pieces of ``sizes``, and the state after it."""
    state = mixer.new_state(len(x), x.shape[1], x.dtype, "cpu")
    return torch.cat([mixer(part, state) for part in x.split(list(sizes), 1)], 1), state


def by_steps(mixer: Mixer, x: Tensor, step: Callable[..., Tensor] | None = None) -> tuple[Tensor, Any]:
    """Return the output for ``x``, one `step` a position from an empty state, and the state after it."""
    state = mixer.new_state(len(x), x.shape[1], x.dtype, "cpu")
    positions = torch.arange(x.shape[1])[:, None].expand(-1, len(x))
    parts = zip(x.split(1, 1), positions, strict=True)
    return torch.cat([(step or mixer.step)(part, state, at) for part, at in parts], 1), state


@torch.no_grad()
def assert_pieces_and_steps_equal(mixer: Mixer, x: Tensor, sizes: Sequence[int]) -> None:
    """Pieces of ``sizes`` and single steps give the whole, and leave the same state behind."""
    whole = mixer(x)
    y, state = in_pieces(mixer, x, sizes)
    stepped_y, stepped = by_steps(mixer, x)
    torch.testing.assert_close(y, whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(stepped_y, whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.tensors(), stepped.tensors(), rtol=1e-10, atol=1e-10)
    assert (state.length, stepped.length) == (x.shape[1], 0)


@torch.no_grad()
def assert_rows_step_together(mixer: Mixer, x: Tensor, lengths: Sequence[int]) -> None:
    """Rows of ``x`` whose first ``lengths`` positions are over go on together until the longest ends."""
    states = []
    for row, length in zip(x.split(1), lengths, strict=True):
        state = mixer.new_state(1, x.shape[1], x.dtype, "cpu")
        mixer(row[:, :length], state)
        states.append(state)
    joined = states[0].join(states[1:])
    whole, rows = mixer(x), torch.arange(len(x))
    for ahead in range(x.shape[1] - max(lengths)):
        at = torch.tensor(lengths) + ahead
        y = mixer.step(x[rows, at][:, None], joined, at)
        torch.testing.assert_close(y[:, 0], whole[rows, at], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def assert_a_step_compiles_whole_and_in_place(mixer: Mixer, x: Tensor) -> None:
    """A step is one graph, changes the tensors of its state where they are, and gives the whole."""
    state = mixer.new_state(len(x), x.shape[1], x.dtype, "cpu")
    tensors = state.tensors()
    step = torch.compile(mixer.step, fullgraph=True, backend="eager")
    parts = [step(part, state, torch.full((len(x),), at)) for at, part in enumerate(x.split(1, 1))]
    torch.testing.assert_close(torch.cat(parts, 1), mixer(x), rtol=1e-9, atol=1e-9)
    assert all(tensor is tensors[name] for name, tensor in state.tensors().items())


@torch.no_grad()
def assert_near_in_bfloat16(mixer: Mixer, x: Tensor, most: float) -> None:
    """In bfloat16 all at once, in pieces and steps errs by less than ``most``; the state is in float32."""
    mixer, x = mixer.bfloat16(), x.bfloat16()
    whole, last = mixer(x), x.shape[1] - 1
    y, state = in_pieces(mixer, x[:, :last], [last // 2, last - last // 2])
    y = torch.cat((y, mixer.step(x[:, last:], state, torch.full((len(x),), last))), 1)
    stepped, _ = by_steps(mixer, x)
    assert state.ssm.dtype == torch.float32
    expected = mixer.double()(x.double())
    for result in (whole, y, stepped):
        assert result.dtype == torch.bfloat16
        assert (result - expected).norm() < most * expected.norm()


def assert_near_under_autocast(mixer: Mixer, x: Tensor) -> None:
    """Under autocast to bfloat16 the output is near, and every gradient finite."""
    mixer, x = mixer.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        y = mixer(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in mixer.parameters())
    expected = mixer(x)
    assert (y - expected).norm() < 0.03 * expected.norm()


def assert_gradients_are_finite_differences(mixer: nn.Module, x: Tensor) -> None:
    """Those of ``x`` and of every parameter, along random directions."""
    names, values = zip(*mixer.named_parameters(), strict=True)
    arguments = [tensor.detach().clone().requires_grad_() for tensor in (x, *values)]

    def run(x: Tensor, *parameters: Tensor) -> Any:
        return torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, arguments, fast_mode=True)


def assert_as_the_reference(mixer: nn.Module, reference: nn.Module, x: Tensor) -> None:
    """The same output, gradient of ``x`` and gradients of the parameters, which have the same names."""
    direction = torch.randn_like(x)
    results = []
    for network in (mixer, reference):
        source = x.clone().requires_grad_()
        network.zero_grad()
        y = network(source)
        (y * direction).sum().backward()
        gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
        results.append({"y": y.detach(), "x": source.grad, **gradients})
    torch.testing.assert_close(results[0], results[1], rtol=2e-4, atol=2e-5)


def assert_float32_stays_near(scan: Callable[..., Any], arguments: list[Tensor], tolerance: float) -> None:
    """A scan's output and last state in float32 are near those in float64, and gradients are finite."""
    exact = scan(*arguments)
    single = [argument.float().requires_grad_() for argument in arguments]
    y, last = scan(*single)
    (y.sum() + last.sum()).backward()
    assert all(argument.grad is not None and torch.isfinite(argument.grad).all() for argument in single)
    torch.testing.assert_close((y.double(), last.double()), exact, rtol=tolerance, atol=tolerance)


def assert_the_state_does_not_grow(mixer: Mixer) -> None:
    states = [mixer.new_state(1, size, torch.float32, "cpu").tensors() for size in (1, 1_000_000)]
    assert [t.shape for t in states[0].values()] == [t.shape for t in states[1].values()]
