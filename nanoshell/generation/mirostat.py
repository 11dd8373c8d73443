"""Mirostat 2: a cut that keeps the surprise of the text near a target."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nanoshell.generation.sampling import LogitsProcessor


class Mirostat:
    """Drops tokens whose surprise exceeds a limit, which moves so that those chosen surprise by ``target``.

    Surprises are in bits (-log2 p). The limit starts at twice ``target``; after each token it falls by
    ``rate`` times what the token's surprise, within what was left of the distribution, had above ``target``.
    Algorithm 2 of Basu et al. 2021, with llama.cpp's renormalised surprise. What was chosen is read from the
    history of the next call, whichever steps come between.
    """

    def __init__(self, target: float, rate: float) -> None:
        self.target = target
        self.rate = rate
        self.limit: Tensor | None = None
        """Of each row (batch, 1), float32; None before the first call."""
        self._seen = 0
        self._left: Tensor | None = None

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        if self.limit is None:
            self.limit = logits.new_full((logits.shape[0], 1), 2 * self.target)
        elif self._left is not None and history.shape[1] == self._seen + 1:
            self.limit = self._moved(self.limit, self._left, history[:, -1:])
        # At least the likeliest stays, however low the limit.
        floor = logits.logsumexp(-1, keepdim=True) - self.limit * math.log(2)
        floor = torch.minimum(floor, logits.amax(-1, keepdim=True))
        self._left = torch.where(logits < floor, -math.inf, logits)
        self._seen = history.shape[1]
        return self._left

    def _moved(self, limit: Tensor, left: Tensor, chosen: Tensor) -> Tensor:
        surprise = (left.logsumexp(-1, keepdim=True) - left.gather(-1, chosen)) / math.log(2)
        moved = limit - self.rate * (surprise - self.target)
        # A later step may have chosen what was dropped here: that says nothing about the limit.
        return torch.where(surprise.isfinite(), moved, limit)


def mirostat(value: float, *, mirostat_eta: float = 0.1) -> LogitsProcessor:
    """Return a step that keeps the surprise of the reply near ``value`` bits a token: see `Mirostat`."""
    return Mirostat(value, mirostat_eta)
