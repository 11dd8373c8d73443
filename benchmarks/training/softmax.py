"""The full softmax beside `F.cross_entropy` over all logits (goal: no slower).

Forward, backward and AdamW of a head alone, in one process and one thread. The two take turns (plain, ours,
ours, plain) until the time of a case is used up. What counts is the processor time of a turn, which says
nothing of who else used the machine, and the median over the pairs of turns; the quarters beside it say
whether it is settled. Wall time is told, too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from nanoshell.model.loss import full_loss

SHAPES = ((100_331, 128, 512), (128_354, 384, 512), (4_096, 384, 4_096), (4_096, 128, 2_048))
CASES = [(*shape, dtype) for shape in SHAPES for dtype in (torch.float32, torch.bfloat16)]
"""Vocabulary, channels, tokens, dtype."""
FEWEST_PAIRS = 3

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss as most programs compute it: all logits, in float32 for the softmax."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets)


def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss as the trainer computes it."""
    total, count = full_loss(hidden, weight, targets)
    return total / count


class Contender:
    """A head of its own with its optimizer; equal ones are given equal data."""

    def __init__(self, loss: Loss, vocabulary: int, channels: int, tokens: int, dtype: torch.dtype) -> None:
        random = torch.Generator().manual_seed(0)
        self._loss, self._dtype = loss, dtype
        weight = torch.randn(vocabulary, channels, generator=random) * channels**-0.5
        self._weight = torch.nn.Parameter(weight)
        self._hidden = torch.randn(tokens, channels, generator=random).requires_grad_()
        self._targets = torch.randint(vocabulary, (tokens,), generator=random)
        self._optimizer = torch.optim.AdamW([self._weight], lr=1e-3)

    def turn(self) -> tuple[float, float, float]:
        """Do an update, and return its loss, processor seconds and wall seconds."""
        cpu, wall = time.process_time(), time.perf_counter()
        with torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32):
            loss = self._loss(self._hidden, self._weight, self._targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._hidden.grad = None
        return loss.item(), time.process_time() - cpu, time.perf_counter() - wall


@dataclass
class Turns:
    """Processor and wall seconds of the turns of both, pair by pair."""

    cpu: list[tuple[float, float]] = field(default_factory=list)
    wall: list[tuple[float, float]] = field(default_factory=list)


def compare(vocabulary: int, channels: int, tokens: int, dtype: torch.dtype, seconds: float) -> Turns:
    """Return the turns of both in ``seconds``. Raises `RuntimeError` where their losses are not equal."""
    contenders = [Contender(loss, vocabulary, channels, tokens, dtype) for loss in (plain, ours)]
    for contender in contenders:
        contender.turn()  # the optimizer's state, and the memory that both take again
    turns = Turns()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(turns.cpu) < FEWEST_PAIRS:
        first = len(turns.cpu) % 2
        done = {which: contenders[which].turn() for which in (first, 1 - first)}
        (told, cpu, wall), (our_told, our_cpu, our_wall) = done[0], done[1]
        if abs(told - our_told) > 0.02 * told:
            raise RuntimeError(f"they do not compute the same: {told} and {our_told}")
        turns.cpu.append((cpu, our_cpu))
        turns.wall.append((wall, our_wall))
    return turns


def told(turns: Turns) -> str:
    """Return the medians of ``turns``, and the quarters of the ratio, ours to plain."""
    cpu = [statistics.median(each) * 1e3 for each in zip(*turns.cpu, strict=True)]
    ratios = [our / plain for plain, our in turns.cpu]
    low, middle, high = statistics.quantiles(ratios, n=4)
    wall = statistics.median(our / plain for plain, our in turns.wall)
    return (
        f"{cpu[0]:8.0f} {cpu[1]:8.0f} ms   ours/plain {middle:.2f} ({low:.2f} to {high:.2f}), "
        f"wall {wall:.2f}, {len(ratios)} pairs"
    )


def main(arguments: list[str]) -> None:
    """Compare both on every row, and print a line for each."""
    parser = argparse.ArgumentParser(prog="train.py softmax", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each case")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="that shape and dtype alone")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    print(f"processor time of an update of the head, {asked.threads} threads: plain, ours")
    for vocabulary, channels, tokens, dtype in CASES if asked.case is None else [CASES[asked.case]]:
        name = str(dtype).removeprefix("torch.")
        shape = f"{vocabulary:,} x {channels}, {tokens:,} tokens"
        turns = compare(vocabulary, channels, tokens, dtype, asked.seconds)
        print(f"{shape:32} {name:8} {told(turns)}", flush=True)
