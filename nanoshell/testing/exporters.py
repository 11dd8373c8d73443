"""The contract of an exporter."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nanoshell.testing.contract import Contract, name_of

RULES = MappingProxyType(
    {
        "writes": "factory(model_dir, target) writes a file or a folder at target, and nothing beside it",
        "leaves alone": "the model directory is as it was",
        "again": "the same model gives the same files",
        "anywhere": "it works whatever the current folder is",
    }
)


def check_exporter(factory: Callable[[Path, Path], Any], model_dir: Path, *, suffix: str = "") -> None:
    """Check what ``factory(model_dir, target)`` writes; ``suffix`` is what its targets end in (".npz")."""
    contract = Contract("exporter", name_of(factory), RULES)
    before = _contents(model_dir)
    written = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            place = Path(folder, str(number))
            place.mkdir()
            target = place / f"exported{suffix}"
            with contract.keeping("writes" if not number else "anywhere", "exporting"):
                _call_in(Path(folder) if number else Path.cwd(), factory, model_dir, target)
            contract.must("writes", target.exists(), f"there is no {target.name}")
            beside = sorted(path.name for path in place.iterdir() if path != target)
            contract.must("writes", not beside, f"{', '.join(beside)} beside it")
            written.append(_contents(place))
    contract.must("leaves alone", _contents(model_dir) == before, "it has other files or contents")
    other = sorted(
        str(name)
        for name in written[0].keys() | written[1].keys()
        if written[0].get(name) != written[1].get(name)
    )
    contract.must("again", not other, f"{', '.join(other)} differ")


def _call_in(folder: Path, factory: Callable[[Path, Path], Any], model_dir: Path, target: Path) -> None:
    was, model_dir = Path.cwd(), model_dir.resolve()
    os.chdir(folder)
    try:
        factory(model_dir, target)
    finally:
        os.chdir(was)


def _contents(folder: Path) -> Mapping[Path, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}
