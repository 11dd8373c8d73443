"""What stands in the folder of a run beside its events: config, data, checkpoints; read aside."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoshell.errors import NanoshellError
from nanoshell.runs.directory import Checkpoint, RunDirectory, folder_bytes
from nanoshell.runs.events import read_lines, worker_offset

if TYPE_CHECKING:
    from nanoshell.model.parameters import ParameterSplit

_FIRST_EVENTS = 100
"""The worker says on what it runs within so many events of its beginning."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of ``run``; ``problem`` says why its record cannot be read, '' as a rule.

    ``given`` are the dotted keys of the config whose value is not the default. ``machine`` is the event in
    which the newest worker says on what it runs. ``snapshots`` are bytes.
    """

    run: RunDirectory
    record: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    split: ParameterSplit | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Sequence[Checkpoint] = ()
    best: Path | None = None
    latest: Path | None = None
    snapshots: int = 0
    num_bytes: int = 0
    problem: str = ""


def read_facts(run: RunDirectory, before: RunFacts | None = None) -> RunFacts:
    """Return what is known of ``run``. The config is taken from ``before`` where that is of the same run.

    The first call loads what checks configs; none loads torch. It raises nothing for a folder that is gone.
    """
    if before is None or before.run != run or before.problem:
        before = _config(run)
    latest = run.latest_checkpoint()
    return RunFacts(
        run=run,
        record=before.record,
        given=before.given,
        split=before.split,
        machine=_machine(run),
        checkpoints=run.checkpoints(),
        best=run.best_checkpoint(),
        latest=latest,
        snapshots=folder_bytes(run.snapshots_dir),
        num_bytes=run.size_bytes(),
        problem=before.problem,
    )


def _config(run: RunDirectory) -> RunFacts:
    from nanoshell.model.config import ModelConfig
    from nanoshell.model.parameters import parameter_split

    if not run.path.is_dir():
        return RunFacts(run, problem=f"the folder {run.path} is gone")
    try:
        record = run.record()
    except NanoshellError as error:
        return RunFacts(run, problem=error.message)
    try:
        split = parameter_split(ModelConfig.from_dict(record["model"], "run.yaml"))
    except (NanoshellError, KeyError, TypeError, ValueError):
        split = None
    return RunFacts(run, record, _given(record), split)


def _given(record: Mapping[str, Any]) -> frozenset[str]:
    """Return the dotted keys whose value in ``record`` is another than the default, or has no default."""
    from nanoshell.model.config import ModelConfig
    from nanoshell.training.config import TrainerConfig

    found = set()
    for section, kind in (("model", ModelConfig), ("trainer", TrainerConfig)):
        values = record.get(section)
        for key, value in values.items() if isinstance(values, Mapping) else ():
            known = kind.model_fields.get(key)
            default = known.get_default(call_default_factory=True) if known else None
            if known is None or known.is_required() or value != _as_read(default):
                found.add(f"{section}.{key}")
    return frozenset(found)


def _as_read(value: Any) -> Any:
    """Return a default as it would stand in a file."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _machine(run: RunDirectory) -> Mapping[str, Any]:
    events = itertools.islice(read_lines(run.events_path, worker_offset(run)), _FIRST_EVENTS)
    return next((event for _, event in events if event.get("state") == "running" and "device" in event), {})
