"""What a layer is made of: the contracts of a mixer and of a feed-forward, ours or a plugin's.

Both are `torch.nn.Module` objects, built by a registered ``factory(model_config, layer_index)``. The layer
normalises their input and adds their output to the residual stream; they do neither. What a plugin's kind
wants to be told stands under its name in ``model.layer_options`` of a preset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class Mixer(Protocol):
    """Mixes positions. A module may set ``name_in_layer``, the name of its parameters in a checkpoint
    (``layers.{i}.NAME.…``); otherwise it is ``mixer``. It initialises its own parameters, and may name some
    in ``no_weight_decay``, which the trainer's AdamW does not decay; so may any module within.

    A mixer that also has the ``step`` of `StepMixer` decodes in batches of different lengths, and compiled.
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
        """Return the state before position 0, with room for ``max_positions``; None if none is needed.

        A `LayerState` lets chat turns, and several samples of one prompt, share what was computed.
        """


@runtime_checkable
class StepMixer(Mixer, Protocol):
    """A mixer that can take one position of each row, wherever that row stands."""

    def step(self, x: Tensor, state: Any, positions: Tensor) -> Tensor:
        """Return the mix (batch, 1, hidden) of ``x``, of the same shape, at ``positions`` (batch,).

        As `forward` of one position, but rows may stand at different positions. Only tensors of the state
        change, in place, and no shape depends on a value, so that the step can be compiled once.
        """


@runtime_checkable
class FeedForward(Protocol):
    """Mixes channels, position by position. ``name_in_layer`` defaults to ``mlp``.

    One whose shapes depend on values (experts that are chosen) may bring a ``step(x)`` for (batch, 1, hidden)
    in which none does, so that decoding can be compiled, and a ``prepare_step()``, which is called whenever
    a cache is made, to lay out its weights for that. One that routes tokens to experts is a `Router` too.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, seq, hidden) for ``x`` of the same shape."""


@dataclass(frozen=True)
class Routing:
    """How the tokens of one forward pass were spread over experts.

    ``balance_loss`` (scalar, with gradient) is 1 where the load is even and grows to the number of experts;
    ``load`` (experts,) counts the tokens that each expert was given.
    """

    balance_loss: Tensor
    load: Tensor


@runtime_checkable
class Router(Protocol):
    """A feed-forward that chooses experts, as the trainer sees it."""

    def take_routing(self) -> Routing | None:
        """Return how the last forward pass in training mode went, once; None where there was none since."""

    def balance(self, load: Tensor, rate: float) -> None:
        """After an update whose tokens were spread as ``load`` (experts,): shift the choice towards the idle
        by ``rate``, where this router balances without a loss."""
