"""A text in an editor of the user's choice, and back."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from nanoshell.command.interrupt import left_to_program
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


def run_editor(path: Path) -> None:
    """Let the user's editor change the file ``path``, and return when it has ended.

    Ctrl-C is the editor's meanwhile. Where stdout is no terminal, it draws on stderr: stdout is data.
    Raises `UsageError` where there is no editor, and where it cannot be started or fails.
    """
    if threading.current_thread() is not threading.main_thread():  # the dashboard has the terminal
        raise UsageError("no editor can be opened from here", hint="do it at the prompt")
    words = find_editor()
    screen = sys.__stdout__ is not None and sys.__stdout__.isatty()
    output = None if screen or sys.__stderr__ is None else sys.__stderr__.fileno()
    try:
        with left_to_program():
            code = subprocess.run([*words, str(path)], stdout=output, check=False).returncode
    except OSError as error:
        raise UsageError(
            f"cannot start the editor {words[0]}: {error.strerror}",
            hint="name another: export EDITOR=COMMAND",
        ) from None
    if code:
        raise UsageError(f"the editor {words[0]} ended with code {code}")


def edit_text(text: str, *, suffix: str = ".txt") -> str:
    """Return ``text`` as it was saved in the user's editor, without the end of its last line.

    ``suffix`` tells the editor what kind of text it is. Raises as `run_editor` does, and `NanoshellError`
    where what was saved cannot be read.
    """
    handle, name = tempfile.mkstemp(prefix="nanoshell-", suffix=suffix)  # readable by its owner alone
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        run_editor(path)
        return path.read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NanoshellError(f"what the editor has saved cannot be read: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
