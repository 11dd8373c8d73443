"""The exact loss of a model on tokens that it is judged by, whatever softmax it is trained with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from nanoshell.data.loader import IGNORED, Batch, TokenLoader
from nanoshell.errors import TokenizerError
from nanoshell.model.loss import full_loss

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer
    from nanoshell.tokenizer.base import Tokenizer

TRAINING_SAMPLE_TOKENS = 1024
"""How many training tokens the exact loss is taken on where nothing is held out for validation."""

BATCH_TOKENS = 256
"""So few that a request to stop is heard soon, so many that the head is not read for each window anew."""


@dataclass(frozen=True)
class Evaluation:
    """The exact mean loss (nats, softmax over the whole vocabulary) of ``tokens`` targets of ``split``.

    ``split`` is ``validation``, or ``train`` where nothing is held out. ``text_bytes`` are the bytes of text
    that the targets stand for, special tokens none; None where the tokenizer cannot tell.
    """

    loss: float
    tokens: int
    split: str
    text_bytes: int | None = None

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite where that is beyond a float."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float | None:
        """The loss of all targets in bits, for each byte of their text: it compares across tokenizers."""
        return self.loss * self.tokens / math.log(2) / self.text_bytes if self.text_bytes else None


class ByteCounter:
    """Counts the bytes of text that ids stand for; ``tokenizer`` is asked once for each id that comes up."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lengths = np.full(tokenizer.vocab_size, -1, dtype=np.int32)
        self._lengths[list(tokenizer.special_tokens.values())] = 0
        self._knows = True

    def count(self, ids: NDArray[np.int64]) -> int | None:
        """Return the bytes of ``ids`` (any shape, `IGNORED` ones left out); None where it cannot be told."""
        counting = ids[ids != IGNORED]
        for token in np.unique(counting[self._lengths[counting] < 0]).tolist():
            try:
                self._lengths[token] = len(self._tokenizer.token_bytes(token))
            except (TokenizerError, NotImplementedError):
                self._knows = False
        return int(self._lengths[counting].sum()) if self._knows else None


class Evaluator:
    """Evaluates on the validation split of ``loader``, or on a sample of all tokens where there is none.

    It reads windows of up to ``limit`` targets or a little more, the same ones as long as that stays.
    """

    def __init__(self, loader: TokenLoader, tokenizer: Tokenizer, limit: int) -> None:
        self._loader = loader
        self._bytes = ByteCounter(tokenizer)
        self.limit = limit

    def evaluate(self, model: Transformer, interrupted: Callable[[], bool]) -> Evaluation | None:
        """Return the exact loss of ``model``, whose matrices must be those of the full vocabulary.

        None where ``interrupted`` became true between two batches.
        """
        device = model.head_weight.device
        loss, count = 0.0, 0
        text_bytes: int | None = 0
        model.eval()
        try:
            with torch.no_grad():
                for batch in self._batches():
                    if interrupted():
                        return None
                    hidden = model.hidden(torch.from_numpy(batch.inputs).to(device))
                    targets = torch.from_numpy(batch.targets).to(device)
                    total, counting = full_loss(
                        hidden, model.head_weight, targets, IGNORED, cap=model.logit_soft_cap
                    )
                    loss += float(total)
                    count += int(counting)
                    told = self._bytes.count(batch.targets)
                    text_bytes = None if text_bytes is None or told is None else text_bytes + told
        finally:
            model.train()
        split = "validation" if self._loader.num_val_tokens else "train"
        return Evaluation(loss / count, count, split, text_bytes)

    def _batches(self) -> Iterator[Batch]:
        """Yield batches that hold a target that counts; there is at least one."""
        limit, rows = self.limit, max(1, BATCH_TOKENS // self._loader.seq_len)
        if not self._loader.num_val_tokens:
            yield from self._loader.sample_batches(min(limit, TRAINING_SAMPLE_TOKENS), rows)
            return
        for batch in self._loader.validation_batches(rows):
            if limit <= 0:
                return
            if batch.num_targets:
                limit -= batch.targets.size
                yield batch
