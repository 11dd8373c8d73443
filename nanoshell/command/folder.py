"""What a folder holds that a path being typed may mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def look_up(
    word: str, *, only_folders: bool, endings: Sequence[str]
) -> tuple[str, dict[str, os.DirEntry[str]]]:
    """Return the folder part of ``word`` as it was typed, and the entries of that folder in their order.

    Folders have a slash behind their names. Files have one of ``endings``, where there are any; what is
    hidden is among them once a dot is typed. A folder that cannot be read has no entries.
    """
    folder, slash, start = word.rpartition("/")
    parent = Path((folder or "/") if slash else ".").expanduser()
    found: dict[str, os.DirEntry[str]] = {}
    try:
        with os.scandir(parent) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") and not start.startswith("."):
                    continue
                if entry.is_dir():
                    found[f"{entry.name}/"] = entry
                elif not only_folders and (not endings or entry.name.lower().endswith(tuple(endings))):
                    found[entry.name] = entry
    except (OSError, RuntimeError):  # expanduser: a user that is not there
        pass
    return f"{folder}{slash}", found
