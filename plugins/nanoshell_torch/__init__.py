"""Devices (cpu, cuda, mps), the kinds of layers, the optimizers, and export to transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanoshell import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanoshell import (
        Backend,
        ModelConfig,
        RegisterBackend,
        RegisterExporter,
        RegisterMixer,
        RegisterOptimizer,
    )

MIXERS = (
    ("attention", "GroupedQueryAttention", "grouped-query attention with rotary positions"),
    ("mla", "MultiHeadLatentAttention", "multi-head latent attention: a small cache"),
    ("mamba1", "Mamba1", "selective state space"),
    ("mamba2", "Mamba2", "state space by duality, in chunks"),
    ("mamba3", "Mamba3", "state space with trapezoidal steps and a rotating state"),
)
FEED_FORWARDS = (
    ("swiglu", "SwiGLU", "gated feed-forward"),
    ("relu2", "SquaredReLU", "feed-forward of squared ReLU"),
    ("moe", "MixtureOfExperts", "each token to a few experts of many"),
)


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


def layer(class_name: str) -> Callable[[ModelConfig, int], Any]:
    """Return the factory of a layer kind, which loads torch when it first builds one."""

    def build(config: ModelConfig, layer_index: int) -> Any:
        import nanoshell

        return getattr(nanoshell, class_name)(config, layer_index)

    return build


def adamw(*arguments: Any, **options: Any) -> Any:
    """Return AdamW over a model's parameters, as the trainer configures it."""
    from nanoshell import adamw as build

    return build(*arguments, **options)


def muon(*arguments: Any, **options: Any) -> Any:
    """Return Muon and AdamW over a model's parameters, as the trainer configures them."""
    from nanoshell import muon as build

    return build(*arguments, **options)


def to_transformers(model_dir: Path, target: Path) -> None:
    """Write a model of attention as Hugging Face's transformers reads it."""
    from nanoshell_torch.transformers_format import to_transformers as write

    write(model_dir, target)


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    register("cuda", cuda, rank=20, summary="an NVIDIA or AMD GPU")
    register("mps", mps, rank=10, summary="the GPU of an Apple chip")
    register("cpu", cpu, rank=0, summary="the processor")


@hookimpl
def register_mixers(register: RegisterMixer) -> None:
    for name, class_name, summary in MIXERS:
        register(name, layer(class_name), kind="mixer", summary=summary)
    for name, class_name, summary in FEED_FORWARDS:
        register(name, layer(class_name), kind="feed_forward", summary=summary)


@hookimpl
def register_optimizers(register: RegisterOptimizer) -> None:
    register("adamw", adamw, summary="Adam with decoupled weight decay")
    register("muon", muon, summary="Muon for the matrices of the layers, AdamW for the rest")


@hookimpl
def register_exporters(register: RegisterExporter) -> None:
    register(
        "transformers", to_transformers, summary="Hugging Face: Llama, or Qwen3 with qk_norm; no tokenizer"
    )
