"""The lines typed at the prompt, kept between sessions in a file that only its owner reads."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from nanoshell import paths

MOST_BYTES = 1_000_000
"""The end of the file that is read, some ten thousand lines: to read years of them would delay the prompt."""


class PrivateHistory(FileHistory):
    """A history file (0600). Where it cannot be read or written, lines are not kept, and that is all."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        with contextlib.suppress(OSError):
            paths.private_folder(path.parent)
            path.touch(mode=0o600, exist_ok=True)
            path.chmod(0o600)  # it may have been copied here

    def load_history_strings(self) -> Iterable[str]:
        """Return the entries, the newest first. Each is a comment and its lines, a ``+`` before each line."""
        try:
            with open(self.filename, "rb") as file:  # noqa: PTH123
                size = file.seek(0, io.SEEK_END)
                file.seek(max(0, size - MOST_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        if size > MOST_BYTES:
            text = text[text.find("\n#") + 1 :]  # the first entry may have lost its beginning
        entries = re.findall(r"(?:^\+.*\n)+", text, re.MULTILINE)
        lines = ["\n".join(line[1:] for line in entry.split("\n")[:-1]) for entry in entries]
        return reversed(lines)

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().store_string(string)


def open_history(*, keep: bool) -> History:
    """Return the history of the prompt: the user's file, or one of this session alone."""
    return PrivateHistory(paths.data_dir() / "prompt_history") if keep else InMemoryHistory()
