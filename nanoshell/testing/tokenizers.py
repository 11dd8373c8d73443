"""The contract of a tokenizer."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable
from types import MappingProxyType

from nanoshell.errors import TokenizerError
from nanoshell.testing.contract import Contract, name_of, shown
from nanoshell.tokenizer.base import Tokenizer

RULES = MappingProxyType(
    {
        "builds": "factory() returns an object with all that nanoshell.Tokenizer names",
        "round trip": "decode(encode(text)) is text, whatever the text",
        "bytes": "the token_bytes of a text's ids, joined, are the text in UTF-8",
        "ids": "ids are plain ints from 0 to vocab_size - 1, and none of unused_ids",
        "ordinary": "encode never gives a special token, also where the text spells one",
        "special": "encode_special reads the spelling of a special token as its id, the rest as text",
        "end of text": "end_of_text is the id of a special token",
        "vocabulary": "every id that is not unused has bytes; any other is refused with a TokenizerError",
        "broken bytes": "ids that are no UTF-8 together decode to U+FFFD, and raise nothing",
        "fingerprint": "fingerprint is a text, the same for every tokenizer that splits text in this way",
        "array": "encode_array, where there is one, gives what encode gives, as unsigned 32-bit ids",
    }
)

NASTY = (
    "",
    " ",
    "\n",
    "\r\n\t \n  \n",
    "Hello, world!",
    "naïve Größe – “quoted”…",
    "e\u0301 ≠ é, \u202eright to left\u202c, zero\u200bwidth",
    "日本語のテキスト、한국어, العربية, हिन्दी",
    "👩‍👩‍👧‍👦🏳️‍🌈 \U0001f600\U0010fffd",
    "\x00\x01\x7f\x85\u2028\ufeff\ufffd",
    "a" * 300,
    "3.14159 1,000,000 0x1F",
    "def f(x):\n\treturn {'a': [x] * 2}\n",
    "<|endoftext|> <|user|>hi<|/user|> <|im_start|><| |>",
)
"""Texts that have broken tokenizers."""
_MANY = 2000


def check_tokenizer(
    factory: Callable[[], Tokenizer], *, texts: Iterable[str] = NASTY, alphabet: str | None = None
) -> None:
    """Check the tokenizer that ``factory()`` returns on ``texts``, and on 200 that are drawn at random.

    ``alphabet`` is for one that knows these characters alone: others are left out of all texts then.
    """
    contract = Contract("tokenizer", name_of(factory), RULES)
    with contract.keeping("builds", "factory()"):
        tokenizer, other = factory(), factory()
    wanted = [name for name in vars(Tokenizer) if not name.startswith("_") and name != "encode_array"]
    missing = [name for name in wanted if not hasattr(tokenizer, name)]
    contract.must("builds", not missing, f"it has no {', '.join(missing)}")
    contract = Contract("tokenizer", f"'{tokenizer.name}'", RULES)
    contract.must(
        "fingerprint",
        isinstance(tokenizer.fingerprint, str) and tokenizer.fingerprint == other.fingerprint,
        f"{tokenizer.fingerprint!r}, and of a second one {other.fingerprint!r}",
    )
    special = dict(tokenizer.special_tokens)
    contract.must("end of text", tokenizer.end_of_text in special.values(), f"it is {tokenizer.end_of_text}")
    drawn = [_drawn(random.Random(seed), alphabet, [*special]) for seed in range(200)]
    for text in [*texts, *(f"a{spelling}b" for spelling in special), *drawn]:
        known = text if alphabet is None else "".join(char for char in text if char in alphabet)
        _check_text(contract, tokenizer, known)
    _check_special(contract, tokenizer, special, "" if alphabet is None else alphabet[:3])
    _check_vocabulary(contract, tokenizer)


def _drawn(chance: random.Random, alphabet: str | None, spellings: list[str]) -> str:
    """Return a random text: letters, spaces, any of Unicode but surrogates, special tokens' spellings."""
    parts = []
    for _ in range(chance.randint(1, 12)):
        match chance.randint(0, 4 if alphabet is None else 3):
            case 0:
                parts.append(chance.choice([" ", "  ", "\n", "\n\n", "\t", "\r\n", " \n "]))
            case 1:
                parts.append(chance.choice(spellings or ["<|x|>"]))
            case 2 | 3:
                parts.append("".join(chance.choices(alphabet or "etaoinETA'.,019é", k=chance.randint(1, 8))))
            case _:
                code = chance.choice([chance.randint(0, 0x7FF), chance.randint(0, 0x10FFFF)])
                parts.append(chr(code) if unicodedata.category(chr(code)) != "Cs" else "\ufffd")
    return "".join(parts)


