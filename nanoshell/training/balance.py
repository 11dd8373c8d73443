"""The routers of a model as the trainer sees them: balance loss, load of experts, bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from nanoshell.model.mixer import Router

if TYPE_CHECKING:
    from nanoshell.model.transformer import Layer, Transformer


class Routers:
    """The feed-forwards of ``model`` that choose experts, ours and third parties', through one update.

    `take` follows each micro-batch; what it sums up is read from ``balance_loss`` and ``shares``, until
    `begin` starts the next update.
    """

    def __init__(self, model: Transformer) -> None:
        self._routers: dict[int, Router] = {}
        for index, layer in enumerate(model.layers):
            feed_forward: Any = cast("Layer", layer).feed_forward_module
            if isinstance(feed_forward, Router):
                self._routers[index] = feed_forward
        self._load: dict[int, Tensor] = {}
        self._loss: Tensor | None = None

    def begin(self) -> None:
        """Forget the last update."""
        self._load, self._loss = {}, None

    def take(self, share: float) -> Tensor | None:
        """Return the balance loss of the micro-batch that was just computed, with gradient, times ``share``.

        It is the mean over the layers that routed; None where none did. ``share`` is the micro-batch's part
        of the update's tokens.
        """
        losses = []
        for index, router in self._routers.items():
            routing = router.take_routing()
            if routing is None:
                continue
            losses.append(routing.balance_loss)
            load = routing.load.detach()
            self._load[index] = self._load[index] + load if index in self._load else load
        if not losses:
            return None
        loss = torch.stack(losses).mean() * share
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        return loss

    def combine(self, total: Callable[[Tensor], Tensor]) -> None:
        """Make load and loss those of all processes; ``total`` sums a tensor over them."""
        if self._loss is None:
            return
        layers = sorted(self._load)
        sizes = [len(self._load[index]) for index in layers]
        local = torch.cat([self._loss.double().reshape(1), *(self._load[index] for index in layers)])
        self._loss, *loads = torch.split(total(local), [1, *sizes])
        self._load = {index: load.long() for index, load in zip(layers, loads, strict=True)}

    @property
    def any(self) -> bool:
        """Whether there is a layer that chooses experts."""
        return bool(self._routers)

    @property
    def balance_loss(self) -> float | None:
        """The balance loss of all micro-batches so far; None where nothing was routed."""
        return None if self._loss is None else float(self._loss)

    @property
    def shares(self) -> dict[int, list[float]]:
        """The share of the tokens that each expert was given, by layer index."""
        return {
            index: (load / load.sum().clamp_min(1)).tolist() for index, load in sorted(self._load.items())
        }

    def balance(self, rate: float) -> None:
        """Let each router shift its choice by ``rate`` towards experts that were given few tokens."""
        for index, load in self._load.items():
            self._routers[index].balance(load, rate)
