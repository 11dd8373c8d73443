"""Multi-head latent attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig


class MultiHeadLatentAttention(nn.Module):
    """Multi-head latent attention."""

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        raise NotImplementedError
