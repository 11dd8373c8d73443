"""From a source to a token file: tokenized once, kept in the cache, found again while nothing has changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nanoshell import paths
from nanoshell.chat.template import ChatTemplate
from nanoshell.data.durable import TokenFiles
from nanoshell.data.encoding import PIECE, choose_workers, encode_all
from nanoshell.data.source import DataSource, Document, RemoteSource
from nanoshell.data.tokens import (
    TOKEN_BYTES,
    TokenStats,
    check_tokens,
    open_tokens,
)
from nanoshell.errors import DataError, UsageError
from nanoshell.files import explain_storage, sweep_parts, write_text
from nanoshell.narrator import Narrator, SilentNarrator
from nanoshell.spelling import typed
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.version import __version__

FORMAT = 1
_VERIFIED_BYTES = 64 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """A source as token ids on disk: what a run trains on, and what it records about it."""

    path: Path
    spec: str
    num_tokens: int
    num_documents: int
    distinct_ids: int
    sha256: str
    tokenizer: str
    special: bool


def prepare_corpus(
    source: DataSource,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    *,
    cache_dir: Path | None = None,
    special: bool = False,
    narrator: Narrator | None = None,
) -> Corpus:
    """Return ``source`` as a token file in the cache, tokenizing it unless that has been done.

    A ``.bin`` is checked and then used where it stands. With ``special`` the spellings of special tokens in
    its texts are read as those tokens (never in messages). What a killed or interrupted process has made
    durable is gone on with, within a day. Raises `DataError`, `NetworkError` and `StorageError`.
    """
    narrator = narrator or SilentNarrator()
    _fetch(source, narrator)
    folder = (cache_dir or paths.cache_dir()) / "corpora"
    token_file = source.token_file()
    key = _key(source, tokenizer, template, special)
    path = token_file or folder / f"{key}.bin"
    record = folder / f"{key}.json"
    known = _read_record(record, path, verify=token_file is None)
    if known is not None:
        return replace(known, path=path, spec=source.spec, tokenizer=tokenizer.name)
    with explain_storage(folder):
        paths.private_folder(folder)
        sweep_parts(folder)
    if token_file is not None:
        stats = _check(token_file, tokenizer, narrator)
    else:
        with TokenFiles([path], tokenizer.end_of_text, key=_work([key]), private=True) as files:
            (stats,) = _write([source], tokenizer, template, files, special, 0.0, None, narrator)
    corpus = _corpus(path, source.spec, stats, tokenizer, special)
    write_text(record, json.dumps({"format": FORMAT, **asdict(corpus), "path": path.name}), private=True)
    return corpus


def tokenize(
    sources: Sequence[DataSource],
    tokenizer: Tokenizer,
    template: ChatTemplate,
    output: Path,
    *,
    special: bool = False,
    val_fraction: float = 0.0,
    workers: int | None = None,
    narrator: Narrator | None = None,
) -> list[Corpus]:
    """Write the documents of ``sources``, one after the other, to ``output``, and return what was written.

    ``output`` is a ``.bin`` or a folder, which gets a ``tokens.bin``. With ``val_fraction`` about that share
    of the documents goes to a second file: ``NAME.val.bin`` beside ``NAME.bin``, or ``train.bin`` and
    ``val.bin`` in the folder. ``workers`` threads tokenize (None: as many as pay). What a killed or
    interrupted process has made durable of the same work is gone on with; the files come out the same.
    Raises `DataError`, `NetworkError` and `StorageError`, and `UsageError` where ``output`` is another kind
    of file or the folder above it is missing; what was there before is untouched then.
    """
    narrator = narrator or SilentNarrator()
    if not 0 <= val_fraction < 1:
        raise DataError(f"val_fraction is {val_fraction}", hint="it must be at least 0 and below 1")
    outputs = _outputs(output, split=val_fraction > 0)
    for source in sources:
        _fetch(source, narrator)
    spec = " + ".join(source.spec for source in sources)
    keys = [_key(source, tokenizer, template, special) for source in sources]
    with TokenFiles(outputs, tokenizer.end_of_text, key=_work(keys, val_fraction)) as files:
        found = _write(sources, tokenizer, template, files, special, val_fraction, workers, narrator)
        if not all(stats.num_tokens for stats in found):
            raise _too_few(spec, sum(stats.num_documents for stats in found), val_fraction)
    return [
        _corpus(path, spec, stats, tokenizer, special) for path, stats in zip(outputs, found, strict=True)
    ]


def _fetch(source: DataSource, narrator: Narrator) -> None:
    """Bring a remote source here, and say what a user should know about what will be used."""
    if isinstance(source, RemoteSource):
        source.fetch(narrator)
    for note in source.info().notes:
        narrator.note(note)


def _too_few(spec: str, documents: int, val_fraction: float) -> DataError:
    """Return the error for a split that leaves a file empty; no share divides one document."""
    what, whole = ("1 document is", "it") if documents == 1 else (f"{documents:,} documents are", "them")
    return DataError(
        f"{spec}: {what} too few to hold out {val_fraction:g} of {whole}",
        hint=("hold out another share, or " if documents > 1 else "")
        + "split while training with trainer.val_fraction",
    )


def _outputs(output: Path, *, split: bool) -> list[Path]:
    """Return the files to write. Raises `UsageError` for what is no place for them."""
    if output.is_file() and output.suffix != ".bin":
        kind = "a text file" if output.suffix in (".txt", ".md", ".jsonl") else "a file, and no .bin"
        raise UsageError(
            f"{output} is {kind}; -o takes a .bin or a folder", hint=f"write -o {output.with_suffix('.bin')}"
        )
    if not output.parent.exists():  # more than the folder itself: more likely a slip than a wish
        raise UsageError(
            f"there is no folder {output.parent} for {output.name}", hint="make it first, or name another"
        )
    if output.suffix == ".bin" and not output.is_dir():
        return [output, output.with_suffix(".val.bin")] if split else [output]
    return [output / "train.bin", output / "val.bin"] if split else [output / "tokens.bin"]


def _write(
    sources: Sequence[DataSource],
    tokenizer: Tokenizer,
    template: ChatTemplate,
    files: TokenFiles,
    special: bool,
    val_fraction: float,
    workers: int | None,
    narrator: Narrator,
) -> list[TokenStats]:
    """Write the ids of ``sources`` (to the second file those held out), and return what each file holds.

    Batches that an earlier writer left are read, so that the same cuts are made, but not encoded again.
    """
    left, count = files.batches, 0
    if left:
        narrator.note(f"going on where an earlier tokenizing ended: {files.num_tokens:,} tokens are there")
    sizes = [source.info().num_bytes for source in sources]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    label = "tokenizing " + (sources[0].spec if len(sources) == 1 else f"{len(sources)} sources")
    with _tell_what_stays(files, narrator), narrator.progress(label, total, "B") as advance:
        for source in sources:
            before = count
            encoded = encode_all(
                _documents(source, tokenizer),
                tokenizer,
                template,
                special=special,
                val_fraction=val_fraction,
                workers=choose_workers(workers, source.info().num_bytes),
                skip=max(left - count, 0),
            )
            with contextlib.closing(encoded):
                for ids in encoded:
                    if count >= left:
                        files.append((ids.train, ids.held_out)[: len(files.paths)], ids.num_bytes)
                    count += 1
                    advance(ids.num_bytes)
            if count == before:
                raise DataError(
                    f"{source.spec} holds no text",
                    hint=f"see what it holds: {typed(f'data info {source.spec}')}",
                )
    return files.stats()


@contextlib.contextmanager
def _tell_what_stays(files: TokenFiles, narrator: Narrator) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if kept := files.keep():
            narrator.note(f"{kept:,} tokens are kept: the same command goes on where this one stopped")
        raise


def _documents(source: DataSource, tokenizer: Tokenizer) -> Iterator[Document]:
    """Yield the documents of ``source``; the ids of a ``.bin`` are checked first, and come in blocks."""
    path = source.token_file()
    if path is None:
        try:
            yield from source.documents()
        except OSError as error:  # it would pass for a failed write otherwise
            raise DataError(f"cannot read {source.spec}: {error.strerror or error}") from error
        return
    check_tokens(path, tokenizer)
    tokens = open_tokens(path, tokenizer)
    for start in range(0, len(tokens), _BLOCK):
        yield Document(ids=np.array(tokens[start : start + _BLOCK]), origin=str(path), continues=True)


def _check(path: Path, tokenizer: Tokenizer, narrator: Narrator) -> TokenStats:
    num_bytes = len(open_tokens(path, tokenizer)) * TOKEN_BYTES
    with narrator.progress(f"checking {path.name}", num_bytes, "B") as advance:
        return check_tokens(path, tokenizer, progress=advance)


def _key(source: DataSource, tokenizer: Tokenizer, template: ChatTemplate, special: bool) -> str:
    parts = [FORMAT, source.fingerprint(), tokenizer.fingerprint, template.name, special]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _work(keys: Sequence[str], val_fraction: float = 0.0) -> str:
    """Return what stands for everything that decides the batches of a token file, how texts are cut too."""
    return hashlib.sha256(json.dumps([*keys, val_fraction, PIECE, __version__]).encode()).hexdigest()


def _read_record(record: Path, path: Path, *, verify: bool) -> Corpus | None:
    """Return what was recorded about ``path``, or None where it is absent, damaged, or not of that file."""
    try:
        fields: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if fields.pop("format") != FORMAT:
            return None
        corpus = Corpus(**fields)
        size = path.stat().st_size
        if size != corpus.num_tokens * TOKEN_BYTES:
            return None
        # A cache on a disk that lost power may hold a file of the right size and the wrong bytes.
        if verify and size <= _VERIFIED_BYTES:
            with path.open("rb") as file:
                return corpus if hashlib.file_digest(file, "sha256").hexdigest() == corpus.sha256 else None
        return corpus
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _corpus(path: Path, spec: str, stats: TokenStats, tokenizer: Tokenizer, special: bool) -> Corpus:
    return Corpus(
        path=path,
        spec=spec,
        num_tokens=stats.num_tokens,
        num_documents=stats.num_documents,
        distinct_ids=stats.distinct_ids,
        sha256=stats.sha256,
        tokenizer=tokenizer.name,
        special=special,
    )
