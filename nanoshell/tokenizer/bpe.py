"""Byte pair encoding through tiktoken, on a rank file that comes with nanoshell: nothing is ever downloaded.

Two properties that plain tiktoken lacks: only `BpeTokenizer.encode_special` ever makes a special token, and
no text is too large or too odd (a million spaces before a letter overflow the stack of tiktoken's regular
expressions).
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from nanoshell.errors import TokenizerError
from nanoshell.tokenizer.special import END_OF_TEXT, SPECIAL_TOKENS

if TYPE_CHECKING:
    import tiktoken

RANK_FILE = Path(__file__).parent / "cl100k_base.tiktoken"

PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
r"""How cl100k_base cuts a text into pieces before merging bytes (from tiktoken's definition of it).

`_cut_long_spaces` relies on its last four alternatives, and on no other one taking more white space than one
character before other text or, after punctuation, line breaks.
"""

RANK_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
"""The hash by which tiktoken knows the file, too."""

_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space, which is ``\\s`` in `PATTERN`. Python's own has U+001C to U+001F besides."""

_SPACES = re.compile(f"[{_SPACE}]*")
_LONG_RUN = 4096
"""White space as long as this is cut by us. tiktoken's limit lies near a million characters."""


class RankedTokenizer:
    """A tiktoken encoding that fulfils the `Tokenizer` contract.

    ``ranks`` returns for the bytes of each token its rank, which is its id: 0, 1, … below ``num_ranks``. It
    is called when a text is first encoded or decoded: a run on a tokenized corpus starts without. Special
    tokens have ids beyond. ``pattern`` cuts a text into pieces, as `PATTERN` does, and ``source`` stands for
    the ranks in the fingerprint. Several threads may encode and decode at once, and do so side by side.
    """

    def __init__(
        self,
        name: str,
        ranks: Callable[[], dict[bytes, int]],
        num_ranks: int,
        *,
        pattern: str,
        special_tokens: Mapping[str, int],
        end_of_text: str,
        source: str,
    ) -> None:
        self.name = name
        self.special_tokens: Mapping[str, int] = MappingProxyType(dict(special_tokens))
        self.end_of_text = special_tokens[end_of_text]
        ids = self.special_tokens.values()
        self.vocab_size = 1 + max(num_ranks - 1, *ids)
        self.unused_ids = frozenset(range(num_ranks, self.vocab_size)).difference(ids)
        definition = json.dumps([source, pattern, sorted(special_tokens.items())])
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()
        self._special_pattern = re.compile(
            "(" + "|".join(re.escape(spelling) for spelling in sorted(special_tokens, reverse=True)) + ")"
        )
        self._ranks, self._pattern = ranks, pattern

    @functools.cached_property
    def _encoding(self) -> tiktoken.Encoding:
        import tiktoken

        return tiktoken.Encoding(
            self.name,
            pat_str=self._pattern,
            mergeable_ranks=self._ranks(),
            special_tokens=dict(self.special_tokens),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.vocab_size} ids)"

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as ordinary text: a special token's spelling in it stays text.

        Any ``str`` will do. UTF-8 has no lone surrogates: they are read as U+FFFD, and a pair as its
        character.
        """
        if len(text) < _LONG_RUN:
            return self._encoding.encode_ordinary(text)
        ids: list[int] = []
        for part in _cut_long_spaces(text):
            ids += self._encoding.encode_ordinary(part)
        return ids

    def encode_special(self, text: str) -> list[int]:
        """Return the ids of ``text`` with the spellings of special tokens read as those tokens."""
        ids: list[int] = []
        for index, part in enumerate(self._special_pattern.split(text)):
            if index % 2:
                ids.append(self.special_tokens[part])
            elif part:
                ids += self.encode(part)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``, special tokens as spelled; bytes that are no UTF-8 become U+FFFD.

        Raises `TokenizerError` that names the first unknown id and its position.
        """
        ids = list(ids)
        try:
            return self._encoding.decode_bytes(ids).decode("utf-8", errors="replace")
        except (KeyError, OverflowError):
            position = next(index for index, token_id in enumerate(ids) if not self._is_token(token_id))
            raise self._unknown(ids[position], f" at position {position}") from None

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that ``token_id`` stands for. Raises `TokenizerError` for unknown ids."""
        try:
            return self._encoding.decode_single_token_bytes(token_id)
        except (KeyError, OverflowError):
            raise self._unknown(token_id, "") from None

    def _is_token(self, token_id: int) -> bool:
        return 0 <= token_id < self.vocab_size and token_id not in self.unused_ids

    def _unknown(self, token_id: int, where: str) -> TokenizerError:
        reason = "stands for no token" if token_id in self.unused_ids else "is not in the vocabulary"
        return TokenizerError(
            f"id {token_id}{where} {reason} of {self.name}",
            hint=f"its ids are 0 to {self.vocab_size - 1}, {len(self.unused_ids)} of them unused;"
            " were these ids made with another tokenizer?",
        )


class BpeTokenizer(RankedTokenizer):
    """Byte pair encoding with the ranks of a file.

    ``rank_file`` is in tiktoken's format: line n holds, in base64, the bytes of the token whose rank and id
    are n, and then n. Raises `TokenizerError` where the file is missing or has another ``sha256``. Pickling
    stores the arguments, not the tables.
    """

    def __init__(
        self,
        name: str,
        rank_file: Path,
        sha256: str,
        *,
        pattern: str,
        special_tokens: Mapping[str, int],
        end_of_text: str,
    ) -> None:
        self._arguments = (name, rank_file, sha256, pattern, dict(special_tokens), end_of_text)
        content = _read(rank_file, sha256)
        super().__init__(
            name,
            functools.partial(_ranks, content),
            len(content.splitlines()),
            pattern=pattern,
            special_tokens=special_tokens,
            end_of_text=end_of_text,
            source=sha256,
        )

    def __reduce__(self) -> tuple[Callable[..., BpeTokenizer], tuple[object, ...]]:
        return _rebuild, self._arguments


@functools.cache
def cl100k_base() -> BpeTokenizer:
    """Return cl100k_base with the 59 special tokens: 100,331 ids. Made once in a process."""
    return BpeTokenizer(
        "cl100k_base",
        RANK_FILE,
        RANK_SHA256,
        pattern=PATTERN,
        special_tokens=SPECIAL_TOKENS,
        end_of_text=END_OF_TEXT,
    )


def _rebuild(
    name: str, rank_file: Path, sha256: str, pattern: str, special_tokens: dict[str, int], end_of_text: str
) -> BpeTokenizer:
    if (sha256, pattern, special_tokens) == (RANK_SHA256, PATTERN, SPECIAL_TOKENS):
        return cl100k_base()
    return BpeTokenizer(
        name, rank_file, sha256, pattern=pattern, special_tokens=special_tokens, end_of_text=end_of_text
    )


def _read(path: Path, sha256: str) -> bytes:
    """Return what the rank file holds, checked."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TokenizerError(
            f"cannot read the rank file {path}: {error.strerror}", hint="install nanoshell anew"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise TokenizerError(
            f"the rank file {path} is damaged: its SHA-256 is {found}, not {sha256}",
            hint="install nanoshell anew",
        )
    return content


