"""The entry points of installed distributions, read without the library for it.

``importlib.metadata`` brings the packages for mail and archives along, a twentieth of the time in which the
prompt starts. It is asked where distributions lie in another way than as folders beside their packages.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EntryPoint:
    """A ``name`` and the ``value`` (``module`` or ``module:object``) that it stands for, and who brings it.

    ``distribution`` is "unknown" and ``version`` empty where the metadata is missing or damaged.
    """

    name: str
    value: str
    distribution: str
    version: str

    @property
    def module(self) -> str:
        """The module that holds the object."""
        return self.value.partition(":")[0].strip()

    def load(self) -> object:
        """Import the module and return the object."""
        found: object = importlib.import_module(self.module)
        for attribute in filter(None, self.value.partition(":")[2].partition("[")[0].strip().split(".")):
            found = getattr(found, attribute)
        return found


def entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of ``group``, those of each distribution once: of the first on the path."""
    folders = list(_metadata_folders()) if _all_are_folders() else None
    if folders is None:
        return _asked_of_the_library(group)
    seen: set[str] = set()
    found: list[EntryPoint] = []
    for folder in folders:
        name = re.sub(r"[-_.]+", "_", folder.name.rpartition(".")[0].partition("-")[0]).lower()
        if name not in seen:
            seen.add(name)
            found += _points(group, _read(folder / "entry_points.txt"), folder)
    return found


def _all_are_folders() -> bool:
    """Return whether distributions lie beside their packages alone: no archive, egg or other finder."""
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    archives = any(entry.endswith(".egg") or Path(entry).is_file() for entry in sys.path if entry)
    return not archives and all(getattr(finder, "__name__", "") == "PathFinder" for finder in finders)


def _metadata_folders() -> Iterator[Path]:
    for entry in sys.path:
        try:
            names = os.listdir(entry or ".")  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            if name.lower().endswith((".dist-info", ".egg-info")):
                yield Path(entry, name)


def _points(group: str, text: str, folder: Path) -> Iterator[EntryPoint]:
    """Yield the entry points of ``group`` in ``text``, a file of sections in brackets."""
    if f"[{group}]" not in text:
        return
    section, identity = "", None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            identity = identity or _identity(_read(folder / "METADATA") or _read(folder / "PKG-INFO"))
            yield EntryPoint(name.strip(), value.strip(), *identity)


def _identity(metadata: str) -> tuple[str, str]:
    """Return name and version; "unknown" and "" where ``metadata`` does not tell them."""
    head = metadata.partition("\n\n")[0]
    name = re.search(r"^Name:\s*(\S+)", head, re.MULTILINE | re.IGNORECASE)
    version = re.search(r"^Version:\s*(\S+)", head, re.MULTILINE | re.IGNORECASE)
    return name[1] if name else "unknown", version[1] if version else ""


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _asked_of_the_library(group: str) -> list[EntryPoint]:
    import importlib.metadata

    found = []
    for point in importlib.metadata.entry_points(group=group):
        try:
            text = point.dist and (point.dist.read_text("METADATA") or point.dist.read_text("PKG-INFO"))
        except (OSError, UnicodeDecodeError):
            text = ""
        found.append(EntryPoint(point.name, point.value, *_identity(text or "")))
    return found
