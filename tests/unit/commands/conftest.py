"""The program run in this process, and runs whose worker is the test itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nanoshell import cli
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import write_process


@dataclass(frozen=True)
class Said:
    """What the program answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Program = Callable[..., Said]


@pytest.fixture
def nanoshell(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Run the program with arguments, in a folder of its own, with ``stdin`` piped in."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: bytes = b"") -> Said:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        capfd.readouterr()
        code = cli.run(arguments)
        captured = capfd.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@dataclass(frozen=True)
class FakeRun:
    """A run whose events the test writes, being its worker."""

    run: RunDirectory
    log: EventLog

    def step(self, number: int, loss: float = 1.0) -> None:
        self.log.write(
            "step",
            step=number,
            loss=loss,
            grad_norm=0.5,
            learning_rate=0.001,
            epoch=number / 10,
            tokens=number * 512,
            **{"it/s": 4.0, "tokens/s": 2048.0},
        )

    def end(self, state: str = "finished", reason: str = "") -> None:
        self.log.write("state", state=state, reason=reason)


@pytest.fixture
def fake_run(tmp_path: Path) -> Callable[..., FakeRun]:
    """Return a function that creates a run that has just begun, with this process as its worker."""

    def make(name: str = "tiny", total_steps: int = 10, alive: bool = True, **trainer: Any) -> FakeRun:
        record = {"model": {"name": "tiny"}, "trainer": trainer, "source": "nano-start"}
        run = create_run(tmp_path / "runs", name, record)
        if alive:
            write_process(run)
        log = EventLog(run.events_path)
        log.write("state", state="running", total_steps=total_steps)
        return FakeRun(run, log)

    return make
