"""Which model directory a user means: ``latest``, a run, ``RUN@STEP``, ``RUN@best``, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nanoshell.errors import (
    MissingModelError,
    MissingRunError,
    NanoshellError,
    RunError,
    UsageError,
    unknown_name,
)
from nanoshell.last import last_state
from nanoshell.runs.control import request, wait_for
from nanoshell.runs.directory import RunDirectory, find_run, list_runs
from nanoshell.spelling import typed

SNAPSHOT_SECONDS = 60.0
"""How long to wait for a training run to write a snapshot: one step and one write of the weights."""


Step = int | Literal["best"]


@dataclass(frozen=True)
class ModelLocation:
    """A model directory together with the run that it belongs to, where it belongs to one."""

    path: Path
    run: RunDirectory | None = None

    @property
    def step(self) -> int | None:
        """The training step in the directory's name (``step-000200``), or None."""
        name, _, digits = self.path.name.rpartition("-")
        return int(digits) if name == "step" and digits.isdigit() else None

    @property
    def label(self) -> str:
        """A short name for people: run and step, or the folder's name."""
        if self.run is None:
            return self.path.name
        return self.run.name if self.step is None else f"{self.run.name}@{self.step}"


def locate_model(runs_dir: Path, reference: str) -> ModelLocation:
    """Return the model directory that ``reference`` names among the runs in ``runs_dir``, or as a folder.

    A run that is training is asked for a snapshot of its newest weights. Raises `UnknownNameError`,
    `RunError` where a run has no weights, and `MissingModelError` for a folder without a model.
    """
    folder = Path(reference).expanduser()
    if (folder / "config.json").is_file():
        return _in_folder(folder.resolve())
    name, step = split_step(reference)
    run = _newest_with_weights(runs_dir) if name == "latest" else _named(runs_dir, name)
    if step is not None:
        return ModelLocation(checkpoint_at(run, step), run)
    return ModelLocation(_newest_weights(run), run)


def last_model() -> str | None:
    """Return the model that was chosen last, before this start, as `locate_model` takes it anywhere.

    None where none was, where it is gone, or where it is a run that has ended without weights.
    """
    state = last_state()
    reference = state.get("model")
    if not isinstance(reference, str):
        return None
    if Path(reference).is_absolute():
        run = RunDirectory(Path(reference))
        empty = run.record_path.is_file() and run.latest_checkpoint() is None and run.status().ended
        return reference if run.path.exists() and not empty else None
    name, step = split_step(reference)
    try:
        run = find_run(Path(str(state.get("runs_dir", ""))), name)
        return str((run.path if step is None else checkpoint_at(run, step)).resolve())
    except NanoshellError:
        return None


def model_name(reference: str) -> str:
    """Return ``reference`` as short as people say it: of a run by its path, the run's name."""
    folder = Path(reference)
    if RunDirectory(folder).record_path.is_file():
        return folder.name
    return _in_folder(folder).label if folder.is_absolute() else reference


def is_of_run(reference: object, run: RunDirectory) -> bool:
    """Return whether ``reference``, as `locate_model` takes it, is a model of ``run``: by name or by path."""
    if not isinstance(reference, str):
        return False
    folder = run.path.resolve()
    return reference.partition("@")[0] == run.name or Path(reference).resolve().is_relative_to(folder)


def split_step(reference: str) -> tuple[str, Step | None]:
    """Return ``NAME@STEP`` as its two parts; the step is None where ``reference`` names none.

    The last ``@`` counts, and only before digits or ``best``: a path may hold others.
    """
    name, _, step = reference.rpartition("@")
    if name and step == "best":
        return name, "best"
    return (name, int(step)) if name and step.isdecimal() else (reference, None)


def checkpoint_at(run: RunDirectory, step: Step) -> Path:
    """Return the checkpoint of ``run`` taken after ``step``; ``best`` is that of the lowest validation loss.

    Raises `UnknownNameError` for a step that has none, `RunError` where none is the best.
    """
    if step == "best":
        best = run.best_checkpoint()
        if best is None:
            raise RunError(
                f"run {run.name} has no best checkpoint",
                hint="one is kept where trainer.val_fraction holds text back and trainer.keep_best is true",
            )
        return best
    by_step = {str(checkpoint.step): checkpoint.path for checkpoint in run.checkpoints()}
    if str(step) not in by_step:
        raise unknown_name(f"checkpoint of {run.name}", str(step), by_step)
    return by_step[str(step)]


def _in_folder(folder: Path) -> ModelLocation:
    run = RunDirectory(folder.parent.parent)
    return ModelLocation(folder, run if run.record_path.is_file() else None)


def _named(runs_dir: Path, name: str) -> RunDirectory:
    try:
        return find_run(runs_dir, name)
    except (RunError, UsageError):
        if not Path(name).expanduser().is_dir():
            raise
        raise MissingModelError(
            f"{name} holds no model: there is no config.json in it",
            hint="name a run, a checkpoint's folder, or latest",
        ) from None


def _newest_with_weights(runs_dir: Path) -> RunDirectory:
    for run in list_runs(runs_dir):
        if run.latest_checkpoint() is not None or not run.status().ended:
            return run
    raise MissingRunError(
        f"no run in {runs_dir} has weights yet", hint=f"train one: {typed('train')}, or {typed('demo')}"
    )


def _newest_weights(run: RunDirectory) -> Path:
    status = run.status()
    if status.state in ("starting", "running", "paused"):
        answer = wait_for(run, request(run, "snapshot"), timeout=SNAPSHOT_SECONDS)
        if answer is not None and answer.get("ok") and answer.get("path"):
            return (run.path / str(answer["path"])).resolve()
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        raise RunError(
            f"run {run.name} has no weights yet ({run.status().state})",
            hint=f"see its log: {typed(f'runs log {run.name}')}",
        )
    return checkpoint
