"""From a model directory to a model that can sample. torch is loaded when that is done, not before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanoshell.errors import DeviceError
from nanoshell.narrator import SilentNarrator
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from pathlib import Path

    from nanoshell.generation.compiled import CompiledStep
    from nanoshell.generation.engine import Engine
    from nanoshell.model.backend import Backend
    from nanoshell.model.config import ModelConfig
    from nanoshell.narrator import Narrator
    from nanoshell.plugin.manager import Plugins
    from nanoshell.runs.locate import ModelLocation


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to sample: its ``engine``, and the directory, run and step that it came from.

    ``dtype`` is the one that was asked for; ``auto`` is that of the file.
    """

    engine: Engine
    config: ModelConfig
    path: Path
    label: str
    device: str
    step: int | None = None
    dtype: str = "auto"

    def is_of(self, path: Path, device: str, dtype: str, compiled: str) -> bool:
        """Return whether it was loaded from ``path``, with these settings."""
        mine = (self.path, self.device, self.dtype, self.engine.compiled.mode)
        return mine == (path, device, dtype, compiled)


def check_dtype(backend: Backend, dtype: str) -> None:
    """Raise `DeviceError` where ``backend`` cannot compute in ``dtype``; in ``auto`` all can."""
    if dtype != "auto" and not backend.supports_dtype(dtype):
        raise DeviceError(
            f"device '{backend.name}' cannot compute in {dtype}", hint=f"try: {typed('set dtype auto')}"
        )


def load(
    location: ModelLocation,
    plugins: Plugins,
    backend: Backend,
    *,
    dtype: str = "auto",
    compiled: str = "auto",
    narrator: Narrator | None = None,
) -> LoadedModel:
    """Return the model of ``location`` on the device of ``backend``, in ``dtype``.

    It gets its own tokenizer: the one that it carries, or the one that it names. ``compiled`` is a mode of
    `CompiledStep`; with ``on`` it is built here, and why it cannot be is said. Raises `DeviceError`, and as
    `own_tokenizer` and `load_model` do.
    """
    check_dtype(backend, dtype)
    import torch

    from nanoshell.generation.engine import Engine
    from nanoshell.model.weights import load_model, own_tokenizer, read_config

    config, device = read_config(location.path), backend.device()
    tokenizer = own_tokenizer(location.path, plugins.tokenizers)
    network = load_model(
        location.path,
        plugins.mixers,
        device=device,
        dtype=None if dtype == "auto" else getattr(torch, dtype),
    )
    engine = Engine(network, tokenizer, plugins.samplers, device=device, compile=compiled)
    if compiled == "on":
        _build(engine.compiled, narrator or SilentNarrator())
    return LoadedModel(engine, config, location.path, location.label, str(device), location.step, dtype)


def _build(step: CompiledStep, narrator: Narrator) -> None:
    """Let ``step`` be built where that can be done, and say why it is not used."""
    if step.can_build:
        with narrator.progress("compiling the step of decoding, once on this machine", None):
            step.build()
    if not step.ready:
        narrator.note(f"decoding goes on uncompiled: {step.reason}")
