"""What a backend offers: a device together with its policy (dtype, memory figures, synchronisation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


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
        """Return ``float32``, ``bfloat16`` or ``float16``: what training takes for ``dtype: auto``."""

    def supports_dtype(self, dtype: str) -> bool:
        """Return whether the device computes in ``dtype``."""

    def memory(self) -> MemoryFigures:
        """Return the current memory figures."""

    def synchronize(self) -> None:
        """Wait until all work queued on the device is done."""
