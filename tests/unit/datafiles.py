"""Files of data in the current folder of a test, opened by the sources of our plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nanoshell.chat.template import RoleTemplate
from nanoshell.data.corpus import prepare_corpus
from nanoshell.data.source import DataSource
from nanoshell.errors import NanoshellError
from nanoshell.tokenizer.bpe import cl100k_base

EOT = 100_257
Open = Callable[[str], DataSource]


def put(path: str, content: str | bytes = "text\n") -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def put_ids(path: str, *ids: int) -> Path:
    return put(path, np.array(ids, "<u4").tobytes())


def texts(source: DataSource) -> list[str]:
    """The text of each document, its parts joined."""
    joined = [""]
    for document in source.documents():
        joined[-1] += document.text
        if not document.continues:
            joined.append("")
    return joined[:-1]


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(NanoshellError) as caught:
        action()
    assert caught.value.exit_code in (1, 2)
    assert caught.value.hint, "an error says what to do"
    return f"{caught.value.message} | {caught.value.hint}"


def ids_of(source: DataSource, cache: Path) -> list[int]:
    corpus = prepare_corpus(source, cl100k_base(), RoleTemplate(), cache_dir=cache)
    ids: list[int] = np.fromfile(corpus.path, "<u4").tolist()
    return ids
