"""The devices that PyTorch computes on, with their dtypes and memory figures. torch is imported late."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from nanoshell import DTYPES, MemoryFigures

if TYPE_CHECKING:
    import torch


class CpuBackend:
    """The processor: always there. Memory is that of this process."""

    name = "cpu"

    def unavailable_reason(self) -> str | None:
        return None

    def describe(self) -> str:
        import torch

        threads = torch.get_num_threads()
        return f"{processor_name()}, {threads} thread{'s'[: threads != 1]}"

    def device(self) -> torch.device:
        import torch

        return torch.device("cpu")

    def default_dtype(self) -> str:
        return "auto"  # what suits a processor is measured

    def supports_dtype(self, dtype: str) -> bool:
        return dtype in DTYPES

    def memory(self) -> MemoryFigures:
        import psutil

        return MemoryFigures(
            used=psutil.Process().memory_info().rss, peak=_peak_rss(), total=psutil.virtual_memory().total
        )

    def synchronize(self) -> None:
        pass


class CudaBackend:
    """The current CUDA (or ROCm) device."""

    name = "cuda"

    def unavailable_reason(self) -> str | None:
        import torch

        if torch.cuda.is_available():
            return None
        if torch.version.cuda is None and torch.version.hip is None:
            return (
                "this PyTorch is built without CUDA; install a CUDA build (pytorch.org/get-started) or use "
                "--device cpu"
            )
        return "PyTorch finds no NVIDIA GPU; check the driver with nvidia-smi, or use --device cpu"

    def describe(self) -> str:
        import torch

        return torch.cuda.get_device_name()

    def device(self) -> torch.device:
        import torch

        return torch.device("cuda", torch.cuda.current_device())

    def default_dtype(self) -> str:
        return "bfloat16" if self.supports_dtype("bfloat16") else "float32"

    def supports_dtype(self, dtype: str) -> bool:
        import torch

        if dtype == "bfloat16":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return dtype in DTYPES

    def memory(self) -> MemoryFigures:
        import torch

        return MemoryFigures(
            used=torch.cuda.memory_allocated(),
            peak=torch.cuda.max_memory_allocated(),
            total=torch.cuda.get_device_properties().total_memory,
        )

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()


class MpsBackend:
    """The GPU of an Apple chip. It shares the machine's memory."""

    name = "mps"

    def unavailable_reason(self) -> str | None:
        import torch

        if torch.backends.mps.is_available():
            return None
        if not torch.backends.mps.is_built():
            return "mps is the GPU of Apple chips, and this PyTorch is built without it; use --device cpu"
        return "mps needs a Mac with an Apple chip and macOS 14 or newer; use --device cpu"

    def describe(self) -> str:
        return processor_name()

    def device(self) -> torch.device:
        import torch

        return torch.device("mps")

    def default_dtype(self) -> str:
        return "float32"

    def supports_dtype(self, dtype: str) -> bool:
        return dtype in DTYPES

    def memory(self) -> MemoryFigures:
        import torch

        return MemoryFigures(
            used=torch.mps.driver_allocated_memory(), peak=None, total=torch.mps.recommended_max_memory()
        )

    def synchronize(self) -> None:
        import torch

        torch.mps.synchronize()


def processor_name() -> str:
    """Return the processor's own name ("AMD EPYC", "Apple M3"), or the architecture where it is unknown."""
    import subprocess
    from pathlib import Path

    if platform.system() == "Darwin":
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout.strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _peak_rss() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
