"""The figures in a run's events: of a step, and with signs of life what training takes of the machine."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from nanoshell.model.backend import Backend
    from nanoshell.training.trainer import StepResult


def step_fields(result: StepResult, steps_per_second: float, tokens: int) -> dict[str, Any]:
    """Return the fields of the event of a step; ``tokens`` are those of all steps up to it."""
    fields: dict[str, Any] = {
        "step": result.step,
        "loss": result.loss,
        "grad_norm": result.grad_norm,
        "learning_rate": result.learning_rate,
        "epoch": round(result.epoch, 4),
        "it/s": round(steps_per_second, 3),
        "tokens/s": round(steps_per_second * result.tokens, 1),
        "tokens": tokens,
    }
    if result.expert_load:
        fields["balance_loss"] = result.balance_loss
        fields["expert_load"] = {
            str(index): [round(share, 4) for share in shares] for index, shares in result.expert_load.items()
        }
    return fields


class SystemFigures:
    """Figures of this process, and of the device of ``backend`` where that has a memory of its own.

    Calling it costs about a tenth of a millisecond. What a machine or a driver does not tell is left out.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._process = psutil.Process()
        self._before = self._spent()
        self._tells_use = backend.name == "cuda"

    def _spent(self) -> tuple[float, float]:
        times = self._process.cpu_times()
        return time.monotonic(), times.user + times.system

    def __call__(self) -> dict[str, float]:
        """Return ``memory`` (resident bytes) and ``cpu`` (cores used since the last call, on average).

        Of a GPU also ``gpu_memory`` (bytes held) and ``gpu`` (the share of time in which it was busy).
        """
        before, now = self._before, self._spent()
        self._before = now
        elapsed = now[0] - before[0]
        found: dict[str, float] = {"memory": self._process.memory_info().rss}
        if elapsed > 0:
            found["cpu"] = round((now[1] - before[1]) / elapsed, 2)
        if self._backend.name != "cpu":
            with contextlib.suppress(
                Exception
            ):  # a driver's trouble is for the training to meet, and to tell
                found["gpu_memory"] = self._backend.memory().used
            found.update(self._use())
        return found

    def _use(self) -> dict[str, float]:
        """Return how busy the GPU is. PyTorch asks nvidia-ml-py for that, of the extra ``gpu``."""
        if not self._tells_use:
            return {}
        import torch

        try:
            return {"gpu": round(torch.cuda.utilization() / 100, 2)}
        except Exception:  # the library is missing, or refuses on this machine: it will do so again
            self._tells_use = False
            return {}


def machine(backend: Backend) -> dict[str, Any]:
    """Return what the run has at its disposal: ``cpus``, ``memory`` (bytes), ``load`` of the last minute.

    Of a GPU also ``gpu`` (its name) and ``gpu_memory`` (bytes).
    """
    found: dict[str, Any] = {"cpus": os.cpu_count() or 1, "memory": psutil.virtual_memory().total}
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    if backend.name != "cpu":
        with contextlib.suppress(Exception):
            found |= {"gpu": backend.describe(), "gpu_memory": backend.memory().total}
    return found
