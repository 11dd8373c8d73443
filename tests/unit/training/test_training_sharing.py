"""Runs that train at once: the threads of a new one, and those that a resumed one goes back to."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from nanoshell.narrator import SilentNarrator
from nanoshell.runs.live import others_here
from nanoshell.runs.process import write_process
from nanoshell.training import launch, numerics
from nanoshell.training.opening import choose_numerics
from nanoshell.training.record import read_record
from nanoshell.training.worker import run_worker


class Notes(SilentNarrator):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def test_who_starts_a_run_is_told_what_it_shares_and_what_it_keeps(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start_worker", lambda *_, **__: 1)
    config, corpus = lab.config(max_steps=4), lab.corpus()

    def notes(request: Any) -> list[str]:
        narrator = Notes()
        launch.start_run(request, lab.plugins, narrator)
        return [text for text in narrator.told if "training on this machine already" in text]

    run = lab.prepare(lab.request(config, corpus, max_steps=2))
    assert run_worker(run, lab.plugins) == 0
    again = lab.request(None, None, resume=run.name)
    assert notes(again) == []
    other = lab.prepare(lab.request(config, corpus))
    write_process(other)
    already = f"training on this machine already: {other.name}; "
    assert notes(again) == [already + "this one keeps the threads that it began with"]
    run.process_path.unlink()
    assert notes(lab.request(config, corpus)) == [already + "they share its cores"]


def test_a_run_that_begins_beside_another_takes_half_and_keeps_to_it(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(numerics, "_physical_cores", lambda: 8)
    monkeypatch.setattr(numerics, "_container_quota", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    config, corpus = lab.config(dtype="float32"), lab.corpus()
    first, second = (lab.prepare(lab.request(config, corpus)) for _ in range(2))

    def threads(checkpoint: Any = None) -> int:
        record, others = read_record(second), len(others_here(second))
        return choose_numerics(record, lab.plugins, checkpoint, others)[0].threads

    assert threads() == 8
    write_process(first)  # this process is its worker now
    assert threads() == 4
    write_process(second)  # a run does not share with itself
    assert threads() == 4
    saved = lab.save(lab.trainer(config, corpus))
    recorded = json.loads((saved / "trainer.json").read_text())["numerics"]["threads"]
    assert recorded == 1
    assert threads(saved) == recorded
