"""The tokenizer: its files and ids, text that can never become a special token, odd text and huge text."""

from __future__ import annotations

import hashlib
import json
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken
from hypothesis import example, given, settings, strategies as st

from nanoshell.errors import TokenizerError
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.bpe import (
    _SPACE,
    PATTERN,
    RANK_FILE,
    BpeTokenizer,
    _cut_long_spaces,
    cl100k_base,
)
from nanoshell.tokenizer.special import SPECIAL_GROUPS, SPECIAL_TOKENS, UNUSED_IDS, VOCAB_SIZE

PINNED = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
SHARED = Path(__file__).parents[2].parent / "shared" / "data"

with_specials = st.lists(
    st.one_of(st.sampled_from(sorted(SPECIAL_TOKENS)), st.text(max_size=6), st.sampled_from("<|>/\n ")),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> BpeTokenizer:
    return cl100k_base()


def test_the_rank_file_is_the_one_tiktoken_pins() -> None:
    assert hashlib.sha256(RANK_FILE.read_bytes()).hexdigest() == PINNED
    pinned_by_tiktoken = Path(sys.modules["tiktoken"].__file__ or "").parents[1]
    assert PINNED in (pinned_by_tiktoken / "tiktoken_ext" / "openai_public.py").read_text()


def test_ranks_are_the_numbers_of_the_lines() -> None:
    ranks = [int(line.split()[1]) for line in RANK_FILE.read_bytes().splitlines()]
    assert ranks == list(range(100_256))


def test_the_notice_names_the_file_and_its_licence() -> None:
    notice = (RANK_FILE.parent / "NOTICE").read_text()
    assert PINNED in notice
    assert "MIT License" in notice
    assert "OpenAI" in notice


def test_pattern_is_that_of_tiktoken() -> None:
    folder = Path(tiktoken.__file__).parents[1]
    assert PATTERN in (folder / "tiktoken_ext" / "openai_public.py").read_text()


def test_the_contract_is_fulfilled(tokenizer: BpeTokenizer) -> None:
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.name == "cl100k_base"
    assert tokenizer.vocab_size == VOCAB_SIZE == 100_331
    assert tokenizer.unused_ids == UNUSED_IDS == {100_256, *range(100_261, 100_276)}
    assert tokenizer.special_tokens["<|endoftext|>"] == tokenizer.end_of_text == 100_257
    assert tokenizer.encode("Hello world") == [9906, 1917]


def test_all_59_special_tokens(tokenizer: BpeTokenizer) -> None:
    assert len(SPECIAL_TOKENS) == 59
    assert dict(tokenizer.special_tokens) == dict(SPECIAL_TOKENS)
    assert [spelling for group in SPECIAL_GROUPS.values() for spelling in group] == list(SPECIAL_TOKENS)
    assert sorted(SPECIAL_TOKENS.values()) == list(SPECIAL_TOKENS.values())
    for spelling, token_id in SPECIAL_TOKENS.items():
        assert tokenizer.encode_special(spelling) == [token_id]
        assert tokenizer.token_bytes(token_id) == spelling.encode()
        assert token_id not in tokenizer.encode(spelling)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data lies outside a plain clone")
def test_special_tokens_are_those_of_the_shared_table() -> None:
    table = json.loads((SHARED / "cl100k_special_tokens.json").read_text())
    assert dict(SPECIAL_TOKENS) == table


def test_every_id_is_a_token_or_unused(tokenizer: BpeTokenizer) -> None:
    for token_id in range(tokenizer.vocab_size):
        if token_id in tokenizer.unused_ids:
            with pytest.raises(TokenizerError):
                tokenizer.token_bytes(token_id)
        else:
            assert tokenizer.token_bytes(token_id)


@settings(deadline=None)
@given(with_specials)
def test_ordinary_text_never_becomes_a_special_token(text: str) -> None:
    ids = cl100k_base().encode(text)
    assert all(token_id < 100_256 for token_id in ids)
    assert cl100k_base().decode(ids) == text


@settings(deadline=None)
@given(with_specials)
def test_special_encoding_agrees_with_tiktoken(text: str) -> None:
    tokenizer = cl100k_base()
    assert tokenizer.encode_special(text) == tokenizer._encoding.encode(text, allowed_special="all")
    assert tokenizer.decode(tokenizer.encode_special(text)) == text


@settings(deadline=None)
@given(st.text(st.characters(categories=["L", "N", "P", "S", "Z", "C"])))
@example("\ud800")
@example("a\udfff b")
@example("\ud83d\ude00")
def test_any_str_is_encoded_and_lone_surrogates_are_replaced(text: str) -> None:
    tokenizer = cl100k_base()
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert tokenizer.decode(tokenizer.encode(text)) == expected


def test_unknown_ids_are_named_with_their_position(tokenizer: BpeTokenizer) -> None:
    for bad in (100_256, 100_270, 100_331, 2**31, -1, 2**40):
        with pytest.raises(TokenizerError, match=rf"id {bad} at position 2\b") as caught:
            tokenizer.decode([9906, 1917, bad, 100_261])
        assert "100330" in caught.value.hint
        with pytest.raises(TokenizerError, match=f"id {bad} "):
            tokenizer.token_bytes(bad)


def test_damaged_or_missing_rank_file(tmp_path: Path) -> None:
    damaged = tmp_path / "ranks.tiktoken"
    damaged.write_bytes(RANK_FILE.read_bytes()[:-5])
    for path in (damaged, tmp_path / "missing"):
        with pytest.raises(TokenizerError, match=path.name) as caught:
            BpeTokenizer(
                "x", path, PINNED, pattern=PATTERN, special_tokens=SPECIAL_TOKENS, end_of_text="<|endoftext|>"
            )
        assert "install" in caught.value.hint


def test_fingerprint_depends_on_what_splits_text(tokenizer: BpeTokenizer) -> None:
    def variant(pattern: str = PATTERN, first: int = 100_257) -> str:
        return BpeTokenizer(
            "other name",
            RANK_FILE,
            PINNED,
            pattern=pattern,
            special_tokens={**SPECIAL_TOKENS, "<|endoftext|>": first},
            end_of_text="<|endoftext|>",
        ).fingerprint

    assert variant() == tokenizer.fingerprint
    assert len({tokenizer.fingerprint, variant(pattern=r"\s+|\S+"), variant(first=100_256)}) == 3


def test_pickle_carries_the_definition_only(tokenizer: BpeTokenizer) -> None:
    payload = pickle.dumps(tokenizer)
    assert len(payload) < 5_000
    assert pickle.loads(payload) is cl100k_base()


OFFLINE = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError("the network was used")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
import sys
from nanoshell.tokenizer.bpe import cl100k_base
assert "tiktoken" not in sys.modules, "tiktoken is imported before a tokenizer is built"
tokenizer = cl100k_base()
assert tokenizer.decode(tokenizer.encode_special("Hello<|endoftext|>")) == "Hello<|endoftext|>"
heavy = {"torch", "numpy", "requests", "pydantic", "blobfile"} & set(sys.modules)
assert not heavy, heavy
"""


def test_never_the_network_in_a_fresh_process(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TIKTOKEN_CACHE_DIR": str(tmp_path)}
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.iterdir())


def test_never_the_network_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    cl100k_base.cache_clear()
    assert cl100k_base().encode("Hello world") == [9906, 1917]


# Before other text, a million of white space overflows the stack of tiktoken's own splitting.
@pytest.mark.parametrize(
    "character", ["a", " ", "\n", "\t", "0", "!", "'", "\u00a0", "\u3000", "\u0301", "\0"]
)
def test_a_million_of_one_character(tokenizer: BpeTokenizer, character: str) -> None:
    text = character * 1_000_000 + "x"
    assert tokenizer.decode(tokenizer.encode(text)) == text


white = st.sampled_from(list(_SPACE))
runs = st.tuples(white, st.integers(min_value=1, max_value=3000)).map(lambda pair: pair[0] * pair[1])
other = st.sampled_from(["a", "!", ".\n", "\r\n", "1", "é", "<|user|>", "\x1c", "\u200b", "'s", " x ", ""])
spaced = st.lists(st.one_of(runs, other, white), min_size=2, max_size=14).map("".join)


@settings(deadline=None, max_examples=150)
@given(spaced)
@example("!" + "\n" * 5000 + "x")
@example("x" + "\n" * 5000 + " x")
@example("x" + " " * 5000 + "\n" + "x")
@example("x" + " " * 4096 + "x" + "\t" * 4096 + "!")
@example(" " * 9000 + "\r\n\r\n " + "1" + "\n " * 4000 + "end")
def test_cutting_long_white_space_changes_no_id(text: str) -> None:
    tokenizer = cl100k_base()
    whole = tokenizer._encoding.encode_ordinary(text)
    assert tokenizer.encode(text) == whole


def test_long_white_space_really_is_cut() -> None:
    text = "word" + " " * 10_000 + "\n" + " " * 5_000 + "end" + "\t" * 7_000
    parts = list(_cut_long_spaces(text))
    assert "".join(parts) == text
    assert [len(part) for part in parts] == [4 + 10_001, 4_999, 1 + 3 + 7_000]


def test_white_space_is_the_pattern_s_own(tokenizer: BpeTokenizer) -> None:
    """What `_cut_long_spaces` takes for white space is what ``\\s`` means to tiktoken."""
    single = tiktoken.Encoding(
        "white space",
        pat_str=r"\s",
        mergeable_ranks={bytes([value]): value for value in range(256)},
        special_tokens={},
    )
    candidates = [chr(code) for code in range(0x10000) if not 0xD800 <= code <= 0xDFFF]
    found = {character for character in candidates if single.encode_ordinary(character)}
    assert found == set(_SPACE)
