"""Small vocabularies: characters and trained byte pairs, as files, by name, and with the model."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nanoshell import paths
from nanoshell.chat.template import Message, RoleTemplate
from nanoshell.data.encoding import encode_all
from nanoshell.data.source import Document
from nanoshell.errors import DataError, TokenizerError, UnknownNameError, UsageError
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.bpe import _SPACE, PATTERN
from nanoshell.tokenizer.char import CharTokenizer, UnknownCharacterError
from nanoshell.tokenizer.files import read_tokenizer, write_tokenizer
from nanoshell.tokenizer.making import ONIGURUMA_PATTERN, make_char, train_bpe
from nanoshell.tokenizer.store import find_tokenizer, recipe_of, trained_names, trained_path
from nanoshell.tokenizer.streaming import StreamingDecoder
from nanoshell.tokenizer.trained import MAX_TOKEN_BYTES, TrainedBpe

LINES = [
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\n",
    "All:\nSpeak, speak. We're all resolved; it's 1597!\n",
    "Zürich, café 北京 Москва 🙂 don't DON'T we'll 12345 x1y2\r\n\t  \n",
    "the cat and the hat and the bat sat on the mat that the rat ate; aaaa aaaaa aaaaaa\n",
]
PIECES = [*"abcehst ATS'\n\r\t .,!12é北🙂", "the", " the", "'ll", "'S", "speak", "  ", "\u3000", "<|user|>"]
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)


DOUBLING = [[32, 32], *([token, token] for token in range(256, 295))]
"""40 merges, the last of which would make a token of 2**40 spaces."""


def char() -> CharTokenizer:
    return make_char("char", LINES)


BPE = train_bpe("small", LINES * 4, 390)


def reference(bpe: TrainedBpe) -> Any:
    """Return the same merges as a tokenizer of the library that trained them."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    spelling = {value: text for text, value in _spellings().items()}
    spelled = map(bpe.token_bytes, range(bpe.vocab_size - 4))
    tokens = ["".join(spelling[byte] for byte in token) for token in spelled]
    merges = [(tokens[left], tokens[right]) for left, right in bpe.merges]
    made = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ONIGURUMA_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return made


def _spellings() -> dict[str, int]:
    """Return the byte of each character that stands for one, found by asking the library."""
    from tokenizers import pre_tokenizers

    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found = {}
    for character in [*map(chr, range(0x800)), *map(chr, range(0x800, 0xD800, 0x40)), "\ue000", "\uf000"]:
        found.update(zip(split.pre_tokenize_str(character)[0][0], character.encode(), strict=True))
    for code in range(0x10000, 0x110000, 0x1000):
        found.update(zip(split.pre_tokenize_str(chr(code))[0][0], chr(code).encode(), strict=True))
    left = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - found.keys())
    never_in_text = sorted(set(range(256)) - set(found.values()))
    assert never_in_text == [0xC0, 0xC1, *range(0xF5, 0x100)]
    return found | dict(zip(left, never_in_text, strict=True))


REFERENCE = reference(BPE)


@pytest.mark.parametrize("tokenizer", [char(), BPE], ids=["char", "bpe"])
def test_the_contract_is_fulfilled(tokenizer: CharTokenizer | TrainedBpe) -> None:
    assert isinstance(tokenizer, Tokenizer)
    specials = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"]
    first = tokenizer.vocab_size - 4
    assert dict(tokenizer.special_tokens) == {name: first + index for index, name in enumerate(specials)}
    assert tokenizer.end_of_text == first
    assert tokenizer.unused_ids == frozenset()
    spelled = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
    assert len(set(spelled)) == len(spelled)
    assert spelled[first:] == [name.encode() for name in specials]
    for bad in (-1, tokenizer.vocab_size, 2**40):
        with pytest.raises(TokenizerError, match=f"id {bad} "):
            tokenizer.token_bytes(bad)
        with pytest.raises(TokenizerError, match=f"id {bad} at position 1"):
            tokenizer.decode([0, bad])
    again = pickle.loads(pickle.dumps(tokenizer))
    assert (again.fingerprint, again.name) == (tokenizer.fingerprint, tokenizer.name)
    turns = [Message("user", "the cat"), Message("assistant", "sat")]
    ids = RoleTemplate().encode(turns, tokenizer)
    assert tokenizer.decode(ids) == "<|user|>the cat<|assistant|>sat<|endoftext|>"


@settings(deadline=None, max_examples=400)
@given(texts)
@example("aaaaaaa aaaa")
@example("x \n \r\n  y\n\n")
def test_byte_pairs_are_those_of_the_library_that_trained_them(text: str) -> None:
    ids = BPE.encode(text)
    assert ids == REFERENCE.encode(text).ids
    assert BPE.decode(ids) == text
    decoder = StreamingDecoder(BPE)
    assert "".join(map(decoder.push, ids)) + decoder.flush() == text


