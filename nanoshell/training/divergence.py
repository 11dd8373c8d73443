"""What is kept of an update whose loss is no number: which windows it was made of, and their text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoshell.data.loader import IGNORED, Batch
from nanoshell.data.tokens import open_tokens
from nanoshell.errors import NanoshellError, RunError
from nanoshell.files import write_text

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.record import RunRecord
    from nanoshell.training.trainer import StepResult, Trainer

FORMAT = 1
_TEXT_SHOWN = 200
_WINDOWS_TOLD = 16
_COUNTED_TOKENS = 1 << 28
"""Beyond so many tokens of the file it is not counted in which document a window begins."""


def keep_diverged(
    run: RunDirectory, record: RunRecord, trainer: Trainer, tokenizer: Tokenizer, result: StepResult
) -> tuple[RunError, dict[str, Any]]:
    """Write the windows of the last update into ``diverged-step-N.json``; return the error that ends the run.

    And fields of the alert: ``step``, and where the file could be written its ``path``, the places in the
    data where ``windows`` begin, and the ``text`` of the first one.
    """
    what = f"loss {result.loss:.4g}, gradient norm {result.grad_norm:.4g}"
    hints = [f"lower the learning rate (it was {result.learning_rate:.3g}) or lengthen warmup_steps"]
    fields: dict[str, Any] = {"step": result.step}
    try:
        path, rows = _write(run, record, trainer.last_batches, tokenizer, result)
        fields |= {
            "path": path.name,
            "windows": [row["start"] for row in rows[:_WINDOWS_TOLD]],
            "text": rows[0]["text"] if rows else "",
        }
        hints.append(f"what the step read is in {path.name}")
    except NanoshellError as error:
        hints.append(f"what the step read could not be kept: {error.message}")
    checkpoint = run.latest_checkpoint()
    if checkpoint is not None:
        hints.append(f"the last good checkpoint is {checkpoint.name}")
    return RunError(f"training diverged at step {result.step}: {what}", hint="; ".join(hints)), fields


def _write(
    run: RunDirectory, record: RunRecord, batches: list[Batch], tokenizer: Tokenizer, result: StepResult
) -> tuple[Path, list[dict[str, Any]]]:
    """Return the file and its rows. Raises `StorageError` and `DataError`."""
    rows = [row for batch in batches for row in _windows(batch, tokenizer)]
    _number_documents(rows, record.corpus.path, tokenizer)
    document = {
        "format": FORMAT,
        "step": result.step,
        "loss": str(result.loss),
        "grad_norm": str(result.grad_norm),
        "learning_rate": result.learning_rate,
        "corpus": str(record.corpus.path),
        "micro_batches": [len(batch.inputs) for batch in batches],
        "rows": rows,
    }
    path = run.path / f"diverged-step-{result.step:06d}.json"
    write_text(path, json.dumps(document, ensure_ascii=False) + "\n")
    return path, rows


def _windows(batch: Batch, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Return the windows of ``batch``: where they begin in the data, their ids, how their text begins."""
    starts = [None] * len(batch.inputs) if batch.starts is None else batch.starts.tolist()
    rows = []
    for start, inputs, targets in zip(starts, batch.inputs, batch.targets, strict=True):
        ids = inputs.tolist() + [token for token in targets[-1:].tolist() if token != IGNORED]
        text = tokenizer.decode(ids)[:_TEXT_SHOWN]
        rows.append({"start": start, "targets": int((targets != IGNORED).sum()), "text": text, "ids": ids})
    return rows


def _number_documents(rows: list[dict[str, Any]], corpus: Path, tokenizer: Tokenizer) -> None:
    """Add to ``rows`` in which document of the data, from 0, they begin, where that is near enough."""
    known = [row for row in rows if row["start"] is not None and row["start"] < _COUNTED_TOKENS]
    last = max((row["start"] for row in known), default=0)
    ends = np.flatnonzero(open_tokens(corpus, tokenizer)[:last] == tokenizer.end_of_text)
    for row in known:
        row["document"] = int(np.searchsorted(ends, row["start"]))
