"""Penalties on tokens that the last positions hold already, whether in the prompt or in the reply.

All of them look at ``penalty_window`` positions, as llama.cpp does: 0 at none, -1 at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nanoshell.generation.sampling import LogitsProcessor

PENALTY_WINDOW = 64


def repeat_penalty(value: float, *, penalty_window: float = PENALTY_WINDOW) -> LogitsProcessor:
    """Return a step that makes the tokens in the window less likely, once however often they occur.

    As in CTRL (Keskar et al. 2019): a positive logit is divided by ``value``, a negative one multiplied.
    """

    def penalise(logits: Tensor, history: Tensor) -> Tensor:
        seen = last_positions(history, penalty_window)
        scores = logits.gather(-1, seen)
        return logits.scatter(-1, seen, torch.where(scores > 0, scores / value, scores * value))

    return penalise


def frequency_penalty(value: float, *, penalty_window: float = PENALTY_WINDOW) -> LogitsProcessor:
    """Return a step that subtracts ``value`` from a token's logit for each time that the window holds it.

    OpenAI's definition, which counts the reply alone; here the window decides.
    """

    def penalise(logits: Tensor, history: Tensor) -> Tensor:
        seen = last_positions(history, penalty_window)
        return logits.scatter_add(-1, seen, logits.new_full(seen.shape, -value))

    return penalise


def presence_penalty(value: float, *, penalty_window: float = PENALTY_WINDOW) -> LogitsProcessor:
    """Return a step that subtracts ``value`` from the logit of each token in the window, however frequent.

    OpenAI's definition, which looks at the reply alone; here the window decides.
    """

    def penalise(logits: Tensor, history: Tensor) -> Tensor:
        seen = last_positions(history, penalty_window)
        return logits.scatter(-1, seen, logits.gather(-1, seen) - value)

    return penalise


def last_positions(history: Tensor, window: float) -> Tensor:
    """Return the last ``window`` positions of ``history`` (batch, seq): none for 0, all for -1."""
    return history if window < 0 else history[:, max(0, history.shape[1] - int(window)) :]
