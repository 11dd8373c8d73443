"""What each registration hook is handed: the ``register`` functions, with their checks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nanoshell.errors import PluginError, nearest
from nanoshell.plugin.blame import guarded
from nanoshell.plugin.hookspecs import (
    EVERY_FACE,
    FaceName,
    RegisterBackend,
    RegisterCommand,
    RegisterMixer,
    RegisterSampler,
    RegisterSource,
)
from nanoshell.plugin.registry import Registry
from nanoshell.settings import CORE_SETTINGS

if TYPE_CHECKING:
    import click

    from nanoshell.data.source import DataSource
    from nanoshell.plugin.trace import Tracer

_NAME = re.compile(r"[^\s:,=/\\]+")


class Add(Protocol):
    """Puts one thing into the registry of its kind, in the name of the plugin that is being loaded."""

    def __call__(
        self, name: str, value: Any, summary: str, *, needs_factory: bool = True, **options: Any
    ) -> None: ...


class Registrar:
    """Adds to one registry for one plugin, until the plugin's hook has returned.

    The faults of a ``guarded`` plugin's factories are told as the plugin's; a ``tracer`` writes their calls.
    """

    def __init__(
        self,
        registry: Registry[Any],
        provider: str,
        *,
        guarded: bool = False,
        tracer: Tracer | None = None,
    ) -> None:
        self._registry = registry
        self._provider = provider
        self._guarded = guarded
        self._tracer = tracer
        self._open = True

    def close(self) -> None:
        """Refuse what comes later: what was registered must not change under the faces that show it."""
        self._open = False

    def __call__(
        self, name: str, value: Any, summary: str, *, needs_factory: bool = True, **options: Any
    ) -> None:
        kind = self._registry.kind
        if not self._open:
            raise PluginError(f"plugin '{self._provider}' registered a {kind} after its hook had returned")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(
                f"{name!r} cannot be the name of a {kind}",
                hint="use a word without spaces and without : , = / \\",
            )
        if not callable(value) and (needs_factory or value is not None):
            raise PluginError(
                f"{kind} '{name}': {type(value).__name__} is no factory",
                hint="register a function that builds it",
            )
        if kind != "command" and value is not None:
            if self._guarded:
                value = guarded(value, kind, name, self._provider, options.get("kind", ""))
            if self._tracer is not None:
                value = self._tracer.around(value, self._provider, f"{kind} {name}")
        self._registry.add(name, value, provider=self._provider, summary=str(summary), **options)


def command_register(add: Add, commands: Registry[click.Command]) -> RegisterCommand:
    """Return the ``register`` of commands. Aliases share one space with the names of ``commands``."""

    def register(
        command: click.Command,
        *,
        aliases: Sequence[str] = (),
        faces: Collection[FaceName] = EVERY_FACE,
        group: str = "Other",
        raw: bool = False,
        examples: Sequence[str] = (),
    ) -> None:
        import click

        if not isinstance(command, click.Command):
            raise PluginError(
                f"register_commands was handed {command!r}, which is no click command",
                hint="decorate the function with @click.command()",
            )
        if not command.name:
            raise PluginError("a command without a name was registered", hint='@click.command("name")')
        names = _texts("aliases", aliases)
        wrong = sorted(set(_texts("faces", faces)) - set(EVERY_FACE))
        if wrong:
            raise PluginError(f"command '{command.name}' names the unknown face '{wrong[0]}'")
        for alias in names:
            if not _NAME.fullmatch(alias):
                raise PluginError(f"{alias!r} cannot be an alias of command '{command.name}'")
        add(
            command.name,
            command,
            command.get_short_help_str(limit=100),
            aliases=names,
            faces=tuple(face for face in EVERY_FACE if face in faces),
            group=group,
            raw=bool(raw),
            examples=_texts("examples", examples),
        )
        _refuse_taken_words(command.name, commands)

    return register


def _texts(what: str, found: Collection[str]) -> tuple[str, ...]:
    if isinstance(found, str) or not all(isinstance(item, str) for item in found):
        raise PluginError(f"'{what}' takes a list of texts, not {found!r}")
    return tuple(found)


def _refuse_taken_words(name: str, commands: Registry[click.Command]) -> None:
    new = commands.entry(name)
    words = [name, *new.options["aliases"]]
    if len(set(words)) < len(words):
        raise PluginError(f"command '{name}' has the same alias twice")
    for other in commands:
        taken = {other.name, *other.options["aliases"]}.intersection(words)
        if other is not new and taken:
            raise PluginError(
                f"command '{min(taken)}' is registered twice: by '{other.provider}' and by '{new.provider}'",
                hint="rename one of them, or disable one of the two plugins",
            )


def factory_register(add: Add) -> Callable[..., None]:
    """Return the ``register`` of the kinds that are a name, a factory and a summary."""

    def register(name: str, factory: Callable[..., Any], *, summary: str = "") -> None:
        add(name, factory, summary)

    return register


def source_register(add: Add) -> RegisterSource:
    """Return the ``register`` of data sources."""

    def register(
        name: str,
        factory: Callable[[str], DataSource],
        *,
        summary: str = "",
        spelling: str = "",
        parts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if not isinstance(parts, Mapping):
            raise PluginError(
                f"data source '{name}': 'parts' takes names with a line about each, not {parts!r}"
            )
        told = {str(part): str(about) for part, about in parts.items()}
        add(name, factory, summary, spelling=str(spelling) or name, parts=told)

    return register


def backend_register(add: Add) -> RegisterBackend:
    """Return the ``register`` of backends."""

    def register(name: str, factory: Callable[[], Any], *, summary: str = "", rank: int = 0) -> None:
        add(name, factory, summary, rank=int(rank))

    return register


def sampler_register(add: Add, samplers: Registry[Any]) -> RegisterSampler:
    """Return the ``register`` of samplers, and of settings that samplers share.

    Default and neutral value must lie within the bounds; what a sampler uses must be among ``samplers``.
    """

    def register(
        name: str,
        factory: Callable[..., Any] | None,
        *,
        order: int | None = None,
        default: float,
        neutral: float | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        integer: bool = False,
        uses: Sequence[str] = (),
        summary: str = "",
    ) -> None:
        if not str(name).isidentifier():
            raise PluginError(
                f"sampler {name!r}: it is a setting too, so its name is made of letters, digits and _"
            )
        if any(setting.name == name for setting in CORE_SETTINGS):
            raise PluginError(f"sampler '{name}': its setting would hide the one of that name")
        if factory is None and (order is not None or neutral is not None or uses):
            raise PluginError(f"sampler '{name}': a setting without a factory has no order, neutral and uses")
        if factory is not None and (order is None or neutral is None):
            raise PluginError(f"sampler '{name}': it needs an order and a neutral value")
        off = default if neutral is None else neutral
        low = -math.inf if minimum is None else minimum
        high = math.inf if maximum is None else maximum
        for what, value in (("default", default), ("neutral value", off)):
            if not low <= value <= high:
                raise PluginError(f"sampler '{name}': its {what} {value:g} is not within {low:g} … {high:g}")
        _check_used(name, _texts("uses", uses), samplers)
        add(
            name,
            factory,
            summary,
            needs_factory=False,
            order=None if order is None else int(order),
            default=default,
            neutral=off,
            minimum=minimum,
            maximum=maximum,
            integer=bool(integer),
            uses=tuple(uses),
        )

    return register


def _check_used(name: str, uses: tuple[str, ...], samplers: Registry[Any]) -> None:
    known = [*samplers.names(), "tokenizer"]
    for used in uses:
        if used not in known:
            match = nearest(used, known)
            raise PluginError(
                f"sampler '{name}' uses '{used}', which is not registered"
                + (f"; did you mean '{match}'?" if match else ""),
                hint="register a setting before the samplers that use it",
            )
    if len(set(uses)) < len(uses):
        raise PluginError(f"sampler '{name}' names the same setting twice in 'uses'")


def mixer_register(add: Add) -> RegisterMixer:
    """Return the ``register`` of layer kinds."""

    def register(
        name: str,
        factory: Callable[..., Any],
        *,
        kind: Literal["mixer", "feed_forward"] = "mixer",
        summary: str = "",
    ) -> None:
        if kind not in ("mixer", "feed_forward"):
            raise PluginError(f"layer kind '{name}': kind is 'mixer' or 'feed_forward', not {kind!r}")
        add(name, factory, summary, kind=kind)

    return register


SPECIAL: Mapping[str, Callable[[Add], Callable[..., None]]] = MappingProxyType(
    {
        "register_backends": backend_register,
        "register_mixers": mixer_register,
        "register_sources": source_register,
    }
)
"""The hooks whose ``register`` takes more than a name, a factory and a summary, and no registry."""


def register_for(hook: str, add: Add, registry: Registry[Any]) -> Callable[..., None]:
    """Return what the hook named ``hook`` is handed as ``register``; ``add`` adds to ``registry``."""
    if hook == "register_commands":
        return command_register(add, registry)
    if hook == "register_samplers":
        return sampler_register(add, registry)
    build = SPECIAL.get(hook, factory_register)
    return build(add)
