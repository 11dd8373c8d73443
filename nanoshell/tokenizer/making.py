"""Tokenizers made from text: the characters that it holds, or the byte pairs that are frequent in it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from nanoshell.errors import TokenizerError
from nanoshell.tokenizer.char import CharTokenizer, without_surrogates
from nanoshell.tokenizer.special import FEW_SPECIAL_TOKENS
from nanoshell.tokenizer.trained import MAX_TOKEN_BYTES, NUM_BYTES, TrainedBpe

ONIGURUMA_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|(?>\p{N}{1,3})| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++\z|\s*[\r\n]|\s+(?!\S)|\s"
)
r"""`nanoshell.tokenizer.bpe.PATTERN` as the library that trains reads it.

There ``{1,3}+`` would repeat, and ``$`` stand before the last line end too.
"""


def make_char(name: str, texts: Iterable[str]) -> CharTokenizer:
    """Return the tokenizer of the characters of ``texts``, ids in the order of their code points.

    Raises `TokenizerError` where there are none.
    """
    characters: set[str] = set()
    for text in texts:
        found = set(text)
        if any("\ud800" <= character <= "\udfff" for character in found):
            found = set(without_surrogates(text))
        characters |= found
    if not characters:
        raise TokenizerError(
            "there is no text to make a tokenizer from", hint="give it at least one character"
        )
    return CharTokenizer(name, "".join(sorted(characters)))


def train_bpe(name: str, texts: Iterable[str], vocab_size: int) -> TrainedBpe:
    """Return byte pair encoding with ``vocab_size`` ids, special tokens included, trained on ``texts``.

    It has fewer where the text has fewer pairs that come twice. Pieces are those of `PATTERN`. Raises
    `TokenizerError` for a vocabulary without room for the bytes. Sennrich et al. 2016, on bytes as in GPT-2;
    the counting is done by the Hugging Face library ``tokenizers``, on all cores.
    """
    num_tokens = vocab_size - len(FEW_SPECIAL_TOKENS)
    if num_tokens < NUM_BYTES:
        raise TokenizerError(
            f"a vocabulary of {vocab_size} is too small for byte pair encoding",
            hint=f"it takes {NUM_BYTES} bytes and {len(FEW_SPECIAL_TOKENS)} special tokens: at least "
            f"{NUM_BYTES + len(FEW_SPECIAL_TOKENS)}; for fewer, take the characters: --kind char",
        )
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    trainee = Tokenizer(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ONIGURUMA_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=num_tokens,
        min_frequency=2,
        max_token_length=MAX_TOKEN_BYTES,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    trainee.train_from_iterator(map(without_surrogates, texts), trainer)
    return TrainedBpe(name, _merges(trainee.to_str()))


def _merges(document: str) -> list[tuple[int, int]]:
    """Return the merges of a trained ``tokenizer.json`` of the library, as pairs of ids of `TrainedBpe`."""
    byte_of = _byte_spellings()
    ids = {bytes([value]): value for value in range(NUM_BYTES)}
    merges = []
    for pair in json.loads(document)["model"]["merges"]:
        left, right = (bytes(byte_of[character] for character in side) for side in pair)
        merges.append((ids[left], ids[right]))
        ids[left + right] = NUM_BYTES + len(merges) - 1
    return merges


def _byte_spellings() -> dict[str, int]:
    """Return the bytes by the characters that the library spells them with, as GPT-2 did.

    A byte that is printable in Latin-1 stands for itself; the others, in order, for U+0100 and what follows.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)}
    others = [value for value in range(NUM_BYTES) if value not in printable]
    return {chr(value): value for value in printable} | {
        chr(0x100 + index): value for index, value in enumerate(others)
    }
