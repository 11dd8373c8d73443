"""What ``run.yaml`` says about a run, typed: the launcher writes it, the worker and a resume read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoshell.data.corpus import Corpus
from nanoshell.errors import DataError, RunError
from nanoshell.spelling import typed
from nanoshell.tokenizer.files import carried_tokenizer
from nanoshell.tokenizer.store import find_tokenizer
from nanoshell.training.config import RunConfig

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.tokenizer.base import Tokenizer

_TOKEN_BYTES = 4


@dataclass(frozen=True)
class RunRecord:
    """A run as it was asked for: resolved config, data, tokenizer, plan.

    ``horizon`` is where the schedule ends, in steps, and ``stop_at`` a step at which to stop before it.
    ``softmax`` is ``full`` or ``sampled``. ``initial_checkpoint`` is a folder outside the run from which it
    started. ``source_state`` tells whether the source has changed since (`describe_source`). The checkpoint
    of step ``forced_from``, and those before it, were written under another config or on other data: the run
    went on from there all the same, as ``--force`` asked. ``provenance`` is what else is worth knowing:
    versions, plugins, machine, resumes.
    """

    config: RunConfig
    corpus: Corpus
    tokenizer_fingerprint: str
    chat_template: str
    horizon: int
    softmax: str
    stop_at: int | None = None
    initial_checkpoint: Path | None = None
    source_state: Mapping[str, Any] = field(default_factory=dict)
    forced_from: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        """The step after which the run is finished."""
        return min(self.horizon, self.stop_at or self.horizon)

    def is_on(self, source: str | None) -> bool:
        """Whether ``source`` names the data of the run, as it was asked for or as it is called since."""
        return source in (None, self.corpus.spec, self.source_state.get("asked"))

    def goes_on_exactly(self, step: int) -> bool:
        """Whether the checkpoint of ``step`` was written under this config and on this data."""
        return self.forced_from is None or step > self.forced_from

    @property
    def forced(self) -> list[Any]:
        """What was forced last, as run.yaml has it: entries of ``what``, ``before`` and ``now``."""
        entries = [self.provenance, *self.provenance.get("resumes", [])]
        return next((list(entry["forced"]) for entry in reversed(entries) if entry.get("forced")), [])

    def to_dict(self) -> dict[str, Any]:
        """Return the record as `RunRecord.from_dict` reads it, in values that YAML holds."""
        corpus = asdict(self.corpus)
        return {
            "source": corpus.pop("spec"),
            **self.config.to_dict(),
            "corpus": {**corpus, "path": str(self.corpus.path)},
            "tokenizer_fingerprint": self.tokenizer_fingerprint,
            "chat_template": self.chat_template,
            "seed": self.config.trainer.seed,
            "horizon": self.horizon,
            "stop_at": self.stop_at,
            "softmax": self.softmax,
            "initial_checkpoint": str(self.initial_checkpoint) if self.initial_checkpoint else None,
            "source_state": dict(self.source_state),
            "forced_from": self.forced_from,
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> RunRecord:
        """Return what `to_dict` wrote. Raises `RunError` and `ConfigError` that name ``where``."""
        try:
            sections = {"model": data["model"], "trainer": data["trainer"]}
            corpus = {**data["corpus"], "spec": data["source"], "path": Path(data["corpus"]["path"])}
            initial = data["initial_checkpoint"]
            return cls(
                config=RunConfig.from_dict(sections, where),
                corpus=Corpus(**corpus),
                tokenizer_fingerprint=str(data["tokenizer_fingerprint"]),
                chat_template=str(data["chat_template"]),
                horizon=int(data["horizon"]),
                softmax=str(data["softmax"]),
                stop_at=None if data["stop_at"] is None else int(data["stop_at"]),
                initial_checkpoint=Path(initial) if initial else None,
                source_state=data.get("source_state") or {},
                forced_from=data.get("forced_from"),
                provenance=data["provenance"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{where} is damaged ({type(error).__name__}: {error})", hint="start a new run"
            ) from error


def read_record(run: RunDirectory) -> RunRecord:
    """Return the record of ``run``. Raises `RunError` where it is missing or damaged."""
    return RunRecord.from_dict(run.record(), str(run.record_path))


def check_corpus(corpus: Corpus) -> None:
    """Raise `DataError` where the token file of ``corpus`` is gone or is not the one that was recorded."""
    try:
        size = corpus.path.stat().st_size
    except OSError as error:
        raise DataError(
            f"the tokens of '{corpus.spec}' are gone: {corpus.path}",
            hint=f"{typed('train --resume RUN')} tokenizes the source again where that is needed",
        ) from error
    if size != corpus.num_tokens * _TOKEN_BYTES:
        raise DataError(
            f"{corpus.path} has changed: {size // _TOKEN_BYTES:,} tokens, and the run began with "
            f"{corpus.num_tokens:,}",
            hint="bring the old file back, or start a new run",
        )


def build_tokenizer(run: RunDirectory, record: RunRecord, plugins: Plugins) -> Tokenizer:
    """Return the tokenizer of ``run``: the one in its folder, or the one that its name stands for.

    Raises `RunError` where it splits text otherwise than it did then.
    """
    tokenizer = carried_tokenizer(run.path) or find_tokenizer(record.corpus.tokenizer, plugins.tokenizers)
    if tokenizer.fingerprint != record.tokenizer_fingerprint:
        raise RunError(
            f"tokenizer '{tokenizer.name}' is another version than the one that the run began with",
            hint="bring the one of that time back, or start a new run",
        )
    return tokenizer