def _ranks(content: bytes) -> dict[bytes, int]:
    """Return the bytes of each token with its rank, which is the number of its line from 0."""
    fields = content.split()
    return dict(zip(map(binascii.a2b_base64, fields[::2]), range(len(fields) // 2), strict=True))


def _cut_long_spaces(text: str) -> Iterator[str]:
    """Yield parts of ``text`` whose ids, joined, are those of ``text``, long white space only at their ends.

    In white space that something follows, `PATTERN` cuts after the last line break and before the last
    character. The same cuts are made here; white space that ends a part is one piece by ``\\s++$``, which
    needs no stack.
    """
    start = probe = 0
    while probe < len(text):
        matched = _SPACES.match(text, probe)
        end = matched.end() if matched else probe
        # An earlier probe would have found a run that begins further back.
        before = text[max(start, probe - _LONG_RUN // 2) : probe]
        run = probe - len(before) + len(before.rstrip(_SPACE))
        if end - run >= _LONG_RUN and end < len(text):
            after_break = 1 + max(text.rfind("\n", run, end), text.rfind("\r", run, end), run - 1)
            yield text[start:after_break]
            yield text[after_break : end - 1]
            start = max(after_break, end - 1)
        probe = max(end, probe + _LONG_RUN // 2)
    yield text[start:]
