"""The contract of a backend: a device together with its policy."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from nanoshell.dtypes import DTYPES
from nanoshell.model.backend import Backend, MemoryFigures
from nanoshell.testing.contract import Contract, name_of

RULES = MappingProxyType(
    {
        "builds": "factory() returns, on any machine, an object with all that nanoshell.Backend names",
        "reason": "unavailable_reason() is None, or a sentence on why and what to do; it raises nothing",
        "words": "name and describe() are texts",
        "device": "device() returns a torch.device",
        "dtype": "default_dtype() is 'auto' or a dtype that supports_dtype() knows; it knows no other word",
        "memory": "memory() returns MemoryFigures: bytes, none negative, and not more used than there are",
        "computes": "a product of matrices on the device is right, in each dtype that it supports",
        "waits": "synchronize() waits, and returns nothing",
    }
)


def check_backend(factory: Callable[[], Backend]) -> None:
    """Check the backend that ``factory()`` returns; where it is not available, that it says so well."""
    import torch

    contract = Contract("backend", name_of(factory), RULES)
    with contract.keeping("builds", "factory()"):
        backend = factory()
    missing = [name for name in vars(Backend) if not name.startswith("_") and not hasattr(backend, name)]
    contract.must("builds", not missing, f"it has no {', '.join(missing)}")
    contract.must("words", isinstance(backend.name, str) and backend.name, f"name is {backend.name!r}")
    with contract.keeping("reason", "unavailable_reason()"):
        reason = backend.unavailable_reason()
    contract.must("reason", reason is None or (isinstance(reason, str) and len(reason) > 10), f"{reason!r}")
    if reason is not None:
        return
    with contract.keeping("words", "describe()"):
        described = backend.describe()
    contract.must("words", isinstance(described, str) and described, f"describe() is {described!r}")
    with contract.keeping("device", "device()"):
        device = backend.device()
    contract.must("device", isinstance(device, torch.device), f"it returned {device!r}")
    with contract.keeping("dtype", "default_dtype() and supports_dtype()"):
        default = backend.default_dtype()
        known = {name: backend.supports_dtype(name) for name in (*DTYPES, "float7")}
    contract.must("dtype", default == "auto" or known.get(default), f"default_dtype() is {default!r}")
    contract.must("dtype", known["float32"] and not known["float7"], f"supports_dtype: {known}")
    _check_memory(contract, backend)
    for dtype in (name for name in DTYPES if known[name]):
        _check_product(contract, backend, dtype)


def _check_memory(contract: Contract, backend: Backend) -> None:
    with contract.keeping("memory", "memory()"):
        figures = backend.memory()
    contract.must("memory", isinstance(figures, MemoryFigures), f"it returned {figures!r}")
    fine = 0 <= figures.used <= figures.total and (figures.peak is None or figures.peak >= 0)
    contract.must("memory", fine and figures.total > 0, f"{figures}")


def _check_product(contract: Contract, backend: Backend, dtype: str) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(16, 16, generator=generator) for _ in range(2))
    kind = getattr(torch, dtype)
    with contract.keeping("computes", f"a product in {dtype}"):
        found = (left.to(backend.device(), kind) @ right.to(backend.device(), kind)).float().cpu()
    with contract.keeping("waits", "synchronize()"):
        waited: object = backend.synchronize()  # type: ignore[func-returns-value]
    contract.must("waits", waited is None, f"it returned {waited!r}")
    off = (found - left @ right).abs().max().item()
    contract.must("computes", off < 0.5, f"in {dtype} it is off by {off:.3g}")
