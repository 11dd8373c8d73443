"""What a user asks for with ``train``, and the checks that need no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanoshell.errors import DeviceError, unknown_name
from nanoshell.model.backend import choose_backend
from nanoshell.model.config import check_kinds, check_vocabulary, with_vocabulary
from nanoshell.tokenizer.store import Registered, find_tokenizer, recipe_of
from nanoshell.training.automatic import choose_optimizer
from nanoshell.training.config import RunConfig

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig
    from nanoshell.plugin.manager import Plugins
    from nanoshell.tokenizer.base import Tokenizer

USUAL_CHARACTERS = 100
"""Ids of a character tokenizer of English text, more or less."""
_NO_TORCH_NEEDED = ("auto", "cpu")


@dataclass(frozen=True)
class TrainRequest:
    """What a user asks for with ``train``.

    ``max_steps`` only stops, after that step of the run; the schedule's horizon is the config's. ``resume``
    is a run (name, folder, ``latest``, ``NAME@STEP``), a checkpoint folder, or ``auto``: the newest run of
    the name if it can go on, else a new one. A resumed run has a config and a source: ``config`` and
    ``source`` may be None then, and must agree with the run's where they are given. ``overrides`` (keys as
    `load_config` takes them) apply where ``config`` is None: to the resumed run's config, else to the default
    preset. With ``force`` a run goes on although config or data have changed, from its weights and what else
    still fits. ``processes`` is how many train: absent, one, or as many as wrote the checkpoint; ``auto`` is
    one for each CUDA device. ``extend`` is a request to extend the resumed run, which may be at its end: its
    worker answers it first.
    """

    config: RunConfig | None
    source: str | None
    runs_dir: Path
    name: str | None = None
    max_steps: int | None = None
    resume: str | None = None
    force: bool = False
    device: str | None = None
    processes: int | Literal["auto"] | None = None
    special: bool = False
    chat_template: str = "roles"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    argv: Sequence[str] = ()
    extend: Mapping[str, Any] | None = None


def run_name(config: RunConfig) -> str:
    """Return the name of the model as one that a run can have."""
    return re.sub(r"[^\w.+-]+", "-", config.model.name, flags=re.ASCII).strip("-.+") or "run"


def on_device(config: RunConfig, device: str | None) -> RunConfig:
    """Return ``config`` with ``device`` as its device, or as it is without one."""
    if device is None:
        return config
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"device": device})})


def check_names(config: RunConfig, plugins: Plugins) -> None:
    """Raise `UnknownNameError` or `ConfigError` with the nearest name for one that no plugin brings.

    The tokenizer's is not looked at: a run and a checkpoint carry theirs.
    """
    plugins.optimizers.entry(choose_optimizer(config.trainer, config.model))
    check_kinds(config.model, plugins.mixers)
    device = config.trainer.device_name
    if device != "auto" and device not in plugins.backends:
        raise unknown_name("device", device, ["auto", *plugins.backends.names()])


def fit_vocabulary(config: RunConfig, tokenizer: Tokenizer) -> RunConfig:
    """Return ``config`` with as many ids as ``tokenizer`` has, where it names no ``vocab_size``.

    Raises `ConfigError` where it names fewer.
    """
    model = with_vocabulary(config.model, tokenizer.vocab_size)
    check_vocabulary(model, tokenizer)
    return config.model_copy(update={"model": model})


def expected_vocabulary(model: ModelConfig, registered: Registered) -> tuple[ModelConfig, str]:
    """Return ``model`` with the ids that it will have where it leaves that to the tokenizer, and a note.

    The note is empty where the number is known. Of characters it depends on the data: `USUAL_CHARACTERS` are
    counted. Raises `UnknownNameError` and `TokenizerError` for a tokenizer that is not here.
    """
    if "vocab_size" in model.model_fields_set:
        return model, ""
    recipe = None if model.tokenizer in registered else recipe_of(model.tokenizer)
    if recipe is None:
        return with_vocabulary(model, find_tokenizer(model.tokenizer, registered).vocab_size), ""
    if recipe.vocab_size is not None:
        return with_vocabulary(model, recipe.vocab_size), ""
    return with_vocabulary(model, USUAL_CHARACTERS), "the characters of the data, counted here as"


def check_device(config: RunConfig, plugins: Plugins) -> None:
    """Raise `DeviceError` where the device is not there or does not compute in the dtype.

    The processor is always there, and ``auto`` is what is there: only for others is torch asked.
    """
    device = config.trainer.device_name
    if device in _NO_TORCH_NEEDED:
        return
    backend = choose_backend(device, plugins.backends)
    if config.dtype != "auto" and not backend.supports_dtype(config.dtype):
        raise DeviceError(
            f"device '{device}' ({backend.describe()}) does not compute in {config.dtype}",
            hint="use --dtype float32, or leave it to the device: --dtype auto",
        )
