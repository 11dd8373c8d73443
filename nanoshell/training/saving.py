"""What a run saves: checkpoints, which of them is the best, snapshots."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell.errors import StorageError
from nanoshell.runs.events import comparable_evaluations, effective_events
from nanoshell.runs.telling import rare_events
from nanoshell.training.checkpoint import (
    keep_newest,
    point_best,
    save_checkpoint,
    save_snapshot,
    step_name,
)

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.events import EventLog
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.config import RunConfig
    from nanoshell.training.evaluation import Evaluation
    from nanoshell.training.record import RunRecord
    from nanoshell.training.trainer import Trainer


class Saver:
    """Writes the checkpoints and snapshots of ``run``, and knows which checkpoint is the best.

    ``best`` is the lowest validation loss whose checkpoint was kept, with its step; None before the first. It
    is compared only with losses on the same held-out tokens.
    """

    def __init__(
        self, run: RunDirectory, record: RunRecord, trainer: Trainer, tokenizer: Tokenizer, events: EventLog
    ) -> None:
        self._run = run
        self._record = record
        self._trainer = trainer
        self._tokenizer = tokenizer
        self._events = events
        self._saved = self._course()  # where there is a checkpoint at all, it was restored
        self._num_bytes = 0
        self.best, self._judged_on = best_evaluation(run)

    @property
    def is_saved(self) -> bool:
        """Whether there is a checkpoint of the step that the trainer is at, with the settings that it has."""
        return self._saved == self._course() and self._run.latest_checkpoint() is not None

    def save(self) -> Path:
        """Write a checkpoint unless there is one of this step and these settings, and return its path.

        Raises `StorageError`.
        """
        step = self._trainer.step
        latest = self._run.latest_checkpoint()
        if self._saved == self._course() and latest is not None:
            return latest
        self.point_best()
        began = time.perf_counter()
        settings = self._trainer.config.trainer
        path, self._num_bytes = save_checkpoint(
            self._run,
            step,
            lambda folder: self._trainer.save(folder, self._tokenizer, self._record.corpus.sha256),
            settings.max_checkpoints,
            keep_best=settings.keep_best,
        )
        self._saved = self._course()
        self._events.write(
            "checkpoint",
            step=step,
            path=self.inside(path),
            bytes=self._num_bytes,
            seconds=round(time.perf_counter() - began, 3),
        )
        return path

    def _course(self) -> tuple[int, RunConfig, int]:
        """Return what a checkpoint is of: a step, and what was set or extended there belongs to it."""
        return self._trainer.step, self._trainer.config, self._trainer.schedule.horizon

    def snapshot(self) -> Path:
        """Write the weights unless this step has them there, and return their folder."""
        return save_snapshot(
            self._run,
            self._trainer.step,
            lambda folder: self._trainer.save_weights(folder, self._tokenizer),
        )

    def evaluated(self, found: Evaluation) -> bool:
        """Return whether the loss ``found``, of this step, is the lowest; ``checkpoints/best`` follows it.

        Without room on the disk that waits until the next checkpoint is saved. Raises `StorageError` for
        other reasons.
        """
        if not math.isfinite(found.loss):
            return False
        if self._best_is_gone():
            self.best, self._judged_on = best_evaluation(self._run)
        if self.best is not None and self._judged_on == found.tokens and found.loss >= self.best[0]:
            return False
        self.best, self._judged_on = (found.loss, self._trainer.step), found.tokens
        try:
            self.point_best()
            self._drop_superfluous()
        except StorageError as error:
            if not error.no_room:
                raise
        return True

    def _best_is_gone(self) -> bool:
        """Whether the best is to be kept and is not there: without room, or while none was kept."""
        best, keeps = self.best, self._trainer.config.trainer.keep_best
        return keeps and best is not None and not (self._run.checkpoints_dir / step_name(best[1])).is_dir()

    def point_best(self) -> None:
        """Let ``checkpoints/best`` name the best checkpoint, if it is there. Raises `StorageError`."""
        wanted = step_name(self.best[1]) if self.best else ""
        kept = self._run.best_checkpoint()
        if not self._trainer.config.trainer.keep_best or (kept.name if kept else "") == wanted:
            return
        if not wanted or (self._run.checkpoints_dir / wanted).is_dir():
            point_best(self._run, wanted)

    def _drop_superfluous(self) -> None:
        """Drop the checkpoint that was the best before, unless it is among the newest."""
        settings = self._trainer.config.trainer
        if settings.keep_best and self.is_saved:
            best = self._run.best_checkpoint()
            keep_newest(self._run.checkpoints_dir, settings.max_checkpoints, self._trainer.step, best)

    def has_room(self) -> bool:
        """Return whether the disk has room for a checkpoint such as the last one, as far as it tells."""
        try:
            return shutil.disk_usage(self._run.path).free > self._num_bytes
        except OSError:
            return True

    def inside(self, path: Path) -> str:
        """Return ``path`` as it is written in events: from the run's folder on."""
        return str(path.relative_to(self._run.path))


def best_evaluation(run: RunDirectory) -> tuple[tuple[float, int] | None, int | None]:
    """Return the lowest validation loss that counts, with its step, among checkpoints that are there.

    And on how many tokens it was found.
    """
    there = {checkpoint.step for checkpoint in run.checkpoints()}
    found = [
        (float(event["val_loss"]), int(event["step"]), event.get("tokens"))
        for event in comparable_evaluations(effective_events(rare_events(run.events_path)))
        if event.get("step") in there
    ]
    loss, step, tokens = min(found, default=(None, None, None), key=lambda each: each[:2])
    return (None if loss is None or step is None else (loss, step)), tokens


def told_at(run: RunDirectory, step: int) -> set[str]:
    """Return the types of the events that tell about the model as it was after ``step``."""
    events = effective_events(rare_events(run.events_path))
    return {event["type"] for event in events if event.get("step") == step}


def without_room(error: StorageError, checkpoint: Path | None) -> StorageError:
    """Return ``error``, met while saving, with what is kept."""
    kept = f"the last good checkpoint is kept: {checkpoint.name}" if checkpoint else "no checkpoint is kept"
    hint = "; ".join(part for part in (error.hint, kept) if part)
    return StorageError(error.message, hint=hint, no_room=error.no_room)
