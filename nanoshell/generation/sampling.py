"""From logits to a token: the steps that reshape a distribution, in a stated order, and the draw itself.

Each step is a plain callable from logits (batch, vocab) and the ids so far (batch, seq) to logits, and
removes a token by setting its logit to minus infinity. Ours run as repeat_penalty (10), temperature (20),
top_k (30), top_p (40), min_p (50), greedy (90), so that every cut sees the tempered distribution. They are
written for vocabularies of 100,000: a full sort takes longer than the rest of a small model's step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from nanoshell.errors import NanoshellError, UsageError
from nanoshell.plugin.registry import Entry, Registry

if TYPE_CHECKING:
    from nanoshell.tokenizer.base import Tokenizer

BIAS_ORDER = 5
FORCING_BIAS = 100.0
PENALTY_WINDOW = 64
_TOP_P_CANDIDATES = (256, 4096)
_NOTHING = -math.inf


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
    for name in settings:
        samplers.entry(name)
    values: dict[str, Any] = {entry.name: _checked(entry, settings) for entry in samplers}
    shared = {**values, "tokenizer": tokenizer}
    steps: list[tuple[int, LogitsProcessor]] = []
    if logit_bias:
        steps.append((BIAS_ORDER, bias(logit_bias, tokenizer.vocab_size)))
    for entry in samplers:
        if entry.value is not None and values[entry.name] != entry.options["neutral"]:
            used = {name: shared[name] for name in entry.options["uses"]}
            steps.append((entry.options["order"], entry.value(values[entry.name], **used)))
    return [step for _, step in sorted(steps, key=lambda step: step[0])]


def _checked(entry: Entry[SamplerFactory | None], settings: Mapping[str, float]) -> float:
    value = settings.get(entry.name, entry.options["default"])
    low, high = entry.options.get("minimum"), entry.options.get("maximum")
    integer = bool(entry.options.get("integer"))
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    inside = number and (low is None or value >= low) and (high is None or value <= high)
    if inside and not (integer and value != int(value)):
        return float(value)
    kind = "a whole number" if integer else "a number"
    if low is not None and high is not None:
        bounds = f" from {low:g} to {high:g}"
    elif low is not None or high is not None:
        bounds = f" of at least {low:g}" if low is not None else f" of at most {high:g}"
    else:
        bounds = ""
    off = "" if entry.value is None else f"{entry.options['neutral']:g} leaves it out, "
    raise UsageError(
        f"{entry.name} is {value}, but it must be {kind}{bounds}",
        hint=f"{off}{entry.options['default']:g} is the default",
    )


def bias(biases: Mapping[int, float], vocab_size: int) -> LogitsProcessor:
    """Return a step that adds ``biases`` to the logits of their ids, as OpenAI's ``logit_bias`` does.

    -100 or less bans a token; where one has 100 or more, only such tokens can be chosen. Raises `UsageError`
    for an id outside of the vocabulary and for a bias that is not a number.
    """
    for token, added in biases.items():
        if not 0 <= token < vocab_size:
            raise UsageError(
                f"logit_bias names id {token}, and the ids are 0 to {vocab_size - 1:,}",
                hint="'tokens TEXT' shows the ids of a text",
            )
        if math.isnan(added):
            raise UsageError(f"the logit_bias of id {token} is {added}", hint="-100 bans it, 100 forces it")
    forced = [token for token, added in biases.items() if added >= FORCING_BIAS]
    # Between tokens that are all forced the model decides, so that what forces them is not added.
    ids = torch.tensor([forced or list(biases)])
    values = torch.tensor([[-math.inf if added <= -FORCING_BIAS else added for added in biases.values()]])

    def add(logits: Tensor, history: Tensor) -> Tensor:
        where = ids.to(logits.device).expand(logits.shape[0], -1)
        if forced:
            only = torch.full_like(logits, _NOTHING)
            return only.scatter_(-1, where, logits.gather(-1, where))
        return logits.scatter_add(-1, where, values.to(logits).expand_as(where))

    return add


def temperature(value: float) -> LogitsProcessor:
    """Return a step that divides the logits by ``value``; at 0 it is `greedy`."""
    if value == 0:
        return greedy(1)

    def temper(logits: Tensor, history: Tensor) -> Tensor:
        # Relative to the largest, so that a tiny temperature overflows to minus infinity, never to NaN.
        return (logits - logits.amax(-1, keepdim=True)) / value

    return temper


def top_k(value: float) -> LogitsProcessor:
    """Return a step that keeps the ``value`` largest logits, exactly that many also among equals."""

    def keep_largest(logits: Tensor, history: Tensor) -> Tensor:
        count = int(value)
        if count >= logits.shape[-1]:
            return logits
        kept, ids = logits.topk(count, dim=-1)
        return torch.full_like(logits, _NOTHING).scatter_(-1, ids, kept)

    return keep_largest


def top_p(value: float) -> LogitsProcessor:
    """Return a step that keeps the fewest most likely tokens whose probabilities sum to ``value`` or more.

    Nucleus sampling (Holtzman et al. 2019). At least one token is kept.
    """

    def keep_nucleus(logits: Tensor, history: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        vocab = logits.shape[-1]
        # The nucleus is nearly always among a few hundred tokens; sorting all would cost milliseconds.
        for count in (*(size for size in _TOP_P_CANDIDATES if size < vocab), vocab):
            likely, ids = probabilities.topk(count, dim=-1)
            mass = likely.cumsum(-1, dtype=torch.float64)
            if count == vocab or bool((mass[..., -1] >= value).all()):
                break
        outside = mass - likely >= value
        outside[..., 0] = False
        kept = logits.gather(-1, ids).masked_fill_(outside, _NOTHING)
        return torch.full_like(logits, _NOTHING).scatter_(-1, ids, kept)

    return keep_nucleus


def min_p(value: float) -> LogitsProcessor:
    """Return a step that drops tokens less likely than ``value`` times the likeliest (Nguyen et al. 2024)."""
    margin = math.log(value) if value > 0 else -math.inf

    def drop_unlikely(logits: Tensor, history: Tensor) -> Tensor:
        floor = logits.amax(-1, keepdim=True) + margin
        return torch.where(logits < floor, _NOTHING, logits)

    return drop_unlikely


def repeat_penalty(value: float) -> LogitsProcessor:
    """Return a step that makes the tokens of the last 64 positions less likely.

    As in CTRL (Keskar et al. 2019): a positive logit is divided by ``value``, a negative one multiplied, once
    however often the token occurs.
    """

    def penalise(logits: Tensor, history: Tensor) -> Tensor:
        recent = history[:, -PENALTY_WINDOW:]
        scores = logits.gather(-1, recent)
        scores = torch.where(scores > 0, scores / value, scores * value)
        return logits.scatter(-1, recent, scores)

    return penalise


class Greedy:
    """Keeps the largest logit alone, the first of equals. The engine then has nothing left to draw."""

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        best = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, _NOTHING).scatter_(-1, best, logits.gather(-1, best))


def greedy(value: float) -> LogitsProcessor:
    """Return a step that keeps the largest logit alone."""
    return Greedy()


def likeliest(logits: Tensor) -> int:
    """Return the token with the largest of logits (1, vocab), the first of equals."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return int(logits[0].numpy().argmax())  # a tenth of the time of torch's own
    return int(logits.argmax(-1))


def draw(logits: Tensor, uniform: float) -> int:
    """Return a token for logits (1, vocab), where ``uniform`` from [0, 1) is the draw.

    The inverse of the cumulative distribution: one number a token, the same token on every device up to
    rounding, and a tenth of the time of `torch.multinomial`. Raises `NanoshellError` where nothing is left.
    """
    mass = logits[0].float().softmax(-1).cumsum(-1, dtype=torch.float64)
    total = float(mass[-1])
    if not total > 0:
        raise NanoshellError(
            "the samplers left no token to choose from", hint="reset their settings: one of them removes all"
        )
    point = min(uniform * total, math.nextafter(total, 0.0))
    wanted = torch.tensor([point], dtype=torch.float64, device=mass.device)
    return int(torch.searchsorted(mass, wanted, right=True))
