"""What every test gets: a home of its own, and a folder for runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read when torch is loaded, here and in the workers that tests start: tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point settings, history and caches to a fresh folder, and let no setting of the machine leak in."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("NANOSHELL_HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    plugins = ("NANOSHELL_PLUGINS", "NANOSHELL_STRICT")
    terminal = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    for name in (*plugins, *terminal, "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """A folder for runs that does not exist yet."""
    return tmp_path / "runs"
