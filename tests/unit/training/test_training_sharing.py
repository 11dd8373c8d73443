"""Runs that train at once: the threads of a new one, and those that a resumed one goes back to."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from nanoshell.runs.live import others_here
from nanoshell.runs.process import write_process
from nanoshell.training import numerics
from nanoshell.training.opening import choose_numerics
from nanoshell.training.record import read_record


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
