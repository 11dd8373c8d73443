"""Where attention looks: the weights that a layer computes on its way, and then forgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from nanoshell.errors import NanoshellError, UsageError
from nanoshell.inspection.checks import check_finite, check_ids
from nanoshell.model.config import mixer_names

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer


def attending_layers(model: Transformer) -> list[int]:
    """Return the layers, counted from 0, whose mixer can tell its weights (`attention_weights`)."""
    return [
        index
        for index, layer in enumerate(model.layers)
        if hasattr(cast(Any, layer).mixer_module, "attention_weights")
    ]


def attention_map(model: Transformer, ids: Sequence[int], layer: int | None = None) -> Tensor:
    """Return how much each position looks at each in ``layer``, by default the last that attends.

    The shape is (heads, seq, seq), float32 on the processor: row i holds the weights with which position i
    mixes positions 0 to i, and sums to 1. The layers below are computed as they always are, and the weights
    from the queries and keys that this one makes of what they hand it. Raises `UsageError` for a layer that
    is not there or does not attend and for no ids, and `NanoshellError` for ids that the model does not have,
    for more of them than positions, and where the weights are not finite.
    """
    index = attention_layer(model, layer)
    check_ids(model, ids)
    if len(ids) > model.config.max_seq_len:
        raise NanoshellError(
            f"the text has {len(ids):,} tokens, and the model has {model.config.max_seq_len:,} positions"
        )
    with torch.inference_mode():
        x: Tensor = model.embed_tokens(torch.tensor([list(ids)], device=model.embed_tokens.weight.device))
        for below in list(model.layers)[:index]:
            x = below(x)
        chosen = cast(Any, model.layers[index])
        weights: Tensor = chosen.mixer_module.attention_weights(chosen.input_layernorm(x))
        found = weights[0].to("cpu", torch.float32)
    check_finite(found, "attention weights")
    return found


def attention_layer(model: Transformer, layer: int | None) -> int:
    """Return ``layer``, or the last that attends. Raises `UsageError` that names those that do."""
    attending, count = attending_layers(model), len(model.layers)
    if not attending:
        kinds = ", ".join(dict.fromkeys(mixer_names(model.config)))
        raise UsageError(
            f"no layer of this model attends: they are {kinds}",
            hint="a recurrent layer carries a state along the text and has no weights between positions",
        )
    named = ", ".join(map(str, attending))
    if layer is None:
        return attending[-1]
    if not 0 <= layer < count:
        raise UsageError(
            f"there is no layer {layer}: they are counted from 0 to {count - 1}",
            hint=f"layers with attention: {named}",
        )
    if layer not in attending:
        raise UsageError(
            f"layer {layer} is {mixer_names(model.config)[layer]}, which has no attention weights",
            hint=f"layers with attention: {named}",
        )
    return layer
