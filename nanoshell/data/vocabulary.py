"""Tokenizers made from documents: trained once, kept in the cache, found again while nothing has changed."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nanoshell import paths
from nanoshell.data.source import DataSource, Document, RemoteSource
from nanoshell.errors import DataError, TokenizerError, UsageError
from nanoshell.narrator import Narrator, SilentNarrator
from nanoshell.spelling import typed
from nanoshell.tokenizer.files import FORMAT, PortableTokenizer, read_tokenizer, write_tokenizer
from nanoshell.tokenizer.making import make_char, train_bpe
from nanoshell.tokenizer.special import FEW_SPECIAL_TOKENS
from nanoshell.tokenizer.store import Registered, TokenizerRecipe, check_new_name, trained_path

_SPECIAL = re.compile("|".join(map(re.escape, FEW_SPECIAL_TOKENS)))
_PIECE = 1 << 20


def make_tokenizer(
    sources: Sequence[DataSource],
    recipe: TokenizerRecipe,
    name: str,
    *,
    special: bool = False,
    narrator: Narrator | None = None,
) -> PortableTokenizer:
    """Return the tokenizer called ``name`` that ``recipe`` makes from the documents of ``sources``.

    With ``special`` the spellings of special tokens are no text, as in a corpus. Raises `DataError`,
    `NetworkError` and `TokenizerError`.
    """
    narrator = narrator or SilentNarrator()
    for source in sources:
        if source.token_file() is not None:
            raise DataError(
                f"{source.spec} holds token ids: no tokenizer can be made from them",
                hint="name the text, or the tokenizer that made the ids, in model.tokenizer",
            )
        if isinstance(source, RemoteSource):
            source.fetch(narrator)
    sizes = [source.info().num_bytes for source in sources]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    with narrator.progress(f"making the tokenizer {name}", total, "B") as advance:
        texts = itertools.chain.from_iterable(_texts(source, special, advance) for source in sources)
        first = next(filter(None, texts), None)
        if first is None:
            raise TokenizerError("there is no text to make a tokenizer from", hint=_what_there_is(sources))
        texts = itertools.chain([first], texts)
        if recipe.kind == "char":
            return make_char(name, texts)
        return train_bpe(name, texts, recipe.vocab_size or 0)


def tokenizer_from_data(
    recipe: TokenizerRecipe,
    source: DataSource,
    *,
    special: bool = False,
    cache_dir: Path | None = None,
    narrator: Narrator | None = None,
) -> PortableTokenizer:
    """Return the tokenizer that ``recipe`` makes from ``source``, out of the cache where it is there.

    The same data makes the same tokenizer. Raises as `make_tokenizer` does, and `StorageError`.
    """
    if isinstance(source, RemoteSource):
        source.fetch(narrator or SilentNarrator())
    parts = [FORMAT, source.fingerprint(), recipe.name, special]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    path = (cache_dir or paths.cache_dir()) / "tokenizers" / f"{key}.json"
    try:
        return read_tokenizer(path, recipe.name)
    except TokenizerError:  # absent, or damaged: what can be made again is
        tokenizer = make_tokenizer([source], recipe, recipe.name, special=special, narrator=narrator)
        write_tokenizer(path, tokenizer, origin={"source": source.spec}, private=True)
        return tokenizer


def train_tokenizer(
    source: DataSource,
    recipe: TokenizerRecipe,
    name: str,
    registered: Registered,
    *,
    special: bool = False,
    replace: bool = False,
    narrator: Narrator | None = None,
) -> PortableTokenizer:
    """Make the tokenizer of ``recipe`` from ``source``, keep it as ``name`` in the user's folder, return it.

    Raises `UsageError` where the name is taken (by a trained one: without ``replace``), and as
    `make_tokenizer` does.
    """
    check_new_name(name, registered)
    path = trained_path(name)
    if path.exists() and not replace:
        raise UsageError(
            f"there is a tokenizer '{name}' already",
            hint="choose another name with --name, or replace it with --force: models keep their copies",
        )
    tokenizer = make_tokenizer([source], recipe, name, special=special, narrator=narrator)
    write_tokenizer(path, tokenizer, origin={"source": source.spec}, private=True)
    return tokenizer


def _what_there_is(sources: Sequence[DataSource]) -> str:
    """Return why ``sources`` hold no text, as far as that is known without reading them again."""
    specs = " and ".join(source.spec for source in sources)
    if all(source.info().num_bytes == 0 for source in sources):
        return f"{specs} {'is' if len(sources) == 1 else 'are'} empty"
    return f"see what there is: {typed(f'data info {sources[0].spec}')}"


def _texts(source: DataSource, special: bool, advance: Callable[[int], None]) -> Iterator[str]:
    for document in source.documents():
        for text in _ordinary_texts(document, special or document.special):
            advance(len(text) if text.isascii() else len(text.encode("utf-8", "replace")))
            for start in range(0, len(text), _PIECE):
                yield text[start : start + _PIECE]


def _ordinary_texts(document: Document, special: bool) -> Iterable[str]:
    if document.messages:
        return [message.content for message in document.messages]
    return _SPECIAL.split(document.text) if special else [document.text]
