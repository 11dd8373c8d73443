"""What a backend offers: a device together with its policy (dtype, memory figures, synchronisation)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nanoshell.errors import DeviceError, unknown_name

if TYPE_CHECKING:
    import torch

    from nanoshell.plugin.registry import Entry, Registry


@dataclass(frozen=True)
class MemoryFigures:
    """Bytes of the device's memory: held by this process, its peak (None where unknown), and in all."""

    used: int
    peak: int | None
    total: int


class Backend(Protocol):
    """A device and its policy."""

    @property
    def name(self) -> str:
        """The name it is registered under: ``cpu``, ``cuda``, ``mps``."""

    def unavailable_reason(self) -> str | None:
        """Return None where the device can be used, else why not and what to do, in one sentence."""

    def describe(self) -> str:
        """Return the device's own name, for people ("NVIDIA H200", "Apple M3", "AMD EPYC, 2 cores")."""

    def device(self) -> torch.device:
        """Return the torch device."""

    def default_dtype(self) -> str:
        """Return ``float32``, ``bfloat16`` or ``float16``: what training takes for ``dtype: auto``.

        Or return ``auto``: then float32 and bfloat16 are measured on the device, and the faster one is taken.
        """

    def supports_dtype(self, dtype: str) -> bool:
        """Return whether the device computes in ``dtype``."""

    def memory(self) -> MemoryFigures:
        """Return the current memory figures."""

    def synchronize(self) -> None:
        """Wait until all work queued on the device is done."""


def choose_backend(name: str, backends: Registry[Callable[[], Backend]]) -> Backend:
    """Return the backend ``name``; for ``auto`` the available one of highest rank.

    Raises `UnknownNameError` with the nearest name, or `DeviceError` with the reason and with what there is.
    """
    ranked = sorted(backends, key=lambda entry: -int(entry.options.get("rank", 0)))
    if name == "auto":
        for entry in ranked:
            backend, reason = _try(entry)
            if backend is not None and reason is None:
                return backend
        raise DeviceError("no device is available", hint="a plugin must bring one: see the list of plugins")
    if name not in backends:
        raise unknown_name("device", name, ["auto", *backends.names()])
    backend, reason = _try(backends.entry(name))
    if backend is None or reason is not None:
        usable = [entry.name for entry in ranked if entry.name != name and _try(entry)[1] is None]
        there = f"available here: {', '.join(usable)}" if usable else "no other device is available"
        raise DeviceError(f"device '{name}' is not available: {reason}", hint=there)
    return backend


def _try(entry: Entry[Callable[[], Backend]]) -> tuple[Backend | None, str | None]:
    """Return the backend and why it cannot be used. A plugin's failure is a reason, not a crash."""
    try:
        backend = entry.value()
        return backend, backend.unavailable_reason()
    except Exception as error:
        return None, f"plugin '{entry.provider}' failed ({type(error).__name__}: {error})"
