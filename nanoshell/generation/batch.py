"""Replies that are computed together: prompts one at a time, then a token of every reply in each step."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nanoshell.generation.prefix import Prefix
from nanoshell.generation.request import GeneratedToken, GenerationRequest
from nanoshell.generation.row import Generation
from nanoshell.model.cache import Cache, join_caches

if TYPE_CHECKING:
    from nanoshell.generation.engine import Engine

PREFILL_CHUNK = 512
"""Prompt tokens that go through the model at once: bounds memory, and how long an interrupt waits."""

MAX_ROWS = 32
"""Replies in a step at most: further ones wait until one of them ends."""


@dataclass
class _Part:
    """Replies with a row each in a cache. ``prefix``, where the cache is one reply's alone, outlives it."""

    rows: list[Generation]
    cache: Cache
    prefix: Prefix | None = None


class Batch:
    """Replies that are made together while it, or any of its ``rows``, is iterated over. Made by `Engine`.

    Iterating gives (index of the row, its next token) as they come. Each row ends for itself, and its tokens
    depend on its own request and seed, not on the other rows, but for the rounding of sums in another order.
    Equal prompts are computed once. ``seconds`` were spent computing.
    """

    def __init__(self, engine: Engine, requests: Sequence[GenerationRequest], seeds: Sequence[int]) -> None:
        self.seconds = 0.0
        self._engine = engine
        self._lock = threading.Lock()
        self.rows = [
            Generation(engine, request, seed, self) for request, seed in zip(requests, seeds, strict=True)
        ]
        self._index = {row: index for index, row in enumerate(self.rows)}
        self._going = {row for row in self.rows if not row.finish_reason}
        self._with_tokens: dict[Generation, None] = {}  # in the order of their tokens
        self._marked: deque[Generation] = deque()
        self._room = engine.room(max((row.positions for row in self.rows), default=1))
        groups: dict[tuple[int, ...], list[Generation]] = {}
        for row in self.rows:
            groups.setdefault(tuple(row.prompt), []).append(row)
        self._waiting = deque(
            group[start : start + MAX_ROWS]
            for group in groups.values()
            for start in range(0, len(group), MAX_ROWS)
        )
        self._parts: list[_Part] = []

    @property
    def tokens_per_second(self) -> float:
        """Sampled tokens of all rows per second."""
        return sum(len(row.ids) for row in self.rows) / self.seconds if self.seconds > 0 else 0.0

    def interrupt(self, row: Generation | None = None) -> None:
        """End ``row``, by default all, and keep what has come. Safe from a signal handler and a thread."""
        chosen = self.rows if row is None else [row]
        for each in chosen:
            each.interrupted = True
        self._marked.extend(chosen)
        if self._lock.acquire(blocking=False):  # else a token is being made, and it will see the mark
            try:
                self._end_interrupted()
                self._release_if_done()
            finally:
                self._lock.release()

    def __iter__(self) -> Iterator[tuple[int, GeneratedToken]]:
        return self

    def __next__(self) -> tuple[int, GeneratedToken]:
        """Return the index of a row and its next token. Raises as `Generation` does."""
        with self._lock, torch.inference_mode():
            while True:
                while self._with_tokens:
                    row = next(iter(self._with_tokens))
                    if (token := row.take_ready()) is not None:
                        return self._index[row], token
                    del self._with_tokens[row]
                if self._release_if_done():
                    raise StopIteration
                self._advance()

    def next_of(self, row: Generation) -> GeneratedToken | None:
        """Return the next token of ``row``, None where it has ended."""
        with self._lock, torch.inference_mode():
            while (token := row.take_ready()) is None and not row.finish_reason:
                self._advance()
            if token is None:
                self._release_if_done()
            return token

    def _advance(self) -> None:
        """Compute the next prompt, or a token of every reply."""
        started = time.perf_counter()
        try:
            self._end_interrupted()
            self._drop_ended()
            free = MAX_ROWS - sum(len(part.rows) for part in self._parts)
            # Whoever comes in has the caches copied: samples of one prompt come several at a time.
            if self._waiting and free >= max(1, min(len(self._waiting[0]), MAX_ROWS // 4)):
                self._prefill(self._waiting.popleft(), free)
            else:
                self._step()
        except BaseException:
            # The model may have stopped between two layers: what its caches hold is not to be trusted.
            self._parts.clear()
            self._waiting.clear()
            for row in sorted(self._going, key=self._index.__getitem__):
                row.end("interrupted")
                self._note(row)
            raise
        finally:
            self.seconds += time.perf_counter() - started

    def _prefill(self, group: list[Generation], free: int) -> None:
        """Compute the prompt of ``group``, and sample the first token of each.

        Where there are more than ``free``, the others come when places are: the prefix that is kept spares
        them all of the prompt but its end.
        """
        rows = [row for row in group if not row.finish_reason]
        if not rows:
            return
        if len(rows) > free:
            self._waiting.appendleft(rows[free:])
            del rows[free:]
        engine, prompt = self._engine, rows[0].prompt
        started = time.perf_counter()
        prefix = engine.prefix_for(prompt, self._room, exactly=len(self.rows) > 1)
        if len(rows) > 1 and not prefix.cache.has_rows:
            self._waiting.extendleft([row] for row in reversed(rows[1:]))
            del rows[1:]
        reused = prefix.cache.length
        logits = self._logits_after(prompt, prefix, rows)
        prefix.ids = prompt[: prefix.cache.length]
        if logits is None:
            engine.prefixes.put(prefix)
            self._end_interrupted()
            return
        for row in rows:
            row.reused_tokens = reused
            row.prompt_seconds = time.perf_counter() - started
        self._add_parts(rows, prefix)
        for row in rows:
            row.take(logits)
            self._note(row)
            row.seconds += time.perf_counter() - started

    def _logits_after(self, prompt: list[int], prefix: Prefix, rows: list[Generation]) -> torch.Tensor | None:
        """Return the scores (1, vocab) after ``prompt``, or None where all ``rows`` were interrupted."""
        engine, cache, last = self._engine, prefix.cache, len(prompt) - 1
        ids = torch.tensor([prompt], device=engine.device)
        while True:
            end = min(cache.length + PREFILL_CHUNK, len(prompt))
            if end == len(prompt) and cache.length < last and engine.marks_prompts(cache):
                end = last  # from here the same prompt can be answered again
            hidden = engine.model.hidden(ids[:, cache.length : end], cache)
            if end == len(prompt):
                return engine.scores(engine.model.logits(hidden[:, -1]))
            if end == last:
                prefix.set_mark()
            if all(row.interrupted for row in rows):
                return None

    def _add_parts(self, rows: list[Generation], prefix: Prefix) -> None:
        """Give ``rows`` what was computed of their common prompt, copies where there are several."""
        if len(rows) == 1:
            self._parts.append(_Part(rows, prefix.cache, prefix))
            return
        together = [rows] if self._engine.joins(prefix.cache) else [[row] for row in rows]
        self._parts += [_Part(some, prefix.cache.rows([0] * len(some))) for some in together]
        self._engine.prefixes.put(prefix)

    def _step(self) -> None:
        """Compute and sample one token of every reply."""
        if len(self._parts) > 1 and self._engine.joins(self._parts[0].cache):
            self._join()
        for part in self._parts:
            started = time.perf_counter()
            ids = [row.ids[-1] for row in part.rows]
            scores = self._engine.step(ids, part.cache, [row.length - 1 for row in part.rows])
            for index, row in enumerate(part.rows):
                row.take(scores[index : index + 1])
                self._note(row)
            elapsed = time.perf_counter() - started
            for row in part.rows:
                row.seconds += elapsed

    def _join(self) -> None:
        cache = join_caches([part.cache for part in self._parts])
        for part in self._parts:
            self._keep(part)
        self._parts = [_Part([row for part in self._parts for row in part.rows], cache)]

    def _drop_ended(self) -> None:
        """Take ended replies out of the computation."""
        parts = []
        for part in self._parts:
            going = [index for index, row in enumerate(part.rows) if not row.finish_reason]
            rows = [part.rows[index] for index in going]
            if len(rows) == len(part.rows):
                parts.append(part)
            elif len(rows) == 1:  # alone, it goes on as a single reply does
                parts.append(_Part(rows, part.cache.row(going[0], rows[0].length - 1)))
            elif rows:
                parts.append(_Part(rows, part.cache.rows(going)))
            else:
                self._keep(part)
        self._parts = parts

    def _end_interrupted(self) -> None:
        while self._marked:
            row = self._marked.popleft()
            if not row.finish_reason:
                row.end("interrupted")
                self._note(row)

    def _note(self, row: Generation) -> None:
        """Take note of what ``row`` has come to, so that nobody has to look at all rows for it."""
        if row.has_ready:
            self._with_tokens[row] = None
        if row.finish_reason:
            self._going.discard(row)

    def _release_if_done(self) -> bool:
        """Return whether all replies have ended, and keep what the next prompt may share with them."""
        if self._going:
            return False
        for part in self._parts:
            self._keep(part)
        self._parts.clear()
        self._waiting.clear()
        return True

    def _keep(self, part: _Part) -> None:
        prefix, part.prefix = part.prefix, None  # first, so that it is never kept twice
        if prefix is not None:
            prefix.ids = part.rows[0].known_ids(part.cache.length)
            self._engine.prefixes.put(prefix)
