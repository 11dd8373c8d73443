"""One reply as it grows: choosing its tokens, holding text back where it may end, and why it ended."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

import torch

from nanoshell.errors import NanoshellError
from nanoshell.generation.request import (
    FinishReason,
    GeneratedToken,
    GenerationRequest,
    TokenScore,
    WrittenText,
)
from nanoshell.generation.sampling import Greedy, build_chain, draw, likeliest
from nanoshell.generation.stopping import StopText
from nanoshell.tokenizer.streaming import StreamingDecoder

if TYPE_CHECKING:
    from nanoshell.generation.batch import Batch
    from nanoshell.generation.engine import Engine


class Choice:
    """Chooses the tokens of one reply: what is never sampled, the samplers in their order, the draw."""

    def __init__(self, engine: Engine, request: GenerationRequest, seed: int) -> None:
        chain = build_chain(
            request.sampling, engine.samplers, tokenizer=engine.tokenizer, logit_bias=request.logit_bias
        )
        # What follows a greedy step has one token to choose from: neither it nor a draw is needed.
        cut = next((index for index, step in enumerate(chain) if isinstance(step, Greedy)), None)
        self._chain = chain if cut is None else chain[:cut]
        self._greedy = cut is not None
        self._forbidden = torch.tensor(engine.forbidden_ids(request), device=engine.sampling_device)
        self._top = min(request.top_logprobs, engine.vocab_size)
        self._random = Random(seed)

    def __call__(self, logits: torch.Tensor, history: torch.Tensor) -> GeneratedToken:
        """Return the next token, without its text, for ``logits`` (1, vocab) after ``history`` (1, seq)."""
        # One thread makes these; logsumexp wakes all, which takes longer than their help is worth.
        logprobs = logits.log_softmax(-1)
        if math.isnan(float(logprobs[0, 0])):  # as all are where one score is infinite or no number
            raise NanoshellError(
                "the model's scores are not finite numbers (its training has probably diverged)",
                hint="use an earlier checkpoint, or train with a lower learning_rate",
            )
        allowed = logits.index_fill(-1, self._forbidden, -math.inf) if len(self._forbidden) else logits
        for step in self._chain:
            allowed = step(allowed, history)
        token_id = likeliest(allowed) if self._greedy else draw(allowed, self._random.random())
        top: tuple[TokenScore, ...] = ()
        if self._top:
            best, ids = logprobs[0].topk(self._top)
            pairs = zip(ids.tolist(), best.tolist(), strict=True)
            top = tuple(TokenScore(other, logprob) for other, logprob in pairs)
        return GeneratedToken(token_id, "", float(logprobs[0, token_id]), top)


class Generation:
    """The tokens of one reply, made while it is iterated over. Made by `Engine`, alone or in a `Batch`.

    ``ids`` are the sampled ids so far, without the id that stopped it; ``tokens`` those whose text is known,
    and ``text`` is theirs, up to a stop text. ``finish_reason`` is empty until it ends; where it is ``stop``,
    ``stop_reason`` is the stop text, or the spelling of the stop id. ``seed`` repeats it.
    ``reused_tokens`` of the ``prompt_tokens`` were known from an earlier reply and not computed anew.
    ``seconds`` were spent on it, ``prompt_seconds`` of them up to its first scores; what was computed for
    several replies at once counts for each.
    """

    def __init__(self, engine: Engine, request: GenerationRequest, seed: int, batch: Batch) -> None:
        self.request = request
        self.seed = seed
        self.ids: list[int] = []
        self.tokens: list[GeneratedToken] = []
        self.prompt = list(request.prompt)
        self.reused_tokens = 0
        self.finish_reason: FinishReason = ""
        self.stop_reason: str | None = None
        self.seconds = 0.0
        self.prompt_seconds = 0.0
        self.interrupted = False
        self._engine = engine
        self._batch = batch
        self._choice = Choice(engine, request, seed)
        # The last token may be sampled from the last position: it needs none of its own.
        self._limit = min(request.max_tokens, engine.max_positions - len(self.prompt) + 1)
        size = len(self.prompt) + self._limit
        self._history = torch.empty((1, size), dtype=torch.long, device=engine.sampling_device)
        self._history[0, : len(self.prompt)] = torch.tensor(self.prompt)
        self._decoder = StreamingDecoder(engine.tokenizer)
        self._stop_text = StopText(request.stop)
        self._ready: deque[GeneratedToken] = deque()
        self._held: GeneratedToken | None = None
        if not self._limit:
            self.end("length")

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the prompt has."""
        return len(self.prompt)

    @property
    def length(self) -> int:
        """How many tokens there are so far, prompt and reply together."""
        return len(self.prompt) + len(self.ids)

    @property
    def positions(self) -> int:
        """How many positions the model may have to see for it."""
        return len(self.prompt) + max(self._limit - 1, 0)

    @property
    def text(self) -> str:
        """The text released so far; at the end, all of it."""
        return "".join(token.text for token in self.tokens)

    @property
    def tokens_per_second(self) -> float:
        """Sampled tokens per second; with more than one, from the second on, after the prompt."""
        count, seconds = len(self.ids), self.seconds
        if count > 1:
            count, seconds = count - 1, seconds - self.prompt_seconds
        return count / seconds if seconds > 0 else 0.0

    def interrupt(self) -> None:
        """End the generation and keep what has come. Safe from a signal handler and from another thread."""
        self._batch.interrupt(self)

    def __iter__(self) -> Iterator[GeneratedToken]:
        return self

    def __next__(self) -> GeneratedToken:
        """Return the next token. Raises `NanoshellError` where the model's scores are not numbers."""
        token = self._batch.next_of(self)
        if token is None:
            raise StopIteration
        return token

    @property
    def has_ready(self) -> bool:
        """Whether there is a token whose text is complete and that nobody has taken."""
        return bool(self._ready)

    def take_ready(self) -> GeneratedToken | None:
        """Return the next token whose text is complete, None where there is none yet."""
        return self._ready.popleft() if self._ready else None

    @property
    def written(self) -> WrittenText:
        """The ids of prompt and reply, without what computes them; the latter grow."""
        return WrittenText(self.prompt, self.ids)

    def known_ids(self, count: int) -> list[int]:
        """Return the first ``count`` ids of prompt and reply together."""
        return [*self.prompt, *self.ids][:count]

    def take(self, logits: torch.Tensor) -> None:
        """Sample one token from ``logits`` (1, vocab), and queue those whose text is complete."""
        token = self._choice(logits, self._history[:, : self.length])
        if token.id in self.request.stop_ids:
            special = self._engine.tokenizer.special_tokens.items()
            self.end("stop", next((text for text, other in special if other == token.id), None))
            return
        self._history[0, self.length] = token.id
        self.ids.append(token.id)
        text, stopped = self._stop_text.push(self._decoder.push(token.id))
        self._queue_held()
        self._held = _with_text(token, text)
        if stopped:
            self.end("stop", self._stop_text.found)
        elif len(self.ids) == self._limit:
            self.end("length" if self._limit == self.request.max_tokens else "context")
        elif not self._stop_text.held and not self._decoder.pending:
            self._queue_held()

    def end(self, reason: FinishReason, stop_reason: str | None = None) -> None:
        """Release what was held back, as the text of the last token, unless a stop text ended the reply."""
        rest = ""
        if not self._stop_text.found:
            # An interrupted character stays out: more would have come. At a proper end it is shown as U+FFFD.
            broken = "" if reason == "interrupted" else self._decoder.flush()
            text, found = self._stop_text.push(broken)
            rest = text if found else text + self._stop_text.flush()
        if self._held is not None:
            self._held = _with_text(self._held, self._held.text + rest)
        self._queue_held()
        self.finish_reason, self.stop_reason = reason, stop_reason

    def _queue_held(self) -> None:
        if self._held is not None:
            self._ready.append(self._held)
            self.tokens.append(self._held)
            self._held = None


def _with_text(token: GeneratedToken, text: str) -> GeneratedToken:
    return GeneratedToken(token.id, text, token.logprob, token.top)
