"""Looks once at what a factory of somebody else's plugin makes, so that faults are told as the plugin's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nanoshell.errors import NanoshellError, PluginError
from nanoshell.plugin.discovery import PluginInfo
from nanoshell.plugin.trouble import words_of

_MODULE = ("forward", "named_parameters")

REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "data source": ("spec", "info", "fingerprint", "token_file", "documents"),
        "device": (
            "name",
            "unavailable_reason",
            "describe",
            "device",
            "default_dtype",
            "supports_dtype",
            "memory",
            "synchronize",
        ),
        "tokenizer": (
            "name",
            "vocab_size",
            "special_tokens",
            "end_of_text",
            "unused_ids",
            "fingerprint",
            "encode",
            "encode_special",
            "decode",
            "token_bytes",
        ),
        "chat template": ("name", "encode", "stop_ids"),
        "mixer": (*_MODULE, "new_state"),
        "feed_forward": _MODULE,
    }
)
"""What an object of each kind has, as its contract says. Layer kinds are ``torch.nn.Module`` objects."""


def guarded(
    factory: Callable[..., Any], kind: str, name: str, plugin: str, layer: str = ""
) -> Callable[..., Any]:
    """Return ``factory`` with its faults told as those of ``plugin``, not of whoever called it.

    It raises `PluginError` where ``factory`` raises something unforeseen, or returns what is no ``kind``
    (``layer`` says which one of the layer kinds).
    """
    updated = () if isinstance(factory, type) else functools.WRAPPER_UPDATES
    failed = f"plugin '{plugin}' failed to make {kind} '{name}'"

    @functools.wraps(factory, updated=updated)
    def build(*args: Any, **kwargs: Any) -> Any:
        from click import Abort, ClickException
        from click.exceptions import Exit

        try:
            made = factory(*args, **kwargs)
        except (NanoshellError, Abort, ClickException, Exit, MemoryError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {words_of(error)}".removesuffix(": ")
            raise PluginError(f"{failed}: {reason}", hint="--debug shows where it happened") from error
        if kind == "sampler":
            return _checked_step(made, failed)
        missing = [part for part in REQUIRED.get(layer or kind, ()) if not _has(made, part)]
        if missing:
            raise PluginError(
                f"{failed}: its factory returned {_described(made)}, which has no {', '.join(missing)}",
                hint=f"the guide for plugins says what a {layer or kind} has".replace("_", "-"),
            )
        return made

    return build


@dataclass(frozen=True)
class Culprit:
    """The plugin in whose code an error was raised, and the ``place`` in it (``source.py:12``)."""

    plugin: str
    place: str


def culprit(error: BaseException, infos: Iterable[PluginInfo]) -> Culprit | None:
    """Return the plugin of somebody else in whose code ``error`` was raised, the innermost of several.

    What a plugin has made (a layer, a source) is called by other plugins' commands, which are then not to
    blame.
    """
    modules = {
        info.module.partition(".")[0]: info.name for info in infos if info.origin in ("entry point", "file")
    }
    found, trace = None, error.__traceback__
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in modules:
            place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
            found = Culprit(modules[package], place)
        trace = trace.tb_next
    return found


def _checked_step(step: Any, failed: str) -> Callable[[Any, Any], Any]:
    """Return the sampler's ``step``, whose result is compared with the logits that it was given."""
    if not callable(step):
        raise PluginError(
            f"{failed}: its factory returned {_described(step)}, which is no function of logits and history",
            hint="return a function that takes logits (batch, vocab) and history (batch, seq)",
        )
    if type(step).__module__.partition(".")[0] == "nanoshell":
        return step  # type: ignore[no-any-return]

    def checked(logits: Any, history: Any) -> Any:
        result = step(logits, history)
        if getattr(result, "shape", None) != logits.shape:
            shape = getattr(result, "shape", None)
            what = _described(result) if shape is None else f"a tensor of shape {tuple(shape)}"
            raise PluginError(
                f"{failed}: its step returned {what}",
                hint=f"return logits of the shape that came in, {tuple(logits.shape)}",
            )
        return result

    return checked


def _has(made: Any, part: str) -> bool:
    """Whether ``made`` has ``part``. A property is not asked for its value: it may be costly."""
    try:
        inspect.getattr_static(made, part)
    except AttributeError:
        return hasattr(made, part)
    return True


def _described(made: Any) -> str:
    return "nothing" if made is None else f"something of type {type(made).__name__}"
