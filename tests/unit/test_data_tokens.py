"""Token files: what is written is what is read, and a damaged file is told precisely."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nanoshell.data.tokens import check_tokens, open_tokens, used_ids
from nanoshell.errors import DataError
from nanoshell.spelling import spelled_with
from nanoshell.tokenizer.bpe import cl100k_base

EOT = 100_257


def write(path: Path, ids: list[int]) -> Path:
    path.write_bytes(np.array(ids, dtype="<u4").tobytes())
    return path


def test_open_maps_the_file(tmp_path: Path) -> None:
    tokens = open_tokens(write(tmp_path / "x.bin", [5, 6, EOT]), cl100k_base())
    assert isinstance(tokens, np.memmap)
    assert tokens.tolist() == [5, 6, EOT]
    with pytest.raises(ValueError):
        tokens[0] = 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"12345", "5 bytes, no multiple of 4"), (None, "No such file")],
)
def test_files_that_are_no_token_files(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "x.bin"
    if content is not None:
        path.write_bytes(content)
    for read in (open_tokens, used_ids, lambda path: check_tokens(path, cl100k_base())):
        with pytest.raises(DataError, match=words) as caught, spelled_with(":"):
            read(path)
        assert str(path) in caught.value.message
        assert " :tokenize" in caught.value.hint


@pytest.mark.parametrize("bad", [100_256, 100_261, 100_275, 100_331, 2**32 - 1])
@pytest.mark.parametrize("position", [0, 7, (1 << 20) + 3])
def test_a_bad_id_is_named_with_its_position(tmp_path: Path, bad: int, position: int) -> None:
    ids = np.full((1 << 20) + 10, 11, dtype="<u4")
    ids[position] = bad
    ids[position + 2] = 2**31
    path = tmp_path / "x.bin"
    ids.tofile(path)
    with pytest.raises(DataError) as caught:
        check_tokens(path, cl100k_base())
    assert f"id {bad:,} at position {position:,} (byte {position * 4:,})" in caught.value.message
    assert caught.value.hint


def test_a_model_with_a_smaller_vocabulary_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.bin", [1, 2, 1000, EOT])
    with pytest.raises(DataError, match=r"id 1,000 at position 2 .* beyond the model's vocabulary of 500"):
        check_tokens(path, cl100k_base(), vocab_size=500)
    assert check_tokens(path, cl100k_base(), vocab_size=128_354).num_tokens == 4


def test_a_file_of_16_bit_ids_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    np.random.default_rng(0).integers(0, 50_257, 1000).astype("<u2").tofile(path)
    with pytest.raises(DataError) as caught:
        check_tokens(path, cl100k_base())
    assert "16-bit" in caught.value.hint


@given(
    ids=st.lists(st.sampled_from([1, 2, 3, 500, 100_255, EOT, 100_330]), min_size=1),
)
def test_counts_agree_with_plain_python(tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> None:
    path = write(tmp_path_factory.mktemp("tokens") / "x.bin", ids)
    told: list[int] = []
    stats = check_tokens(path, cl100k_base(), progress=told.append)
    documents, open_end = ids.count(EOT), ids[-1] != EOT
    assert stats.num_tokens == len(ids)
    assert stats.num_documents == documents + open_end
    assert stats.distinct_ids == len(set(ids))
    assert stats.largest_id == max(ids)
    assert stats.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(told) == len(ids) * 4
    assert used_ids(path).tolist() == sorted(set(ids))


def test_used_ids_refuses_what_is_no_file_of_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"id 4,000,000,000, position 1 is beyond any vocabulary"):
        used_ids(write(tmp_path / "x.bin", [1, 4_000_000_000]))
