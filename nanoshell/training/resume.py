"""Going on with a run: which one, from which checkpoint, what may be different this time. No torch here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nanoshell.errors import (
    CheckpointError,
    ConfigError,
    NanoshellError,
    RunError,
)
from nanoshell.files import write_text
from nanoshell.model.config import with_vocabulary
from nanoshell.narrator import Narrator
from nanoshell.runs.directory import RunDirectory, find_run, list_runs
from nanoshell.runs.locate import checkpoint_at, split_step
from nanoshell.runs.process import hold_lock, refuse_live
from nanoshell.runs.telling import log_damage
from nanoshell.spelling import typed
from nanoshell.training.automatic import as_chosen
from nanoshell.training.batches import open_loader
from nanoshell.training.checkpoint import (
    DOCUMENT,
    check_whole,
    drop_above,
    point_latest,
    read_document,
)
from nanoshell.training.config import RunConfig
from nanoshell.training.difference import (
    Difference,
    check_forced,
    config_differences,
    listed,
)
from nanoshell.training.numerics import choose_softmax
from nanoshell.training.plan import extended_horizon
from nanoshell.training.presets import override
from nanoshell.training.provenance import describe_origin
from nanoshell.training.record import RunRecord, build_tokenizer, read_record
from nanoshell.training.recorded_data import with_corpus
from nanoshell.training.request import TrainRequest, check_device, check_names, on_device, run_name
from nanoshell.training.samples import check_samples, configured

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.tokenizer.base import Tokenizer


@dataclass(frozen=True)
class ResumePoint:
    """Where training goes on: a run and one of its checkpoints (None before its first), or one outside.

    Without both a new run begins. ``note`` says why it is not the newest run or checkpoint, where that is so.
    """

    run: RunDirectory | None
    checkpoint: Path | None
    note: str = ""


def find_resume_point(request: TrainRequest) -> ResumePoint:
    """Return what ``request.resume`` names; nothing but a note where ``auto`` finds no run that can go on.

    Raises `UnknownNameError`, `RunError`, `CheckpointError`.
    """
    reference = request.resume or ""
    if reference == "auto":
        return _newest(request)
    path = Path(reference).expanduser()
    if path.is_dir() and not (path / "run.yaml").is_file():
        read_document(path)  # says what is wrong with a folder that is no checkpoint
        run = RunDirectory(path.resolve().parent.parent)
        inside = path.resolve().parent == run.checkpoints_dir and run.record_path.is_file()
        return ResumePoint(run if inside else None, path.resolve())
    name, step = split_step(reference)
    run = find_run(request.runs_dir, name)
    return _newest_point(run) if step is None else ResumePoint(run, checkpoint_at(run, step))


def _newest(request: TrainRequest) -> ResumePoint:
    """Return the newest run of the name that ``request`` gives or implies, none where that has ended.

    One that has no checkpoint yet and does not agree with the request is passed over: nothing is lost with
    it. Whether one with a checkpoint agrees is for `resume_run` to say. Raises `RunError` where it trains.
    """
    notes: list[str] = []
    for run in list_runs(request.runs_dir):
        try:
            record = read_record(run)
        except NanoshellError as error:
            if _base(run) == _wanted_name(request, _base(run)):
                notes.append(f"run '{run.name}' is passed over: {error.message}")
            continue
        point = _newest_point(run)
        begun = point.checkpoint or record.initial_checkpoint
        if not _is_named(run, record, request) or (begun is None and not _agrees(record, request)):
            continue
        _refuse_training(run)
        document = read_document(begun) if begun else {}
        if _has_ended(run, replace(record, stop_at=request.max_steps), document):
            break
        return replace(point, note="; ".join(filter(None, (*notes, point.note))))
    return ResumePoint(None, None, "; ".join((*notes, "there is no run that can go on: starting a new one")))


def _refuse_training(run: RunDirectory) -> None:
    try:
        refuse_live(run)
    except RunError as error:
        raise RunError(
            f"run '{run.name}' is training already: {error.message}",
            hint=f"watch it: {typed(f'runs attach {run.name}')}; or start another: train without --resume",
        ) from error


def _is_named(run: RunDirectory, record: RunRecord, request: TrainRequest) -> bool:
    """Whether ``run`` is of the name in ``request``, else of that of its model, else on its data."""
    if request.name is not None:
        return _base(run) == request.name
    if request.config is not None:
        return run_name(record.config) == run_name(request.config)
    return record.is_on(request.source)


def _base(run: RunDirectory) -> str:
    """Return the name of ``run`` without its number."""
    return run.name.rpartition("-")[0]


def _wanted_name(request: TrainRequest, otherwise: str) -> str:
    config = request.config
    return request.name or (run_name(config) if config is not None else otherwise)


def _agrees(record: RunRecord, request: TrainRequest) -> bool:
    wanted = _wanted(record.config, request, "")
    return record.is_on(request.source) and not config_differences(record.config, wanted)


def _has_ended(run: RunDirectory, record: RunRecord, document: Mapping[str, Any]) -> bool:
    """Whether ``run`` has nothing left to do after the checkpoint of ``document``."""
    step, last = _course(record, document)
    return step >= last and not (step == last and _broke_off(run))


def _course(record: RunRecord, document: Mapping[str, Any]) -> tuple[int, int]:
    """Return the step of the checkpoint of ``document``, and the one at which the run ends."""
    horizon = extended_horizon(document, record.horizon)
    return int(document.get("step", 0)), replace(record, horizon=horizon).last_step


def _broke_off(run: RunDirectory) -> bool:
    """Whether the last worker of ``run`` came to no proper end: it may owe the last evaluation."""
    return run.status().state in ("crashed", "failed", "silent")


def _newest_point(run: RunDirectory) -> ResumePoint:
    """Return the newest checkpoint of ``run`` whose files are whole, the one that is named where none is."""
    latest = run.latest_checkpoint()
    if latest is None:
        return ResumePoint(run, None)
    step = int(latest.name.rpartition("-")[2])
    older = [found.path for found in reversed(run.checkpoints()) if found.step < step]
    problem = ""
    for path in (latest, *older):
        try:
            check_whole(path)
        except CheckpointError as error:
            problem = problem or f"{error.message}: going on from the checkpoint before it"
        else:
            return ResumePoint(run, path, problem)
    return ResumePoint(run, latest)


def resume_run(
    run: RunDirectory,
    checkpoint: Path | None,
    request: TrainRequest,
    plugins: Plugins,
    narrator: Narrator,
) -> RunDirectory:
    """Prepare ``run`` so that its next worker goes on from ``checkpoint``, and return it.

    Raises `ConfigError`, `UsageError`, `DataError` and `RunError` where it cannot; nothing has changed then.
    With ``request.force`` another config and other data are noted, and taken.
    """
    refuse_live(run)
    record = read_record(run)
    begun = checkpoint or record.initial_checkpoint
    document = check_whole(begun) if begun else {}
    step = int(document.get("step", 0))
    config, differences = agreed_config(record.config, request, f"run '{run.name}'", begun, plugins)
    check_names(config, plugins)
    check_device(config, plugins)
    stop_at = record.stop_at if request.extend else request.max_steps
    now = replace(record, config=config, stop_at=stop_at)
    tokenizer = build_tokenizer(run, record, plugins)
    check_samples(configured(config), config, tokenizer, plugins.samplers)
    now, of_data = with_corpus(now, tokenizer, request, plugins, narrator)
    differences += of_data
    forced_from = None if record.forced_from is None else min(record.forced_from, step)
    if differences:
        now = _replanned(now, record, tokenizer, document)
        forced_from = step
        narrator.note(f"going on all the same:{listed(differences)}")
    now = replace(
        now,
        forced_from=forced_from,
        provenance=_provenance(record, plugins, request, step, differences),
    )
    if request.extend is None:
        _refuse_end(run, now, document)
    with hold_lock(run):
        refuse_live(run)  # again: only under the lock does nobody else begin to go on with it
        if not now.goes_on_exactly(step):
            drop_above(run, step)  # by their steps they would be taken for checkpoints of the config of now
        text = yaml.safe_dump({**run.record(), **now.to_dict()}, sort_keys=False, allow_unicode=True)
        write_text(run.record_path, text)
        if checkpoint is not None:
            point_latest(run, checkpoint.name)
    if damage := log_damage(run.events_path, step if checkpoint else 0):
        narrator.note(damage)
    narrator.note(_beginning(run, now, begun, document))
    return run


def _beginning(run: RunDirectory, record: RunRecord, begun: Path | None, document: Mapping[str, Any]) -> str:
    """Return in words from where ``run`` goes on: from ``begun``, a checkpoint of its own or another."""
    step, last = _course(record, document)
    if begun is None:
        return f"{run.name} has no checkpoint yet: it begins anew, with {last:,} steps before it"
    own = begun.resolve().parent == run.checkpoints_dir.resolve()
    where = f"{begun.parent.name}/{begun.name}" if own else str(begun)
    return f"{run.name} goes on at step {step:,} of {last:,} ({where})"


def _provenance(
    record: RunRecord,
    plugins: Plugins,
    request: TrainRequest,
    step: int,
    differences: Sequence[Difference],
) -> dict[str, Any]:
    time = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    entry = {"time": time, "from_step": step, **describe_origin(plugins, request.argv)}
    if differences:
        entry["forced"] = [asdict(difference) for difference in differences]
    return {**record.provenance, "resumes": [*record.provenance.get("resumes", []), entry]}


def _refuse_end(run: RunDirectory, record: RunRecord, document: Mapping[str, Any]) -> None:
    if not _has_ended(run, record, document):
        return
    step, last = _course(record, document)
    stopped_early = last < extended_horizon(document, record.horizon)
    raise RunError(
        f"run '{run.name}' has nothing left to do: it is at step {step:,} of {last:,}",
        hint="raise --max-steps, or leave it out"
        if stopped_early
        else "start a new run: train without --resume",
    )


def checkpoint_config(
    checkpoint: Path, request: TrainRequest, plugins: Plugins
) -> tuple[RunConfig, list[Difference]]:
    """Return the config to go on with from ``checkpoint``, a folder outside any run, and what is forced.

    Raises `ConfigError` where ``request`` says otherwise than it was trained with.
    """
    where = str(checkpoint / DOCUMENT)
    recorded = RunConfig.from_dict(check_whole(checkpoint).get("config"), where)
    return agreed_config(recorded, request, str(checkpoint), checkpoint, plugins)


def agreed_config(
    recorded: RunConfig, request: TrainRequest, what: str, checkpoint: Path | None, plugins: Plugins
) -> tuple[RunConfig, list[Difference]]:
    """Return the config to go on with, and what in it was forced: nothing but what may always change.

    Raises `ConfigError` that shows every difference of ``request`` from ``recorded``, the config of ``what``,
    and where it is forced, those that the weights of ``checkpoint`` do not bear.
    """
    wanted = _wanted(recorded, request, what)
    differences = config_differences(recorded, wanted)
    if differences and not request.force:
        of_model = any(difference.what.startswith("model.") for difference in differences)
        ways = ["resume with the config of the run (leave --config out)", "start a new run"]
        if not of_model:
            ways.append("go on with the new config from its weights: --force")
        raise ConfigError(
            f"{what} was trained with another config:{listed(differences)}",
            hint=f"{', '.join(ways[:-1])}, or {ways[-1]}",
        )
    check_forced(differences, wanted, checkpoint, plugins)
    return on_device(wanted, request.device), differences


def _wanted(recorded: RunConfig, request: TrainRequest, what: str) -> RunConfig:
    """Return the config that ``request`` asks for; what it leaves out is as in ``recorded``."""
    if request.config is None:
        return as_chosen(RunConfig.from_dict(override(recorded.to_dict(), request.overrides), what), recorded)
    # A vocabulary whose size is left to the tokenizer is that of the run, and so is what auto became.
    model = with_vocabulary(request.config.model, recorded.model.vocab_size)
    return as_chosen(request.config.model_copy(update={"model": model}), recorded)


def _replanned(
    record: RunRecord, before: RunRecord, tokenizer: Tokenizer, document: Mapping[str, Any]
) -> RunRecord:
    """Return ``record`` with horizon and softmax for its config and data; an extension is kept if it can."""
    config, corpus = record.config, record.corpus
    horizon = config.horizon(open_loader(config, corpus.path, tokenizer).windows_per_epoch)
    if horizon == before.horizon:
        horizon = extended_horizon(document, horizon)
    trainer, vocab_size = config.trainer, config.model.vocab_size
    softmax = choose_softmax(trainer.softmax, vocab_size, corpus.distinct_ids, trainer.sampled_negatives)
    return replace(record, horizon=horizon, softmax=softmax)
