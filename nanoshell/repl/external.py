"""The line in an editor of the user's choice, and back."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from nanoshell.errors import NanoshellError, UsageError

_USUAL = ("editor", "nano", "vim", "vi", "emacs")
"""What is tried where no variable names an editor."""


def find_editor() -> list[str]:
    """Return the words of the command that ``VISUAL`` or ``EDITOR`` names, else an editor that is installed.

    Raises `UsageError` where there is none.
    """
    for variable in ("VISUAL", "EDITOR"):
        if command := os.environ.get(variable, "").strip():
            try:
                words = shlex.split(command)
            except ValueError:
                words = [command]
            if shutil.which(words[0]) is None:
                raise UsageError(
                    f"the editor of the variable {variable} is not there: {words[0]}",
                    hint=f"name another: export {variable}=nano",
                )
            return words
    for name in _USUAL:
        if shutil.which(name):
            return [name]
    raise UsageError("no editor is installed that is known here", hint="name yours: export EDITOR=COMMAND")


def edit(text: str) -> str:
    """Return ``text`` as it was saved in the editor. Raises `NanoshellError` where it was not."""
    words = find_editor()
    handle, name = tempfile.mkstemp(prefix="nanoshell-", suffix=".txt")  # readable by its owner alone
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        code = subprocess.run([*words, name], check=False).returncode
        if code:
            raise NanoshellError(f"{words[0]} ended with {code}; the line stays as it was")
        # Editors end the last line; the prompt's has no end.
        return path.read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NanoshellError(f"{words[0]} failed: {error}; the line stays as it was") from None
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
