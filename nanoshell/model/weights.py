"""Model directories: ``model.safetensors``, mapped and never unpickled, and ``config.json``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nanoshell.errors import CheckpointError, ConfigError, nearest
from nanoshell.files import explain_storage, storage_error, write_text
from nanoshell.model.config import FORMAT, ModelConfig, check_format
from nanoshell.model.transformer import LayerFactory, Transformer
from nanoshell.tokenizer.files import carried_tokenizer, carry_tokenizer
from nanoshell.tokenizer.store import find_tokenizer

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Registry
    from nanoshell.tokenizer.base import Tokenizer

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def save_model(directory: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    """Write the weights, in their own dtype, and the config with the tokenizer's identity into ``directory``.

    A tokenizer that is data is written beside them, so that the model needs nothing else on another machine.
    The directory exists; the caller makes it appear whole (write elsewhere, rename). Raises `StorageError`.
    """
    write_tensors(directory / WEIGHTS, model.state_dict(), {"format": "pt"})
    document = {
        "format": FORMAT,
        **model.config.to_dict(),
        "tokenizer": tokenizer.name,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "layer_providers": model.providers,
    }
    write_text(directory / CONFIG, json.dumps(document, indent=2) + "\n")
    carry_tokenizer(directory, tokenizer)


def load_model(
    directory: Path,
    mixers: Registry[LayerFactory],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    tokenizer: Tokenizer | None = None,
) -> Transformer:
    """Return the model of ``directory`` in evaluation mode, its weights in ``dtype`` or in that of the file.

    Buffers stay in the dtype of the file: what is no weight may not bear rounding, as a router's bias. On the
    processor, in the file's own dtype, the weights are pages of the file, read when they are used. Raises
    `CheckpointError` where something is missing, damaged, of another shape, from a newer nanoshell, or (with
    ``tokenizer``) made with other ids; `ConfigError` where a kind of layer is not registered.
    """
    config = read_config(directory)
    if tokenizer is not None:
        check_tokenizer(directory, tokenizer)
    model = _lay_out(config, mixers, directory)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    tensors = read_tensors(directory / WEIGHTS, expected)
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name in parameters and not tensor.is_floating_point():
            raise CheckpointError(
                f"tensor '{name}' of {directory / WEIGHTS} holds {tensor.dtype}, no weights"
            )
    placed = {
        name: tensor.to(device=device, dtype=dtype if name in parameters else None)
        for name, tensor in tensors.items()
    }
    model.load_state_dict(placed, assign=True)
    for name, buffer in model.named_buffers():  # those outside the file: tables of angles
        if buffer.device != torch.device(device) and name not in placed:
            owner, _, key = name.rpartition(".")
            setattr(model.get_submodule(owner), key, buffer.to(device))
    return model.eval().requires_grad_(False)


def read_config(directory: Path) -> ModelConfig:
    """Return the config of a model directory. Raises `CheckpointError` where it is missing or unusable."""
    document = _document(directory)
    shape = {key: value for key, value in document.items() if key not in _IDENTITY}
    try:
        return ModelConfig.from_dict(shape, str(directory / CONFIG))
    except ConfigError as error:
        raise CheckpointError(error.message, hint=error.hint) from error


def own_tokenizer(directory: Path, registered: Registry[Callable[[], Tokenizer]]) -> Tokenizer:
    """Return the tokenizer of the model in ``directory``: the one that it carries, or the one that it names.

    Raises `CheckpointError` where that is not the one with which the model was trained, `UnknownNameError`
    where it is not here, `TokenizerError` where its file is damaged.
    """
    carried = carried_tokenizer(directory)
    tokenizer = carried or find_tokenizer(read_config(directory).tokenizer, registered)
    check_tokenizer(directory, tokenizer)
    return tokenizer


def check_tokenizer(directory: Path, tokenizer: Tokenizer) -> None:
    """Raise `CheckpointError` where the model was trained on other ids than ``tokenizer``'s."""
    document = _document(directory)
    recorded = document.get("tokenizer_fingerprint", tokenizer.fingerprint)
    if recorded != tokenizer.fingerprint:
        raise CheckpointError(
            f"{directory} was trained with another version of tokenizer '{tokenizer.name}'",
            hint="its ids mean other texts: bring back the tokenizer of that time, or train again",
        )


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write ``tensors`` to ``path`` as safetensors, durably. Raises `StorageError`, leaving no half file."""
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with explain_storage(path):
        try:
            save_file(plain, path, metadata=dict(metadata))
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        except SafetensorError as error:
            _remove(path)
            code = re.search(r"code: (\d+)|os error (\d+)", str(error))
            if code is None:
                raise
            number = int(code[1] or code[2])
            raise storage_error(path, OSError(number, os.strerror(number))) from error
        except OSError:
            _remove(path)
            raise


def read_tensors(path: Path, expected: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, mapped into memory.

    With ``expected`` (names and shapes) every difference is an error. Raises `CheckpointError`.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist", hint="a model directory holds it beside config.json")
    try:
        with safe_open(path, framework="pt") as file:
            if expected is not None:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                _compare(path, shapes, expected)
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or truncated ({error})",
            hint="take another checkpoint of the run, or copy the file again",
        ) from error


def _remove(path: Path) -> None:
    if path.is_file():  # and never a device such as /dev/full
        path.unlink()


_IDENTITY = ("format", "tokenizer_fingerprint", "layer_providers")


def _document(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        what = "is not a model directory" if directory.is_dir() else "does not exist"
        raise CheckpointError(
            f"{directory} {what}: there is no {CONFIG}",
            hint="name a run, a checkpoint directory, or 'latest'",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}", hint="take another checkpoint of the run"
        ) from error
    if not isinstance(document, dict):
        raise CheckpointError(
            f"{path} does not hold a JSON object", hint="take another checkpoint of the run"
        )
    check_format(document, str(path))
    return document


def _lay_out(config: ModelConfig, mixers: Registry[LayerFactory], directory: Path) -> Transformer:
    """Return the model without memory for its weights; with, where a layer needs values of its own."""
    try:
        with torch.device("meta"):
            model = Transformer(config, mixers)
    except ConfigError as error:
        brought = _document(directory).get("layer_providers", {})
        missing = sorted((name, by) for name, by in brought.items() if name not in mixers)
        wanted = ", ".join(f"'{name}' came from plugin '{by}'" for name, by in missing)
        raise ConfigError(
            error.message, hint=error.hint + (f"; there, {wanted}" if wanted else "")
        ) from error
    outside_file = set(dict(model.named_buffers())) - set(model.state_dict())
    if any(model.get_buffer(name).is_meta for name in outside_file):
        model = Transformer(config, mixers)
    return model


def _compare(
    path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    hint = f"{WEIGHTS} and {CONFIG} must come from the same model"
    for name, shape in expected.items():
        if name not in found:
            match = nearest(name, found.keys() - expected.keys())
            other = f"; the file has '{match}'" if match else ""
            raise CheckpointError(f"{path} has no tensor '{name}'{other}", hint=hint)
        if found[name] != shape:
            raise CheckpointError(
                f"tensor '{name}' of {path} has shape {list(found[name])}, "
                f"but the config asks for {list(shape)}",
                hint=hint,
            )
    extra = sorted(found.keys() - expected.keys())
    if extra:
        raise CheckpointError(
            f"{path} has tensor '{extra[0]}', which the model of the config has not"
            + (f", and {len(extra) - 1} more" if len(extra) > 1 else ""),
            hint=hint,
        )
