"""DRY ("don't repeat yourself"): a penalty on the token that would continue a sequence said before."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nanoshell.errors import TokenizerError
from nanoshell.generation.penalties import last_positions
from nanoshell.generation.sampling import LogitsProcessor
from nanoshell.tokenizer.base import Tokenizer

BREAKERS = b'\n:"*'
_LONGEST = 50
_LARGEST = 1e30


def dry(
    value: float,
    *,
    tokenizer: Tokenizer,
    dry_base: float = 1.75,
    dry_allowed_length: float = 2,
    dry_window: float = -1,
) -> LogitsProcessor:
    """Return a step against a reply that repeats sequences, of the prompt or of itself.

    Where the last n tokens occurred before, n at least ``dry_allowed_length``, the logit of the token that
    followed them then loses ``value`` · ``dry_base`` ** (n - ``dry_allowed_length``), where at most 50 tokens
    above the allowed length are counted. Only the last ``dry_window`` positions count (0: none, -1: all). No
    sequence reaches across a token that holds a newline, a colon, a quotation mark or an asterisk, or across
    a special token; and none of these is penalised.

    Invented by p-e-w (text-generation-webui, pull request 5677), with the breakers of llama.cpp. Special
    tokens are added to them, because here they end the turns of a chat.
    """
    special = frozenset(tokenizer.special_tokens.values())
    allowed = int(dry_allowed_length)
    longest = allowed + _LONGEST

    @functools.cache
    def breaks(token: int) -> bool:
        if token in special:
            return True
        try:
            return any(byte in BREAKERS for byte in tokenizer.token_bytes(token))
        except TokenizerError:  # an id that stands for nothing
            return True

    def penalise(logits: Tensor, history: Tensor) -> Tensor:
        result = logits.clone()
        for row, ids in enumerate(last_positions(history, dry_window).cpu().numpy()):
            lengths = continued_repeats(ids, breaks, longest)
            repeats = {token: n for token, n in lengths.items() if n >= allowed and not breaks(token)}
            if repeats:
                where = torch.tensor(list(repeats), device=logits.device)
                taken = [min(_LARGEST, value * dry_base ** (n - allowed)) for n in repeats.values()]
                result[row, where] -= torch.tensor(taken).to(logits)
        return result

    return penalise


def continued_repeats(ids: NDArray[np.int64], breaks: Callable[[int], bool], longest: int) -> dict[int, int]:
    """Return, for each token that followed an earlier occurrence of the last n of ``ids``, the largest n.

    n is at most ``longest``, and no sequence reaches across a token that ``breaks``.
    """
    if len(ids) < 2 or breaks(int(ids[-1])):
        return {}
    ends = np.flatnonzero(ids[:-1] == ids[-1])
    lengths = np.full(len(ends), longest)
    growing, starts = np.arange(len(ends)), ends.copy()
    for length in range(1, longest):
        token = ids[-1 - length]
        starts -= 1
        grows = (ids[starts] == token) & (not breaks(int(token)))
        grows[:1] &= starts[:1] >= 0  # they rise, so that no other can have come to the beginning
        if not grows.all():
            lengths[growing[~grows]] = length
            growing, starts = growing[grows], starts[grows]
        if not len(growing):
            break
    rising = lengths.argsort()  # the last, the longest, counts
    return dict(zip(ids[ends[rising] + 1].tolist(), lengths[rising].tolist(), strict=True))
