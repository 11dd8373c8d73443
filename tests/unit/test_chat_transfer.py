"""A conversation in a file: the same after the way back, fit for training, and unfit files explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.template import ROLES, Message, RoleTemplate
from nanoshell.chat.transfer import import_conversation, messages_line
from nanoshell.data.encoding import encode_document
from nanoshell.data.shapes import document_of
from nanoshell.errors import DataError
from nanoshell.tokenizer.bpe import cl100k_base

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.just("<|system|>\u2028\n")
any_messages = st.lists(
    st.builds(Message, st.sampled_from(ROLES), texts, st.booleans()), min_size=1, max_size=6
)


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(any_messages)
def test_round_trip_and_training_data(tmp_path: Path, messages: list[Message]) -> None:
    path = tmp_path / "physics.jsonl"
    path.write_text(messages_line(Conversation("chat-1", messages, id=7, revision=3)), "utf-8")
    again = import_conversation(path)
    assert again == Conversation("physics", messages)

    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    tokenizer, template = cl100k_base(), RoleTemplate()
    document = document_of(json.loads(raw), "physics.jsonl:1")
    ids = template.encode(messages, tokenizer)
    assert encode_document(document, tokenizer, template)[: len(ids)] == ids


def test_a_lone_surrogate_is_a_replacement_character() -> None:
    talk = Conversation("a", [Message("user", "two"), Message("assistant", "caf\udce9")])
    assert messages_line(talk) == (
        '{"messages": [{"role": "user", "content": "two"}, {"role": "assistant", "content": "caf\ufffd"}]}\n'
    )


def test_json_over_several_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    value = {"messages": [{"role": "user", "content": "Grüße"}], "note": "other keys are ignored"}
    path.write_bytes(b"\xef\xbb\xbf\n" + json.dumps(value, indent=2, ensure_ascii=False).encode())
    assert import_conversation(path).messages == [Message("user", "Grüße")]


GOOD = '{"messages": [{"role": "user", "content": "x"}]}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"talk\.jsonl:1: broken JSON"),
        (b'{"messages": [\n{"role": "user",\n}]}', r"talk\.jsonl:3: broken JSON"),
        (b"plain words", r"talk\.jsonl:1: broken JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (f"{GOOD}\n{GOOD}\n".encode(), "more than one conversation"),
        (b'{"text": "no messages"}', "holds no conversation"),
        (b'{"messages": []}', "holds no conversation"),
        (b"[1, 2]", "holds no conversation"),
        (b'{"messages": [{"role": "user"}]}', "message 1"),
        (b'{"messages": [{"role": "user", "content": "x"}, "y"]}', "message 2"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "message 1"),
        (b'{"messages": [{"role": "asistant", "content": "x"}]}', "did you mean 'assistant'"),
        (b'{"messages": [{"role": null, "content": "x"}]}', "message 1: unknown role None"),
        ('{"messages": "ü"}'.encode("latin-1"), r"not UTF-8 \(byte 14\)"),
    ],
)
def test_unfit_files_are_explained(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        import_conversation(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.jsonl", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            import_conversation(path)
