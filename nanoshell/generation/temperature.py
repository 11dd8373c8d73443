"""Temperature, fixed and following the entropy."""

from __future__ import annotations

import math

from torch import Tensor

from nanoshell.generation.sampling import LogitsProcessor, entropy, greedy

_LOWEST = 1e-6
_TINIEST = 1e-30
"""Smaller temperatures would be 0 in float32, and 0 / 0 no number."""


def temperature(value: float) -> LogitsProcessor:
    """Return a step that divides the logits by ``value``; at 0 it is `greedy`."""
    if value == 0:
        return greedy(1)

    def temper(logits: Tensor, history: Tensor) -> Tensor:
        # Relative to the largest, so that a tiny temperature overflows to minus infinity, never to NaN.
        return (logits - logits.amax(-1, keepdim=True)) / max(value, _TINIEST)

    return temper


def dynamic_temperature(
    value: float, *, temperature: float = 1.0, dynamic_exponent: float = 1.0
) -> LogitsProcessor:
    """Return a step after which dividing by ``temperature`` gives a temperature that follows the entropy.

    That one lies between ``temperature`` - ``value`` (at least 0), where the model is sure, and
    ``temperature`` + ``value``, where all tokens that are left are equally likely; between them it rises with
    the entropy, as a share of the largest possible, to the power of ``dynamic_exponent``. The definition is
    llama.cpp's (``dynatemp``). At a ``temperature`` of 0, which is greedy, the step does nothing.
    """
    low, high = max(0.0, temperature - value), temperature + value

    def follow_entropy(logits: Tensor, history: Tensor) -> Tensor:
        if temperature == 0:
            return logits
        left = (logits > -math.inf).sum(-1, keepdim=True).clamp(min=2)
        share: Tensor = (entropy(logits.log_softmax(-1)) / left.log()).clamp(0, 1)
        wanted = low + (high - low) * share**dynamic_exponent
        factor = max(temperature, _TINIEST) / wanted.clamp(min=_LOWEST)
        return (logits - logits.amax(-1, keepdim=True)) * factor

    return follow_entropy
