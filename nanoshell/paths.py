"""Where nanoshell keeps a user's files: one function for each folder, following the platform's conventions.

``NANOSHELL_HOME`` moves all of them under one folder (tests and portable installs use it).
"""

from __future__ import annotations

import os
from pathlib import Path


def _user_folder(kind: str) -> Path:
    home = os.environ.get("NANOSHELL_HOME")
    if home:
        folder = Path(home).expanduser() / kind
    else:
        import platformdirs

        folder = Path(getattr(platformdirs, f"user_{kind}_dir")("nanoshell", appauthor=False))
    return folder


def private_folder(folder: Path) -> Path:
    """Create ``folder`` and what is missing above it (mode 0700), and return it."""
    if not folder.is_dir():
        if not folder.parent.is_dir():
            private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def config_dir() -> Path:
    """The folder of settings and of the user's own presets. It may not exist yet."""
    return _user_folder("config")


def data_dir() -> Path:
    """The folder of conversations, prompt history and the last session's state. It may not exist yet."""
    return _user_folder("data")


def cache_dir() -> Path:
    """The folder of what can be made again: tokenized corpora, downloads. It may not exist yet."""
    return _user_folder("cache")


def shipped_presets_dir() -> Path:
    """The folder of the presets that nanoshell brings: a checkout's ``models``, else beside the package."""
    beside = Path(__file__).resolve().parent.parent
    return beside / ("models" if (beside / "pyproject.toml").is_file() else "nanoshell_presets")


def preset_dirs() -> list[Path]:
    """The folders in which a preset is looked up by name, first match wins."""
    return [Path("models"), config_dir() / "models", shipped_presets_dir()]
