"""Choosing a device, and what the devices of this machine say of themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nanoshell.errors import DeviceError, UnknownNameError
from nanoshell.model.backend import Backend, choose_backend
from nanoshell.plugin.manager import load_plugins
from nanoshell.plugin.registry import Registry


class Imagined:
    """A device that is there, or is not for ``reason``."""

    def __init__(self, name: str, reason: str | None) -> None:
        self.name, self.reason = name, reason

    def unavailable_reason(self) -> str | None:
        return self.reason


def devices(**reasons: str | None) -> Registry[Any]:
    """Return devices of rising rank."""
    registry: Registry[Any] = Registry("backend")
    for rank, (name, reason) in enumerate(reasons.items()):
        registry.add(name, lambda n=name, r=reason: Imagined(n, r), provider="test", rank=rank)
    return registry


def test_auto_takes_the_available_one_of_highest_rank() -> None:
    assert choose_backend("auto", devices(cpu=None, mps=None, cuda="no driver")).name == "mps"
    with pytest.raises(DeviceError, match="no device"):
        choose_backend("auto", devices(cpu="gone"))


def test_a_device_that_is_not_there_says_why_and_what_is() -> None:
    with pytest.raises(DeviceError) as caught:
        choose_backend("cuda", devices(cpu=None, mps=None, cuda="no driver; use --device cpu"))
    assert "'cuda' is not available: no driver" in caught.value.message
    assert "mps, cpu" in caught.value.hint


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown device 'cudda'; did you mean 'cuda'"):
        choose_backend("cudda", devices(cpu=None, cuda=None))
    with pytest.raises(UnknownNameError, match="did you mean 'auto'"):
        choose_backend("autp", devices(cpu=None))


def test_a_plugin_that_fails_does_not_take_the_others_along() -> None:
    registry = devices(cpu=None)

    def broken() -> Backend:
        raise RuntimeError("no such library")

    registry.add("npu", broken, provider="stranger", rank=99)
    assert choose_backend("auto", registry).name == "cpu"
    with pytest.raises(DeviceError, match=r"plugin 'stranger' failed .RuntimeError: no such library"):
        choose_backend("npu", registry)


def test_the_processor_is_always_there() -> None:
    backend = choose_backend("cpu", load_plugins(safe=True).backends)
    assert backend.unavailable_reason() is None
    assert backend.device() == torch.device("cpu")
    assert backend.default_dtype() == "auto", "what suits a processor is measured"
    assert backend.supports_dtype("bfloat16")
    assert not backend.supports_dtype("float7")
    threads = torch.get_num_threads()
    assert backend.describe().endswith(f"{threads} thread{'s'[: threads != 1]}")
    memory = backend.memory()
    assert 0 < memory.used < memory.total
    assert memory.peak is not None
    assert memory.peak > 0
    backend.synchronize()


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_other_devices_compute_or_say_what_to_do(name: str) -> None:
    registry = load_plugins(safe=True).backends
    backend = registry.get(name)()
    reason = backend.unavailable_reason()
    if reason is not None:
        assert "--device cpu" in reason
        with pytest.raises(DeviceError):
            choose_backend(name, registry)
        return
    dtype = getattr(torch, backend.default_dtype())
    total = torch.ones(8, device=backend.device(), dtype=dtype).sum()
    backend.synchronize()
    assert float(total) == 8
    assert backend.memory().total > 0
    assert backend.describe()
