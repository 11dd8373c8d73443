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
from nanoshell.model.loss import full_loss

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer

TRAINING_SAMPLE_TOKENS = 1024
"""How many training tokens the exact loss is taken on where nothing is held out for validation."""

BATCH_TOKENS = 256
"""So few that a request to stop is heard soon, so many that the head is not read for each window anew."""


@dataclass(frozen=True)
class Evaluation:
    """The exact mean loss (nats, softmax over the whole vocabulary) of ``tokens`` targets of ``split``.

    ``split`` is ``validation``, or ``train`` where nothing is held out.
    """

    loss: float
    tokens: int
    split: str

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite where that is beyond a float."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


class Evaluator:
    """Evaluates on the validation split of ``loader``, or on a sample of ``tokens`` where there is none.

    It reads up to ``limit`` targets or a little more: the same ones every time.
    """

    def __init__(self, loader: TokenLoader, tokens: NDArray[np.uint32], limit: int) -> None:
        self._loader = loader
        self._tokens = tokens
        self._limit = limit

    def evaluate(self, model: Transformer, interrupted: Callable[[], bool]) -> Evaluation | None:
        """Return the exact loss of ``model``, whose matrices must be those of the full vocabulary.

        None where ``interrupted`` became true between two batches.
        """
        device = model.head_weight.device
        loss, count = 0.0, 0
        model.eval()
        try:
            with torch.no_grad():
                for batch in self._batches():
                    if interrupted():
                        return None
                    hidden = model.hidden(torch.from_numpy(batch.inputs).to(device))
                    targets = torch.from_numpy(batch.targets).to(device)
                    total, counting = full_loss(hidden, model.head_weight, targets, IGNORED)
                    loss += float(total)
                    count += int(counting)
        finally:
            model.train()
        return Evaluation(loss / count, count, "validation" if self._loader.num_val_tokens else "train")

    def _batches(self) -> Iterator[Batch]:
        limit, seq_len = self._limit, self._loader.seq_len
        rows = max(1, BATCH_TOKENS // seq_len)
        if self._loader.num_val_tokens:
            for batch in self._loader.validation_batches(rows):
                if limit <= 0:
                    return
                limit -= batch.targets.size
                yield batch
            return
        window = seq_len + 1
        most = len(self._tokens) - window
        count = max(1, min(limit, TRAINING_SAMPLE_TOKENS) // seq_len)
        starts = np.unique(np.linspace(0, most, count).astype(np.int64))
        for first in range(0, len(starts), rows):
            positions = starts[first : first + rows, None] + np.arange(window)
            yield Batch.of(np.asarray(self._tokens[positions], dtype=np.int64))
