"""The plugin nanoshell_splintr: cl100k_base in every respect but the time, and plain words without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanoshell import NanoshellError, TokenizerError, cl100k_base, find_tokenizer
from nanoshell.testing import plugins_with

TEXTS = st.one_of(
    st.text(max_size=80),
    st.text(st.characters(), max_size=20),  # surrogates among them
    st.lists(
        st.sampled_from(
            [
                "<|endoftext|>",
                "<|system|>",
                "<|",
                "|>",
                "\n",
                "don't",
                "  ",
                "123456",
                "naïve",
                "\ud800",
                "\udc00",
            ]
        ),
        max_size=24,
    ).map("".join),
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("splintr")
    return find_tokenizer("splintr", plugins_with().tokenizers)


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS)
def test_every_text_has_the_ids_of_cl100k_base(tokenizer: Any, text: str) -> None:
    ours = cl100k_base()
    ids = ours.encode(text)
    assert tokenizer.encode(text) == ids
    array = tokenizer.encode_array(text)
    assert array.dtype == np.uint32
    assert array.tolist() == ids
    assert tokenizer.encode_special(text) == ours.encode_special(text)
    assert tokenizer.decode(ids) == ours.decode(ids)


@pytest.mark.parametrize(
    "text", ["a" + " " * 300_000 + "b", "x" * 300_000, "é" * 100_000, "\n" * 100_000, "1" * 100_000]
)
def test_long_runs_too(tokenizer: Any, text: str) -> None:
    assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text) == cl100k_base().encode(text)


def test_identity_is_that_of_cl100k_base(tokenizer: Any) -> None:
    ours = cl100k_base()
    for fact in ("name", "fingerprint", "vocab_size", "special_tokens", "end_of_text", "unused_ids"):
        assert getattr(tokenizer, fact) == getattr(ours, fact), fact
    assert tokenizer.token_bytes(100_257) == b"<|endoftext|>"
    with pytest.raises(TokenizerError, match="stands for no token"):
        tokenizer.decode([100_256])


def test_a_corpus_of_one_serves_the_other(tokenizer: Any, tmp_path: Path) -> None:
    from nanoshell import RoleTemplate, open_source, prepare_corpus

    text = tmp_path / "talk.txt"
    text.write_text("Friends, Romans <|endoftext|> countrymen,\n" * 500)
    source = open_source(str(text), plugins_with().sources)
    cache = tmp_path / "cache"
    made = prepare_corpus(source, cl100k_base(), RoleTemplate(), cache_dir=cache)
    stamp = made.path.stat().st_mtime_ns
    found = prepare_corpus(source, tokenizer, RoleTemplate(), cache_dir=cache)
    assert (found.path, found.sha256, found.path.stat().st_mtime_ns) == (made.path, made.sha256, stamp)
    anew = prepare_corpus(source, tokenizer, RoleTemplate(), cache_dir=tmp_path / "other")
    assert anew.sha256 == made.sha256


def test_a_model_of_one_loads_with_the_other(tokenizer: Any, tmp_path: Path) -> None:
    from nanoshell.model.config import ModelConfig
    from nanoshell.model.transformer import build_model
    from nanoshell.model.weights import check_tokenizer, own_tokenizer, save_model

    plugins = plugins_with()
    config = ModelConfig(
        hidden_size=8,
        num_layers=1,
        num_heads=1,
        intermediate_size=8,
        max_seq_len=8,
        tie_embeddings=True,
        tokenizer="splintr",
    )
    save_model(tmp_path, build_model(config, plugins.mixers, seed=1), tokenizer)
    assert own_tokenizer(tmp_path, plugins.tokenizers) is cl100k_base(), "it loads where splintr is absent"
    check_tokenizer(tmp_path, tokenizer)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("raise ModuleNotFoundError(\"No module named 'splintr'\")", "which is not installed"),
        ("raise ImportError('libstdc++ is too old')", "cannot be imported: libstdc++ is too old"),
    ],
)
def test_without_the_package_it_says_what_to_install(tmp_path: Path, failure: str, words: str) -> None:
    (tmp_path / "splintr.py").write_text(f"{failure}\n")
    program = (
        "from nanoshell import NanoshellError, find_tokenizer\n"
        "from nanoshell.testing import plugins_with\n"
        "try:\n find_tokenizer('splintr', plugins_with().tokenizers)\n"
        "except NanoshellError as error:\n print(type(error).__name__, error.message, '|', error.hint)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith("TokenizerError tokenizer 'splintr' needs the package splintr-rs")
    assert words in told
    assert "pip install 'nanoshell[splintr]'" in told


class Another:
    """An engine of another vocabulary."""

    def encode_ordinary(self, text: str) -> list[int]:
        return [1]

    def encode_with_special(self, text: str) -> list[int]:
        return [1]


def test_another_vocabulary_is_refused() -> None:
    from nanoshell_splintr.engine import SplintrTokenizer

    with pytest.raises(NanoshellError, match="otherwise than cl100k_base"):
        SplintrTokenizer(Another(), cl100k_base())


def test_registering_loads_nothing() -> None:
    program = (
        "import sys; from nanoshell.testing import plugins_with; p = plugins_with()\n"
        "assert 'splintr' in p.tokenizers\n"
        "assert not {'splintr', 'tiktoken', 'numpy', 'nanoshell_splintr.engine'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
