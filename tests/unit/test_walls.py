"""The walls of the house: they are checked, each holds when pushed, and the public door is in order."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nanoshell

ROOT = Path(__file__).parents[2]
PACKAGES = ("nanoshell", "plugins")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the code under ``root`` with the contracts of this repository."""
    path = os.pathsep.join([str(root), str(root / "plugins")])
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(cache_dir=None))"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code whose walls may be damaged."""
    root = tmp_path_factory.mktemp("house")
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, root / name, ignore=lambda _, names: [n for n in names if not _is_code(n)]
        )
    shutil.copy(ROOT / ".importlinter", root)
    return root


def _is_code(name: str) -> bool:
    return name.endswith(".py") or ("." not in name and name != "__pycache__")


def test_every_wall_stands(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "wall"),
    [
        (
            "nanoshell/data/loader.py",
            "from nanoshell.model import config",
            "A room imports only from floors below it",
        ),
        (
            "nanoshell/errors.py",
            "def f():\n    import nanoshell.files",
            "A room imports only from floors below it",
        ),
        ("nanoshell/attic.py", "x = 1", "A room imports only from floors below it"),
        ("nanoshell/session.py", "import nanoshell_torch", "The core never imports our plugins"),
        (
            "plugins/nanoshell_data/__init__.py",
            "from nanoshell.errors import DataError",
            "Our plugins import nothing of the core but its public API",
        ),
        (
            "plugins/nanoshell_data/__init__.py",
            "from nanoshell import paths",
            "Our plugins import nothing of the core but its public API",
        ),
        (
            "plugins/nanoshell_torch/__init__.py",
            "import nanoshell_data",
            "Our plugins do not import each other",
        ),
        ("nanoshell/runs/status.py", "import numpy", "Reading a run directory needs no tensors"),
        (
            "nanoshell/training/config.py",
            "from nanoshell.cli import main",
            "Training and generation know no face",
        ),
    ],
)
def test_each_wall_holds_when_it_is_pushed(copy: Path, file: str, line: str, wall: str) -> None:
    path = copy / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text((before or "") + f"\n{line}\n", encoding="utf-8")
    try:
        done = lint(copy)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")
    assert done.returncode != 0
    assert f"{wall} BROKEN" in done.stdout, done.stdout + done.stderr


def _for_type_checkers() -> dict[str, str]:
    """Return name to module of what ``nanoshell/__init__.py`` imports for type checkers."""
    tree = ast.parse(Path(nanoshell.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    names: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name} is not re-exported: write 'as {alias.name}'"
            assert alias.name not in names
            names[alias.name] = node.module or ""
    return names


def test_what_type_checkers_see_is_what_is_loaded() -> None:
    assert _for_type_checkers() == nanoshell._HOME


def test_the_table_is_sorted() -> None:
    assert list(nanoshell._HOME) == sorted(nanoshell._HOME)


@pytest.mark.parametrize("name", sorted(nanoshell._HOME))
def test_every_public_name_resolves_to_what_its_room_defines(name: str) -> None:
    value = getattr(nanoshell, name)
    assert value is getattr(importlib.import_module(nanoshell._HOME[name]), name)
    assert name in dir(nanoshell)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'nanoshell' has no attribute 'Nothing'"):
        nanoshell.Nothing  # noqa: B018 - the access is the test


def test_importing_nanoshell_loads_nothing_of_it() -> None:
    program = "import sys, nanoshell; print(sorted(n for n in sys.modules if n.startswith('nanoshell')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['nanoshell', 'nanoshell._names', 'nanoshell.version']"
