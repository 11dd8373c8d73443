"""Registries: by name, what plugins brought, and who brought it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from nanoshell.errors import PluginError, unknown_name

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing: its ``name``, the ``value``, the plugin that brought it, one line about it."""

    name: str
    value: T
    provider: str
    summary: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class Registry(Generic[T]):
    """The registered things of one kind ("sampler", "data source", …), in the order of their registration."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def add(self, name: str, value: T, *, provider: str, summary: str = "", **options: Any) -> None:
        """Register ``value``. Raises `PluginError` where the name is taken, naming both providers."""
        taken = self._entries.get(name)
        if taken is not None:
            raise PluginError(
                f"{self.kind} '{name}' is registered twice: by '{taken.provider}' and by '{provider}'",
                hint="rename one of them, or disable one of the two plugins",
            )
        self._entries[name] = Entry(name, value, provider, summary, MappingProxyType(dict(options)))

    def get(self, name: str) -> T:
        """Return what is registered as ``name``. Raises `UnknownNameError` with the nearest name."""
        return self.entry(name).value

    def entry(self, name: str) -> Entry[T]:
        """Return the entry of ``name``. Raises `UnknownNameError` with the nearest name."""
        try:
            return self._entries[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._entries) from None

    def remove_provider(self, provider: str) -> None:
        """Forget all that ``provider`` registered."""
        self._entries = {n: e for n, e in self._entries.items() if e.provider != provider}

    def names(self) -> list[str]:
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)
