"""Going on with a run: which one, from which checkpoint, what may be different this time. No torch here."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nanoshell.data.corpus import Corpus, prepare_corpus
from nanoshell.data.source import open_source
from nanoshell.errors import ConfigError, DataError, NanoshellError, RunError, UsageError
from nanoshell.files import write_text
from nanoshell.model.config import with_vocabulary
from nanoshell.narrator import Narrator
from nanoshell.runs.directory import RunDirectory, find_run, list_runs
from nanoshell.runs.locate import checkpoint_at, split_step
from nanoshell.runs.process import hold_lock, refuse_live
from nanoshell.training.checkpoint import DOCUMENT, check_whole, point_latest, read_document
from nanoshell.training.config import RunConfig
from nanoshell.training.presets import override
from nanoshell.training.provenance import describe_origin
from nanoshell.training.record import RunRecord, build_tokenizer, check_corpus, read_record
from nanoshell.training.request import TrainRequest, check_device, check_names, on_device

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins

CHANGEABLE = frozenset(
    {
        "checkpoint_dir",
        "device",
        "eval_interval",
        "eval_tokens",
        "log_interval",
        "max_checkpoints",
        "save_interval",
        "target_device",
    }
)
"""Keys of the trainer that may differ on resume: they change neither the batches nor the updates."""
_HASHED_BYTES = 64 << 20


@dataclass(frozen=True)
class ResumePoint:
    """Where training goes on: a run and one of its checkpoints (None before its first), or one outside."""

    run: RunDirectory | None
    checkpoint: Path | None


def find_resume_point(request: TrainRequest) -> ResumePoint | None:
    """Return what ``request.resume`` names; None where ``auto`` finds nothing that can go on.

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
    return ResumePoint(run, run.latest_checkpoint() if step is None else checkpoint_at(run, step))


def _newest(request: TrainRequest) -> ResumePoint | None:
    """Return the newest run that agrees with what ``request`` says and has steps left and no live worker."""
    for run in list_runs(request.runs_dir):
        try:
            record = read_record(run)
        except NanoshellError:
            continue
        named = request.name is None or run.name.rpartition("-")[0] == request.name
        wanted = None if request.config is None else _fitted(request.config, record.config)
        same_model = wanted is None or wanted.model == record.config.model
        same_source = request.source is None or request.source == record.corpus.spec
        checkpoint = run.latest_checkpoint()
        if not (named and same_model and same_source) or checkpoint is None:
            continue
        if _steps_left(record, checkpoint, request) and not _is_live(run):
            return ResumePoint(run, checkpoint)
    return None


def _steps_left(record: RunRecord, checkpoint: Path, request: TrainRequest) -> bool:
    try:
        step = int(read_document(checkpoint).get("step", 0))
    except NanoshellError:
        return False
    return step < replace(record, stop_at=request.max_steps).last_step


def _is_live(run: RunDirectory) -> bool:
    try:
        refuse_live(run)
    except RunError:
        return True
    return False


def resume_run(
    run: RunDirectory,
    checkpoint: Path | None,
    request: TrainRequest,
    plugins: Plugins,
    narrator: Narrator,
) -> RunDirectory:
    """Prepare ``run`` so that its next worker goes on from ``checkpoint``, and return it.

    Raises `ConfigError`, `UsageError`, `DataError` and `RunError` where it cannot; nothing has changed then.
    """
    refuse_live(run)
    record = read_record(run)
    if request.source is not None and request.source != record.corpus.spec:
        raise UsageError(
            f"run '{run.name}' was trained on '{record.corpus.spec}', not on '{request.source}'",
            hint="resume without --data, or start a new run",
        )
    config = _agreed(record.config, request, f"run '{run.name}'")
    check_names(config, plugins)
    check_device(config, plugins)
    corpus = _intact_corpus(run, record, plugins, narrator)
    step = int(check_whole(checkpoint).get("step", 0)) if checkpoint else 0
    origin = describe_origin(plugins, request.argv)
    earlier = list(record.provenance.get("resumes", []))
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    resumes = [*earlier, {"time": now, "from_step": step, **origin}]
    record = replace(
        record,
        config=config,
        corpus=corpus,
        stop_at=request.max_steps,
        provenance={**record.provenance, "resumes": resumes},
    )
    if step >= record.last_step:
        raise RunError(
            f"run '{run.name}' has nothing left to do: it is at step {step:,} of {record.last_step:,}",
            hint="start a new run: train without --resume"
            if record.last_step == record.horizon
            else "raise --max-steps, or leave it out",
        )
    with hold_lock(run):
        refuse_live(run)  # again: only under the lock does nobody else begin to go on with it
        text = yaml.safe_dump({**run.record(), **record.to_dict()}, sort_keys=False, allow_unicode=True)
        write_text(run.record_path, text)
        if checkpoint is not None:
            point_latest(run, checkpoint.name)
    return run


