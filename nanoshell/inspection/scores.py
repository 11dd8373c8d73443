"""How likely a model finds tokens: the next one, and each of a text that is there already."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nanoshell.chat.template import role_ids
from nanoshell.errors import NanoshellError
from nanoshell.generation.request import GenerationRequest, TokenScore
from nanoshell.generation.sampling import build_chain, entropy
from nanoshell.inspection.checks import check_finite, check_ids

if TYPE_CHECKING:
    from nanoshell.generation.engine import Engine
    from nanoshell.model.transformer import Transformer

CHUNK_ELEMENTS = 1 << 23
"""Logits held at a time: 32 MiB in float32."""


@dataclass(frozen=True)
class TokenLoss:
    """How likely a token was, given those before it.

    ``logprob`` is its log-probability in nats before any sampler (the loss is its negative), ``rank`` is 1
    where no token was likelier, ``entropy`` (nats) tells how unsure the model was at this place, and ``top``
    holds the likeliest ids here, the likeliest first.
    """

    id: int
    logprob: float
    rank: int
    entropy: float
    top: tuple[TokenScore, ...] = ()


def next_scores(model: Transformer, ids: Sequence[int], vocab_size: int | None = None) -> Tensor:
    """Return the logits (vocab,) of the token that follows ``ids``, in float32 on the processor.

    Of more ids than the model has positions the last ones are seen. ``vocab_size`` leaves out rows of the
    head beyond it, which no id of the tokenizer has. Raises `NanoshellError` where they are not finite.
    """
    check_ids(model, ids)
    seen = list(ids)[-model.config.max_seq_len :]
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([seen], device=model.embed_tokens.weight.device))
        logits = model.logits(hidden[0, -1])[:vocab_size].to("cpu", torch.float32)
    check_finite(logits)
    return logits


def sampled_probabilities(
    engine: Engine, ids: Sequence[int], logits: Tensor, sampling: Mapping[str, float]
) -> Tensor:
    """Return the probabilities (vocab,) that a reply draws from after ``ids``, by the samplers' settings.

    ``logits`` (vocab,) are those of `next_scores`; ``sampling`` is as in `GenerationRequest`. What is never
    sampled has 0, and so has what the samplers cut. Raises as `build_chain` does, and `NanoshellError` where
    nothing is left.
    """
    stop_ids = role_ids(engine.tokenizer) | {engine.tokenizer.end_of_text}
    request = GenerationRequest(prompt=ids, max_tokens=1, sampling=sampling, stop_ids=stop_ids)
    history = torch.tensor([list(ids)])
    with torch.inference_mode():
        allowed = logits.clone()[None]
        allowed[:, engine.forbidden_ids(request)] = -math.inf
        for step in build_chain(sampling, engine.samplers, tokenizer=engine.tokenizer):
            allowed = step(allowed, history)
    if not bool((allowed > -math.inf).any()):
        raise NanoshellError("the samplers leave no token to choose from", hint="reset their settings")
    return allowed[0].softmax(-1)


def token_losses(
    model: Transformer, ids: Sequence[int], *, vocab_size: int | None = None, top: int = 0
) -> Iterator[TokenLoss]:
    """Yield how likely each of ``ids`` but the first was, given those before it, as they are computed.

    One forward pass does for as many ids as the model has positions. Longer texts go through it in windows
    that overlap by half, so that each token is seen after at least half of the positions. ``vocab_size`` is
    that of `next_scores`; absent, the softmax runs over all rows, as in training. Raises `NanoshellError` for
    ids that the model does not have, and where its scores are not finite.
    """
    check_ids(model, ids, vocab_size)
    positions = model.config.max_seq_len
    known = list(ids)
    scored = 1  # the first has nothing before it
    while scored < len(known):
        start = 0 if scored == 1 else scored - max(1, positions // 2)
        end = min(start + positions, len(known) - 1)
        yield from _window(model, known[start : end + 1], scored - start, vocab_size, top)
        scored = end + 1


def _window(
    model: Transformer, ids: list[int], first: int, vocab_size: int | None, top: int
) -> Iterator[TokenLoss]:
    """Yield the losses of ``ids`` from index ``first`` on; the ids before it are seen alone."""
    device = model.embed_tokens.weight.device
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([ids[:-1]], device=device))[0]
    rows = max(1, CHUNK_ELEMENTS // model.config.vocab_size)
    for begin in range(first, len(ids), rows):
        targets = ids[begin : begin + rows]
        with torch.inference_mode():
            logits = model.logits(hidden[begin - 1 : begin - 1 + len(targets)])[:, :vocab_size]
            found = _of_rows(logits.to("cpu", torch.float32), targets, top)
        yield from found


def _of_rows(logits: Tensor, targets: list[int], top: int) -> list[TokenLoss]:
    """Return the losses of ``targets`` under ``logits`` (rows, vocab), a row for each."""
    check_finite(logits)
    logprobs = logits.log_softmax(-1)
    own = logprobs.gather(-1, torch.tensor(targets)[:, None])
    ranks = (logprobs > own).sum(-1) + 1
    best = logprobs.topk(min(top, logprobs.shape[-1]))
    alternatives = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    told = [tuple(map(TokenScore, *pair)) for pair in alternatives]
    figures = (own[:, 0].tolist(), ranks.tolist(), entropy(logprobs)[:, 0].tolist(), told)
    return [TokenLoss(*row) for row in zip(targets, *figures, strict=True)]
