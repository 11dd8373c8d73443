"""`check_tokenizer` passes bytes as tokens, and names the rule that each broken tokenizer breaks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from nanoshell import TokenizerError
from nanoshell.testing import check_tokenizer
from nanoshell.testing.tokenizers import RULES
from tests.unit.testing.broken import assert_told

END = "<|endoftext|>"
NUMBERS = itertools.count()


class Bytes:
    """One id for each byte, one that nothing has, and one that separates documents."""

    name = "bytes"
    vocab_size = 258
    end_of_text = 257
    special_tokens = {END: 257}  # noqa: RUF012
    unused_ids = frozenset({256})
    fingerprint = "bytes-1"

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    def encode_special(self, text: str) -> list[int]:
        first, *others = text.split(END)
        return [*self.encode(first), *(i for part in others for i in (257, *self.encode(part)))]

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(self.token_bytes(i) for i in ids).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < 258 or token_id == 256:
            raise TokenizerError(f"no id {token_id}")
        return END.encode() if token_id == 257 else bytes([token_id])


class NoDecode:
    name = "none"
    encode = Bytes.encode


class Normalising(Bytes):
    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("\r\n", "\n"))


class Padded(Bytes):
    """Decodes well, and its bytes have a space too many: streaming would show it."""

    def decode(self, ids: Iterable[int]) -> str:
        return super().decode(ids).replace("a ", "a")

    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("a", "a "))


class NumpyIds(Bytes):
    def encode(self, text: str) -> Any:
        return list(np.frombuffer(text.encode(), np.uint8))


class Beyond(Bytes):
    def encode(self, text: str) -> list[int]:
        return [i + 1000 * (i == ord("!")) for i in super().encode(text)]


class Obedient(Bytes):
    """Takes what a user types for special tokens."""

    def encode(self, text: str) -> list[int]:
        return Bytes.encode_special(self, text) if END in text else super().encode(text)


class Deaf(Bytes):
    def encode_special(self, text: str) -> list[int]:
        return self.encode(text)


class Elsewhere(Bytes):
    end_of_text = 3


class Boundless(Bytes):
    def token_bytes(self, token_id: int) -> bytes:
        return b"?" if not 0 <= token_id < 258 or token_id == 256 else super().token_bytes(token_id)


class Raw(Bytes):
    def token_bytes(self, token_id: int) -> bytes:
        return [bytes([i]) for i in range(256)][token_id] if token_id < 257 else super().token_bytes(token_id)


class Strict(Bytes):
    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(self.token_bytes(i) for i in ids).decode("utf-8")


class Numbered(Bytes):
    def __init__(self) -> None:
        self.fingerprint = str(next(NUMBERS))


class Wide(Bytes):
    def encode_array(self, text: str) -> Any:
        return np.array(self.encode(text), dtype="int64")


BROKEN: list[tuple[str, Any]] = [
    ("builds", NoDecode),
    ("builds", lambda: 1 / 0),
    ("round trip", Normalising),
    ("bytes", Padded),
    ("ids", NumpyIds),
    ("ids", Beyond),
    ("ordinary", Obedient),
    ("special", Deaf),
    ("end of text", Elsewhere),
    ("vocabulary", Boundless),
    ("vocabulary", Raw),
    ("broken bytes", Strict),
    ("fingerprint", Numbered),
    ("array", Wide),
]


def test_a_tokenizer_that_keeps_every_rule() -> None:
    check_tokenizer(Bytes)


@pytest.mark.parametrize(("rule", "factory"), BROKEN)
def test_a_broken_tokenizer_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_tokenizer(factory), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)
