"""Whether the data of a run is what it was, and the tokens that a resume goes on with. No torch here."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from nanoshell.data.corpus import prepare_corpus
from nanoshell.data.source import DataSource, open_source
from nanoshell.errors import ChangedDataError, DataError, NanoshellError, UsageError
from nanoshell.narrator import Narrator, SilentNarrator
from nanoshell.training.difference import (
    Difference,
    corpus_differences,
    describe_source,
    listed,
    source_changed,
)
from nanoshell.training.record import RunRecord, check_corpus

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.request import TrainRequest

_HASHED_BYTES = 64 << 20
_BLOCK = 1 << 22


def with_corpus(
    record: RunRecord, tokenizer: Tokenizer, request: TrainRequest, plugins: Plugins, narrator: Narrator
) -> tuple[RunRecord, list[Difference]]:
    """Return ``record`` with its corpus, tokenized again where that is needed, and what differs in it.

    Raises `ChangedDataError` that shows the differences, unless they are forced.
    """
    corpus, is_same = record.corpus, record.is_on(request.source)
    if not is_same and not request.force:
        raise UsageError(
            f"the run was trained on '{corpus.spec}', not on '{request.source}'",
            hint="resume without --data, start a new run, or go on with the other data: --force",
        )
    spec, special = (corpus.spec, corpus.special) if is_same else (request.source or "", request.special)
    is_whole = is_same and _is_whole(record, narrator)
    source = _open(spec, plugins, needed=not is_whole)
    if source is None or (is_whole and not source_changed(source, record.source_state)):
        return record, []
    template = plugins.chat_templates.get(record.chat_template)()
    again = prepare_corpus(source, tokenizer, template, special=special, narrator=narrator)
    again = replace(again, path=again.path.resolve())
    state = describe_source(source, again.path)
    if again.sha256 == corpus.sha256:
        return replace(record, corpus=again, source_state={**record.source_state, **state}), []
    differences = corpus_differences(corpus, again, record.source_state, state)
    if not request.force:
        raise ChangedDataError(
            f"the data has changed since the run began:{listed(differences)}",
            hint="bring the old data back, start a new run, or go on with the changed data: --force",
        )
    state["asked"] = spec
    return replace(record, corpus=again, source_state=state), differences


def _open(spec: str, plugins: Plugins, *, needed: bool) -> DataSource | None:
    """Return the source; None where it cannot be opened and is not ``needed``."""
    try:
        return open_source(spec, plugins.sources)
    except NanoshellError:
        if needed:
            raise
        return None


def _is_whole(record: RunRecord, narrator: Narrator) -> bool:
    """Whether the token file is there, to the last byte.

    A large one is read again only where its size or time is another than when the run began.
    """
    path = record.corpus.path
    try:
        check_corpus(record.corpus)
        stat = path.stat()
        stamp = record.source_state.get("tokens")
        if stat.st_size > _HASHED_BYTES and stamp == [stat.st_size, stat.st_mtime_ns]:
            return True
        digest = hashlib.sha256()
        teller = narrator if stat.st_size > _HASHED_BYTES else SilentNarrator()
        progress = teller.progress(f"checking {path.name}", stat.st_size, "B")
        with path.open("rb") as file, progress as advance:
            while block := file.read(_BLOCK):
                digest.update(block)
                advance(len(block))
        return digest.hexdigest() == record.corpus.sha256
    except (DataError, OSError):
        return False
