"""How weights lie in memory while a model decodes."""

from __future__ import annotations

import torch
from torch import nn

from nanoshell.model.transformer import Transformer

LARGE = 1 << 20
"""Matrices below 4 MiB stay in a processor's cache, where their layout does not matter."""


def arrange_for_decoding(model: Transformer) -> None:
    """Store the large float32 matrices of ``model`` column by column, where they are on the processor.

    Decoding multiplies each matrix with one vector, as fast as memory can be read. For a matrix with more
    rows than columns (above all the head) PyTorch's product reads columns two to four times faster. Values,
    shapes and names stay what they are; products with many vectors take as long as before.
    """
    matrices = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    if model.lm_head is None:
        matrices.append(model.embed_tokens.weight)
    for weight in matrices:
        tall = weight.shape[0] >= weight.shape[1] and weight.numel() >= LARGE
        if tall and weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous():
            weight.data = weight.data.t().contiguous().t()
