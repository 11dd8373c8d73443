"""The 59 special tokens of nanoshell's cl100k_base: spellings, ids and what each group is for.

Five of them are OpenAI's; the others, from ``<|system|>`` on, fill the ids above and are those of the splintr
tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

VOCAB_SIZE = 100_331

END_OF_TEXT = "<|endoftext|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"

FEW_SPECIAL_TOKENS = (END_OF_TEXT, SYSTEM, USER, ASSISTANT)
"""What documents and conversations need: the special tokens of a small vocabulary, after its other ids."""


def _pairs(*names: str) -> tuple[str, ...]:
    """Return ``<|name|>`` and ``<|/name|>`` for each of ``names``."""
    return tuple(spelling for name in names for spelling in (f"<|{name}|>", f"<|/{name}|>"))


_TABLE: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("document", 100_257, (END_OF_TEXT,)),
    ("fill in the middle", 100_258, ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")),
    ("prompt", 100_276, ("<|endofprompt|>",)),
    ("roles", 100_277, (SYSTEM, USER, ASSISTANT)),
    ("messages", 100_280, ("<|im_start|>", "<|im_end|>")),
    ("reasoning", 100_282, _pairs("think", "plan", "step", "act", "observe")),
    ("functions", 100_292, _pairs("function", "result", "error")),
    ("code", 100_298, _pairs("code", "output", "lang")),
    ("retrieval", 100_304, _pairs("context", "quote", "cite", "source")),
    ("memory", 100_312, _pairs("memory", "recall")),
    ("control", 100_316, ("<|pad|>", "<|stop|>", "<|sep|>")),
    ("media", 100_319, _pairs("image", "audio", "video")),
    ("structure", 100_325, _pairs("title", "section", "summary")),
)

SPECIAL_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {group: spellings for group, _, spellings in _TABLE}
)
"""What a group is for, to the spellings in it, in the order of their ids."""

SPECIAL_TOKENS: Mapping[str, int] = MappingProxyType(
    {
        spelling: first_id + offset
        for _, first_id, spellings in _TABLE
        for offset, spelling in enumerate(spellings)
    }
)
"""Spelling to id, all 59, in the order of the ids."""

UNUSED_IDS = frozenset({100_256, *range(100_261, 100_276)})
"""Ids below `VOCAB_SIZE` that no token has."""
