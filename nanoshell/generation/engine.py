"""Decoding: a prompt goes through the model once, then one token at a time, with a cache of what was seen."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import torch

from nanoshell.errors import NanoshellError, UsageError
from nanoshell.generation.layout import arrange_for_decoding
from nanoshell.generation.sampling import Greedy, SamplerFactory, build_chain, draw, likeliest
from nanoshell.generation.stopping import StopText
from nanoshell.model.transformer import Transformer
from nanoshell.plugin.registry import Registry
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.streaming import StreamingDecoder

PREFILL_CHUNK = 512
"""Prompt tokens that go through the model at once: bounds memory, and how long an interrupt waits."""

FinishReason = Literal["", "stop", "length", "context", "interrupted"]


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate.

    ``sampling`` holds settings of samplers, the absent ones at their defaults; without ``seed`` one is drawn.
    The reply ends before the first of ``stop_ids``, before the first of the texts ``stop``, after
    ``max_tokens``, or where the model has no more positions. Ids without a token are never sampled; special
    tokens, other than those that stop, only with ``allow_special``.
    """

    prompt: Sequence[int]
    max_tokens: int
    sampling: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    stop_ids: frozenset[int] = frozenset()
    stop: tuple[str, ...] = ()
    allow_special: bool = False


@dataclass(frozen=True)
class GeneratedToken:
    """A sampled token, with the text that it released and its log-probability (nats) before any sampler.

    ``text`` holds whole characters: it is empty while a character, or what may become a stop text, is
    unfinished.
    """

    id: int
    text: str
    logprob: float


