"""From a request to a run directory with a worker: everything that can be wrong is found before it is made.

No torch here, so that a command answers at once; a device other than the processor is the exception.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell.data.corpus import Corpus, prepare_corpus
from nanoshell.data.source import DataSource, open_source
from nanoshell.data.vocabulary import tokenizer_from_data
from nanoshell.errors import ChangedDataError, UsageError
from nanoshell.narrator import Narrator, SilentNarrator
from nanoshell.runs.directory import RunDirectory, create_run, remove_run
from nanoshell.runs.live import others_here
from nanoshell.runs.process import start_worker
from nanoshell.tokenizer.files import carried_tokenizer, carry_tokenizer
from nanoshell.tokenizer.store import find_tokenizer, recipe_of
from nanoshell.training.automatic import resolve
from nanoshell.training.batches import open_loader
from nanoshell.training.checkpoint import read_document
from nanoshell.training.config import RunConfig
from nanoshell.training.difference import Difference, describe_source, listed
from nanoshell.training.distributed import check_rows, placement
from nanoshell.training.numerics import Numerics, choose_softmax, share_of_cores
from nanoshell.training.presets import load_config
from nanoshell.training.provenance import describe_origin
from nanoshell.training.record import RunRecord, read_record
from nanoshell.training.request import (
    TrainRequest as TrainRequest,
    check_device,
    check_names,
    fit_vocabulary,
    on_device,
    run_name,
)
from nanoshell.training.resume import checkpoint_config, find_resume_point, resume_run
from nanoshell.training.samples import check_samples, configured

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.tokenizer.base import Tokenizer

DEFAULT_PRESET = "nano-start"


def start_run(request: TrainRequest, plugins: Plugins, narrator: Narrator | None = None) -> RunDirectory:
    """Check ``request``, create or find the run directory, start the worker, and return the directory.

    Raises `UsageError` and its kin, `DataError`, `DeviceError`, `RunError`, `CheckpointError` and
    `StorageError`; nothing has been created or changed then.
    """
    narrator = narrator or SilentNarrator()
    if request.max_steps is not None and request.max_steps < 1:
        raise UsageError(f"--max-steps is {request.max_steps}", hint="it must be at least 1")
    if request.force and request.resume is None:
        raise UsageError("--force is for going on with a run", hint="name it with --resume")
    if request.resume is not None:
        point = find_resume_point(request)
        if point.note:
            narrator.note(point.note)
        if point.run is not None:
            run = resume_run(point.run, point.checkpoint, request, plugins, narrator)
            _tell_early_end(read_record(run), request, narrator)
            _start(run, point.checkpoint, request, plugins, narrator)
            return run
        if point.checkpoint is not None:
            config, forced = checkpoint_config(point.checkpoint, request, plugins)
            return _start_new(config, request, plugins, narrator, point.checkpoint, forced)
    config = request.config or load_config(DEFAULT_PRESET, request.overrides)
    return _start_new(on_device(config, request.device), request, plugins, narrator)


def _start_new(
    config: RunConfig,
    request: TrainRequest,
    plugins: Plugins,
    narrator: Narrator,
    initial_checkpoint: Path | None = None,
    forced: Sequence[Difference] = (),
) -> RunDirectory:
    """Start a new run, from the weights and state of ``initial_checkpoint`` where that is given.

    ``forced`` is what in ``config`` is not as that checkpoint was trained with.
    """
    if request.source is None:
        raise UsageError("no data is chosen", hint="name it: --data nano-start, or a file, folder or glob")
    check_names(config, plugins)
    check_device(config, plugins)
    template = plugins.chat_templates.get(request.chat_template)()
    source = open_source(request.source, plugins.sources)
    carried = carried_tokenizer(initial_checkpoint) if initial_checkpoint else None
    wanted = config.model.tokenizer
    tokenizer = carried or choose_tokenizer(wanted, source, request.special, plugins, narrator)
    config, chosen = resolve(fit_vocabulary(config, tokenizer))
    _tell_of_config(config, chosen, tokenizer, narrator)
    check_samples(configured(config), config, tokenizer, plugins.samplers)
    check_rows(config.windows_per_step, _count_processes(initial_checkpoint, request))
    corpus = prepare_corpus(source, tokenizer, template, special=request.special, narrator=narrator)
    origin = describe_origin(plugins, request.argv)
    forced_from = None
    if initial_checkpoint is not None:
        forced = [*forced, *_other_data(initial_checkpoint, corpus, request)]
        if forced:
            narrator.note(f"going on all the same:{listed(forced)}")
            forced_from = int(read_document(initial_checkpoint).get("step", 0))
            origin["forced"] = [asdict(difference) for difference in forced]
    trainer = config.trainer
    record = RunRecord(
        config=config,
        corpus=replace(corpus, path=corpus.path.resolve()),
        tokenizer_fingerprint=tokenizer.fingerprint,
        chat_template=request.chat_template,
        horizon=config.horizon(_windows_per_epoch(config, corpus, tokenizer)),
        softmax=choose_softmax(
            trainer.softmax, config.model.vocab_size, corpus.distinct_ids, trainer.sampled_negatives
        ),
        stop_at=request.max_steps,
        initial_checkpoint=initial_checkpoint.resolve() if initial_checkpoint else None,
        source_state={"asked": request.source, **describe_source(source, corpus.path)},
        forced_from=forced_from,
        provenance=origin,
    )
    _tell_early_end(record, request, narrator)
    run = create_run(request.runs_dir, request.name or run_name(config), record.to_dict())
    try:
        carry_tokenizer(run.path, tokenizer)
        _start(run, initial_checkpoint, request, plugins, narrator)
    except BaseException:
        remove_run(run)
        raise
    return run


def _tell_of_config(
    config: RunConfig, chosen: Sequence[str], tokenizer: Tokenizer, narrator: Narrator
) -> None:
    """Say what was ``chosen`` for ``config``, and what of it is in vain."""
    if chosen:
        narrator.note(f"auto: {', '.join(chosen)}")
    for key in config.trainer.unused_keys():
        instead = ": --nproc says how many processes train" if key == "distributed" else " by this run"
        narrator.note(f"trainer.{key} is read and not used{instead}")
    if config.model.vocab_size > 2 * tokenizer.vocab_size:
        narrator.note(
            f"the model has {config.model.vocab_size:,} ids, and tokenizer '{tokenizer.name}' only "
            f"{tokenizer.vocab_size:,}: --set model.vocab_size=auto fits it"
        )
    for key in config.model.unused_keys():
        narrator.note(f"model.{key} is read and not used: no layer is of a kind that it is for")


def _start(
    run: RunDirectory,
    checkpoint: Path | None,
    request: TrainRequest,
    plugins: Plugins,
    narrator: Narrator,
) -> None:
    """Start the processes of ``run``. Under torchrun they are there: the caller is the worker."""
    processes = _count_processes(checkpoint, request)
    before = _processes_of(checkpoint)
    if checkpoint is not None and processes != before:
        narrator.note(
            f"trained in {_counted(before)}, it goes on in {processes}: the global batch is the same, so "
            "losses agree to rounding, not to the bit"
        )
    others = others_here(run)
    if others:
        how = (
            "they share its cores" if checkpoint is None else "this one keeps the threads that it began with"
        )
        narrator.note(f"training on this machine already: {', '.join(other.name for other in others)}; {how}")
    if placement() is not None:
        return
    if processes == 1:
        start_worker(run, plugins.arguments, first=request.extend)
    else:
        cores = share_of_cores(len(others))
        threads = cores if os.environ.get("OMP_NUM_THREADS") else max(1, cores // processes)
        start_worker(run, plugins.arguments, processes, threads, request.extend)


def _counted(processes: int) -> str:
    return "one process" if processes == 1 else f"{processes} processes"


def _count_processes(checkpoint: Path | None, request: TrainRequest) -> int:
    """Return how many processes train. Raises `UsageError` where it is said twice."""
    place = placement()
    if place is not None and request.processes is not None:
        raise UsageError(
            f"torchrun has started {_counted(place.size)} already",
            hint="leave out --nproc: it is for nanoshell without torchrun",
        )
    if place is not None:
        return place.size
    if request.processes == "auto":
        import torch

        return max(1, torch.cuda.device_count())
    return request.processes or _processes_of(checkpoint)


def _processes_of(checkpoint: Path | None) -> int:
    numerics = read_document(checkpoint).get("numerics") if checkpoint else None
    return Numerics.from_dict(numerics, str(checkpoint)).processes if numerics else 1


def _other_data(checkpoint: Path, corpus: Corpus, request: TrainRequest) -> list[Difference]:
    """Return in what ``corpus`` differs from the data of ``checkpoint``.

    Raises `ChangedDataError` unless it is forced.
    """
    before = str(read_document(checkpoint).get("corpus_sha256"))
    if before == corpus.sha256:
        return []
    difference = Difference("sha256", before[:12], corpus.sha256[:12])
    if not request.force:
        raise ChangedDataError(
            f"'{request.source}' is not the data that {checkpoint} was trained on: {difference}",
            hint="name the data of that run, or go on with other data from its weights: --force",
        )
    return [difference]


def choose_tokenizer(
    name: str, source: DataSource, special: bool, plugins: Plugins, narrator: Narrator
) -> Tokenizer:
    """Return the tokenizer that ``name`` stands for, or the one that it says to make from ``source``."""
    recipe = None if name in plugins.tokenizers else recipe_of(name)
    if recipe is None:
        return find_tokenizer(name, plugins.tokenizers)
    return tokenizer_from_data(recipe, source, special=special, narrator=narrator)


def _tell_early_end(record: RunRecord, request: TrainRequest, narrator: Narrator) -> None:
    """Say why a run ends before the step that was asked for."""
    horizon, trainer = record.horizon, record.config.trainer
    if request.max_steps is None or request.max_steps <= horizon:
        return
    steps = f"{horizon:,} step{'' if horizon == 1 else 's'}"
    if horizon == trainer.max_steps:
        why = f"its config ends it after {steps} (trainer.max_steps)"
    else:
        epochs = trainer.num_epochs or 1.0
        why = f"its {epochs:g} epoch{'' if epochs == 1 else 's'} end after {steps}"
    more = "" if request.resume else "; --num-epochs N makes it longer"
    narrator.note(f"{why}, before the {request.max_steps:,} of --max-steps{more}")


def _windows_per_epoch(config: RunConfig, corpus: Corpus, tokenizer: Tokenizer) -> int:
    """Return how many windows an epoch has. Raises `DataError` where the data does not serve."""
    return open_loader(config, corpus.path, tokenizer).windows_per_epoch
