"""What a model remembers while it decodes: one state per layer, laid out once for all positions to come."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


class LayerState:
    """What one layer remembers of each row of a batch; the base of our states, and of a plugin's if it likes.

    Every tensor that an instance holds as an attribute has the batch as its first dimension, which is all
    that `rows` and `join` need to know. ``length`` counts the positions that `Mixer.forward` has seen.
    """

    length: int = 0

    def rewind(self, length: int) -> bool:
        """Forget all positions from ``length`` on, and say whether that could be done.

        A recurrent state cannot look back: it has nothing to forget, or it stays as it is.
        """
        return length == self.length

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state, each with the batch first, by attribute."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def rows(self, rows: Sequence[int]) -> Self:
        """Return a new state made of copies of ``rows``; a row may be taken many times."""
        index = list(rows)
        return self._with({name: tensor[index].clone() for name, tensor in self.tensors().items()})

    def join(self, others: Sequence[Self]) -> Self:
        """Return a new state whose rows are those of this one and of ``others``, which have its shape.

        The rows may have seen different numbers of positions: from here on only `Mixer.step` is right.
        """
        parts = [self.tensors(), *(other.tensors() for other in others)]
        return self._with({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def _with(self, tensors: dict[str, Tensor]) -> Self:
        new = copy.copy(self)
        vars(new).update(tensors)
        return new


class KeyValueState(LayerState):
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
        # Zeros: what `Mixer.step` hides by a mask is still multiplied by 0, and must not be NaN.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
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

    def write(self, keys: Tensor, values: Tensor, positions: Tensor) -> None:
        """Put one position of each row, (batch, kv_heads, head_dim), at ``positions`` (batch,)."""
        row = torch.arange(len(positions), device=positions.device)
        self.keys[row, :, positions] = keys
        self.values[row, :, positions] = values

    def rewind(self, length: int) -> bool:
        """Forget all positions from ``length`` on, which is always possible."""
        self.length = min(length, self.length)
        return True


@dataclass
class Cache:
    """The states of all layers. ``length`` counts the positions seen, of at most ``max_positions``."""

    states: list[Any]
    batch: int
    max_positions: int
    length: int = 0

    @property
    def has_rows(self) -> bool:
        """Whether rows can be taken and joined: not where a plugin's state is no `LayerState`."""
        return all(state is None or isinstance(state, LayerState) for state in self.states)

    def rows(self, rows: Sequence[int]) -> Cache:
        """Return a new cache made of copies of ``rows``. Only where `has_rows`."""
        states = [None if state is None else state.rows(rows) for state in self.states]
        return Cache(states, len(rows), self.max_positions, self.length)

    def row(self, row: int, length: int) -> Cache:
        """Return a copy of ``row``, which has seen ``length`` positions: `Mixer.forward` is right for it."""
        alone = self.rows([row])
        alone.length = length
        for state in alone.states:
            if state is not None:
                state.length = length
        return alone

    def advance(self, count: int = 1) -> None:
        """Count ``count`` positions that came through `Mixer.step`, which counts none itself."""
        self.length += count
        for state in self.states:
            if isinstance(state, LayerState):
                state.length += count


def join_caches(caches: Sequence[Cache]) -> Cache:
    """Return one cache with the rows of all, which have equal ``max_positions``. Only where `has_rows`."""
    states = [
        None if first is None else first.join(others)
        for first, *others in zip(*(cache.states for cache in caches), strict=True)
    ]
    longest = max(cache.length for cache in caches)
    return Cache(states, sum(cache.batch for cache in caches), caches[0].max_positions, longest)
