"""Files that a panel writes for its user: never over another file, and where there is room for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell import paths
from nanoshell.errors import NanoshellError
from nanoshell.files import explain_storage, write_text

if TYPE_CHECKING:
    from textual.app import App

    from nanoshell.dashboard.panel import Panel

COPIED = "copied.txt"
"""The file beside the user's data that holds what was copied last."""


def export(stem: str, contents: Mapping[str, str]) -> str:
    """Write ``contents``, by the ending of the file, as files named ``stem``, and return where they are.

    They go to the current folder, or to ``exports`` beside the user's data where that cannot be written.
    Raises `StorageError`.
    """
    stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "chart"
    try:  # asking for the right to write would not tell of /proc, or of a folder that is lost
        return _written(Path.cwd(), stem, contents)
    except (NanoshellError, OSError):
        folder = paths.data_dir() / "exports"
        with explain_storage(folder):
            paths.private_folder(folder)
        return _written(folder, stem, contents)


def _written(folder: Path, stem: str, contents: Mapping[str, str]) -> str:
    free = _free(folder, stem, contents)
    for ending, text in contents.items():
        write_text(folder / f"{free}.{ending}", text)
    return f"{folder / free}." + ", .".join(contents)


def _free(folder: Path, stem: str, endings: Mapping[str, str]) -> str:
    """Return ``stem``, with a number where there is such a file already."""
    found, number = stem, 1
    while any((folder / f"{found}.{ending}").exists() for ending in endings):
        number += 1
        found = f"{stem}-{number}"
    return found


def copy_from(panel: Panel, text: str, what: str) -> None:
    """Copy ``text``, which is ``what`` of ``panel``, and say so, or that there is none."""
    if not text:
        panel.desk.tell("there is nothing to copy here", severity="warning", about="copied")
        return
    path = copy(panel.app, text)
    beside = f"; where the terminal does not take it: {path}" if path else ""
    panel.desk.tell(f"{what} copied{beside}", about="copied")


def copy(app: App[None], text: str) -> str:
    """Copy ``text`` to the terminal's clipboard, and return the file that holds it, too; '' without one.

    No terminal says whether it has taken the text (OSC 52), so that the file is written each time.
    """
    app.copy_to_clipboard(text)
    if app.is_web:
        return ""
    try:
        path = paths.private_folder(paths.data_dir()) / COPIED
        write_text(path, text, private=True)
    except (NanoshellError, OSError):
        return ""
    return str(path)
