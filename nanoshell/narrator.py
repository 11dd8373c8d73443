"""How long work tells a person about itself without knowing which face is listening.

A face gives the session its own narrator: bars in a terminal, plain lines elsewhere, silence in tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

Advance = Callable[[int], None]


class Narrator(Protocol):
    """Where notes and progress go. Never stdout: stdout is data."""

    def note(self, text: str) -> None:
        """Say one line."""

    def progress(
        self, label: str, total: int | None, unit: str = ""
    ) -> contextlib.AbstractContextManager[Advance]:
        """Show progress while the block runs; the yielded function adds to it, ``total`` may be unknown."""


class SilentNarrator:
    """Says nothing."""

    def note(self, text: str) -> None:
        pass

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        yield lambda amount: None
