"""The loop around the trainer: requests, checkpoints, evaluations, events, until the run ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nanoshell.errors import DeviceError, NanoshellError, RunError, StorageError
from nanoshell.model.backend import Backend, choose_backend
from nanoshell.runs.live import others_here
from nanoshell.training.checkpoint import clear_parts, read_document, save_checkpoint, save_snapshot
from nanoshell.training.numerics import Numerics, share_of_cores
from nanoshell.training.record import RunRecord, build_tokenizer, check_corpus, read_record
from nanoshell.training.trainer import StepResult, Trainer, build_trainer

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.runs.control import ControlInbox
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.events import EventLog
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.team import Team

ACTIONS = ("stop", "pause", "resume", "checkpoint", "snapshot")
_RATE_STEPS = 20
_PAUSE_POLL_SECONDS = 0.05

Request = dict[str, Any]


def train_run(
    run: RunDirectory,
    plugins: Plugins,
    events: EventLog,
    inbox: ControlInbox,
    signalled: Callable[[], str],
    *,
    resumed: bool,
    team: Team,
) -> dict[str, Any]:
    """Train ``run`` and return the fields of its final ``state`` event. The caller holds the run's lock.

    ``signalled`` returns the name of the signal that asked the process to end, or "". ``resumed`` says that
    an earlier worker wrote into the log. ``team`` are the processes that train. Raises `NanoshellError` where
    it cannot go on.
    """
    record = read_record(run)
    for folder in (run.path, run.checkpoints_dir, run.snapshots_dir):
        clear_parts(folder)
    checkpoint = run.latest_checkpoint() or record.initial_checkpoint
    numerics, backend = choose_numerics(record, plugins, checkpoint, len(others_here(run)))
    numerics = team.settle(numerics)
    team.announce("build", numerics=numerics.to_dict(), checkpoint=str(checkpoint or ""))
    trainer, tokenizer = open_trainer(run, record, plugins, numerics, checkpoint, team)
    team.assemble()
    trainer.unite(team)
    if resumed or checkpoint is not None:
        forced = {}
        if not record.goes_on_exactly(trainer.step):
            forced = {"forced": record.forced, "begun_anew": trainer.begun_anew}
        events.write("resume", from_step=trainer.step, checkpoint=str(checkpoint or ""), **forced)
    loop = Loop(run, record, trainer, tokenizer, events, inbox, signalled)
    return loop.run_to_end(backend.describe())


def open_trainer(
    run: RunDirectory,
    record: RunRecord,
    plugins: Plugins,
    numerics: Numerics,
    checkpoint: Path | None,
    team: Team,
) -> tuple[Trainer, Tokenizer]:
    """Return the trainer of ``run`` as it stands after ``checkpoint``, and the tokenizer.

    Every process of ``team`` has an equal one. Raises `NanoshellError` where it cannot be built.
    """
    tokenizer = build_tokenizer(run, record, plugins)
    check_corpus(record.corpus)
    torch.set_num_threads(numerics.threads)
    team.take_device(numerics.device)
    trainer = build_trainer(
        record.config,
        plugins,
        tokenizer,
        record.corpus.path,
        numerics=numerics,
        device=choose_backend(numerics.device, plugins.backends).device(),
        horizon=record.horizon,
    )
    if checkpoint is not None:
        if record.goes_on_exactly(int(read_document(checkpoint).get("step", 0))):
            trainer.restore(checkpoint)
        else:
            trainer.adopt(checkpoint, record.corpus.sha256)
    return trainer, tokenizer


def choose_numerics(
    record: RunRecord, plugins: Plugins, checkpoint: Path | None, others: int = 0
) -> tuple[Numerics, Backend]:
    """Return the numerics of the run, and its device.

    Those that ``checkpoint`` recorded, unless another device is asked for now. A run that begins beside
    ``others`` on this machine takes its share of the cores, and keeps to that. Raises `DeviceError` for a
    device that is not there or a dtype that it cannot compute.
    """
    asked = record.config.trainer.device_name
    if checkpoint is not None:
        found = Numerics.from_dict(read_document(checkpoint).get("numerics"), str(checkpoint))
        if not record.goes_on_exactly(int(read_document(checkpoint).get("step", 0))):
            found = replace(found, softmax=record.softmax)
        if asked in ("auto", found.device) and record.config.dtype in ("auto", found.dtype):
            return found, choose_backend(found.device, plugins.backends)
    backend = choose_backend(asked, plugins.backends)
    dtype = record.config.dtype if record.config.dtype != "auto" else backend.default_dtype()
    if not backend.supports_dtype(dtype):
        raise DeviceError(
            f"device '{backend.name}' ({backend.describe()}) does not compute in {dtype}",
            hint="use --dtype float32, or leave it to the device: --dtype auto",
        )
    return Numerics(backend.name, dtype, record.softmax, share_of_cores(others)), backend


class Loop:
    """Updates until the last step, with all that happens between two of them."""

    def __init__(
        self,
        run: RunDirectory,
        record: RunRecord,
        trainer: Trainer,
        tokenizer: Tokenizer,
        events: EventLog,
        inbox: ControlInbox,
        signalled: Callable[[], str],
    ) -> None:
        self._run = run
        self._record = record
        self._settings = record.config.trainer
        self._trainer = trainer
        self._tokenizer = tokenizer
        self._events = events
        self._inbox = inbox
        self._signalled = signalled
        self._requests: deque[Request] = deque()
        self._asked_to_stop = ""
        self._paused = False
        self._saved_step: int | None = None
        self._seconds: deque[float] = deque(maxlen=_RATE_STEPS)

    def run_to_end(self, device: str) -> dict[str, Any]:
        """Train, save, evaluate, and return the fields of the final event. Raises `NanoshellError`."""
        trainer, last = self._trainer, self._record.last_step
        self._saved_step = trainer.step  # where there is a checkpoint at all, it was restored
        self._say_running(device)
        while trainer.step < last:
            self._serve_requests()
            if self._stop_reason():
                return self._stop()
            self._update()
            step = trainer.step
            if _due(step, self._settings.save_interval) and step < last:
                self._save()
            if _due(step, self._settings.eval_interval) and step < last:
                self._evaluate()
        self._save()
        if trainer.loader.num_val_tokens or trainer.numerics.softmax == "sampled":
            self._evaluate()
        self._answer_all()
        return {"state": "finished", "reason": self._end_reason(), "step": trainer.step}

    # Training

    def _update(self) -> None:
        result = self._trainer.update()
        self._seconds.append(result.seconds)
        self._events.write("step", **self._step_fields(result))
        if result.diverged:
            raise self._alert("divergence", _divergence(result, self._run.latest_checkpoint()))

    def _step_fields(self, result: StepResult) -> dict[str, Any]:
        steps_per_second = len(self._seconds) / sum(self._seconds)
        fields: dict[str, Any] = {
            "step": result.step,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "learning_rate": result.learning_rate,
            "epoch": round(result.epoch, 4),
            "it/s": round(steps_per_second, 3),
            "tokens/s": round(steps_per_second * result.tokens, 1),
            "tokens": result.step * result.tokens,
        }
        if result.expert_load:
            fields["balance_loss"] = result.balance_loss
            fields["expert_load"] = {
                str(index): [round(share, 4) for share in shares]
                for index, shares in result.expert_load.items()
            }
        return fields

    def _evaluate(self) -> None:
        found = self._trainer.evaluate(self._wants_to_stop)
        if found is None:
            return
        name = "val_loss" if found.split == "validation" else "loss"
        self._events.write(
            "eval",
            step=self._trainer.step,
            split=found.split,
            **{name: found.loss},
            perplexity=found.perplexity,
            tokens=found.tokens,
        )

    # Saving

    def _save(self) -> Path:
        """Write a checkpoint unless this step has one, and return its path. Raises `StorageError`."""
        step = self._trainer.step
        latest = self._run.latest_checkpoint()
        if self._saved_step == step and latest is not None:
            return latest
        began = time.perf_counter()
        try:
            path, num_bytes = save_checkpoint(
                self._run,
                step,
                lambda folder: self._trainer.save(folder, self._tokenizer, self._record.corpus.sha256),
                self._settings.max_checkpoints,
            )
        except StorageError as error:
            raise self._alert("storage", _storage(error, latest)) from error
        self._saved_step = step
        seconds = round(time.perf_counter() - began, 3)
        self._events.write("checkpoint", step=step, path=self._inside(path), bytes=num_bytes, seconds=seconds)
        return path

    def _snapshot(self) -> Path:
        return save_snapshot(
            self._run,
            self._trainer.step,
            lambda folder: self._trainer.save_weights(folder, self._tokenizer),
        )

    def _inside(self, path: Path) -> str:
        return str(path.relative_to(self._run.path))

    # Requests and signals

    def _stop_reason(self) -> str:
        name = self._signalled()
        return f"signal {name}" if name else self._asked_to_stop

    def _wants_to_stop(self) -> bool:
        """Whether to break off what can wait. Requests that are read on the way keep their turn."""
        self._requests.extend(self._inbox.poll())
        waiting = any(request["action"] == "stop" for request in self._requests)
        return waiting or bool(self._stop_reason())

    def _serve_requests(self) -> None:
        """Carry out what was asked for; while the run is paused, stay here."""
        self._answer_all()
        if not self._paused or self._stop_reason():
            return
        self._events.write("state", state="paused", step=self._trainer.step)
        while self._paused and not self._stop_reason():
            time.sleep(_PAUSE_POLL_SECONDS)
            self._answer_all()
        if not self._stop_reason():
            self._events.write("state", state="running", step=self._trainer.step)

    def _answer_all(self) -> None:
        self._requests.extend(self._inbox.poll())
        while self._requests:
            request = self._requests.popleft()
            try:
                answer = {"ok": True, **self._carry_out(request["action"])}
            except NanoshellError as error:
                answer = {"ok": False, "message": error.message, "hint": error.hint}
            self._events.write(
                "control", id=request["id"], action=request["action"], step=self._trainer.step, **answer
            )

    def _carry_out(self, action: str) -> dict[str, Any]:
        """Do ``action`` and return what to answer. Raises `NanoshellError` where it cannot be done."""
        if action == "stop":
            self._asked_to_stop = "asked to stop"
            return {"message": "saving and stopping"}
        if action == "pause":
            self._paused = True
            return {"message": "paused"}
        if action == "resume":
            message = "resumed" if self._paused else "it was not paused"
            self._paused = False
            return {"message": message}
        if action == "checkpoint":
            return {"message": "saved", "path": self._inside(self._save())}
        if action == "snapshot":
            return {"message": "saved", "path": self._inside(self._snapshot())}
        raise RunError(f"a run cannot '{action}'", hint=f"it can: {', '.join(ACTIONS)}")

    # Beginning and end

    def _say_running(self, device: str) -> None:
        trainer, config = self._trainer, self._record.config
        self._events.write(
            "state",
            state="running",
            step=trainer.step,
            total_steps=self._record.last_step,
            horizon=self._record.horizon,
            tokens_per_step=config.tokens_per_step,
            windows_per_epoch=trainer.loader.windows_per_epoch,
            val_tokens=trainer.loader.num_val_tokens,
            device_name=device,
            **trainer.numerics.to_dict(),
        )

    def _stop(self) -> dict[str, Any]:
        reason = self._stop_reason()
        self._events.write("state", state="stopping", reason=reason, step=self._trainer.step)
        self._save()
        return {"state": "stopped", "reason": reason, "step": self._trainer.step}

    def _end_reason(self) -> str:
        horizon, last = self._record.horizon, self._record.last_step
        if last == horizon:
            return ""
        return f"stopped after step {last:,} as asked; its schedule goes on to {horizon:,}"

    def _alert(self, kind: str, error: RunError | StorageError) -> NanoshellError:
        self._events.write(
            "alert", kind=kind, message=error.message, hint=error.hint, step=self._trainer.step
        )
        return error


def _due(step: int, interval: int) -> bool:
    return bool(interval) and step % interval == 0


def _divergence(result: StepResult, checkpoint: Path | None) -> RunError:
    what = f"loss {result.loss}, gradient norm {result.grad_norm}"
    advice = f"lower the learning rate (it was {result.learning_rate:.3g}) or lengthen warmup_steps"
    last = f"; the last good checkpoint is {checkpoint.name}" if checkpoint else ""
    return RunError(f"training diverged at step {result.step}: {what}", hint=advice + last)


def _storage(error: StorageError, checkpoint: Path | None) -> StorageError:
    kept = f"the last good checkpoint is kept: {checkpoint.name}" if checkpoint else "no checkpoint is kept"
    return StorageError(error.message, hint="; ".join(part for part in (error.hint, kept) if part))
