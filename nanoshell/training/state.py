"""The trainer's state beside the weights: ``trainer.safetensors`` (tensors) and ``trainer.json`` (the rest).

Together with ``model.safetensors`` it makes resume exact: optimizer, position in the data, random states.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nanoshell.errors import CheckpointError
from nanoshell.files import write_text
from nanoshell.model.weights import read_tensors, write_tensors
from nanoshell.spelling import typed
from nanoshell.training.checkpoint import DOCUMENT, FORMAT

TENSORS = "trainer.safetensors"
_OPTIMIZER = "optimizer."
_RANDOM = "random."


def write_state(
    directory: Path, optimizer: torch.optim.Optimizer, device: torch.device, document: Mapping[str, Any]
) -> None:
    """Write the state of ``optimizer``, the random states and ``document`` into ``directory``.

    Raises `StorageError`, and `CheckpointError` where a plugin's optimizer keeps what JSON cannot hold.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        plain[str(index)] = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{index}.{key}"] = value.detach().cpu()
    tensors |= {_RANDOM + name: value for name, value in _random_states(device).items()}
    write_tensors(directory / TENSORS, tensors, {"format": "pt"})
    whole = {**document, "format": FORMAT, "optimizer_state": plain, "param_groups": state["param_groups"]}
    try:
        text = json.dumps(whole, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the optimizer {type(optimizer).__name__} keeps state that cannot be saved: {error}",
            hint="its plugin must keep tensors, numbers and text",
        ) from error
    write_text(directory / DOCUMENT, text + "\n")


def restore_state(
    directory: Path, document: Mapping[str, Any], optimizer: torch.optim.Optimizer, device: torch.device
) -> None:
    """Give ``optimizer`` and the random generators the state that ``directory`` holds.

    Raises `CheckpointError` where it is missing, damaged, or of another optimizer or other shapes.
    """
    tensors = read_tensors(directory / TENSORS)
    groups = _groups(document, optimizer, directory)
    try:
        optimizer.load_state_dict({"state": _saved_state(document, tensors), "param_groups": groups})
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _other_optimizer(directory) from error
    _restore_random(directory, tensors, device)


def adopt_state(
    directory: Path, document: Mapping[str, Any], optimizer: torch.optim.Optimizer, device: torch.device
) -> bool:
    """Give ``optimizer`` what fits of the state in ``directory``, and return whether all of it did.

    What is of another shape, and all of another kind of optimizer, begins anew; rates and decays are those of
    ``optimizer``. The random generators go on. Raises `CheckpointError` where the file is damaged.
    """
    tensors = read_tensors(directory / TENSORS)
    mine = optimizer.state_dict()["param_groups"]
    saved = document.get("param_groups") or []
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = _saved_state(document, tensors)
    # Methods are told apart by what they are told: the state of one means nothing to another.
    same = len(saved) == len(mine) and all(
        then["params"] == now["params"] and now.keys() <= then.keys()
        for then, now in zip(saved, mine, strict=True)
    )
    fitting = {
        index: values
        for index, values in state.items()
        if same and all(_fits(value, parameters[index]) for value in values.values())
    }
    optimizer.load_state_dict({"state": fitting, "param_groups": mine})
    _restore_random(directory, tensors, device)
    return len(fitting) == len(state)


def _saved_state(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Any]]:
    """Return what was saved of the optimizer, by the index of the parameter."""
    state: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in document.get("optimizer_state", {}).items()
    }
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            index, _, key = name.removeprefix(_OPTIMIZER).partition(".")
            state.setdefault(int(index), {})[key] = tensor
    return state


def _fits(value: Any, parameter: Tensor) -> bool:
    return not isinstance(value, Tensor) or value.numel() == 1 or value.shape == parameter.shape


def _groups(
    document: Mapping[str, Any], optimizer: torch.optim.Optimizer, directory: Path
) -> list[dict[str, Any]]:
    """Return the saved groups with the tuples that JSON turned into lists."""
    saved = document.get("param_groups")
    if not isinstance(saved, list) or len(saved) != len(optimizer.param_groups):
        raise _other_optimizer(directory)
    return [
        {
            key: tuple(value) if isinstance(mine.get(key), tuple) and isinstance(value, list) else value
            for key, value in group.items()
        }
        for group, mine in zip(saved, optimizer.param_groups, strict=True)
    ]


def _other_optimizer(directory: Path) -> CheckpointError:
    return CheckpointError(
        f"{directory / TENSORS} holds the state of another optimizer or of another model",
        hint="resume with the config of the run, or start a new run",
    )


def seed_random(seed: int) -> None:
    """Seed every generator that a model, an optimizer or a plugin may draw from without one of its own."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {
        "cpu": torch.get_rng_state(),
        "python": _packed(random.getstate()),
        "numpy": _packed(np.random.get_state(legacy=False)),
    }
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device).get_rng_state().cpu()
    return states


def _restore_random(directory: Path, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    try:
        _set_random_states(tensors, device)
    except (ValueError, KeyError, RuntimeError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f"{directory / TENSORS} is damaged: the states of the random generators make no sense",
            hint=f"go on from the checkpoint before it: {typed('train --resume RUN@STEP')}",
        ) from error


def _set_random_states(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors[_RANDOM + "cpu"].clone())
    if _RANDOM + "python" in tensors:  # checkpoints of earlier versions have none
        version, numbers, rest = _unpacked(tensors[_RANDOM + "python"])
        random.setstate((version, tuple(numbers), rest))
        np.random.set_state(_unpacked(tensors[_RANDOM + "numpy"]))
    if device.type != "cpu" and _RANDOM + "device" in tensors:
        torch.get_device_module(device).set_rng_state(tensors[_RANDOM + "device"].clone())


@contextlib.contextmanager
def random_preserved(device: torch.device) -> Iterator[None]:
    """Let the block draw what it likes from the random generators: afterwards they are as they were."""
    before = {_RANDOM + name: value for name, value in _random_states(device).items()}
    try:
        yield
    finally:
        _set_random_states(before, device)


def _packed(state: Any) -> Tensor:
    """Return ``state``, of numbers and texts, as bytes of JSON, which reads floats back to the same bits."""
    text = json.dumps(state, default=lambda array: array.tolist())
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _unpacked(packed: Tensor) -> Any:
    return json.loads(bytes(packed.tolist()))
