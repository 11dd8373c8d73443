"""Devices (cpu, cuda, mps), the layer kinds ``attention`` and ``swiglu``, and the optimizer ``adamw``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import Backend, ModelConfig, RegisterBackend, RegisterMixer, RegisterOptimizer


def cpu() -> Backend:
    """Return the processor as a backend."""
    from nanoshell_torch.backends import CpuBackend

    return CpuBackend()


def cuda() -> Backend:
    """Return the first NVIDIA (or ROCm) GPU as a backend."""
    from nanoshell_torch.backends import CudaBackend

    return CudaBackend()


def mps() -> Backend:
    """Return the GPU of an Apple chip as a backend."""
    from nanoshell_torch.backends import MpsBackend

    return MpsBackend()


def attention(config: ModelConfig, layer_index: int) -> Any:
    """Return the grouped-query attention of a layer."""
    from nanoshell import GroupedQueryAttention

    return GroupedQueryAttention(config, layer_index)


def swiglu(config: ModelConfig, layer_index: int) -> Any:
    """Return the gated feed-forward of a layer."""
    from nanoshell import SwiGLU

    return SwiGLU(config, layer_index)


def adamw(*arguments: Any, **options: Any) -> Any:
    """Return AdamW over a model's parameters, as the trainer configures it."""
    from nanoshell import adamw as build

    return build(*arguments, **options)


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    register("cuda", cuda, rank=20, summary="an NVIDIA or AMD GPU")
    register("mps", mps, rank=10, summary="the GPU of an Apple chip")
    register("cpu", cpu, rank=0, summary="the processor")


@hookimpl
def register_mixers(register: RegisterMixer) -> None:
    register("attention", attention, kind="mixer", summary="grouped-query attention with rotary positions")
    register("swiglu", swiglu, kind="feed_forward", summary="gated feed-forward")


@hookimpl
def register_optimizers(register: RegisterOptimizer) -> None:
    register("adamw", adamw, summary="Adam with decoupled weight decay")
