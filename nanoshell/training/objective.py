"""What an update makes smaller: the summed loss of a batch, over the full vocabulary or a compact one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nanoshell.data.loader import IGNORED
from nanoshell.model.loss import full_loss
from nanoshell.training.heap import give_back
from nanoshell.training.sampled_softmax import CompactVocabulary

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer


class Objective(nn.Module):
    """The loss of ``model`` as a module, so that what wraps modules (compiling, many processes) can wrap it.

    ``vocabulary`` is the compact one that the model is trained on, None where all rows are.
    """

    def __init__(self, model: Transformer, vocabulary: CompactVocabulary | None) -> None:
        super().__init__()
        self.model = model
        self._vocabulary = vocabulary

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss (nats, a scalar) of ids ``inputs`` and ``targets``, (batch, seq) each.

        A target of `IGNORED` counts for nothing.
        """
        if self._vocabulary is None:
            # What the micro-batch before has left goes, and then, as memory is at its peak, gaps between the
            # activations: the gradient of the head is too large for any of them.
            give_back()
            hidden = self.model.hidden(inputs)
            give_back()
            weight, cap = self.model.head_weight, self.model.logit_soft_cap
            return full_loss(hidden, weight, targets, IGNORED, cap=cap)[0]
        slots = self._vocabulary.slots
        counting = targets != IGNORED
        rows = torch.where(counting, slots(torch.where(counting, targets, 0)), IGNORED)
        return self._vocabulary.loss(self.model.hidden(slots(inputs)), rows)[0]
