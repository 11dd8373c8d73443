"""The directory of a run that nobody trained: what the tests of run sections, panels and notices read."""

from __future__ import annotations

import math
from pathlib import Path

from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog

STEPS = 12


def write_run(folder: Path, name: str = "tiny", *, state: str = "finished") -> RunDirectory:
    """Return a new run in ``folder`` with the events of 12 steps, two evaluations, a sample and an alert.

    It ended as ``state``; with an empty one it has only been created, and has no event.
    """
    record = {
        "model": {"name": name},
        "trainer": {"max_steps": STEPS, "learning_rate": 0.01},
        "source": "tiny.txt",
    }
    run = create_run(folder, name, record)
    if not state:
        return run
    log = EventLog(run.events_path)
    log.write("state", state="running", total_steps=STEPS)
    for step in range(1, STEPS + 1):
        loss = 4 * math.exp(-step / 4)
        rates = {"it/s": 8.0, "tokens/s": 4096.0}
        log.write(
            "step",
            step=step,
            loss=loss,
            grad_norm=1.0,
            learning_rate=0.01,
            epoch=step / STEPS,
            tokens=512 * step,
            **rates,
        )
        if step % 6 == 0:
            log.write("eval", step=step, val_loss=loss + 0.1)
    log.write("sample", step=STEPS, prompt="Hello", text="Hello, friend.")
    log.write("alert", step=STEPS, message="the loss has stopped falling")
    log.write("state", state=state, reason="" if state == "finished" else "as the test wants it")
    return run
