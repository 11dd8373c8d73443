"""Configs by name or file: finding a preset, reading its YAML, laying overrides on top. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nanoshell import paths
from nanoshell.errors import ConfigError, nearest, unknown_name
from nanoshell.model.config import ModelConfig
from nanoshell.spelling import typed
from nanoshell.training.config import RunConfig, TrainerConfig

PRESET_SUFFIXES = (".yaml", ".yml")
_TOKENIZER = frozenset({"tokenizer", "model.tokenizer"})
_VOCABULARY = frozenset({"vocab_size", "model.vocab_size"})


@dataclass(frozen=True)
class PresetInfo:
    """A preset that can be named: where it is, and the first line of its comments."""

    name: str
    path: Path
    summary: str


def list_presets() -> list[PresetInfo]:
    """Return the presets of `nanoshell.paths.preset_dirs` by name; of two with one name, the first found."""
    found: dict[str, PresetInfo] = {}
    for folder in paths.preset_dirs():
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path.suffix in PRESET_SUFFIXES and path.is_file() and path.stem not in found:
                found[path.stem] = PresetInfo(path.stem, path, _first_comment(path))
    return [found[name] for name in sorted(found)]


def find_preset(reference: str | Path) -> Path:
    """Return the file that ``reference`` names: a YAML file, or a preset.

    Raises `ConfigError` for a file and `UnknownNameError` for a name that does not exist.
    """
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    is_file_name = isinstance(reference, Path) or path.suffix in PRESET_SUFFIXES or path.name != reference
    presets = {preset.name: preset.path for preset in list_presets()}
    if not is_file_name and str(reference) in presets:
        return presets[str(reference)]
    if is_file_name:
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        match = nearest(path.name, [p.name for p in beside if p.suffix in PRESET_SUFFIXES])
        raise ConfigError(
            f"there is no config file {path}" + (f"; did you mean '{path.parent / match}'?" if match else ""),
            hint=f"presets that can be named: {', '.join(presets) or 'none'}",
        )
    raise unknown_name("preset", str(reference), presets)


def load_config(reference: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the config of a YAML file or a named preset, with ``overrides`` on top.

    An override is named by its key, ``trainer.batch_size`` or plainly ``batch_size`` (the trainer's keys come
    before the model's), further names lead into a mapping (``layer_options.kind.key``); None overrides
    nothing. Another tokenizer brings its own ``vocab_size``. Raises `ConfigError` naming file, key and line,
    and the overrides where they are at fault.
    """
    path = find_preset(reference)
    data = _read_yaml(path)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    changed = override(data, given)
    if not given.keys().isdisjoint(_TOKENIZER) and given.keys().isdisjoint(_VOCABULARY):
        changed = override(changed, {"model.vocab_size": "auto"})
    try:
        return RunConfig.from_dict(changed, str(path))
    except ConfigError:
        if not given or not _is_valid(data):
            raise
    named = ", ".join(f"{key}={value}" for key, value in given.items())
    try:
        return RunConfig.from_dict(changed, f"{path} with {named}")
    except ConfigError as error:
        error.hint = _fewer_layers(changed) or error.hint
        raise


def _is_valid(data: Mapping[str, Any]) -> bool:
    try:
        RunConfig.from_dict(data, "")
    except ConfigError:
        return False
    return True


def _fewer_layers(data: Mapping[str, Any]) -> str:
    """Return what to set beside ``num_layers`` so that keys that name layers fit, empty where that fails."""
    model = data.get("model") or {}
    count = model.get("num_layers")
    lists = {key: model.get(key) for key in ("mamba_layers", "mixer", "feed_forward")}
    fitting = {
        key: [index for index in value if index < count] if key == "mamba_layers" else value[:count]
        for key, value in lists.items()
        if isinstance(count, int) and isinstance(value, list) and len(value) > 0
    }
    changes = {key: value for key, value in fitting.items() if value != lists[key]}
    if not changes or not _is_valid(override(data, {f"model.{key}": v for key, v in changes.items()})):
        return ""
    options = (f"--set '{key}=[{','.join(map(str, value))}]'" for key, value in changes.items())
    return f"keys that name layers must go with it: {' '.join(options)}"


def override(data: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``data``, the sections of a config, with ``overrides`` on top, as `load_config` takes them.

    Raises `UnknownNameError` for a key without a section that none has, `ConfigError` for one within what is
    no mapping.
    """
    result = dict(data)
    for key, value in overrides.items():
        if value is not None:
            result = _with(result, _path_of(key), value, key)
    return result


def _with(mapping: Mapping[str, Any], path: Sequence[str], value: Any, key: str) -> dict[str, Any]:
    name, *rest = path
    if not rest:
        return {**mapping, name: value}
    inside = mapping.get(name) or {}
    if not isinstance(inside, Mapping):
        raise ConfigError(f"there is no key {key}: '{name}' is {inside!r}, no mapping of keys to values")
    return {**mapping, name: _with(inside, rest, value, key)}


def _path_of(key: str) -> list[str]:
    """Return the names of ``key`` from the section on; that this exists is checked with the values."""
    path = key.split(".")
    for section, keys in (("trainer", TrainerConfig.model_fields), ("model", ModelConfig.model_fields)):
        if path[0] in keys:
            return [section, *path]
    if len(path) > 1:
        return path
    raise unknown_name("config key", key, [*TrainerConfig.model_fields, *ModelConfig.model_fields])


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", hint="is this the file that you meant?") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "this is no YAML"
        raise ConfigError(f"{where}: {problem}", hint="indent with spaces, and write 'key: value'") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} holds no config: it must have the sections 'model:' and 'trainer:'",
            hint=f"see the presets: {typed('model list')}",
        )
    for section in RunConfig.model_fields:
        if not isinstance(data.get(section, {}), dict | None):
            raise ConfigError(f"{path}: '{section}' must be a mapping of keys to values")
    return data


def _first_comment(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline().strip()
    except OSError:
        return ""
    return first.lstrip("# ").strip() if first.startswith("#") else ""
