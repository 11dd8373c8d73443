"""Id for id with splintr, an independent implementation of the same vocabulary in Rust."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.tokenizer.bpe import cl100k_base
from nanoshell.tokenizer.special import SPECIAL_TOKENS

splintr = pytest.importorskip("splintr")

TEXT = """
the quick brown fox can't won't I'm you'll we've he'd THEY'RE it's IT'S O'Neill don’t naïve café résumé façade
Straße ĳsselmeer Привет мир как дела Ελληνικά γλώσσα 你好世界 人工智能 こんにちは カタカナ 日本語
한국어 안녕하세요 مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก ภาษาไทย বাংলা তুমি தமிழ் తెలుగు
ქართული Հայերեն አማርኛ ភាសាខ្មែរ བོད་ཡིག 👋 🌍🚀 👩‍👩‍👧‍👦 🇫🇷 ✅ ½ ² Ⅷ ٣٤٥ १२३ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﷺ
0 7 42 123 1234 12345 3.14159 1,000,000 2024-02-29 0xDEADBEEF 1e-9 100% $5.99 #tag @user a_b_c camelCase
kebab-case def f(x): return x**2 if(a&&b){c+=1;} != == <= -> => // /* */ <html> </div> {"key":[1,2]}
http://example.com/?q=1&r=2#x C:\\path \\n <|system|> <|endoftext|> <|/think|> <| |> ... ?! -- — … “quoted”
«guillemets» e\u0301 \u200b \ufeff \u00ad \x00 \x7f
"""
WORDS = TEXT.split()

JOINTS = [
    " ",
    " ",
    " ",
    "",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "\r\n",
    "   \n",
    "\n    ",
    "\u00a0",
    "\u3000",
    " \t ",
    "\x1c",
]


@pytest.fixture(scope="module")
def reference() -> Any:
    return splintr.Tokenizer.from_pretrained("cl100k_base")


def varied_texts(count: int) -> list[str]:
    """Return ``count`` strings of many scripts, code, digits and white space, the same at every call."""
    generator = random.Random(20)
    texts = []
    for _ in range(count):
        words = generator.choices(WORDS, k=generator.randrange(1, 24))
        texts.append("".join(word + generator.choice(JOINTS) for word in words))
    return texts


def test_the_vocabularies_are_one(reference: Any) -> None:
    tokenizer = cl100k_base()
    assert reference.vocab_size == tokenizer.vocab_size
    for spelling, token_id in SPECIAL_TOKENS.items():
        assert reference.encode_with_special(spelling) == [token_id]


def test_a_few_thousand_varied_strings(reference: Any) -> None:
    tokenizer = cl100k_base()
    texts = [*WORDS, *varied_texts(4000)]
    different = [text for text in texts if tokenizer.encode(text) != reference.encode_ordinary(text)]
    assert different == []
    different = [
        text for text in texts if tokenizer.encode_special(text) != reference.encode_with_special(text)
    ]
    assert different == []
    assert all(reference.decode(tokenizer.encode(text)) == text for text in texts)


def test_white_space_runs_of_every_length(reference: Any) -> None:
    tokenizer = cl100k_base()
    for length in [*range(1, 100), 127, 128, 129, 4095, 4096, 4097, 20_000]:
        for space in (" ", "\n", "\t", "\r\n", "\u3000"):
            for text in (
                f"a{space * length}b",
                f"!{space * length}!",
                f"{space * length}\n 1",
                space * length,
            ):
                assert tokenizer.encode(text) == reference.encode_ordinary(text), (length, space, text[-3:])


@settings(max_examples=600, deadline=None)
@given(st.text(max_size=60))
def test_any_text(reference: Any, text: str) -> None:
    assert cl100k_base().encode(text) == reference.encode_ordinary(text)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from([*WORDS, *JOINTS, "'", "s", "'LL", "9", "!", "\r"]), max_size=20).map("".join)
)
def test_mixtures_of_words_and_white_space(reference: Any, text: str) -> None:
    tokenizer = cl100k_base()
    assert tokenizer.encode(text) == reference.encode_ordinary(text)
    assert tokenizer.encode_special(text) == reference.encode_with_special(text)
