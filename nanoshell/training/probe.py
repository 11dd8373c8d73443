"""What ``dtype: auto`` becomes where the device leaves it to a measurement: a probe of about a second.

Processors differ by ten times in how well they multiply in bfloat16, and their names do not tell it. The
probe times what a training step is made of, in float32 and under bfloat16 autocast, at about the model's
widths, and keeps the answer in the cache for this machine.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell.errors import StorageError
from nanoshell.files import write_text
from nanoshell.paths import cache_dir

if TYPE_CHECKING:
    import torch

    from nanoshell.model.backend import Backend
    from nanoshell.model.config import ModelConfig

MEASURED = "auto"
"""What `Backend.default_dtype` returns where the device wants to be measured."""

MIN_WIDTH = 256
"""Narrower models stay in float32 unasked: they gain a tenth or two, and have the least to lose by it."""
WORTHWHILE = 1.15
"""How many times as fast bfloat16 must be to be taken."""

_FORMAT = 1
_MOST_WIDTH, _MOST_INNER, _MOST_TOKENS = 1024, 2048, 512
_ROUNDS = 4
_BUDGET_SECONDS = 2.0


@dataclass(frozen=True)
class DtypeChoice:
    """A dtype, and why it was chosen where that was measured: empty otherwise."""

    dtype: str
    reason: str = ""


@dataclass(frozen=True)
class Shape:
    """Sizes of the probe: rounded to powers of two, so that models of about one size share an answer."""

    tokens: int
    width: int
    inner: int

    @classmethod
    def of(cls, model: ModelConfig, tokens: int) -> Shape:
        """Return the shape for ``model`` on micro-batches of ``tokens``; what is larger gains no less."""
        return cls(
            min(_MOST_TOKENS, _power_of_two(tokens)),
            min(_MOST_WIDTH, _power_of_two(model.hidden_size)),
            min(_MOST_INNER, _power_of_two(model.feed_forward_size)),
        )


def choose_dtype(backend: Backend, model: ModelConfig, tokens: int) -> DtypeChoice:
    """Return what training computes in on ``backend`` where that is left to it.

    ``tokens`` are those of a micro-batch. The caller has set the number of threads. Where the device declares
    its dtype nothing is measured, nor for a narrow model; see `MIN_WIDTH`.
    """
    declared = backend.default_dtype()
    if declared != MEASURED:
        return DtypeChoice(declared)
    if model.hidden_size < MIN_WIDTH or not backend.supports_dtype("bfloat16"):
        return DtypeChoice("float32")
    shape = Shape.of(model, tokens)
    path = _record_path(backend, shape)
    ratio = _recorded(path)
    if ratio is None:
        ratio = measure(backend, shape)
        _record(path, ratio)
    where = "on this processor (measured)" if backend.name == "cpu" else "on this device (measured)"
    if ratio >= WORTHWHILE:
        return DtypeChoice("bfloat16", f"bfloat16: {ratio:.1f} times as fast as float32 {where}")
    return DtypeChoice("float32", f"float32: bfloat16 is {ratio:.1f} times as fast {where}")


def measure(backend: Backend, shape: Shape) -> float:
    """Return how many times as fast as float32 the work of a step is under bfloat16 autocast.

    The work is a gated feed-forward between norms, forward and backward, with weights kept in float32. It
    takes at most a few seconds; the two take turns, and the best time of each counts.
    """
    import torch

    device = backend.device()
    work = _work(shape, device)
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    began = time.perf_counter()
    for number in range(_ROUNDS + 1):
        for dtype in best:
            backend.synchronize()
            start = time.perf_counter()
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                work()
            backend.synchronize()
            if number:  # the first time includes what is prepared once
                best[dtype] = min(best[dtype], time.perf_counter() - start)
        if number and time.perf_counter() - began > _BUDGET_SECONDS:
            break
    return best[torch.float32] / best[torch.bfloat16]


def _work(shape: Shape, device: torch.device) -> Callable[[], None]:
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(0)  # the random state of the run is not touched

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator).mul_(size[-1] ** -0.5).to(device).requires_grad_()

    x = draw(shape.tokens, shape.width)
    gate, up, down = (
        draw(shape.inner, shape.width),
        draw(shape.inner, shape.width),
        draw(shape.width, shape.inner),
    )

    def work() -> None:
        normed = F.rms_norm(x, (shape.width,))
        inner = F.silu(F.linear(normed, gate)) * F.linear(normed, up)
        y = x + F.linear(inner, down)
        gradients = torch.autograd.grad(y.float().square().mean(), (x, gate, up, down))
        del gradients

    return work


def _power_of_two(number: int) -> int:
    return 1 << max(0, (number - 1).bit_length())


def _record_path(backend: Backend, shape: Shape) -> Path:
    import torch

    known = [_FORMAT, backend.name, backend.describe(), torch.__version__, torch.get_num_threads()]
    key = json.dumps([*known, shape.tokens, shape.width, shape.inner])
    return cache_dir() / "probes" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _recorded(path: Path) -> float | None:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["bfloat16"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(path: Path, ratio: float) -> None:
    try:
        write_text(path, json.dumps({"format": _FORMAT, "bfloat16": round(ratio, 3)}) + "\n", private=True)
    except StorageError:  # the next run measures again
        return
