"""From logits to a token: the steps that reshape a distribution, in a stated order, and the draw itself.

Each step is a plain callable from logits (batch, vocab) and the ids so far (batch, seq) to logits, and
removes a token by setting its logit to minus infinity. They are written for vocabularies of 100,000: a full
sort takes longer than the rest of a small model's step. Ours run in this order:

- logit_bias (5), dry (8), repeat_penalty (10), frequency_penalty (11), presence_penalty (12): they say which
  tokens are wanted, in the model's own units, so that their strength does not depend on the temperature;
- dynamic_temperature (19), temperature (20): how sure to be, before any cut, so that every cut sees the
  distribution that is drawn from;
- top_k (30), typical_p (35), top_p (40), min_p (50): each cuts what the one before has left;
- mirostat (60): it must see the distribution that is left to draw from, whose surprise it steers;
- greedy (90): takes what is then the likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from nanoshell.errors import NanoshellError, UsageError
from nanoshell.generation.request import FORCING_BIAS, setting_values
from nanoshell.plugin.registry import Registry

if TYPE_CHECKING:
    from nanoshell.tokenizer.base import Tokenizer

BIAS_ORDER = 5


class LogitsProcessor(Protocol):
    """One step. It returns new logits and leaves its arguments alone."""

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        """Return the logits (batch, vocab) after it; ``history`` (batch, seq) holds prompt and reply."""


SamplerFactory = Callable[..., LogitsProcessor]
"""Builds a step from its setting's value and, as keyword arguments, those of the settings that it uses."""


def build_chain(
    settings: Mapping[str, float],
    samplers: Registry[SamplerFactory | None],
    *,
    tokenizer: Tokenizer,
    logit_bias: Mapping[int, float] | None = None,
) -> list[LogitsProcessor]:
    """Return the steps for ``settings``, by rising order; an absent setting has its default.

    A step may keep what it has seen, so each reply needs a chain of its own. A step whose value is neutral is
    left out. ``logit_bias`` maps ids to what `bias` adds. Raises `UnknownNameError` for a setting that no
    sampler has, and `UsageError` naming the range for a value outside of it.
    """
    values: dict[str, Any] = setting_values(settings, samplers)
    shared = {**values, "tokenizer": tokenizer}
    steps: list[tuple[int, LogitsProcessor]] = []
    if logit_bias:
        steps.append((BIAS_ORDER, bias(logit_bias)))
    for entry in samplers:
        if entry.value is not None and values[entry.name] != entry.options["neutral"]:
            used = {name: shared[name] for name in entry.options["uses"]}
            steps.append((entry.options["order"], entry.value(values[entry.name], **used)))
    return [step for _, step in sorted(steps, key=lambda step: step[0])]


def bias(biases: Mapping[int, float]) -> LogitsProcessor:
    """Return a step that adds ``biases`` to the logits of their ids, as OpenAI's ``logit_bias`` does.

    -100 or less bans a token; where one has 100 or more, only such tokens can be chosen. Raises `UsageError`
    for a bias that is not a number.
    """
    for token, added in biases.items():
        if math.isnan(added):
            raise UsageError(f"the logit_bias of id {token} is {added}", hint="-100 bans it, 100 forces it")
    forced = [token for token, added in biases.items() if added >= FORCING_BIAS]
    # Between tokens that are all forced the model decides, so that what forces them is not added.
    ids = torch.tensor([forced or list(biases)])
    values = torch.tensor([[-math.inf if added <= -FORCING_BIAS else added for added in biases.values()]])

    def add(logits: Tensor, history: Tensor) -> Tensor:
        where = ids.to(logits.device).expand(logits.shape[0], -1)
        if forced:
            only = torch.full_like(logits, -math.inf)
            return only.scatter_(-1, where, logits.gather(-1, where))
        return logits.scatter_add(-1, where, values.to(logits).expand_as(where))

    return add


class Greedy:
    """Keeps the largest logit alone, the first of equals. The engine then has nothing left to draw."""

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        best = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, -math.inf).scatter_(-1, best, logits.gather(-1, best))


def greedy(value: float) -> LogitsProcessor:
    """Return a step that keeps the largest logit alone."""
    return Greedy()


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return the entropy (batch, 1) in nats of log-probabilities (batch, vocab)."""
    # Bounded, because 0 times minus infinity is no number; what lies below adds nothing.
    return -(log_probabilities.exp() * log_probabilities.clamp(min=-200)).sum(-1, keepdim=True)


def likeliest(logits: Tensor) -> int:
    """Return the token with the largest of logits (1, vocab), the first of equals.

    Raises `NanoshellError` where nothing is left.
    """
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        token = int(logits[0].numpy().argmax())  # a tenth of the time of torch's own
    else:
        token = int(logits.argmax(-1))
    if not float(logits[0, token]) > -math.inf:
        raise _nothing_left()
    return token


def draw(logits: Tensor, uniform: float) -> int:
    """Return a token for logits (1, vocab), where ``uniform`` from [0, 1) is the draw.

    The inverse of the cumulative distribution: one number a token, the same token on every device up to
    rounding, and a tenth of the time of `torch.multinomial`. Raises `NanoshellError` where nothing is left.
    """
    mass = logits[0].float().softmax(-1).cumsum(-1, dtype=torch.float64)
    total = float(mass[-1])
    if not total > 0:
        raise _nothing_left()
    point = min(uniform * total, math.nextafter(total, 0.0))
    wanted = torch.tensor([point], dtype=torch.float64, device=mass.device)
    return int(torch.searchsorted(mass, wanted, right=True))


def _nothing_left() -> NanoshellError:
    return NanoshellError(
        "the samplers left no token to choose from",
        hint="reset their settings, or leave out a logit_bias: one of them removes all",
    )
