"""The directory of a run that nobody trains: what the tests of panels, run sections and notices read.

`FakeRun` is written while a test goes on, as a worker would write it; `write_run` is one that has ended.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from nanoshell.files import write_text
from nanoshell.runs.control import ControlInbox
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import FINAL_STATES, EventLog
from nanoshell.runs.process import WorkerProcess, hold_lock, process_start, read_process
from nanoshell.testing.requests import answer

STEPS = 12
BEGUN = 1_767_225_600.0
"""When a fake run begins, by its own clock: the first second of 2026."""

_TOKENS = 512
_NO_TENSORS = b"\x02\0\0\0\0\0\0\0{}"
_FINGERPRINT = "0" * 64


class FakeRun:
    """A run ``NAME-N`` in ``folder`` that is written live; this process is its worker and holds its lock.

    Each method writes what a worker would have written by then, and equal calls write equal events: ``now``
    is the clock of the run, in seconds since the epoch, which goes on by ``seconds`` with every step and
    otherwise when a test sets it. ``at`` is the last step. Where fields are given by name they take the place
    of those that are made up, or come beside them. Close it, or use it as a context.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "fake",
        *,
        total_steps: int = 1000,
        seconds: float = 0.125,
        now: float = BEGUN,
        start: bool = True,
    ) -> None:
        self.run = create_run(folder, name, _record(name, total_steps))
        self._name = name
        self.total_steps = total_steps
        self.seconds = seconds
        self.now = now
        self.at = 0
        self.paused = False
        self._best = math.inf
        self._events = EventLog(self.run.events_path)
        self._inbox = ControlInbox(self.run)
        self._turn = threading.RLock()
        self._lock = contextlib.ExitStack()
        if start:
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Beginning and end

    def start(self) -> None:
        """Take the lock, record this process as the worker, and run. It is called where the run is made."""
        self._be_the_worker()
        self.state("starting")
        self._say_running()

    def state(self, state: str, reason: str = "", **fields: Any) -> None:
        """Say that the run is in ``state``; after a final one the lock is free."""
        said = {"reason": reason} if reason else {}
        self._write("state", **{"state": state, "step": self.at, **said, **fields})
        self.paused = state == "paused"
        if state in FINAL_STATES:
            self.close()

    def finish(self, state: str = "finished", reason: str = "", **fields: Any) -> None:
        """End the run: ``finished``, ``stopped``, ``failed``; or ``crashed``, of which it says nothing."""
        if state == "crashed":
            self.crash()
        else:
            self.state(state, reason, **fields)

    def crash(self) -> None:
        """End without a word: the process that is recorded is gone."""
        self._record_process(start=-1.0)
        self.close()

    def move(self, host: str = "elsewhere") -> None:
        """Be written by a worker on another ``host``, about which this one knows nothing."""
        self._record_process(host=host)

    def resume(self, from_step: int, **fields: Any) -> None:
        """Go on after ``from_step`` as a new worker does: what was measured above it no longer counts."""
        self.at = from_step
        self._be_the_worker()
        self.state("starting")
        checkpoint = self.run.checkpoints_dir / _folder(from_step)
        self._write("resume", **{"from_step": from_step, "checkpoint": str(checkpoint), **fields})
        self._say_running()

    def vanish(self) -> None:
        """Remove the whole directory."""
        self.close()
        shutil.rmtree(self.run.path)

    def close(self) -> None:
        """Let go of the lock. What was written stays."""
        self._lock.close()

    # What happens on the way

    def step(self, n: int = 1, **fields: Any) -> None:
        """Do ``n`` steps. A field may be a function of the step: ``loss=lambda step: 1 / step``."""
        for _ in range(n):
            self.at += 1
            self.now += self.seconds
            given = {name: value(self.at) if callable(value) else value for name, value in fields.items()}
            self._write("step", **self._measured(given))

    def loss(self, step: int | None = None) -> float:
        """Return the training loss that is made up for ``step``, by default for the last one."""
        return 4 * math.exp(-3 * (self.at if step is None else step) / self.total_steps)

    def eval(self, **fields: Any) -> None:
        """Evaluate on held-out text; ``val_loss`` is a little above the training loss."""
        loss = float(fields.get("val_loss", self.loss() + 0.1))
        best = loss < self._best
        self._best = min(loss, self._best)
        made_up = {
            "split": "validation",
            "val_loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "bits_per_byte": loss / math.log(2) / 4,
            "tokens": 1024,
            "best": best,
        }
        self._write("eval", **{"step": self.at, **made_up, **fields})

    def sample(self, text: str = "Hello, friend.", prompt: str = "Hello", **fields: Any) -> None:
        """Write ``text`` after ``prompt``."""
        about = {"index": 0, "prompt": prompt, "text": text, "tokens": len(text.split()), "stop": "length"}
        self._write("sample", **{"step": self.at, **about, **fields})

    def alert(self, message: str = "the loss has not improved", kind: str = "plateau", **fields: Any) -> None:
        """Tell that something is wrong; with ``cleared=True`` that it is over."""
        self._write("alert", **{"step": self.at, "kind": kind, "message": message, "hint": "", **fields})

    def checkpoint(self, **fields: Any) -> Path:
        """Save: the folder has a config and no weights. Returns its path."""
        path = self.run.checkpoints_dir / _folder(self.at)
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "config.json", json.dumps(_model(self._name)) + "\n")
        (path / "model.safetensors").write_bytes(_NO_TENSORS)
        write_text(self.run.checkpoints_dir / "latest", path.name + "\n")
        saved = {"path": f"checkpoints/{path.name}", "bytes": len(_NO_TENSORS), "seconds": 0.01}
        self._write("checkpoint", **{"step": self.at, **saved, **fields})
        return path

    def beat(self, **fields: Any) -> None:
        """Give a sign of life."""
        self._write("heartbeat", **fields)

    def control(self, action: str, ok: bool = True, message: str = "done", **fields: Any) -> None:
        """Answer a request for ``action``, whether or not anybody asked."""
        self._write(
            "control",
            **{"id": "0", "action": action, "step": self.at, "ok": ok, "message": message, **fields},
        )

    def event(self, type: str, **fields: Any) -> None:  # noqa: A002 - the name of the field
        """Write any event, also one that no worker writes."""
        self._write(type, **fields)

    # What goes wrong

    def half_line(self) -> bytes:
        """Begin to write a step, and return the half of its line that is missing, for `raw`."""
        self.at += 1
        self.now += self.seconds
        line = json.dumps({"t": round(self.now, 3), "type": "step", **self._measured({})}).encode() + b"\n"
        self.raw(line[: len(line) // 2])
        return line[len(line) // 2 :]

    def raw(self, data: bytes) -> None:
        """Append ``data`` to the events as it is."""
        with self.run.events_path.open("ab") as file:
            file.write(data)

    def log(self, text: str) -> None:
        """Append ``text`` to the worker's log, as it is: with the ends of lines that it has."""
        with self.run.log_path.open("a", encoding="utf-8") as file:
            file.write(text)

    # What is asked of it

    def answer_requests(self) -> list[dict[str, Any]]:
        """Do what was asked in ``control.jsonl`` since the last call, and return the requests."""
        with self._turn:
            requests = self._inbox.poll()
            for request in requests:
                answer(self, request)
            return requests

    @contextlib.contextmanager
    def answering(self, every: float = 0.02) -> Iterator[None]:
        """Answer requests from a thread, every so many seconds, while the block runs."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(every):
                self.answer_requests()

        thread = threading.Thread(target=look, name="fake-worker", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _measured(self, given: Mapping[str, Any]) -> dict[str, Any]:
        speed = 1 / self.seconds if self.seconds else 0.0
        return {
            "step": self.at,
            "loss": self.loss(),
            "grad_norm": 1.0,
            "learning_rate": 0.01,
            "epoch": round(self.at / self.total_steps, 4),
            "it/s": round(speed, 3),
            "tokens/s": round(speed * _TOKENS, 1),
            "tokens": _TOKENS * self.at,
            **given,
        }

    def _say_running(self) -> None:
        about: dict[str, Any] = {
            "total_steps": self.total_steps,
            "horizon": self.total_steps,
            "tokens_per_step": _TOKENS,
            "windows_per_epoch": 16,
            "val_tokens": 1024,
            "device_name": "a made-up machine",
            "machine": {"cpus": 2, "memory": 8_000_000_000, "load": 0.5},
        }
        self.state("running", **about, device="cpu", dtype="float32", threads=1, processes=1)

    def _write(self, type: str, **fields: Any) -> None:  # noqa: A002
        with self._turn:
            self._events.write(type, **{"t": round(self.now, 3), **fields})

    def _be_the_worker(self) -> None:
        self._lock.close()
        self._lock.enter_context(hold_lock(self.run))
        self._record_process(events=_size(self.run.events_path), control=_size(self.run.control_path))
        self._inbox = ControlInbox(self.run)

    def _record_process(
        self,
        host: str | None = None,
        start: float | None = None,
        events: int | None = None,
        control: int | None = None,
    ) -> None:
        known = read_process(self.run)
        process = WorkerProcess(
            host=host or socket.gethostname(),
            pid=os.getpid(),
            start=(process_start(os.getpid()) or 0.0) if start is None else start,
            events_offset=events if events is not None else known.events_offset if known else 0,
            control_offset=control if control is not None else known.control_offset if known else 0,
        )
        write_text(self.run.process_path, json.dumps(asdict(process)) + "\n")


def write_run(folder: Path, name: str = "tiny", *, state: str = "finished") -> RunDirectory:
    """Return a new run in ``folder`` with the events of 12 steps, two evaluations, a sample and an alert.

    It ended as ``state``; with an empty one it has only been created, and has no event.
    """
    with FakeRun(folder, name, total_steps=STEPS, start=bool(state)) as fake:
        if not state:
            return fake.run
        for _ in range(2):
            fake.step(STEPS // 2)
            fake.eval()
        fake.sample()
        fake.alert("the loss has stopped falling")
        fake.finish(state, "" if state == "finished" else "as the test wants it")
        return fake.run


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _folder(step: int) -> str:
    return f"step-{step:06d}"


def _model(name: str) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_seq_len": 64, "vocab_size": 256}
    return {"name": name, **sizes, "tokenizer": "char"}


def _record(name: str, total_steps: int) -> dict[str, Any]:
    """Return what stands in ``run.yaml``: as much of it as a worker's has that reads it."""
    return {
        "source": "tiny.txt",
        "model": _model(name),
        "trainer": {"max_steps": total_steps, "learning_rate": 0.01, "batch_size": 8, "seed": 7},
        "corpus": {
            "path": "tiny.bin",
            "num_tokens": 8192,
            "num_documents": 5,
            "distinct_ids": 60,
            "sha256": _FINGERPRINT,
            "tokenizer": "char",
            "special": False,
        },
        "tokenizer_fingerprint": _FINGERPRINT,
        "chat_template": "roles",
        "seed": 7,
        "horizon": total_steps,
        "stop_at": None,
        "softmax": "full",
        "initial_checkpoint": None,
        "source_state": {},
        "forced_from": None,
        "provenance": {"argv": ["nanoshell", "train"], "versions": {"nanoshell": "0"}},
    }
