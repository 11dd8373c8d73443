"""What a run writes beside its events: checkpoints, which is the best, snapshots, the batch that diverged."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoshell.data.loader import IGNORED
from nanoshell.data.tokens import open_tokens
from nanoshell.errors import StorageError
from nanoshell.files import write_text
from nanoshell.runs.events import effective_events, number
from nanoshell.runs.telling import rare_events
from nanoshell.training.checkpoint import (
    point_best,
    save_checkpoint,
    save_snapshot,
    step_name,
)

if TYPE_CHECKING:
    from nanoshell.data.loader import Batch
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.events import EventLog
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.record import RunRecord
    from nanoshell.training.trainer import StepResult, Trainer

DIVERGED_FORMAT = 1
_TEXT_SHOWN = 200
_COUNTED_TOKENS = 1 << 28
"""Beyond so many tokens of the file it is not counted in which document a window begins."""


class Saver:
    """Writes the checkpoints and snapshots of ``run``, and knows which checkpoint is the best.

    ``best`` is the lowest validation loss whose checkpoint was kept, with its step; None before the first.
    """

    def __init__(
        self, run: RunDirectory, record: RunRecord, trainer: Trainer, tokenizer: Tokenizer, events: EventLog
    ) -> None:
        self._run = run
        self._record = record
        self._trainer = trainer
        self._tokenizer = tokenizer
        self._events = events
        self._saved_step: int | None = trainer.step  # where there is a checkpoint at all, it was restored
        self._num_bytes = 0
        self.best = best_evaluation(run, trainer.step)

    @property
    def is_saved(self) -> bool:
        """Whether there is a checkpoint of the step that the trainer is at."""
        return self._saved_step == self._trainer.step and self._run.latest_checkpoint() is not None

    def save(self) -> Path:
        """Write a checkpoint unless this step has one, and return its path. Raises `StorageError`."""
        step = self._trainer.step
        latest = self._run.latest_checkpoint()
        if self._saved_step == step and latest is not None:
            return latest
        began = time.perf_counter()
        settings = self._trainer.config.trainer
        path, self._num_bytes = save_checkpoint(
            self._run,
            step,
            lambda folder: self._trainer.save(folder, self._tokenizer, self._record.corpus.sha256),
            settings.max_checkpoints,
            keep_best=settings.keep_best,
        )
        self._saved_step = step
        self._events.write(
            "checkpoint",
            step=step,
            path=self.inside(path),
            bytes=self._num_bytes,
            seconds=round(time.perf_counter() - began, 3),
        )
        return path

    def snapshot(self) -> Path:
        """Write the weights unless this step has them there, and return their folder."""
        return save_snapshot(
            self._run,
            self._trainer.step,
            lambda folder: self._trainer.save_weights(folder, self._tokenizer),
        )

    def evaluated(self, val_loss: float) -> bool:
        """Return whether ``val_loss``, of this step, is the lowest, and let ``checkpoints/best`` say so.

        Raises `StorageError`.
        """
        if self.best is not None and not val_loss < self.best[0]:
            return False
        step = self._trainer.step
        if self._trainer.config.trainer.keep_best and self.is_saved:
            point_best(self._run, step_name(step))
        self.best = (val_loss, step)
        return True

    def restore_best(self) -> None:
        """Let ``checkpoints/best`` name what it did at the step from which the run goes on."""
        kept = self._run.best_checkpoint()
        wanted = step_name(self.best[1]) if self.best else ""
        if kept is not None and kept.name != wanted:
            point_best(self._run, wanted)

    def has_room(self) -> bool:
        """Return whether the disk has room for a checkpoint such as the last one, as far as it tells."""
        try:
            return shutil.disk_usage(self._run.path).free > self._num_bytes
        except OSError:
            return True

    def inside(self, path: Path) -> str:
        """Return ``path`` as it is written in events: from the run's folder on."""
        return str(path.relative_to(self._run.path))

    def keep_diverged(self, result: StepResult) -> tuple[Path, str]:
        """Write what the update that diverged was made of, and return the file and the beginning of a text.

        Raises `StorageError`.
        """
        batches = self._trainer.last_batches
        rows = [row for batch in batches for row in self._windows(batch)]
        self._number_documents(rows)
        document = {
            "format": DIVERGED_FORMAT,
            "step": result.step,
            "loss": repr(result.loss),
            "grad_norm": repr(result.grad_norm),
            "learning_rate": result.learning_rate,
            "corpus": str(self._record.corpus.path),
            "micro_batches": [len(batch.inputs) for batch in batches],
            "rows": rows,
        }
        path = self._run.path / f"diverged-{step_name(result.step)}.json"
        write_text(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        return path, rows[0]["text"] if rows else ""

    def _windows(self, batch: Batch) -> list[dict[str, Any]]:
        """Return the windows of ``batch``: where they stand in the data, their ids, how their text begins."""
        starts = batch.starts.tolist() if batch.starts is not None else [None] * len(batch.inputs)
        rows = []
        for start, inputs, targets in zip(starts, batch.inputs, batch.targets, strict=True):
            ids = [*inputs.tolist(), *targets[-1:][targets[-1:] != IGNORED].tolist()]
            rows.append(
                {
                    "start": start,
                    "targets": int((targets != IGNORED).sum()),
                    "text": self._tokenizer.decode(ids)[:_TEXT_SHOWN],
                    "ids": ids,
                }
            )
        return rows

    def _number_documents(self, rows: list[dict[str, Any]]) -> None:
        """Add to ``rows`` in which document of the data, from 0, they begin, where that is near enough."""
        known = [row for row in rows if row["start"] is not None and row["start"] < _COUNTED_TOKENS]
        tokens = open_tokens(self._record.corpus.path, self._tokenizer)
        last = max((row["start"] for row in known), default=0)
        ends = np.flatnonzero(tokens[:last] == self._tokenizer.end_of_text)
        for row in known:
            row["document"] = int(np.searchsorted(ends, row["start"]))


def best_evaluation(run: RunDirectory, step: int) -> tuple[float, int] | None:
    """Return the lowest validation loss up to ``step``, with its step, among checkpoints that are there."""
    there = {checkpoint.step for checkpoint in run.checkpoints()}
    found = [
        (loss, int(where))
        for event in effective_events(rare_events(run.events_path))
        if event["type"] == "eval"
        and (loss := number(event, "val_loss")) is not None
        and (where := number(event, "step")) is not None
    ]
    return min((pair for pair in found if pair[1] in there and pair[1] <= step), default=None)


def without_room(error: StorageError, checkpoint: Path | None) -> StorageError:
    """Return ``error``, met while saving, with what is kept."""
    kept = f"the last good checkpoint is kept: {checkpoint.name}" if checkpoint else "no checkpoint is kept"
    hint = "; ".join(part for part in (error.hint, kept) if part)
    return StorageError(error.message, hint=hint, no_room=error.no_room)