class Engine:
    """A model ready to decode, with its tokenizer and the registered samplers.

    The model is switched to evaluation, and its large matrices are laid out anew (`arrange_for_decoding`).
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        samplers: Registry[SamplerFactory | None],
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.samplers = samplers
        self.vocab_size = min(model.config.vocab_size, tokenizer.vocab_size)
        # Metal has no float64, which the draw needs; and copying a row of logits there is cheap.
        self.sampling_device = torch.device("cpu") if self.device.type == "mps" else self.device
        arrange_for_decoding(self.model)

    @property
    def max_positions(self) -> int:
        """How many tokens, prompt and reply together, the model can look at."""
        return self.model.config.max_seq_len

    def generate(self, request: GenerationRequest) -> Generation:
        """Return the generation, which runs while it is iterated over.

        Raises `NanoshellError` where the prompt does not fit or holds ids that the model does not have, and
        `UsageError` for settings out of range.
        """
        prompt = list(request.prompt)
        if not prompt:
            raise UsageError("the prompt is empty", hint="give it at least one token to continue")
        if len(prompt) > self.max_positions:
            raise NanoshellError(
                f"the prompt has {len(prompt):,} tokens, and the model has {self.max_positions:,} positions",
                hint="shorten the prompt, or train a model with a larger max_seq_len",
            )
        rows = self.model.config.vocab_size
        wrong = next((token for token in prompt if not 0 <= token < rows), None)
        if wrong is not None:
            raise NanoshellError(
                f"the prompt holds id {wrong}, and the model knows ids below {rows:,}",
                hint="use the tokenizer that the model was trained with",
            )
        if request.max_tokens < 0:
            raise UsageError(f"max_tokens is {request.max_tokens}", hint="it must be 0 or more")
        if any(not text for text in request.stop):
            raise UsageError("a stop text is empty", hint="leave it out, or give the text to stop at")
        return Generation(self, request, prompt)

    def forbidden_ids(self, request: GenerationRequest) -> list[int]:
        """Return the ids that are never sampled for ``request``, in order."""
        ids = set(self.tokenizer.unused_ids)
        if not request.allow_special:
            ids |= set(self.tokenizer.special_tokens.values()) - request.stop_ids
        return sorted(token for token in ids if token < self.vocab_size)


class Generation:
    """The tokens of one reply, made while it is iterated over. Made by `Engine.generate`.

    ``ids`` are the sampled ids so far, without the id that stopped it, and ``text`` is theirs, up to a stop
    text. ``finish_reason`` is empty until it ends. ``seed`` repeats it.
    """

    def __init__(self, engine: Engine, request: GenerationRequest, prompt: list[int]) -> None:
        self.request = request
        self.ids: list[int] = []
        self.prompt_tokens = len(prompt)
        self.seed = secrets.randbelow(1 << 32) if request.seed is None else request.seed
        self.finish_reason: FinishReason = ""
        self.seconds = 0.0
        self.prompt_seconds = 0.0
        self._engine = engine
        self._random = Random(self.seed)
        self._set_up_sampling()
        self._set_up_positions(prompt)
        self._decoder = StreamingDecoder(engine.tokenizer)
        self._stop_text = StopText(request.stop)
        self._pieces: list[str] = []
        self._ready: deque[GeneratedToken] = deque()
        self._held: GeneratedToken | None = None
        self._interrupted = False
        self._lock = threading.Lock()

    def _set_up_sampling(self) -> None:
        engine = self._engine
        chain = build_chain(self.request.sampling, engine.samplers, tokenizer=engine.tokenizer)
        # What follows a greedy step has one token to choose from: neither it nor a draw is needed.
        cut = next((index for index, step in enumerate(chain) if isinstance(step, Greedy)), None)
        self._chain = chain if cut is None else chain[:cut]
        self._greedy = cut is not None
        self._forbidden = torch.tensor(engine.forbidden_ids(self.request), device=engine.sampling_device)

    def _set_up_positions(self, prompt: list[int]) -> None:
        engine = self._engine
        # The last token may be sampled from the last position: it needs none of its own.
        self._limit = min(self.request.max_tokens, engine.max_positions - len(prompt) + 1)
        room = len(prompt) + self._limit
        self._history = torch.empty((1, room), dtype=torch.long, device=engine.sampling_device)
        self._history[0, : len(prompt)] = torch.tensor(prompt)
        self._length = len(prompt)
        with torch.inference_mode():
            self._cache = engine.model.new_cache(1, room)

    @property
    def text(self) -> str:
        """The text released so far; at the end, all of it."""
        return "".join(self._pieces)

    @property
    def tokens_per_second(self) -> float:
        """Sampled tokens per second; with more than one, from the second on, after the prompt."""
        count, seconds = len(self.ids), self.seconds
        if count > 1:
            count, seconds = count - 1, seconds - self.prompt_seconds
        return count / seconds if seconds > 0 else 0.0

    def interrupt(self) -> None:
        """End the generation and keep what has come. Safe from a signal handler and from another thread."""
        self._interrupted = True
        if self._lock.acquire(blocking=False):  # else a token is being made, and it will see the mark
            try:
                if not self.finish_reason:
                    self._end("interrupted")
            finally:
                self._lock.release()

    def __iter__(self) -> Iterator[GeneratedToken]:
        return self

    def __next__(self) -> GeneratedToken:
        """Return the next token. Raises `NanoshellError` where the model's scores are not numbers."""
        with self._lock, torch.inference_mode():
            started = time.perf_counter()
            try:
                while not self._ready and not self.finish_reason:
                    self._step()
            except KeyboardInterrupt:
                self._end("interrupted")
                raise
            finally:
                self.seconds += time.perf_counter() - started
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def _step(self) -> None:
        """Sample one token, and queue those whose text is complete."""
        if self._interrupted or len(self.ids) >= self._limit:
            self._end("interrupted" if self._interrupted else "length")
            return
        logits = self._next_logits()
        if logits is None:
            self._end("interrupted")
            return
        token_id, logprob = self._choose(logits)
        if token_id in self.request.stop_ids:
            self._end("stop")
            return
        self.ids.append(token_id)
        self._history[0, self._length] = token_id
        self._length += 1
        text, stopped = self._stop_text.push(self._decoder.push(token_id))
        self._queue_held()
        self._held = GeneratedToken(token_id, text, logprob)
        if stopped:
            self._end("stop")
        elif len(self.ids) == self._limit:
            self._end("length" if self._limit == self.request.max_tokens else "context")
        elif not self._stop_text.held and not self._decoder.pending:
            self._queue_held()

    def _next_logits(self) -> torch.Tensor | None:
        """Return the scores (1, vocab) after all ids so far, or None where the prompt was interrupted."""
        engine, cache = self._engine, self._cache
        started = time.perf_counter()
        while True:
            end = min(cache.length + PREFILL_CHUNK, self._length)
            ids = self._history[:, cache.length : end].to(engine.device)
            hidden = engine.model.hidden(ids, cache)
            if end == self._length:
                break
            if self._interrupted:
                return None
        logits = engine.model.logits(hidden[:, -1])[:, : engine.vocab_size]
        scores = logits.to(engine.sampling_device, torch.float32)
        if not self.ids:
            self.prompt_seconds = time.perf_counter() - started
        return scores

    def _choose(self, logits: torch.Tensor) -> tuple[int, float]:
        normaliser = float(logits.logsumexp(-1))
        if not math.isfinite(normaliser):
            raise NanoshellError(
                "the model's scores are not finite numbers (its training has probably diverged)",
                hint="use an earlier checkpoint, or train with a lower learning_rate",
            )
        allowed = logits.index_fill(-1, self._forbidden, -math.inf) if len(self._forbidden) else logits
        history = self._history[:, : self._length]
        for step in self._chain:
            allowed = step(allowed, history)
        token_id = likeliest(allowed) if self._greedy else draw(allowed, self._random.random())
        return token_id, float(logits[0, token_id]) - normaliser

    def _queue_held(self) -> None:
        if self._held is not None:
            self._ready.append(self._held)
            self._pieces.append(self._held.text)
            self._held = None

    def _end(self, reason: FinishReason) -> None:
        """Release what was held back, as the text of the last token, unless a stop text ended the reply."""
        rest = ""
        if not self._stop_text.found:
            # An interrupted character stays out: more would have come. At a proper end it is shown as U+FFFD.
            broken = "" if reason == "interrupted" else self._decoder.flush()
            text, found = self._stop_text.push(broken)
            rest = text if found else text + self._stop_text.flush()
        if self._held is not None:
            self._held = GeneratedToken(self._held.id, self._held.text + rest, self._held.logprob)
        self._queue_held()
        self.finish_reason = reason
