"""What a model remembers while it decodes: one state per layer, laid out once for all positions to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class KeyValueState:
    """The keys and values of one attention layer, (batch, kv_heads, max_positions, head_dim) each.

    The tensors are allocated once; `append` writes into them and hands out views of what is filled.
    """

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        max_positions: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        shape = (batch, kv_heads, max_positions, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of the next positions, and return those of all positions so far."""
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"a cache of {self.keys.shape[2]} positions cannot hold {end}")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


@dataclass
class Cache:
    """The states of all layers. ``length`` counts the positions seen, of at most ``max_positions``."""

    states: list[Any]
    batch: int
    max_positions: int
    length: int = 0
