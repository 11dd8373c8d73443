"""What is refused wherever one looks into a model: ids that it does not have, and figures that are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nanoshell.errors import NanoshellError, UsageError

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer


def check_ids(model: Transformer, ids: Sequence[int], vocab_size: int | None = None) -> None:
    """Raise `UsageError` where there are no ``ids``, and `NanoshellError` for one that is not known.

    Known are those of ``model``, and of them the ones below ``vocab_size`` where that is given.
    """
    if not ids:
        raise UsageError("there is no token to begin with", hint="give at least one")
    known = min(model.config.vocab_size, vocab_size or model.config.vocab_size)
    wrong = next((token for token in ids if not 0 <= token < known), None)
    if wrong is not None:
        raise NanoshellError(
            f"the text holds id {wrong}, and the model knows the ids below {known:,}",
            hint="use the tokenizer that the model was trained with",
        )


def check_finite(figures: Tensor, what: str = "scores") -> None:
    """Raise `NanoshellError` where ``figures`` of a model, which are called ``what``, are not all numbers."""
    if not bool(torch.isfinite(figures).all()):
        raise NanoshellError(
            f"the model's {what} are not finite numbers (its training has probably diverged)",
            hint="use an earlier checkpoint, or train with a lower learning_rate",
        )
