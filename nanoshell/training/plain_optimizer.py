"""Optimizers without what torch wraps around their methods for ``torch.compile``.

At their first call those wrappers import torch's compiler, which takes as long as torch itself: a second
before the first step, and a hundred megabytes. No optimizer step is compiled here: the methods beneath do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim import Optimizer

_adam_step: Callable[..., None] = inspect.unwrap(torch.optim.Adam.step)


class PlainOptimizer(Optimizer):
    """What an optimizer derives from to be free of them; its own ``step`` must not be wrapped either."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class AdamW(PlainOptimizer, torch.optim.AdamW):
    """torch's AdamW (Loshchilov & Hutter 2019)."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Any = None) -> Any:
        """Update the parameters once."""
        with torch.no_grad():
            return _adam_step(self, closure)
