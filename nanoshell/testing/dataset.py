"""A tiny dataset: a text and some conversations, so few and so short that a tiny model can learn them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

LINES = (
    "One and one is two.",
    "Two and two is four.",
    "The sea is wide and the sky is blue.",
    "A small model learns a small text.",
    "Größe heißt hier: nicht nur ASCII.",
)
TURNS = (
    ("Hello", "Hello, friend."),
    ("What is one and one?", "It is two."),
    ("What colour has the sky?", "It is blue."),
    ("Goodbye", "See you soon."),
)


@dataclass(frozen=True)
class TinyDataset:
    """Files of a tiny dataset: ``text`` (a ``.txt``) and ``messages`` (a ``.jsonl`` of conversations)."""

    text: Path
    messages: Path


def write_dataset(folder: Path) -> TinyDataset:
    """Write `LINES` and `TURNS` into ``folder`` as the files that users have, and return their paths."""
    data = TinyDataset(folder / "tiny.txt", folder / "tiny.jsonl")
    data.text.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    conversations = (
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}
        for asked, answered in TURNS
    )
    lines = (json.dumps(conversation, ensure_ascii=False) for conversation in conversations)
    data.messages.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data
