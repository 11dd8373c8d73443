"""The contract of a section of ``runs show``."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nanoshell.testing.contract import Contract, name_of, shown

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory

SECTION_RULES = MappingProxyType(
    {
        "reads": "it takes a run in any state: ended, failed, or just created and without an event",
        "leaves alone": "it changes nothing in the run's directory",
        "again": "the same run gives the same value",
        "shows": "what it returns can be shown as what a command returns: text, dataclass, list or mapping",
        "json": "what it returns can be written as JSON by --json",
    }
)


def check_run_section(section: Callable[[RunDirectory], Any], run: RunDirectory | None = None) -> None:
    """Check ``section`` on runs in several states and, where it is given, on ``run``."""
    from nanoshell.command.encode import dump
    from nanoshell.command.render import TerminalScreen, show

    contract = Contract("run section", name_of(section), SECTION_RULES)
    for case, value in _values(contract, section, run):
        if value is None:
            continue
        with (
            contract.keeping("shows", f"showing {shown(value)}, of {case},"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            show(value, TerminalScreen())
        with contract.keeping("json", f"writing {shown(value)}, of {case},"):
            json.loads(dump(value))
        contract.must("json", not _opaque(value), f"of {case} it is {shown(value)}")


def _values(
    contract: Contract,
    section: Callable[[RunDirectory], Any],
    run: RunDirectory | None,
) -> list[tuple[str, Any]]:
    from nanoshell.command.encode import encode
    from nanoshell.testing.run import write_run

    found = []
    with tempfile.TemporaryDirectory() as folder:
        made = {
            f"a run that {words}": write_run(Path(folder), "tiny", state=state)
            for words, state in (("is finished", "finished"), ("has failed", "failed"), ("has no event", ""))
        }
        runs = made | ({} if run is None else {f"run {run.name}": run})
        for case, one in runs.items():
            before = _contents(one)
            with contract.keeping("reads", f"reading {case}"):
                value = section(one)
                other = section(one)
            contract.must("leaves alone", _contents(one) == before, f"{case} has other files or contents")
            contract.must("again", encode(value) == encode(other), f"{case} gave {shown(other)}")
            found.append((case, value))
    return found


def _contents(run: RunDirectory) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}


def _opaque(value: Any) -> bool:
    """Return whether JSON would hold nothing but the repr of an object: ``<Thing object at 0x…>``."""
    from nanoshell.command.encode import encode

    text = encode(value)
    return not isinstance(value, str) and isinstance(text, str) and text.startswith("<")
