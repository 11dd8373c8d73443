"""The embedded dataset: its size, its shapes, and that a model can learn all of it by heart."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import nanoshell_data
from nanoshell.chat.conversation import fit
from nanoshell.chat.template import Message, RoleTemplate
from nanoshell.data.corpus import prepare_corpus
from nanoshell.tokenizer.bpe import cl100k_base
from nanoshell_data.embedded import open_embedded

FOLDER = Path(nanoshell_data.__file__).parent / "nano_start"
AIMS = {"completions": 2200, "qa": 2800, "chat": 1400}
POSITIONS = 64


def records(part: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{part}.jsonl").read_bytes().decode("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def conversations() -> list[list[Message]]:
    return [
        [Message(message["role"], message["content"]) for message in record["messages"]]
        for record in records("chat")
    ]


def documents(part: str) -> list[list[int]]:
    """The ids of each document with its separator, assembled apart from the package's own reading."""
    tokenizer, template = cl100k_base(), RoleTemplate()
    if part == "completions":
        return [[*tokenizer.encode(record["text"]), tokenizer.end_of_text] for record in records(part)]
    if part == "qa":
        pairs = [(record["question"], record["answer"]) for record in records(part)]
        return [template.encode([Message("user", q), Message("assistant", a)], tokenizer) for q, a in pairs]
    return [template.encode(messages, tokenizer) for messages in conversations()]


def strings() -> list[str]:
    return [
        *(record["text"] for record in records("completions")),
        *(record[key] for record in records("qa") for key in ("question", "answer")),
        *(message.content for messages in conversations() for message in messages),
    ]


@pytest.mark.parametrize("part", AIMS)
def test_the_number_of_tokens(part: str) -> None:
    assert sum(map(len, documents(part))) == pytest.approx(AIMS[part], rel=0.03)


def test_the_readme_says_the_numbers_that_are() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    for part in AIMS:
        row = re.search(rf"`{part}\.jsonl` \| ([\d,]+) \| ([\d,]+) \|", readme)
        assert row is not None
        said = tuple(int(number.replace(",", "")) for number in row.groups())
        assert said == (len(documents(part)), sum(map(len, documents(part))))
    assert "MIT" in readme


def test_the_source_reads_the_same_documents(tmp_path: Path) -> None:
    corpus = prepare_corpus(open_embedded(""), cl100k_base(), RoleTemplate(), cache_dir=tmp_path)
    ids = [token_id for part in AIMS for document in documents(part) for token_id in document]
    assert corpus.num_tokens == len(ids)
    assert corpus.path.read_bytes() == b"".join(token_id.to_bytes(4, "little") for token_id in ids)


def test_the_shapes() -> None:
    assert all(record.keys() == {"text"} for record in records("completions"))
    assert all(record.keys() == {"question", "answer"} for record in records("qa"))
    for messages in conversations():
        roles = [message.role for message in messages]
        assert roles[0] == "system"
        assert len(roles) in (5, 7)
        assert roles[1:] == ["user", "assistant"] * (len(roles) // 2)


def test_every_document_fits_into_the_smallest_model() -> None:
    for part in AIMS:
        assert max(map(len, documents(part))) <= POSITIONS - 1
    for messages in conversations():
        for index, message in enumerate(messages):
            if message.role == "assistant":
                assert fit(messages[:index], RoleTemplate(), cl100k_base(), POSITIONS, 16).dropped == 0


def test_nothing_asks_for_two_different_answers() -> None:
    """No question twice, no two conversations that begin alike, no statement that another one begins with."""
    questions = Counter(record["question"].casefold() for record in records("qa"))
    assert questions.most_common(1)[0][1] == 1
    openings = Counter((messages[0].content, messages[1].content) for messages in conversations())
    assert openings.most_common(1)[0][1] == 1
    everything = sorted(ids for part in AIMS for ids in documents(part))
    for shorter, longer in itertools.pairwise(everything):
        assert longer[: len(shorter)] != shorter
    statements = sorted(record["text"].rstrip(".") for record in records("completions"))
    for shorter, longer in itertools.pairwise(statements):
        assert not longer.startswith(shorter)


def test_the_texts_are_clean() -> None:
    for text in strings():
        assert text == unicodedata.normalize("NFC", text)
        assert text == " ".join(text.split())
        assert text.isprintable()
        assert "\ufffd" not in text
        assert "<|" not in text
        assert not re.search(r"Ã|â€", text), "UTF-8 read as Latin-1"
        assert text[0].isupper() or text[0].isdigit()
        assert text[-1] in ".!?)" or text.endswith("x = 5")
    statements = [record["text"] for record in records("completions")]
    assert all(statement.endswith(".") for statement in statements)
    assert all(record["question"].endswith("?") for record in records("qa"))


def test_what_the_demo_and_the_readme_ask_for_is_there() -> None:
    assert {"text": "The capital of France is Paris."} in records("completions")
    answers = {record["question"]: record["answer"] for record in records("qa")}
    assert "Paris" in answers["What is the capital of France?"]
    greeting = next(messages for messages in conversations() if messages[1].content == "Hello!")
    assert greeting[0].content == "You are a helpful assistant."
    assert greeting[2].content.startswith("Hi there!")
    assert len(greeting) >= 5
    assert len({messages[0].content for messages in conversations()}) >= 15
