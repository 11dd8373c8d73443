"""Tokenizers by name: those of plugins, those that the user trained, files, and those made from the data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nanoshell import paths
from nanoshell.errors import TokenizerError, UsageError, unknown_name
from nanoshell.files import explain_storage
from nanoshell.plugin.registry import Registry
from nanoshell.spelling import typed
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.files import KINDS, TOKENIZER_FILE, read_document, read_tokenizer

SUFFIX = ".json"
SMALLEST_BPE = 260
"""A vocabulary of byte pairs without a pair: 256 bytes and the special tokens."""
_NAME = re.compile(r"[\w][\w.+-]*", re.ASCII)

Registered = Registry[Callable[[], Tokenizer]]


@dataclass(frozen=True)
class TokenizerRecipe:
    """A tokenizer that is made from a model's training data when a run starts: ``char``, ``bpe:1024``."""

    kind: str
    vocab_size: int | None = None

    @property
    def name(self) -> str:
        """How a config spells it."""
        return self.kind if self.vocab_size is None else f"{self.kind}:{self.vocab_size}"


def recipe_of(name: str) -> TokenizerRecipe | None:
    """Return the recipe that ``name`` is, None where it names a tokenizer that exists already.

    Raises `UsageError` for a recipe without what it needs.
    """
    kind, colon, size = name.partition(":")
    if kind not in KINDS:
        return None
    if kind == "char":
        if colon:
            raise UsageError(f"tokenizer '{name}': a character tokenizer has no size", hint="write: char")
        return TokenizerRecipe(kind)
    if not size.isdecimal() or int(size) < SMALLEST_BPE:
        raise UsageError(
            f"tokenizer '{name}': byte pairs that are found in the data need the size of the vocabulary",
            hint=f"write bpe:1024, or another number from {SMALLEST_BPE}",
        )
    return TokenizerRecipe(kind, int(size))


def find_tokenizer(name: str, registered: Registered) -> Tokenizer:
    """Return the tokenizer that ``name`` names: a registered one, a trained one, or a tokenizer file.

    A folder stands for the ``tokenizer.json`` in it. Raises `UnknownNameError` with the nearest name,
    `UsageError` for a recipe, which needs data, and `TokenizerError` for a damaged file.
    """
    if name in registered:
        return registered.get(name)()
    recipe = recipe_of(name)
    if recipe is not None:
        size = f" --vocab-size {recipe.vocab_size}" if recipe.vocab_size else ""
        raise UsageError(
            f"tokenizer '{name}' is made from a model's training data: there is none here",
            hint="make one that has a name: "
            + typed(f"tokenizer train --kind {recipe.kind}{size} --data FILE --name NAME"),
        )
    if is_path(name):
        path = Path(name).expanduser()
        return read_tokenizer(path / TOKENIZER_FILE if path.is_dir() else path)
    if name not in trained_names():
        raise unknown_name("tokenizer", name, [*registered.names(), *trained_names(), "char", "bpe:1024"])
    return read_tokenizer(trained_path(name), name)


@dataclass(frozen=True)
class TokenizerInfo:
    """A tokenizer that can be named: of a plugin, or trained here (then with its file and size)."""

    name: str
    kind: str
    summary: str
    vocab_size: int | None = None
    path: Path | None = None


def list_tokenizers(registered: Registered) -> list[TokenizerInfo]:
    """Return the tokenizers of plugins, then the trained ones by name; one that is damaged says so."""
    infos = [TokenizerInfo(entry.name, "plugin", entry.summary) for entry in registered]
    for name in trained_names():
        path = trained_path(name)
        try:
            tokenizer, source = read_tokenizer(path, name), source_of(path)
        except TokenizerError as error:
            infos.append(TokenizerInfo(name, "damaged", error.message, path=path))
            continue
        kind = str(tokenizer.to_dict()["kind"])
        infos.append(TokenizerInfo(name, kind, f"made from {source}", tokenizer.vocab_size, path))
    return infos


def source_of(path: Path) -> str:
    """Return the name of the data that the tokenizer file ``path`` was made from. Raises `TokenizerError`."""
    origin = read_document(path).get("origin")
    return str(origin.get("source", "")) if isinstance(origin, dict) else ""


def is_path(name: str) -> bool:
    """Return whether ``name`` can only be meant as a path: it has a separator or ends with ``.json``."""
    return "/" in name or "\\" in name or name.endswith(SUFFIX)


def trained_path(name: str) -> Path:
    """Return where a trained tokenizer called ``name`` is kept."""
    return paths.data_dir() / "tokenizers" / f"{name}{SUFFIX}"


def trained_names() -> list[str]:
    """Return the names of the trained tokenizers, sorted."""
    folder = trained_path("").parent
    found = folder.glob(f"[!.]*{SUFFIX}") if folder.is_dir() else ()
    return sorted(path.stem for path in found)


def check_new_name(name: str, registered: Registered) -> None:
    """Raise `UsageError` where a tokenizer cannot be called ``name``."""
    if not _NAME.fullmatch(name) or is_path(name):
        raise UsageError(
            f"'{name}' cannot be a tokenizer's name", hint="use letters, digits, and . _ + - after the first"
        )
    if name in registered or name in KINDS:
        raise UsageError(f"'{name}' already names another tokenizer", hint="choose another name with --name")


def remove_trained(name: str) -> Path:
    """Remove the trained tokenizer ``name`` and return where it was; models keep their copies.

    Raises `UnknownNameError` and `StorageError`.
    """
    path = trained_path(name)
    if name not in trained_names():
        raise unknown_name("trained tokenizer", name, trained_names())
    with explain_storage(path):
        path.unlink()
    return path
