"""The lines typed at the prompt, kept between sessions in a file that only its owner reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from nanoshell import paths


class PrivateHistory(FileHistory):
    """A history file (0600). Where it cannot be read or written, lines are not kept, and that is all."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        with contextlib.suppress(OSError):
            paths.private_folder(path.parent)
            path.touch(mode=0o600, exist_ok=True)

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().store_string(string)


def open_history(*, keep: bool) -> History:
    """Return the history of the prompt: the user's file, or one of this session alone."""
    return PrivateHistory(paths.data_dir() / "prompt_history") if keep else InMemoryHistory()
