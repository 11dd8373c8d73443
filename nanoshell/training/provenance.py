"""Where a run comes from: versions, plugins, machine, command line, revision. No torch here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nanoshell.training.numerics import available_cores
from nanoshell.version import __version__

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins

_LIBRARIES = ("torch", "numpy", "safetensors", "tiktoken")
_GIT_SECONDS = 2.0


def describe_origin(plugins: Plugins, argv: Sequence[str]) -> dict[str, Any]:
    """Return what YAML should keep about who made a run, on what, with what."""
    return {
        "argv": list(argv),
        "versions": {
            "nanoshell": __version__,
            "python": platform.python_version(),
            **{name: version for name in _LIBRARIES if (version := _version(name))},
        },
        "plugins": [
            {"name": info.name, "version": info.version, "origin": info.origin}
            for info in plugins.infos
            if info.state == "active"
        ],
        "machine": {
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "cores": available_cores(),
        },
        "git_revision": _git_revision(),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Return the revision of the current folder, where it is in a git repository and git is there."""
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() or None
