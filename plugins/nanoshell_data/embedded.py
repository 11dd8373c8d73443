"""The source ``nano-start``: the dataset that comes with nanoshell, small enough to learn by heart."""

from __future__ import annotations

from pathlib import Path

from nanoshell import DataError, unknown_name
from nanoshell_data.files import DataFile, FileSource

NAME = "nano-start"
PARTS = ("completions", "qa", "chat")
_FOLDER = Path(__file__).parent / "nano_start"


def open_embedded(rest: str) -> FileSource:
    """Return all of the dataset (no ``rest``, or "combined"), or one of its `PARTS`."""
    if rest not in ("", "combined", *PARTS):
        raise unknown_name(f"part of {NAME}", rest, ("combined", *PARTS))
    parts = (rest,) if rest in PARTS else PARTS
    files = [DataFile(_FOLDER / f"{part}.jsonl", f"{NAME}/{part}.jsonl") for part in parts]
    absent = [file.path for file in files if not file.path.is_file()]
    if absent:
        raise DataError(f"the embedded file {absent[0]} is missing", hint="install nanoshell anew")
    return FileSource(f"{NAME}:{rest}" if rest else NAME, "embedded", files)