@settings(deadline=None, max_examples=50)
@given(st.lists(texts, min_size=1, max_size=8), st.integers(260, 340), texts)
def test_merges_of_any_training_text_agree(lines: list[str], size: int, text: str) -> None:
    trained = train_bpe("any", lines * 2, size)
    library = reference(trained)
    for each in (text, *lines):
        assert trained.encode(each) == library.encode(each).ids


def test_the_two_spellings_of_the_pattern_cut_alike() -> None:
    import regex
    from tokenizers import Regex, pre_tokenizers

    from nanoshell.tokenizer.bpe import PATTERN

    split = pre_tokenizers.Split(Regex(ONIGURUMA_PATTERN), "isolated")
    awkward = ["".join(pair) for pair in zip(_SPACE, reversed(_SPACE), strict=True)]
    for text in [*LINES, "a\n", "a \n", "a\n\n ", "12345678", " \n a", *(f"a{gap}b{gap}" for gap in awkward)]:
        assert [piece for piece, _ in split.pre_tokenize_str(text)] == regex.findall(PATTERN, text), text


KNOWN = st.text(st.sampled_from(char().characters), max_size=80)


@given(KNOWN)
def test_characters_are_a_plain_dictionary(text: str) -> None:
    tokenizer = char()
    table = {character: index for index, character in enumerate(sorted(set("".join(LINES))))}
    assert tokenizer.encode(text) == [table[character] for character in text]
    array = tokenizer.encode_array(text)
    assert (array.dtype, array.tolist()) == (np.uint32, tokenizer.encode(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    decoder = StreamingDecoder(tokenizer)
    assert "".join(map(decoder.push, tokenizer.encode(text))) + decoder.flush() == text


@given(KNOWN, st.characters(exclude_categories=["Cs"], exclude_characters="".join(LINES)), KNOWN)
def test_an_unknown_character_is_named_with_its_place(before: str, unknown: str, after: str) -> None:
    tokenizer = char()
    for encode in (tokenizer.encode, tokenizer.encode_array, tokenizer.encode_special):
        with pytest.raises(UnknownCharacterError, match=f"U\\+{ord(unknown):04X}") as e:
            encode(before + unknown + after)
        assert (e.value.character, e.value.position) == (unknown, len(before))


@given(st.lists(st.one_of(KNOWN, st.sampled_from(sorted(char().special_tokens))), max_size=6))
def test_special_tokens_are_ids_only_when_asked_for(parts: list[str]) -> None:
    tokenizer = make_char("char", [*LINES, "<|>"])
    text = "".join(parts)
    ordinary = tokenizer.encode(text)
    assert all(token_id < len(tokenizer.characters) for token_id in ordinary)
    special = tokenizer.encode_special(text)
    assert tokenizer.decode(special) == tokenizer.decode(ordinary) == text
    assert len(special) <= len(ordinary)
    assert BPE.decode(BPE.encode_special(text)) == BPE.decode(BPE.encode(text)) == text
    assert all(token_id < BPE.end_of_text for token_id in BPE.encode(text))


def test_surrogates_are_read_as_by_every_tokenizer() -> None:
    lone, pair = "a\ud800", "\ud83d\ude42"
    tokenizer = make_char("char", [lone, pair])
    assert tokenizer.characters == "a\ufffd🙂"
    assert tokenizer.decode(tokenizer.encode(lone)) == BPE.decode(BPE.encode(lone)) == "a\ufffd"
    assert tokenizer.encode(pair) == tokenizer.encode_array(pair).tolist() == [2]
    assert "\ufffd".encode() in map(train_bpe("x", [lone * 3], 262).token_bytes, range(258))


def test_a_corpus_with_an_unknown_character_names_its_place_in_the_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "the cat sat " * 60_000 + "ß"
    documents = [Document(text="the cat"), Document(text=text, origin="notes.txt")]
    expected = f"notes.txt: character 'ß' \\(U\\+00DF\\) at position {len(text) - 1:,} "
    for workers in (1, 2):
        with pytest.raises(DataError, match=expected) as caught:
            list(encode_all(documents, char(), RoleTemplate(), workers=workers))
        assert "bpe:1024" in caught.value.hint


def test_a_vocabulary_has_the_size_that_was_asked_for_or_what_the_text_gives() -> None:
    assert BPE.vocab_size == 390
    assert train_bpe("x", ["ab ab cd"], 400).vocab_size < 270
    ruler = "=" * (3 * MAX_TOKEN_BYTES)
    long = train_bpe("x", [ruler] * 2, 300)
    longest = max(len(long.token_bytes(index)) for index in range(long.vocab_size - 4))
    assert MAX_TOKEN_BYTES // 2 <= longest <= MAX_TOKEN_BYTES
    assert long.decode(long.encode(ruler)) == ruler
    with pytest.raises(TokenizerError, match="too small") as caught:
        train_bpe("x", LINES, 259)
    assert "260" in caught.value.hint
    with pytest.raises(TokenizerError, match="no text"):
        make_char("x", [])


# Files and names


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOSHELL_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins(safe=True)


@pytest.mark.parametrize("tokenizer", [char(), BPE], ids=["char", "bpe"])
def test_a_file_holds_all_of_it(tmp_path: Path, tokenizer: CharTokenizer | TrainedBpe) -> None:
    path = tmp_path / "tokenizer.json"
    write_tokenizer(path, tokenizer, origin={"source": "notes.txt"})
    again = read_tokenizer(path)
    assert (again.name, again.fingerprint, again.to_dict()) == (
        tokenizer.name,
        tokenizer.fingerprint,
        tokenizer.to_dict(),
    )
    assert again.encode("the cat sat") == tokenizer.encode("the cat sat")
    assert read_tokenizer(path, "other").name == "other"


def test_the_fingerprint_is_of_what_decides_the_ids() -> None:
    assert CharTokenizer("a", "xyz").fingerprint == CharTokenizer("b", "xyz").fingerprint
    others = {CharTokenizer("a", text).fingerprint for text in ("xyz", "xzy", "xy")}
    assert len(others | {CharTokenizer("a", "xyz", ["<|endoftext|>"]).fingerprint}) == 4
    merges = [[(97, 98)], [(97, 99)], [(97, 98), (256, 99)]]
    assert len({TrainedBpe("a", each).fingerprint for each in merges}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"kind": "chars"}, "is 'char' meant"),
        ({"characters": None}, "no usable"),
        ({"characters": "abca"}, "twice"),
        ({"characters": ""}, "no characters"),
        ({"special_tokens": ["<|user|>"]}, "endoftext"),
        ({"kind": "bpe", "pattern": PATTERN, "merges": [[1, 300]]}, "merge 0"),
        ({"kind": "bpe", "pattern": PATTERN, "merges": [[97, 98], [97, 98]]}, "exists: 256"),
        ({"kind": "bpe", "pattern": PATTERN, "merges": [[97]]}, "no usable"),
        ({"kind": "bpe", "pattern": PATTERN, "merges": DOUBLING}, "a token of 8,192 bytes"),
        ({"kind": "bpe", "pattern": "(", "merges": []}, "no usable"),
        ({"kind": "bpe", "pattern": r"(?=(a+)+b)\w|.", "merges": []}, "a pattern that is not ours"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "tokenizer.json"
    write_tokenizer(path, CharTokenizer("a", "abc"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(TokenizerError, match=message) as caught:
        read_tokenizer(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_what_is_no_tokenizer_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"x\.json is no usable"):
        read_tokenizer(tmp_path / "x.json")
    with pytest.raises(TokenizerError, match="there is no tokenizer file"):
        read_tokenizer(tmp_path / "y.json")


def test_names_lead_to_plugins_trained_ones_and_files(home: Path, plugins: Plugins) -> None:
    assert find_tokenizer("cl100k_base", plugins.tokenizers).vocab_size == 100_331
    write_tokenizer(trained_path("mine"), char())
    assert trained_names() == ["mine"]
    assert paths.data_dir() in trained_path("mine").parents
    assert find_tokenizer("mine", plugins.tokenizers).name == "mine"
    (home / "model").mkdir()
    write_tokenizer(home / "model" / "tokenizer.json", BPE)
    for spec in (home / "model", home / "model" / "tokenizer.json"):
        assert find_tokenizer(str(spec), plugins.tokenizers).fingerprint == BPE.fingerprint
    with pytest.raises(UnknownNameError, match="did you mean 'mine'"):
        find_tokenizer("mime", plugins.tokenizers)
    with pytest.raises(UnknownNameError):
        find_tokenizer("", plugins.tokenizers)
    with pytest.raises(UsageError, match="made from a model's training data"):
        find_tokenizer("char", plugins.tokenizers)


def test_recipes() -> None:
    assert recipe_of("cl100k_base") is None
    for name in ("char", "bpe:1024"):
        recipe = recipe_of(name)
        assert recipe is not None
        assert recipe.name == name
    for name in ("bpe", "bpe:", "bpe:100", "bpe:x", "char:5"):
        with pytest.raises(UsageError, match=name):
            recipe_of(name)
