"""What to generate, the tokens that come of it, and what is refused before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from nanoshell.errors import NanoshellError, UsageError

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Entry, Registry

FinishReason = Literal["", "stop", "length", "context", "interrupted"]


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate.

    ``sampling`` holds settings of samplers, the absent ones at their defaults; ``logit_bias`` is added to the
    scores of ids. Without ``seed`` one is drawn. The reply ends before the first of ``stop_ids``, before the
    first of the texts ``stop``, after ``max_tokens``, or where the model has no more positions. Ids without a
    token are never sampled; special tokens, other than those that stop, only with ``allow_special``. Each
    token is told with the ``top_logprobs`` likeliest at its place.
    """

    prompt: Sequence[int]
    max_tokens: int
    sampling: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    stop_ids: frozenset[int] = frozenset()
    stop: tuple[str, ...] = ()
    allow_special: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int = 0


class GenerateOptions(TypedDict, total=False):
    """What can be chosen when a text is continued, each by keyword; see `GenerationRequest`.

    ``sampling`` holds what differs from the settings, as does ``max_tokens``. The prompt is ordinary text
    unless ``special``; ``start_of_document``, the default, puts ``<|endoftext|>`` first.
    """

    max_tokens: int | None
    sampling: Mapping[str, float] | None
    seed: int | None
    stop: Sequence[str]
    special: bool
    start_of_document: bool
    logit_bias: Mapping[int, float]
    top_logprobs: int


@dataclass(frozen=True)
class TokenScore:
    """An id and its log-probability (nats) before any sampler."""

    id: int
    logprob: float


@dataclass(frozen=True)
class GeneratedToken:
    """A sampled token, with the text that it released and its log-probability (nats) before any sampler.

    ``text`` holds whole characters: it is empty while a character, or what may become a stop text, is
    unfinished. ``top`` holds the likeliest ids at its place, the likeliest first, where they were asked for.
    """

    id: int
    text: str
    logprob: float
    top: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class WrittenText:
    """What a model wrote: the ids of its prompt, and those that it added (they grow while it writes).

    ``model`` is the label of the model, and ``tokenizer`` the fingerprint of the tokenizer whose ids these
    are; each is empty where it is not known.
    """

    prompt: Sequence[int]
    ids: Sequence[int]
    model: str = ""
    tokenizer: str = ""


FORCING_BIAS = 100.0
"""Where a logit_bias has this or more, only such tokens can be chosen."""


def check_request(
    request: GenerationRequest, max_positions: int, vocab_size: int, forbidden: Container[int] = ()
) -> None:
    """Check what does not depend on samplers.

    ``vocab_size`` is how many ids model and tokenizer both have, ``forbidden`` are those of them that are
    never sampled for this request. Raises `NanoshellError` where the prompt
    does not fit or holds other ids, and `UsageError` for values out of range.
    """
    _check_prompt(list(request.prompt), max_positions, vocab_size)
    if request.max_tokens < 0:
        raise UsageError(f"max_tokens is {request.max_tokens}", hint="it must be 0 or more")
    if any(not text for text in request.stop):
        raise UsageError("a stop text is empty", hint="leave it out, or give the text to stop at")
    if request.top_logprobs < 0:
        raise UsageError(f"top_logprobs is {request.top_logprobs}", hint="it must be 0 or more")
    unknown = next((token for token in request.logit_bias if not 0 <= token < vocab_size), None)
    if unknown is not None:
        raise UsageError(
            f"logit_bias names id {unknown}, and the ids are 0 to {vocab_size - 1:,}",
            hint="'tokens TEXT' shows the ids of a text",
        )
    forced = [token for token, added in request.logit_bias.items() if added >= FORCING_BIAS]
    never = next((token for token in forced if token in forbidden), None)
    if never is not None:
        raise UsageError(
            f"logit_bias forces id {never}, which is never sampled: it is a special token or has no text",
            hint=f"leave it out, or give it less than {FORCING_BIAS:g}",
        )


def setting_values(settings: Mapping[str, float], samplers: Registry[Any]) -> dict[str, float]:
    """Return the value of every setting of ``samplers``: that in ``settings``, else its default.

    Raises `UnknownNameError` for a setting that no sampler has, naming the nearest, and `UsageError` naming
    the range for a value outside of it.
    """
    for name in settings:
        samplers.entry(name)
    return {entry.name: _checked(entry, settings) for entry in samplers}


def _checked(entry: Entry[Any], settings: Mapping[str, float]) -> float:
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


def _check_prompt(prompt: Sequence[int], max_positions: int, vocab_size: int) -> None:
    if not prompt:
        raise UsageError("the prompt is empty", hint="give it at least one token to continue")
    if len(prompt) > max_positions:
        raise NanoshellError(
            f"the prompt has {len(prompt):,} tokens, and the model has {max_positions:,} positions",
            hint="shorten the prompt, or train a model with a larger max_seq_len",
        )
    wrong = next((token for token in prompt if not 0 <= token < vocab_size), None)
    if wrong is not None:
        raise NanoshellError(
            f"the prompt holds id {wrong}, and model and tokenizer share the ids below {vocab_size:,}",
            hint="use the tokenizer that the model was trained with",
        )
