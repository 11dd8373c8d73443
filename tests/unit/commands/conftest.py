"""The program run in this process, a model of one layer, and runs whose worker is the test itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nanoshell import cli
from nanoshell.model.config import ModelConfig
from nanoshell.opening import open_session
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import write_process
from nanoshell.session import Session


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


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model directory: 1 layer, 16 channels, 48 positions."""
    from nanoshell.model.transformer import build_model
    from nanoshell.model.weights import save_model
    from nanoshell.plugin.manager import load_plugins

    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    plugins = load_plugins(only=[])
    config = ModelConfig(
        hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, max_seq_len=48, tie_embeddings=True
    )
    tokenizer = plugins.tokenizers.get("cl100k_base")()
    save_model(folder, build_model(config, plugins.mixers, seed=1), tokenizer)
    return str(folder)


@pytest.fixture
def bare_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session at the prompt, with no model."""
    monkeypatch.chdir(tmp_path)
    return open_session(safe=True)


@pytest.fixture
def session(model: str, bare_session: Session) -> Session:
    """A session at the prompt, with the model loaded and replies of three tokens; a file may have another."""
    bare_session.settings.override("max_tokens", "3")
    bare_session.use_model(model)
    return bare_session


@pytest.fixture
def prompt(session: Session, capfd: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    """Carry out one line of the prompt, and return its exit code and what it printed."""
    from nanoshell.command.render import TerminalScreen
    from nanoshell.command.script import run_line

    def carry_out(line: str) -> tuple[int, str, str]:
        capfd.readouterr()
        outcome = run_line(session, line, TerminalScreen(prompt=True))
        return outcome.code, *capfd.readouterr()

    return carry_out
