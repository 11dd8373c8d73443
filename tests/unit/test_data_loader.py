"""The loader as properties: coverage of every epoch, determinism, exact position, disjoint split."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.data.loader import Batch, TokenLoader
from nanoshell.errors import DataError

END = 0

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=30)
seeds = st.integers(-(2**63), 2**64)


def corpus(documents: list[int]) -> np.ndarray:
    """Documents of the given lengths, every token but the ends unique."""
    tokens = np.arange(1, sum(documents) + 1, dtype=np.uint32)
    tokens[np.cumsum(documents) - 1] = END
    return tokens


def numbered(length: int) -> np.ndarray:
    return np.arange(1, length + 1, dtype=np.uint32)


def windows_of(batch: Batch) -> np.ndarray:
    """Inputs and their last targets, shape (rows, seq_len + 1)."""
    assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    return np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1)


def draw(loader: TokenLoader) -> np.ndarray:
    """The windows of the next batch."""
    return windows_of(loader.next_batch())


def held_out(loader: TokenLoader, rows: int | None = None) -> list[np.ndarray]:
    """The windows of the validation batches."""
    return [windows_of(batch) for batch in loader.validation_batches(rows)]


def epoch_of(loader: TokenLoader) -> np.ndarray:
    """The windows of one whole epoch, shape (windows, seq_len + 1); batch_size must be 1."""
    return np.concatenate([draw(loader) for _ in range(loader.windows_per_epoch)])


@given(length=st.integers(2, 400), seq_len=st.integers(1, 50), seed=seeds)
def test_every_epoch_covers_every_token_once_or_twice(length: int, seq_len: int, seed: int) -> None:
    if length < seq_len + 1:
        return
    tokens = numbered(length)
    loader = TokenLoader(tokens, seq_len=seq_len, batch_size=1, seed=seed, end_of_text=END)
    for _ in range(3):
        windows = epoch_of(loader)
        seen = Counter(windows[:, 1:].ravel().tolist())
        assert sorted(seen) == tokens.tolist()
        assert max(seen.values()) <= 2
        assert sum(count - 1 for count in seen.values()) < seq_len
        following = windows[:, :-1] % length + 1
        assert (windows[:, 1:] == following).all(), "a window is a stretch of the ring"


@given(length=st.integers(30, 300), batch_size=st.integers(1, 40), seed=seeds)
def test_batches_are_always_full_and_run_on_across_epochs(length: int, batch_size: int, seed: int) -> None:
    def loader(batch_size: int) -> TokenLoader:
        return TokenLoader(numbered(length), seq_len=7, batch_size=batch_size, seed=seed, end_of_text=END)

    one, many = loader(1), loader(batch_size)
    for step in range(1, 12):
        batch = draw(many)
        assert batch.shape == (batch_size, 8)
        assert batch.dtype == np.int64
        assert np.array_equal(batch, np.concatenate([draw(one) for _ in range(batch_size)]))
        assert many.epoch == pytest.approx(step * batch_size / many.windows_per_epoch)


@given(documents=lengths, seed=seeds, drawn=st.integers(0, 60), fraction=st.sampled_from([0.0, 0.2]))
def test_a_saved_position_continues_bit_for_bit(
    documents: list[int], seed: int, drawn: int, fraction: float
) -> None:
    tokens = corpus([*documents, 30, 9])

    def loader() -> TokenLoader:
        return TokenLoader(tokens, seq_len=4, batch_size=3, seed=seed, val_fraction=fraction, end_of_text=END)

    first = loader()
    for _ in range(drawn):
        draw(first)
    state = json.loads(json.dumps(first.state_dict()))
    second = loader()
    second.load_state_dict(state)
    assert second.epoch == first.epoch
    for _ in range(2 * first.windows_per_epoch // 3 + 2):
        assert np.array_equal(draw(first), draw(second))


def test_epochs_and_seeds_differ() -> None:
    def epochs(seed: int) -> list[bytes]:
        loader = TokenLoader(numbered(1000), seq_len=10, batch_size=1, seed=seed, end_of_text=END)
        return [epoch_of(loader).tobytes() for _ in range(3)]

    assert epochs(1) == epochs(1)
    assert len({*epochs(1), *epochs(2), *epochs(-1)}) == 9


def test_documents_are_cut_at_other_places_in_other_epochs() -> None:
    loader = TokenLoader(numbered(1000), seq_len=10, batch_size=1, seed=3, end_of_text=END)
    phases = {int(epoch_of(loader)[0, 0]) % 10 for _ in range(40)}
    assert len(phases) == 10


@given(
    documents=st.lists(st.integers(1, 40), min_size=2, max_size=40), seed=seeds, share=st.floats(0.01, 0.9)
)
@settings(max_examples=200)
def test_the_split_is_by_document_and_loses_nothing(documents: list[int], seed: int, share: float) -> None:
    tokens = corpus(documents)
    try:
        loader = TokenLoader(tokens, seq_len=1, batch_size=1, seed=seed, val_fraction=share, end_of_text=END)
    except DataError:  # a training side of a single token
        return
    assert loader.split == "documents"
    assert loader.num_train_tokens + loader.num_val_tokens == len(tokens)
    ends = np.cumsum(documents)
    home = {int(token): int(np.searchsorted(ends, index, side="right")) for index, token in enumerate(tokens)}
    batches = held_out(loader, 5)
    held = {home[token] for batch in batches for token in batch.ravel().tolist() if token != END}
    trained = {home[token] for token in epoch_of(loader).ravel().tolist() if token != END}
    assert not held & trained
    assert held | trained == {index for index, length in enumerate(documents) if length > 1}
    assert loader.num_val_tokens <= max(share * len(tokens) + 40, min(documents))


def test_the_split_is_close_to_the_share() -> None:
    documents = np.random.default_rng(0).integers(5, 60, 2000).tolist()
    for share in (0.01, 0.1, 0.5):
        loader = TokenLoader(
            corpus(documents), seq_len=8, batch_size=2, seed=1, val_fraction=share, end_of_text=END
        )
        assert loader.num_val_tokens / sum(documents) == pytest.approx(share, abs=0.001)


def test_a_long_document_is_not_held_out_when_a_short_one_will_do() -> None:
    loader = TokenLoader(
        corpus([1000, 20, 20]), seq_len=8, batch_size=1, seed=0, val_fraction=0.05, end_of_text=END
    )
    assert loader.num_val_tokens <= 40


@given(length=st.integers(20, 200), share=st.floats(0.05, 0.5))
def test_a_single_document_is_cut_at_its_end(length: int, share: float) -> None:
    tokens = numbered(length)
    loader = TokenLoader(tokens, seq_len=3, batch_size=1, seed=0, val_fraction=share, end_of_text=END)
    assert loader.split == "tail"
    assert loader.num_val_tokens == max(round(share * length), 1)
    held = [token for batch in held_out(loader) for token in batch.ravel().tolist()]
    assert set(held) <= set(tokens[length - loader.num_val_tokens :].tolist())


@given(length=st.integers(1, 100), seq_len=st.integers(1, 12), batch_size=st.integers(1, 5))
def test_validation_predicts_each_held_out_token_once(length: int, seq_len: int, batch_size: int) -> None:
    tokens = np.concatenate([np.full(200, 7, np.uint32), numbered(length) + 1000])
    share = length / len(tokens)
    loader = TokenLoader(
        tokens, seq_len=seq_len, batch_size=batch_size, seed=0, val_fraction=share, end_of_text=END
    )
    assert loader.num_val_tokens == length
    batches = held_out(loader)
    targets = [token for batch in batches for token in batch[:, 1:].ravel().tolist()]
    assert targets == (numbered(length) + 1000)[1:].tolist()
    assert all(batch.shape[1] == seq_len + 1 and len(batch) <= batch_size for batch in batches[:-1])
    assert [batch.tolist() for batch in held_out(loader)] == [batch.tolist() for batch in batches]


def test_without_a_share_nothing_is_held_out() -> None:
    loader = TokenLoader(corpus([10, 10]), seq_len=4, batch_size=1, seed=0, end_of_text=END)
    assert (loader.split, loader.num_train_tokens, loader.num_val_tokens) == ("none", 20, 0)
    assert held_out(loader) == []


def test_it_reads_a_map_of_a_file(tmp_path: Path) -> None:
    tokens = corpus([30, 20, 50, 7])
    tokens.astype("<u4").tofile(tmp_path / "x.bin")
    arguments = {"seq_len": 6, "batch_size": 4, "seed": 5, "val_fraction": 0.2, "end_of_text": END}
    mapped = TokenLoader(np.memmap(tmp_path / "x.bin", "<u4", "r"), **arguments)
    held = TokenLoader(tokens, **arguments)
    for _ in range(20):
        assert np.array_equal(draw(mapped), draw(held))


@pytest.mark.parametrize(
    ("length", "share", "words"),
    [
        (64, 0.0, ["64 tokens to train on", "seq_len 64 takes 65", "seq_len 63"]),
        (1, 0.0, ["1 tokens", "more text"]),
        (70, 0.2, ["56 tokens", "14 more are held out", "val_fraction"]),
    ],
)
def test_too_little_for_one_window(length: int, share: float, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        TokenLoader(numbered(length), seq_len=64, batch_size=4, seed=0, val_fraction=share, end_of_text=END)
    for word in words:
        assert word in f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seq_len": 0}, "windows of 0"),
        ({"batch_size": 0}, "batches of 0"),
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"val_fraction": -0.1}, "val_fraction"),
    ],
)
def test_impossible_settings(settings: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        TokenLoader(
            numbered(99), **{"seq_len": 4, "batch_size": 2, "seed": 0, "end_of_text": END, **settings}
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed was 1, is 0"),
        ({"seq_len": 8}, "seq_len was 8, is 4"),
        ({"num_train_tokens": 98}, "num_train_tokens was 98, is 99"),
        ({"format": 2}, "format 2"),
        ({"position": 1000}, "window 1,000 of epoch 0"),
    ],
)
def test_a_position_in_other_batches_is_refused(change: dict[str, int], words: str) -> None:
    loader = TokenLoader(numbered(99), seq_len=4, batch_size=2, seed=0, end_of_text=END)
    draw(loader)
    before = loader.state_dict()
    with pytest.raises(DataError, match=words) as caught:
        loader.load_state_dict({**before, **change})
    assert caught.value.hint
    assert loader.state_dict() == before


@given(documents=lengths, seed=seeds, val_fraction=st.sampled_from([0.0, 0.3]))
@settings(deadline=None)
def test_shuffled_documents_stay_whole_and_each_stands_once_in_an_epoch(
    documents: list[int], seed: int, val_fraction: float
) -> None:
    tokens = corpus([length + 1 for length in documents])
    seq_len = 3
    options = {"seq_len": seq_len, "batch_size": 1, "seed": seed, "end_of_text": END}
    try:
        plain = TokenLoader(tokens, **options, val_fraction=val_fraction)
    except DataError:
        return
    loader = TokenLoader(tokens, **options, val_fraction=val_fraction, shuffle="documents")
    assert loader.num_train_tokens == plain.num_train_tokens
    successor = {int(a): int(b) for a, b in pairwise(tokens) if a != END}
    expected = sorted(epoch_tokens(plain))
    for _ in range(2):
        windows = epoch_of(loader)
        for before, after in zip(windows[:, :-1].ravel(), windows[:, 1:].ravel(), strict=True):
            if before != END and loader.split != "tail":
                assert successor[int(before)] == after
        assert set(windows.ravel().tolist()) == set(expected)
    held = [batch.ravel().tolist() for batch in held_out(plain)]
    assert held == [batch.ravel().tolist() for batch in held_out(loader)]


def epoch_tokens(loader: TokenLoader) -> list[int]:
    return sorted(set(epoch_of(loader).ravel().tolist()))


def test_shuffled_documents_follow_each_other_differently_and_resume_exactly() -> None:
    tokens = corpus([5] * 40)
    options = {"seq_len": 6, "batch_size": 3, "seed": 1, "end_of_text": END, "shuffle": "documents"}
    loader = TokenLoader(tokens, **options)
    for _ in range(17):
        draw(loader)
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = TokenLoader(tokens, **options)
    resumed.load_state_dict(state)
    after = [draw(loader) for _ in range(40)]
    assert all((draw(resumed) == batch).all() for batch in after)
    neighbours = {
        (int(row[place - 1]), int(row[place + 1]))
        for batch in after
        for row in batch
        for place in range(1, 6)
        if row[place] == END
    }
    assert len(neighbours) > 60, "39 pairs would do if the order never changed"