def checkpoint_config(checkpoint: Path, request: TrainRequest) -> RunConfig:
    """Return the config that ``checkpoint``, a folder outside any run, was trained with.

    Raises `ConfigError` where ``request`` says otherwise.
    """
    where = str(checkpoint / DOCUMENT)
    recorded = RunConfig.from_dict(check_whole(checkpoint).get("config"), where)
    return _agreed(recorded, request, str(checkpoint))


def _agreed(recorded: RunConfig, request: TrainRequest, what: str) -> RunConfig:
    """Return ``recorded`` with the changes that ``request`` may make. Raises `ConfigError` for others."""
    before = recorded.to_dict()
    if request.config is not None:
        wanted = _fitted(request.config, recorded).to_dict()
    else:
        wanted = override(before, request.overrides)
        wanted = RunConfig.from_dict(wanted, what).to_dict()
    for section in ("model", "trainer"):
        _compare(section, before[section], wanted[section], what)
    changed = {key: value for key, value in wanted["trainer"].items() if key in CHANGEABLE}
    kept = {key: value for key, value in before["trainer"].items() if key not in CHANGEABLE}
    config = RunConfig.from_dict({"model": before["model"], "trainer": {**kept, **changed}}, what)
    return on_device(config, request.device)


def _fitted(wanted: RunConfig, recorded: RunConfig) -> RunConfig:
    """Return ``wanted`` with the vocabulary of ``recorded`` where it leaves the size to the tokenizer."""
    model = with_vocabulary(wanted.model, recorded.model.vocab_size)
    return wanted.model_copy(update={"model": model})


def _compare(section: str, before: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> None:
    for key in [*before, *wanted]:
        if key not in CHANGEABLE and before.get(key) != wanted.get(key):
            raise ConfigError(
                f"{what} was trained with {section}.{key} {before.get(key)}, not {wanted.get(key)}",
                hint="resume with the config of the run (leave --config out), or start a new run",
            )


def _intact_corpus(run: RunDirectory, record: RunRecord, plugins: Plugins, narrator: Narrator) -> Corpus:
    """Return the corpus of the run, tokenized again where its file is gone. Raises `DataError`."""
    tokenizer = build_tokenizer(run, record, plugins)
    try:
        check_corpus(record.corpus)
        if _hash(record.corpus) in (None, record.corpus.sha256):
            return record.corpus
    except DataError:
        pass
    template = plugins.chat_templates.get(record.chat_template)()
    source = open_source(record.corpus.spec, plugins.sources)
    again = prepare_corpus(source, tokenizer, template, special=record.corpus.special, narrator=narrator)
    if again.sha256 != record.corpus.sha256:
        raise DataError(
            f"'{record.corpus.spec}' has changed since the run began",
            hint="bring the old data back, or start a new run",
        )
    return replace(again, path=again.path.resolve())


def _hash(corpus: Corpus) -> str | None:
    """Return the hash of the token file; None where it is too large to read for every resume."""
    if corpus.path.stat().st_size > _HASHED_BYTES:
        return None
    with corpus.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
