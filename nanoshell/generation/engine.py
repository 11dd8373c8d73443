"""Decoding: a prompt goes through the model once, then one token at a time, with a cache of what was seen."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import torch

from nanoshell.errors import UsageError
from nanoshell.generation.batch import Batch
from nanoshell.generation.compiled import CompiledStep
from nanoshell.generation.layout import products_for_rows
from nanoshell.generation.prefix import Prefix, PrefixStore, looks_back
from nanoshell.generation.request import (
    GeneratedToken as GeneratedToken,
    GenerationRequest as GenerationRequest,
    check_request,
)
from nanoshell.generation.row import Generation as Generation
from nanoshell.generation.sampling import SamplerFactory
from nanoshell.model.cache import Cache
from nanoshell.model.transformer import Transformer
from nanoshell.plugin.registry import Registry
from nanoshell.tokenizer.base import Tokenizer

SMALLEST_ROOM = 64
"""Positions of the smallest cache; the others double, so that a step compiled for one size serves many."""


class Engine:
    """A model ready to decode, with its tokenizer and the registered samplers.

    The model is switched to evaluation, and its matrices are laid out anew; with ``compile="off"`` and
    ``lay_out=False`` they stay as they are, since a model that is trained learns other bits from others.
    ``compile`` is ``auto``, ``on`` or ``off``: see `CompiledStep`.
    What was computed for the last replies is kept, and a prompt that begins as they do goes on from there; so
    after a change of weights call `forget`, or build another engine.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        samplers: Registry[SamplerFactory | None],
        *,
        device: torch.device | str = "cpu",
        compile: str = "auto",  # noqa: A002
        lay_out: bool = True,
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.samplers = samplers
        self.vocab_size = min(model.config.vocab_size, tokenizer.vocab_size)
        # Metal has no float64, which the draw needs; and copying a row of logits there is cheap.
        self.sampling_device = torch.device("cpu") if self.device.type == "mps" else self.device
        self.prefixes = PrefixStore()
        self.compiled = CompiledStep(self.model, compile, lay_out=lay_out)

    @property
    def max_positions(self) -> int:
        """How many tokens, prompt and reply together, the model can look at."""
        return self.model.config.max_seq_len

    def generate(self, request: GenerationRequest) -> Generation:
        """Return the generation, which runs while it is iterated over.

        Raises `NanoshellError` where the prompt does not fit or holds ids that the model does not have, and
        `UsageError` for settings out of range.
        """
        return self.generate_batch([request]).rows[0]

    def generate_batch(self, requests: Sequence[GenerationRequest], *, n: int = 1) -> Batch:
        """Return ``n`` replies to each of ``requests``, which are made together while it is iterated over.

        Row ``n * i + k`` is sample ``k`` of request ``i``, with the request's seed + ``k``, so that each can
        be repeated alone. Raises as `generate` does, and `UsageError` for an ``n`` below 1.
        """
        if n < 1:
            raise UsageError(f"n is {n}", hint="it must be 1 or more")
        for request in requests:
            check_request(request, self.max_positions, self.vocab_size, self.forbidden_ids(request))
        first = [secrets.randbelow(1 << 32) if request.seed is None else request.seed for request in requests]
        rows = [request for request in requests for _ in range(n)]
        return Batch(self, rows, [seed + sample for seed in first for sample in range(n)])

    def forget(self) -> None:
        """Let go of what was computed for earlier replies: the weights have changed, or memory is short."""
        self.prefixes.clear()
        self.compiled.forget()

    def forbidden_ids(self, request: GenerationRequest) -> list[int]:
        """Return the ids that are never sampled for ``request``, in order."""
        ids = set(self.tokenizer.unused_ids)
        if not request.allow_special:
            ids |= set(self.tokenizer.special_tokens.values()) - request.stop_ids
        return sorted(token for token in ids if token < self.vocab_size)

    def room(self, positions: int) -> int:
        """Return the size of a cache for ``positions``: a power of two, or all that the model has."""
        return min(max(SMALLEST_ROOM, 1 << (positions - 1).bit_length()), self.max_positions)

    def prefix_for(self, prompt: Sequence[int], room: int, *, exactly: bool) -> Prefix:
        """Return a cache for ``prompt`` that has seen as much of its beginning as an earlier reply had."""
        kept = self.prefixes.take(prompt, room, self._new_cache, exactly=exactly)
        return kept or Prefix(self._new_cache(room), [])

    def marks_prompts(self, cache: Cache) -> bool:
        """Return whether the end of a prompt must be copied to come back to it: a layer cannot look back."""
        return cache.has_rows and not looks_back(cache)

    def joins(self, cache: Cache) -> bool:
        """Return whether replies can share such a cache, so that a step computes a token of each."""
        return self.model.can_step and cache.has_rows

    def step(self, ids: Sequence[int], cache: Cache, positions: Sequence[int]) -> torch.Tensor:
        """Return the scores (rows, vocab) after one more id of each row of ``cache``, and count it there.

        ``positions`` are where the ids stand. Where it is not compiled, a single row takes the way through
        `Mixer.forward`, which looks at the filled part of the cache alone.
        """
        logits = self.compiled.step(ids, cache, positions)
        if logits is None:
            started = time.perf_counter()
            logits = self._eager_step(ids, cache, positions)
            self.compiled.count(time.perf_counter() - started)
        else:
            cache.advance()
        return self.scores(logits)

    def _eager_step(self, ids: Sequence[int], cache: Cache, positions: Sequence[int]) -> torch.Tensor:
        if cache.batch == 1:
            with products_for_rows(self.model.head_weight):
                hidden = self.model.hidden(torch.tensor([ids], device=self.device), cache)
                return self.model.logits(hidden[:, -1])
        tokens = torch.tensor(ids, device=self.device)
        logits = self.model.step(tokens, cache, torch.tensor(positions, device=self.device))
        cache.advance()
        return logits

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` (rows, model's vocabulary) as sampling takes them: (rows, vocab), float32."""
        return logits[:, : self.vocab_size].to(self.sampling_device, torch.float32)

    def _new_cache(self, room: int) -> Cache:
        return self.model.new_cache(1, room)
