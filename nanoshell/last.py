"""The memory between starts: which model, data and folder of runs the last session had."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoshell import paths
from nanoshell.errors import StorageError
from nanoshell.files import write_text


def last_state() -> dict[str, Any]:
    """Return ``model``, ``data`` and ``runs_dir`` of the last session, or an empty dict."""
    try:
        state = json.loads(_state_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def keep_state(state: Mapping[str, Any]) -> None:
    """Keep ``state`` for the next start. Failing to is no reason to fail."""
    with contextlib.suppress(StorageError):
        write_text(_state_file(), json.dumps(dict(state)), private=True)


def absolute(reference: str) -> str:
    """Return ``reference`` so that it means the same in another folder, where it is the path of something."""
    path = Path(reference).expanduser()
    return str(path.resolve()) if path.exists() else reference


def _state_file() -> Path:
    return paths.data_dir() / "last.json"
