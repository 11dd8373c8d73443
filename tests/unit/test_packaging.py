"""What an installed nanoshell consists of: its packages, its presets, and nothing with a common name."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"][
    "wheel"
]


def elsewhere(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder``, as somebody does who has never seen the repository."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )


def test_the_wheel_has_every_plugin_and_the_presets() -> None:
    plugins = {f"plugins/{path.parent.name}" for path in (ROOT / "plugins").glob("*/__init__.py")}
    assert plugins
    assert set(WHEEL["packages"]) == {"nanoshell", *plugins}
    assert WHEEL["force-include"] == {"models": "nanoshell_presets"}
    assert list((ROOT / "models").glob("*.yaml"))


@pytest.mark.parametrize("name", ["tests", "models", "plugins", "docs"])
def test_a_folder_of_the_repository_is_no_package_elsewhere(name: str, tmp_path: Path) -> None:
    done = elsewhere(tmp_path, "-c", f"import {name}; print({name}.__path__)")
    assert str(ROOT) not in done.stdout, done.stdout
    assert done.returncode == 1


def test_the_presets_are_found_from_any_folder(tmp_path: Path) -> None:
    done = elsewhere(tmp_path, "-m", "nanoshell", "model", "list", "--json")
    assert done.returncode == 0, done.stderr
    listed = [preset for line in done.stdout.splitlines() for preset in json.loads(line)]
    assert "nano-start" in [preset["name"] for preset in listed]
