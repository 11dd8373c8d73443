"""What the worker tells of the machine: true, cheap, and never a reason for anything to fail."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
import pytest
import torch

from nanoshell.model.backend import MemoryFigures
from nanoshell.training.figures import SystemFigures, machine


class Gpu:
    """A device with a memory of its own."""

    name = "cuda"

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def describe(self) -> str:
        return "a device"

    def memory(self) -> MemoryFigures:
        if self.broken:
            raise RuntimeError("the driver is gone")
        return MemoryFigures(7, 9, 11)


class Cpu(Gpu):
    name = "cpu"


def test_a_process_that_computes_uses_a_core() -> None:
    figures = SystemFigures(Cpu())  # type: ignore[arg-type]
    begun = time.process_time()
    held = bytearray(b"x" * (64 << 20))
    while time.process_time() - begun < 0.2:
        pass
    busy = figures()
    assert busy.keys() == {"memory", "cpu"}
    assert busy["memory"] > len(held)
    assert busy["memory"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert 0 < busy["cpu"] <= (os.cpu_count() or 1) + 0.5
    for _ in range(100):  # what other threads do counts, too
        time.sleep(0.3)
        if figures()["cpu"] < busy["cpu"]:
            return
    pytest.fail("a process that rests uses as much as one that computes")


def test_of_a_gpu_its_memory_is_told_and_its_use_where_that_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def utilization() -> int:
        asked.append(1)
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    figures = SystemFigures(Gpu())  # type: ignore[arg-type]
    for _ in range(3):
        told = figures()
        assert told["gpu_memory"] == 7
        assert "gpu" not in told
    assert len(asked) == 1
    monkeypatch.setattr(torch.cuda, "utilization", lambda: 85)
    assert SystemFigures(Gpu())()["gpu"] == 0.85  # type: ignore[arg-type]
    assert SystemFigures(Gpu(broken=True))().keys() == {"memory", "cpu", "gpu"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backend", "beside"),
    [(Cpu(), {}), (Gpu(), {"gpu": "a device", "gpu_memory": 11}), (Gpu(broken=True), {})],
)
def test_the_machine_is_told(backend: Any, beside: dict[str, Any]) -> None:
    told = machine(backend)
    assert {key: told.pop(key) for key in beside} == beside
    assert told.pop("cpus") == os.cpu_count()
    assert told.pop("memory") == psutil.virtual_memory().total
    assert told.pop("load", 0.0) >= 0
    assert not told
