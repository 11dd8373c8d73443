"""What a layer is made of: the contracts of a mixer and of a feed-forward, ours or a plugin's.

Both are `torch.nn.Module` objects, built by a registered ``factory(model_config, layer_index)``. The layer
normalises their input and adds their output to the residual stream; they do neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class Mixer(Protocol):
    """Mixes positions. A module may set ``name_in_layer``, the name of its parameters in a checkpoint
    (``layers.{i}.NAME.…``); otherwise it is ``mixer``. It initialises its own parameters.
    """

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """Return the mix of ``x``, both (batch, seq, hidden); no position sees a later one.

        Without ``state``, ``x`` begins at position 0. With one (from `new_state`), ``x`` continues what the
        state has seen, and the state is updated in place: calling with a sequence in pieces gives the same
        result as calling with the whole.
        """

    def new_state(
        self, batch: int, max_positions: int, dtype: torch.dtype, device: torch.device | str
    ) -> Any:
        """Return the state before position 0, with room for ``max_positions``; None if none is needed."""


@runtime_checkable
class FeedForward(Protocol):
    """Mixes channels, position by position. ``name_in_layer`` defaults to ``mlp``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape."""
