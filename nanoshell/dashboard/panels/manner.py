"""How prompts are tried: what is chosen for them in place of the settings, typed as words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nanoshell.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Registry

_MOST_DIGITS = 18

AS_USUAL = "usual"
"""The word that takes back what was chosen."""


@dataclass(frozen=True)
class Manner:
    """How a prompt is tried: ``sampling`` holds what differs from the settings, ``tokens`` is the most.

    Where ``tokens`` or ``seed`` is None the settings say it, or chance.
    """

    sampling: Mapping[str, float] = field(default_factory=dict)
    tokens: int | None = None
    seed: int | None = None

    @property
    def words(self) -> str:
        """How it is typed, ``temperature=0.5 tokens=40``; '' where all is as usual."""
        found = [f"{name}={value:g}" for name, value in self.sampling.items()]
        found += [f"tokens={self.tokens}"] if self.tokens is not None else []
        found += [f"seed={self.seed}"] if self.seed is not None else []
        return " ".join(found)

    def options(self) -> dict[str, Any]:
        """Return what `Session.generate` is to be told."""
        chosen = {"sampling": self.sampling or None, "max_tokens": self.tokens, "seed": self.seed}
        return {name: value for name, value in chosen.items() if value is not None}

    def arguments(self) -> dict[str, Any]:
        """Return what a worker is to be told; its seed is the run's own."""
        chosen = {"settings": dict(self.sampling) or None, "tokens": self.tokens}
        return {name: value for name, value in chosen.items() if value is not None}


def read_manner(text: str, samplers: Registry[Any]) -> Manner:
    """Return what ``text`` says: ``temperature=0.5 seed=7 tokens=40``, or `AS_USUAL`.

    Raises `UsageError` and `UnknownNameError`, which name what is possible.
    """
    from nanoshell.generation.request import setting_values

    sampling: dict[str, float] = {}
    whole: dict[str, int] = {}
    for word in text.split() if text.strip() != AS_USUAL else ():
        name, equals, said = word.partition("=")
        if not equals or not said:
            raise UsageError(f"{word!r} has no value", hint=f"write {name}=VALUE")
        if name in ("tokens", "seed"):
            least = 1 if name == "tokens" else 0
            if not said.isdecimal() or len(said) > _MOST_DIGITS or int(said) < least:
                raise UsageError(f"{name} is {said!r}", hint=f"it must be a whole number of at least {least}")
            whole[name] = int(said)
            continue
        if name not in samplers.names():
            raise unknown_name("setting", name, ["tokens", "seed", *samplers.names()])
        try:
            sampling[name] = float(said)
        except ValueError:
            raise UsageError(f"{name} is {said!r}", hint="it must be a number") from None
        setting_values(sampling, samplers)
    return Manner(sampling, whole.get("tokens"), whole.get("seed"))
