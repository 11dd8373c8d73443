"""`check_source` passes a plain source, and names the rule that each broken one breaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoshell import DataError, Document, Message, SourceInfo
from nanoshell.testing import check_source
from nanoshell.testing.sources import RULES
from tests.unit.testing.broken import assert_told


class Words:
    """``words:a b c``: a document for each word."""

    def __init__(self, rest: str) -> None:
        if not rest:
            raise DataError("there are no words")
        self.words = rest.split()
        self.spec = f"words:{rest}"

    def info(self) -> SourceInfo:
        return SourceInfo(self.spec, "words", "some words", (), None)

    def fingerprint(self) -> str:
        return self.spec

    def token_file(self) -> Path | None:
        return None

    def documents(self) -> Iterator[Document]:
        for word in self.words:
            yield Document(text=word)


class NoFingerprint:
    def __init__(self, rest: str) -> None:
        self.spec = rest


class OtherSpec(Words):
    def __init__(self, rest: str) -> None:
        super().__init__(rest)
        self.spec = f"words:{rest}!"


class ForeignInfo(Words):
    def info(self) -> SourceInfo:
        return dataclasses.replace(super().info(), spec="else")


class Restless(Words):
    def fingerprint(self) -> str:
        self.words.append("x")
        return str(len(self.words))


class OfItsOwn(Words):
    """Its fingerprint is of the object, not of the documents."""

    def __init__(self, rest: str) -> None:
        super().__init__(rest)
        self.number = object()

    def fingerprint(self) -> str:
        return str(id(self.number))


class Empty(Words):
    def documents(self) -> Iterator[Document]:
        return iter(())


class BareText(Words):
    def documents(self) -> Iterator[Any]:
        return iter(self.words)


class Twofold(Words):
    def documents(self) -> Iterator[Document]:
        yield Document(text="a", messages=(Message("user", "b"),))


class Surrogate(Words):
    def documents(self) -> Iterator[Document]:
        yield Document(text="a\ud800")


class Narrator(Words):
    def documents(self) -> Iterator[Document]:
        yield Document(messages=(Message("narrator", "b"),))  # type: ignore[arg-type]


class Negative(Words):
    def documents(self) -> Iterator[Document]:
        yield Document(ids=np.array([3, -1]))


class Endless(Words):
    def documents(self) -> Iterator[Document]:
        yield Document(text="a", continues=True)


class Once(Words):
    """Its documents are there once: the reader that stopped early has used them up."""

    def __init__(self, rest: str) -> None:
        super().__init__(rest)
        self.left = iter(super().documents())

    def documents(self) -> Iterator[Document]:
        yield from self.left


class Drifting(Words):
    def documents(self) -> Iterator[Document]:
        self.words.append(f"{len(self.words)}")
        yield Document(text=self.words[-1])


class NowhereTokens(Words):
    def token_file(self) -> Path:
        return Path("nowhere.bin")


class RawError(Words):
    def __init__(self, rest: str) -> None:
        if not rest:
            raise ValueError("no words")
        super().__init__(rest)


class Forgiving(Words):
    def __init__(self, rest: str) -> None:
        super().__init__(rest or "nothing")


BROKEN: list[tuple[str, Any]] = [
    ("opens", NoFingerprint),
    ("opens", lambda rest: 1 / 0),
    ("spec", OtherSpec),
    ("info", ForeignInfo),
    ("fingerprint", Restless),
    ("fingerprint", OfItsOwn),
    ("documents", Empty),
    ("documents", BareText),
    ("documents", Twofold),
    ("text", Surrogate),
    ("messages", Narrator),
    ("ids", Negative),
    ("ends", Endless),
    ("again", Once),
    ("again", Drifting),
    ("token_file", NowhereTokens),
    ("refuses", RawError),
    ("refuses", Forgiving),
]


def test_a_source_that_keeps_every_rule() -> None:
    check_source(Words, "a b c", refuses=[""])
    check_source(Words, "a b c", limit=2)


@pytest.mark.parametrize(("rule", "factory"), BROKEN)
def test_a_broken_source_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_source(factory, "a b c", refuses=[""]), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)
