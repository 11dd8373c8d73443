"""Training on the part of a large vocabulary that matters: sampled softmax with row-sparse updates.

A small corpus uses a small share of a vocabulary of a hundred thousand ids, and nearly all the work of a step
would go into logits of ids that it never sees. So the model is trained on compact matrices that hold the rows
of the ids that the corpus uses and of a fresh random sample of the others. The logits of the sampled rows are
corrected by log(others / sampled), which makes the sum of exponentials over them an unbiased estimate of the
sum over all others (Jean et al. 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation",
arXiv:1412.2007).
The model stays one of the full vocabulary: a step puts the last sample back before it draws the next.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nanoshell.model.loss import full_loss
from nanoshell.training.optimizer import VOCABULARY_PARAMETERS

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer

_PURPOSE = 3


class CompactVocabulary:
    """Swaps the vocabulary matrices of ``model`` for compact ones, (used + sampled, hidden), until `full`.

    ``used`` are the distinct ids of the corpus, rising. The rows of a step are the same ones in every matrix:
    first the used ids, then the sample. Where ``negatives`` reaches the number of the other ids, all of them
    are taken and the loss is the full one.

    What an update does: rows of used ids are ordinary parameters. A sampled row takes part in the update of
    its step, with optimizer state that begins at zero each time it is drawn: it is drawn so seldom that older
    state would tell nothing. All other rows are untouched, and have no optimizer state at all.
    """

    def __init__(self, model: Transformer, used: NDArray[np.int64], negatives: int, seed: int) -> None:
        self._model = model
        self._seed = seed
        self._full = {
            name: parameter for name, parameter in model.named_parameters() if name in VOCABULARY_PARAMETERS
        }
        weight = next(iter(self._full.values()))
        self._device = weight.device
        vocab_size = weight.shape[0]
        self._others = np.setdiff1d(np.arange(vocab_size), used, assume_unique=True)
        self._num_sampled = min(negatives, len(self._others))
        self.num_used = len(used)
        self._used = torch.from_numpy(used).to(self._device)
        self._sampled = torch.empty(0, dtype=torch.int64, device=self._device)
        slots = np.full(vocab_size, -1, dtype=np.int64)
        slots[used] = np.arange(len(used))
        self._slots = torch.from_numpy(slots).to(self._device)
        self._bias = torch.zeros(self.num_rows, dtype=weight.dtype, device=self._device)
        if self._num_sampled:
            self._bias[self.num_used :] = math.log(len(self._others) / self._num_sampled)
        self._compact = {
            name: nn.Parameter(full.detach().new_zeros(self.num_rows, full.shape[1]))
            for name, full in self._full.items()
        }
        self.gather()
        self._place(self._compact)

    @property
    def num_rows(self) -> int:
        """Rows of a compact matrix."""
        return self.num_used + self._num_sampled

    def gather(self) -> None:
        """Take the rows of the used ids from the full matrices, as they are now, and forget the sample."""
        for name, compact in self._compact.items():
            compact.data[: self.num_used] = self._full[name].data[self._used]
        self._sampled = self._sampled[:0]

    def draw(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Put the rows of the last sample back and take those of the sample of ``step``.

        The sample follows from the seed and the step alone, so that a resumed run draws the same.
        """
        self._put_back_sample()
        random = np.random.default_rng([self._seed, _PURPOSE, step])
        chosen = random.choice(len(self._others), self._num_sampled, replace=False, shuffle=False)
        self._sampled = torch.from_numpy(self._others[chosen]).to(self._device)
        for name, compact in self._compact.items():
            compact.data[self.num_used :] = self._full[name].data[self._sampled]
            for state in optimizer.state.get(compact, {}).values():
                if isinstance(state, Tensor) and state.ndim and state.shape[0] == self.num_rows:
                    state[self.num_used :] = 0

    def slots(self, ids: Tensor) -> Tensor:
        """Return the rows of the compact matrices that stand for ``ids``, which are ids of the corpus."""
        return self._slots[ids]

    def loss(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss (nats) of ``hidden`` (batch, seq, hidden) and how many targets count.

        ``targets`` (batch, seq) are `slots`.
        """
        cap = self._model.logit_soft_cap
        return full_loss(hidden, self._model.head_weight, targets, bias=self._bias, cap=cap)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Give the model its full matrices, with every update so far, while the block runs."""
        for name, compact in self._compact.items():
            self._full[name].data[self._used] = compact.data[: self.num_used]
        self._put_back_sample()
        self._place(self._full)
        try:
            yield
        finally:
            self._place(self._compact)

    def _put_back_sample(self) -> None:
        if len(self._sampled):
            for name, compact in self._compact.items():
                self._full[name].data[self._sampled] = compact.data[self.num_used :]

    def _place(self, matrices: dict[str, nn.Parameter]) -> None:
        for name, parameter in matrices.items():
            owner, _, attribute = name.rpartition(".")
            setattr(self._model.get_submodule(owner), attribute, parameter)
