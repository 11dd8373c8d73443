"""What the contract tests share: rules with names, and the error that names the broken one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contract:
    """What is owed by one thing: its ``kind`` ("mixer"), what it is called, and ``rules`` by their names."""

    kind: str
    called: str
    rules: Mapping[str, str]

    def must(self, rule: str, kept: Any, found: str = "") -> None:
        """Raise `AssertionError` that names ``rule`` and says what was ``found``, unless it is ``kept``."""
        if not kept:
            raise AssertionError(self._broken(rule, found))

    @contextlib.contextmanager
    def keeping(self, rule: str, doing: str) -> Iterator[None]:
        """Run the block; what it raises breaks ``rule``, ``doing`` saying what was tried."""
        try:
            yield
        except AssertionError:
            raise
        except Exception as error:
            found = f"{doing} raised {type(error).__name__}: {error}"
            raise AssertionError(self._broken(rule, found)) from error

    @contextlib.contextmanager
    def refusing(self, rule: str, doing: str, *kinds: type[BaseException]) -> Iterator[None]:
        """Run the block, which must raise one of ``kinds``."""
        names = " or ".join(kind.__name__ for kind in kinds)
        try:
            yield
        except kinds:
            return
        except Exception as error:
            found = f"{doing} raised {type(error).__name__}: {error}, not {names}"
            raise AssertionError(self._broken(rule, found)) from error
        raise AssertionError(self._broken(rule, f"{doing} raised no {names}"))

    def _broken(self, rule: str, found: str) -> str:
        text = self.rules[rule]
        lines = [f"{self.kind} {self.called} breaks the rule '{rule}': {text}"]
        return "\n".join([*lines, f"  found: {found}"] if found else lines)


def name_of(thing: Any) -> str:
    """Return what to call a factory or an object in messages."""
    named = getattr(thing, "__name__", None) or type(thing).__name__
    return f"'{named}'"


def shown(value: Any, length: int = 120) -> str:
    """Return ``value`` as its repr, cut to ``length`` characters."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 2] + " …"
