"""The figures of a token file against plain Python over the whole of it, however it is cut into blocks."""

from __future__ import annotations

import statistics as python
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanoshell import Message, RoleTemplate
from nanoshell.data import statistics
from nanoshell.data.statistics import corpus_statistics
from nanoshell.tokenizer.bpe import cl100k_base

EOT, SYSTEM, USER, ASSISTANT = 100_257, 100_277, 100_278, 100_279
IDS = st.lists(
    st.sampled_from([0, 13, 220, 198, 9468, 25797, 1811, EOT, EOT, SYSTEM, USER, ASSISTANT, 100_316]),
    min_size=1,
    max_size=60,
)


def written(folder: Path, ids: list[int]) -> Path:
    path = folder / "x.bin"
    np.array(ids, "<u4").tofile(path)
    return path


def documents_of(ids: list[int]) -> list[list[int]]:
    """The documents without their end-of-text ids; what follows the last such id is one, if anything does."""
    found: list[list[int]] = [[]]
    for token in ids:
        if token == EOT:
            found.append([])
        else:
            found[-1].append(token)
    return found if found[-1] else found[:-1]


@settings(max_examples=80, deadline=None)
@given(ids=IDS, block=st.integers(1, 9))
def test_against_plain_python(tmp_path_factory: pytest.TempPathFactory, ids: list[int], block: int) -> None:
    tokenizer = cl100k_base()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_BLOCK", block)
        told: list[int] = []
        path = written(tmp_path_factory.mktemp("ids"), ids)
        found = corpus_statistics(path, tokenizer, top=3, progress=told.append)
    assert sum(told) == 4 * len(ids)
    lengths = [len(document) for document in documents_of(ids)]
    assert (found.tokens, found.documents, found.distinct_ids) == (len(ids), len(lengths), len(set(ids)))
    if lengths:
        got = found.lengths
        assert (got.shortest, got.longest) == (min(lengths), max(lengths))
        assert got.mean == pytest.approx(python.fmean(lengths))
        assert got.median == python.median(lengths)
        for each in got.histogram:
            assert each.documents == sum(each.first <= length <= each.last for length in lengths)
        assert sum(each.documents for each in got.histogram) == len(lengths)
    special = set(tokenizer.special_tokens.values())
    ordinary = [token for token in ids if token not in special]
    data = b"".join(tokenizer.token_bytes(token) for token in ordinary)
    assert found.text_bytes == len(data)
    assert found.special_tokens == len(ids) - len(ordinary)
    assert found.bytes_per_token == (len(data) / len(ordinary) if ordinary else None)
    counts = Counter(ids)
    best = sorted(counts, key=lambda token: (-counts[token], token))[:3]
    assert [(each.id, each.count) for each in found.commonest] == [(token, counts[token]) for token in best]
    assert [each.share for each in found.commonest] == [counts[token] / len(ids) for token in best]
    speaking, messages, spoken = EOT, Counter[int](), Counter[int]()
    for token in ids:
        if token in (EOT, SYSTEM, USER, ASSISTANT):
            speaking = token
            messages[token] += 1
        else:
            spoken[speaking] += 1
    roles = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
    assert {each.role: (each.messages, each.tokens) for each in found.roles} == {
        role: (messages[index], spoken[index]) for role, index in roles.items() if messages[index]
    }


@settings(max_examples=100, deadline=None)
@given(text=st.text(min_size=1, max_size=80))
def test_characters_and_bytes_are_those_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    tokenizer = cl100k_base()
    path = written(tmp_path_factory.mktemp("ids"), [*tokenizer.encode(text), EOT])
    found = corpus_statistics(path, tokenizer)
    assert (found.characters, found.text_bytes) == (len(text), len(text.encode()))


def test_a_conversation(tmp_path: Path) -> None:
    talk = [Message("system", "Be kind."), Message("user", "Hi!"), Message("assistant", "Hello.")]
    tokenizer = cl100k_base()
    found = corpus_statistics(written(tmp_path, RoleTemplate().encode(talk * 2, tokenizer)), tokenizer)
    assert [(role.role, role.messages) for role in found.roles] == [
        ("system", 2),
        ("user", 2),
        ("assistant", 2),
    ]
    assert [role.tokens for role in found.roles] == [
        2 * len(tokenizer.encode(message.content)) for message in talk
    ]
    assert found.vocabulary == 100_331 - 16


def test_long_documents_have_no_median_and_all_else(tmp_path: Path) -> None:
    ids = [13] * 70_000 + [EOT]
    found = corpus_statistics(written(tmp_path, ids), cl100k_base())
    assert found.lengths.median is None
    assert (found.lengths.longest, found.lengths.mean) == (70_000, 70_000)
    assert [(each.first, each.last) for each in found.lengths.histogram] == [(65_536, 131_071)]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = written(tmp_path, [13, 220, USER, 0, EOT] * (count // 5))
        corpus_statistics(path, cl100k_base())
        tracemalloc.start()
        corpus_statistics(path, cl100k_base())
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    small = peak(1 << 20)
    assert peak(4 << 20) < small * 1.3
