"""Tokenizers as files: a trained one is a JSON document, and every model that uses it carries a copy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nanoshell.errors import TokenizerError, nearest
from nanoshell.files import write_text
from nanoshell.spelling import typed
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.char import CharTokenizer
from nanoshell.tokenizer.trained import TrainedBpe

FORMAT = 1
"""The version of a tokenizer file. A larger one was written by a newer nanoshell."""
TOKENIZER_FILE = "tokenizer.json"
"""What the file is called beside a model's weights, and in the folder of a run."""

PortableTokenizer = CharTokenizer | TrainedBpe
"""A tokenizer that is data and no code, so that a model can carry it along in a file."""

KINDS: Mapping[str, Callable[[str, dict[str, Any]], PortableTokenizer]] = {
    CharTokenizer.kind: CharTokenizer.from_dict,
    TrainedBpe.kind: TrainedBpe.from_dict,
}
"""What a file may hold, and what builds it from a name and the file's fields."""


def write_tokenizer(
    path: Path,
    tokenizer: PortableTokenizer,
    *,
    origin: Mapping[str, Any] | None = None,
    private: bool = False,
) -> None:
    """Write ``tokenizer`` to ``path``, whole or not at all. Raises `StorageError`.

    ``origin`` says what it was made from, for people; nothing is decided by it.
    """
    document = {"format": FORMAT, "name": tokenizer.name, **tokenizer.to_dict(), "origin": dict(origin or {})}
    write_text(path, json.dumps(document, ensure_ascii=False) + "\n", private=private)


def read_tokenizer(path: Path, name: str | None = None) -> PortableTokenizer:
    """Return the tokenizer of the file ``path``, called ``name`` or as the file has it.

    Raises `TokenizerError` where the file is missing, damaged, of an unknown kind or from a newer nanoshell.
    """
    document = read_document(path)
    build = KINDS.get(str(document.get("kind")))
    if build is None:
        match = nearest(str(document.get("kind")), KINDS)
        raise TokenizerError(
            f"{path} holds a tokenizer of kind {document.get('kind')!r}"
            + (f"; is '{match}' meant?" if match else ""),
            hint=f"it must be of kind {' or '.join(KINDS)}: {typed('tokenizer train')} makes one",
        )
    try:
        return build(name or str(document["name"]), document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    except TokenizerError as error:
        raise _damaged(path, error.message) from error


def carry_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write ``tokenizer`` into ``folder`` where it is data; one of a plugin, code, is found by its name.

    Raises `StorageError`.
    """
    if isinstance(tokenizer, PortableTokenizer):
        write_tokenizer(folder / TOKENIZER_FILE, tokenizer)


def carried_tokenizer(folder: Path) -> PortableTokenizer | None:
    """Return the tokenizer that ``folder`` carries, None where it carries none. Raises `TokenizerError`."""
    path = folder / TOKENIZER_FILE
    return read_tokenizer(path) if path.exists() else None


def read_document(path: Path) -> dict[str, Any]:
    """Return the fields of the tokenizer file ``path``. Raises `TokenizerError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TokenizerError(
            f"there is no tokenizer file {path}", hint=f"{typed('tokenizer train')} makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict):
        raise _damaged(path, "it holds no JSON object")
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise TokenizerError(
            f"{path} has format {version}; this nanoshell reads formats up to {FORMAT}",
            hint="it was written by a newer nanoshell: upgrade, and try again",
        )
    return document


def _damaged(path: Path, reason: str) -> TokenizerError:
    return TokenizerError(
        f"{path} is no usable tokenizer file ({reason})",
        hint=f"every model trained with it carries a copy; or make it anew: {typed('tokenizer train')}",
    )