def _check_text(contract: Contract, tokenizer: Tokenizer, text: str) -> None:
    case = f"text {shown(text)}"
    with contract.keeping("round trip", f"encode of {case}"):
        ids = tokenizer.encode(text)
    plain = isinstance(ids, list) and all(type(token) is int for token in ids)
    contract.must("ids", plain, f"{case} gave {shown(ids)}")
    wrong = [t for t in ids if not 0 <= t < tokenizer.vocab_size or t in tokenizer.unused_ids]
    contract.must("ids", not wrong, f"{case} gave {wrong[:3]}, of {tokenizer.vocab_size} ids")
    special = set(tokenizer.special_tokens.values()).intersection(ids)
    contract.must("ordinary", not special, f"{case} gave {sorted(special)}")
    with contract.keeping("round trip", f"decode of {case}"):
        back = tokenizer.decode(ids)
    contract.must("round trip", back == text, f"{case} came back as {shown(back)}")
    with contract.keeping("bytes", f"token_bytes of {case}"):
        joined = b"".join(tokenizer.token_bytes(token) for token in ids)
    contract.must("bytes", joined == text.encode("utf-8"), f"those of {case} are {shown(joined)}")
    make_array = getattr(tokenizer, "encode_array", None)
    if make_array is not None:
        array = make_array(text)
        contract.must("array", array.dtype.name == "uint32" and array.tolist() == ids, f"{case}: {array!r}")


def _check_special(contract: Contract, tokenizer: Tokenizer, special: dict[str, int], between: str) -> None:
    for spelling, token in special.items():
        fine = 0 <= token < tokenizer.vocab_size and token not in tokenizer.unused_ids
        contract.must("ids", fine, f"{spelling} is {token}, of {tokenizer.vocab_size} ids")
        text = between or "one "
        ordinary = tokenizer.encode(text)
        wanted = [token, *ordinary, token]
        with contract.keeping("special", f"encode_special of {spelling}"):
            found = tokenizer.encode_special(f"{spelling}{text}{spelling}")
        contract.must("special", found == wanted, f"{spelling}{text}{spelling} gave {shown(found)}")
        name = tokenizer.decode([token])
        contract.must("special", name == spelling, f"the id of {spelling} decodes to {name!r}")


def _check_vocabulary(contract: Contract, tokenizer: Tokenizer) -> None:
    size = tokenizer.vocab_size
    every = max(1, size // _MANY)
    for token in sorted({*range(0, size, every), *range(max(0, size - 300), size)} - tokenizer.unused_ids):
        with contract.keeping("vocabulary", f"token_bytes({token})"):
            found = tokenizer.token_bytes(token)
        contract.must("vocabulary", isinstance(found, bytes) and found, f"token_bytes({token}) is {found!r}")
        with contract.keeping("broken bytes", f"decode([{token}])"):
            text = tokenizer.decode([token])
        same = text == found.decode("utf-8", "replace")
        contract.must("broken bytes", same, f"decode([{token}]) is {text!r}, its bytes are {found!r}")
    for token in (-1, size, size + 1, *sorted(tokenizer.unused_ids)[:3]):
        with contract.refusing("vocabulary", f"token_bytes({token}), of {size} ids,", TokenizerError):
            tokenizer.token_bytes(token)
        with contract.refusing("vocabulary", f"decode([{token}]), of {size} ids,", TokenizerError):
            tokenizer.decode([token])
