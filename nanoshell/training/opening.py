"""From a run directory to a loop that trains it: numerics, device, tokenizer, trainer, checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nanoshell.errors import DeviceError
from nanoshell.model.backend import Backend, choose_backend
from nanoshell.runs.live import others_here
from nanoshell.training.checkpoint import clear_parts, clear_snapshots, read_document
from nanoshell.training.figures import SystemFigures, machine
from nanoshell.training.loop import Loop
from nanoshell.training.numerics import Numerics, share_of_cores
from nanoshell.training.probe import DtypeChoice, choose_dtype
from nanoshell.training.record import RunRecord, build_tokenizer, check_corpus, read_record
from nanoshell.training.trainer import Trainer, build_trainer

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.runs.control import ControlInbox
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.events import EventLog
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.team import Team


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
    for folder in (run.path, run.checkpoints_dir):
        clear_parts(folder)
    clear_snapshots(run)
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
    if numerics.compiled and team.size > 1:
        message = "not compiled: several processes train"
        events.write("compile", step=trainer.step, used=False, message=message)
    elif numerics.compiled:
        trainer.compile_with(plugins)
    loop = Loop(run, record, trainer, tokenizer, plugins.samplers, events, inbox, signalled)
    try:
        events.figures = SystemFigures(backend)
        return loop.run_to_end({"device_name": backend.describe(), "machine": machine(backend)})
    finally:
        events.figures = None
        if trainer.compiler is not None:
            trainer.compiler.close()


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
            found = replace(found, softmax=record.softmax, compiled=record.config.trainer.compile)
        if asked in ("auto", found.device) and record.config.dtype in ("auto", found.dtype):
            return found, choose_backend(found.device, plugins.backends)
    backend = choose_backend(asked, plugins.backends)
    threads = share_of_cores(others)
    torch.set_num_threads(threads)
    config, trainer = record.config, record.config.trainer
    chosen = DtypeChoice(config.dtype)
    if config.dtype == "auto":
        chosen = choose_dtype(backend, config.model, trainer.batch_size * config.seq_len)
    if not backend.supports_dtype(chosen.dtype):
        raise DeviceError(
            f"device '{backend.name}' ({backend.describe()}) does not compute in {chosen.dtype}",
            hint="use --dtype float32, or leave it to the device: --dtype auto",
        )
    numerics = Numerics(
        backend.name,
        chosen.dtype,
        record.softmax,
        threads,
        compiled=trainer.compile,
        dtype_reason=chosen.reason,
    )
    return numerics, backend
