"""``chat list``, ``new``, ``switch`` and the others, ``retry``, ``edit`` and ``export``, at the prompt."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pexpect
from hypothesis import HealthCheck, example, given, settings, strategies as st

from nanoshell import paths
from nanoshell.chat.conversation import Conversation
from nanoshell.chat.history import ConversationStore
from nanoshell.chat.template import Message, Origin
from nanoshell.chat.transfer import import_conversation
from nanoshell.command import script, words
from nanoshell.data.tokens import open_tokens
from nanoshell.errors import DataError
from nanoshell.session import Session
from nanoshell_commands.conversation import system
from nanoshell_commands.replay import _raw, quoted, script_of


def contents(session: Session) -> list[str]:
    return [message.content for message in session.conversation.messages]


def say(session: Session, *pairs: str, name: str = "") -> None:
    """Put questions and their replies into the current conversation, as if a model had given them."""
    if name:
        session.conversation.name = name
    for number, content in enumerate(pairs):
        session.conversation.add("assistant" if number % 2 else "user", content)
    session.store.save(session.conversation)


def test_conversations_are_begun_listed_and_taken_up_again(session: Session, prompt) -> None:
    prompt(":system Be kind.")
    prompt("first")
    first = session.conversation.name
    assert prompt(":chat new physics")[0] == 0
    assert (session.conversation.name, contents(session)) == ("physics", ["Be kind."])
    prompt("second")
    rows = json.loads(prompt(":chat list --json")[1])
    assert [(row["name"], row["messages"], row["current"], row["title"]) for row in rows] == [
        ("physics", 3, True, "second"),
        (first, 3, False, "first"),
    ]
    assert first in prompt(f":chat switch {first}")[1]
    assert contents(session)[:2] == ["Be kind.", "first"]
    prompt(":chat new --no-system")
    assert contents(session) == []
    assert session.conversation.name not in ("physics", first)
    code, _, told = prompt(":chat switch phisics")
    assert (code, "did you mean 'physics'" in told) == (2, True)
    code, _, told = prompt(":chat new physics")
    assert (code, "'physics-2' is free" in told) == (2, True)


def test_a_long_conversation_is_taken_up_with_its_end_and_shown_whole(session: Session, prompt) -> None:
    say(session, *(f"line {number}" for number in range(30)), name="long")
    prompt(":chat new")
    out = prompt(":chat switch long")[1]
    assert "line 29" in out
    assert "line 3\n" not in out
    assert "26 earlier" in out
    assert "  4 assistant: line 3\n" in prompt(":chat show")[1]


def test_rename_takes_one_name_or_two_and_no_taken_one(session: Session, prompt) -> None:
    say(session, "one", "1", name="a")
    prompt(":chat new b")
    assert prompt(":chat rename a numbers")[0] == 0
    assert prompt(":chat rename letters")[0] == 0
    assert session.conversation.name == "letters"
    code, _, told = prompt(":chat rename numbers")
    assert (code, "'numbers-2' is free" in told) == (2, True)
    assert "did you mean 'numbers'" in prompt(":chat rename number x")[2]
    prompt("hello")
    assert {kept.name for kept in session.store.list()} == {"letters", "numbers"}
    for line in (":chat new test one", ":chat switch my letters", ":chat rename a b c"):
        assert "quote" in prompt(line)[2], line
    prompt(":chat new")
    prompt(":chat rename fresh")
    assert session.store.load("fresh").messages == []


def test_delete_asks_and_begins_anew_where_it_was_the_current_one(session: Session, prompt) -> None:
    say(session, "one", "1", name="a")
    assert prompt(":chat delete a")[0] != 0, "nobody is there to say yes"
    assert prompt(":chat delete a a --yes")[0] == 0
    assert session.store.list() == []
    assert contents(session) == []
    assert prompt(":chat delete a --yes")[0] == 2


def test_a_fork_copies_up_to_a_message_and_leaves_the_rest(session: Session, prompt) -> None:
    prompt("first")
    prompt("second")
    said, name = contents(session), session.conversation.name
    assert prompt(":chat fork other --at 3")[0] == 0
    assert (session.conversation.name, contents(session)) == ("other", said[:3])
    assert session.conversation.messages[1].origin is not None
    assert contents(session) == [message.content for message in session.store.load("other").messages]
    code, _, told = prompt(":chat fork --at 9")
    assert (code, "has no message 9" in told) == (2, True)
    assert [message.content for message in session.store.load(name).messages] == said


def test_search_marks_what_it_finds(session: Session, prompt) -> None:
    say(session, "What is the\n CAPITAL of France?", "x " * 60 + "Paris is the capital city", name="a")
    prompt(":chat new --no-system")
    say(session, "capital letters", "ABC", name="b")
    rows = json.loads(prompt(":chat search capital --json")[1])
    assert [(row["conversation"], row["position"]) for row in rows] == [("b", 1), ("a", 1), ("a", 2)]
    for row in rows:
        assert [row["snippet"][a:b].lower() for a, b in row["matches"]] == ["capital"]
        assert len(row["snippet"]) <= 75
    (row,) = json.loads(prompt(':chat search "the capital" FRANCE --json')[1])
    assert row["snippet"] == "What is the CAPITAL of France?"
    assert [row["snippet"][a:b] for a, b in row["matches"]] == ["the CAPITAL", "France"]
    assert len(json.loads(prompt(":chat search capital -n 1 --json")[1])) == 1
    assert prompt(":chat search nowhere")[1] == "no message holds 'nowhere'\n"
    assert prompt(":chat search .*")[1] == "no message holds '.*'\n"


def test_on_the_command_line_the_last_conversation_is_the_current_one(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "2")
    nanoshell("chat", "--model", model, "--message", "Hello")
    shown = nanoshell("chat", "show", "--json").json
    assert shown["messages"][0]["content"] == "Hello"
    nanoshell("chat", "--model", model, "--conversation", shown["name"], "--message", "Again")
    assert len(nanoshell("chat", "show", shown["name"], "--json").json["messages"]) == 4
    assert len(nanoshell("chat", "list", "--json").json) == 1
    assert nanoshell("export", "-", "--format", "jsonl").out.count("\n") == 1


def test_options_before_a_subcommand_and_words_that_are_none_are_explained(nanoshell) -> None:
    said = nanoshell("chat", "--message", "x", "list")
    assert (said.code, "--message does not go with chat list" in said.err) == (2, True)
    said = nanoshell("chat", "serach", "x")
    assert (said.code, "did you mean 'search'" in said.err) == (2, True)


def test_retry_with_a_seed_and_back(session: Session, prompt) -> None:
    prompt("first")
    before = contents(session)
    first = session.conversation.messages[1].origin
    assert isinstance(first, Origin)
    out, told = prompt(f":retry --seed {first.seed + 1}")[1:]
    after = contents(session)
    assert out == after[1] + "\n"
    assert "retry --back" in told
    assert prompt(":retry --back")[0] == 0
    assert contents(session) == before
    prompt(":retry --back")
    assert contents(session) == after
    assert session.store.load(session.conversation.name).messages[0].replaced
    assert json.loads(prompt(f":retry --seed {first.seed} --json")[1])["content"] == before[1]
    code, _, told = prompt(":retry --back --seed 3")
    assert (code, "draws nothing" in told) == (2, True)


def test_at_temperature_0_it_is_said_that_a_retry_cannot_differ(session: Session, prompt) -> None:
    session.settings.override("temperature", "0")
    prompt("first")
    assert "at temperature 0" in prompt(":retry")[2]


def test_a_retry_or_edit_that_cannot_be_answered_changes_nothing(session: Session, prompt) -> None:
    prompt("first")
    before = contents(session)
    assert prompt(":retry --sampler temperature=-1")[0] == 2
    assert prompt(":edit " + "word " * 60)[0] == 1
    assert contents(session) == before
    assert not session.conversation.messages[0].replaced


def test_edit_takes_its_text_as_typed(session: Session, prompt) -> None:
    prompt("first")
    prompt("second")
    before = contents(session)
    assert prompt(':edit --seed 1 It\'s "third"')[0] == 0
    assert contents(session)[:3] == [*before[:2], 'It\'s "third"']
    prompt(":retry --back")
    assert contents(session) == before
    code, _, told = prompt(":edit")
    assert (code, "edit TEXT" in told) == (2, True)


def test_edit_opens_the_editor(model: str, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/Hello/Goodbye/ "$1"\n')
    editor.chmod(0o755)
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "nanoshell", "--model", model],
        env={**os.environ, "VISUAL": str(editor), "TERM": "xterm"},
        dimensions=(24, 80),
        timeout=300,
        encoding="utf-8",
    )
    try:
        for line in (":set max_tokens 2", "Hello", ":edit", ":edit"):
            terminal.expect("nanoshell> ")
            terminal.send(f"{line}\r")
            if line == "Hello":
                terminal.expect("tokens/s")
        terminal.expect("what was there before is kept")
        terminal.expect("nothing was changed")
        terminal.send(":quit\r")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    store = ConversationStore(paths.data_dir() / "conversations.db")
    last = store.last()
    store.close()
    assert last is not None
    assert last.messages[0].content == "Goodbye"
    assert last.messages[0].replaced[0][0] == Message("user", "Hello")


def test_an_export_is_training_data_and_can_be_imported(session: Session, prompt, tmp_path: Path) -> None:
    prompt(":system Be kind.")
    prompt("first")
    said = session.conversation.messages
    assert prompt(":export talk.jsonl")[0] == 0
    corpus = session.prepare_corpus("talk.jsonl")
    expected = session.template.encode(said, session.tokenizer)
    assert open_tokens(corpus.path)[: len(expected)].tolist() == expected
    assert (tmp_path / "talk.jsonl").stat().st_mode & 0o777 == 0o600
    prompt(":chat new --no-system")
    assert prompt(":chat import talk.jsonl")[0] == 0
    assert (session.conversation.name, session.conversation.messages) == ("talk", said)
    assert prompt(":chat import talk.jsonl other")[0] == 0
    assert session.conversation.name == "other"
    assert prompt(":chat import missing.jsonl")[0] == 2
    assert session.conversation.messages == said


def test_export_replaces_nothing_unasked_and_knows_its_formats(
    session: Session, prompt, tmp_path: Path
) -> None:
    assert prompt(":export talk.jsonl")[0] == 2, "there is nothing to write"
    assert "the ending of x.doc does not say" in prompt(":export x.doc")[2]
    prompt("first")
    assert not (tmp_path / "talk.jsonl").exists()
    told = json.loads(prompt(":chat export talk.jsonl --json")[1])
    assert told == {
        "name": session.conversation.name,
        "messages": 2,
        "format": "jsonl",
        "file": "talk.jsonl",
        "left_out": 0,
    }
    kept = (tmp_path / "talk.jsonl").read_bytes()
    prompt("second")
    code, _, told = prompt(":export talk.jsonl")
    assert (code, "--force" in told) == (2, True)
    assert (tmp_path / "talk.jsonl").read_bytes() == kept
    assert prompt(":export talk.jsonl --force")[0] == 0
    assert b"second" in (tmp_path / "talk.jsonl").read_bytes()
    code, _, told = prompt(":export talk.txt")
    assert (code, "--format" in told) == (2, True)
    assert prompt(":export talk.txt --format markdown")[0] == 0
    text = (tmp_path / "talk.txt").read_bytes().decode()  # a reply may hold any kind of line end
    assert text.startswith("# first\n\n## User\n\nfirst\n\n## Assistant\n\n")
    assert prompt(":export - --format markdown")[1] == text
    say(session, "long " * 200)
    assert prompt(":export - --format jsonl")[1].count("\n") == 1


def test_a_script_says_the_conversation_again(session: Session, prompt, nanoshell, model: str) -> None:
    """With other settings than those that it was held with, in another process's words."""
    session.settings.override("max_tokens", "4")
    prompt(':system """You\'re\n"kind"."""')
    for line in (
        "first",
        '"""two\nlines "here"\n"""',
        ":chat --message --json --temperature 2 --stop 'a b' --logit-bias 5=3",
        "\\:quit",
    ):
        assert prompt(line)[0] == 0
    prompt(":retry")
    assert prompt(":export talk.ns")[0] == 0
    said, name = session.conversation.messages, session.conversation.name
    nanoshell("set", "temperature", "3")
    nanoshell("set", "max_tokens", "1")
    replayed = nanoshell("--model", model, "-f", "talk.ns")
    assert replayed.code == 0, replayed.err
    again = session.store.last()
    assert again is not None
    assert again.name != name
    assert again.messages == said
    assert [m.origin for m in again.messages] == [m.origin for m in said]


def test_an_interrupted_reply_is_replayed_to_its_length_and_strange_ones_are_comments(
    session: Session, prompt, nanoshell, model: str, tmp_path: Path
) -> None:
    session.settings.override("max_tokens", "9")
    reply = session.reply("Hello", seed=3, logit_bias={12366: 100.0})
    tokens = iter(reply)
    next(tokens)
    next(tokens)
    reply.generation.interrupt()
    list(tokens)
    say(session, "Who said this?", "not\na model")
    assert "2 of them as comments" in prompt(":export talk.ns")[1]
    assert nanoshell("--model", model, "-f", "talk.ns").code == 0
    again = session.store.last()
    assert again is not None
    assert [m.content for m in again.messages] == [m.content for m in session.conversation.messages[:2]]


def test_names_with_line_breaks_put_no_command_into_a_script(session: Session, tmp_path: Path) -> None:
    (tmp_path / "x\n:runs list.jsonl").write_text('{"messages": [{"role": "user", "content": "Hello"}]}')
    assert import_conversation(tmp_path / "x\n:runs list.jsonl").name == "x :runs list"
    origin = Origin("z\n:runs list", None, 1, 2, 3, 4, {}, (), {})
    messages = [Message("user", "Hello"), Message("assistant", "Hi", origin=origin)]
    text, _ = script_of(session, Conversation("y\n:runs list", messages))
    assert [line.split()[0] for line in text.splitlines()] == ["#", "#", ":chat", "#", ":chat"]


def test_a_conversation_is_read_from_standard_input(nanoshell, session: Session) -> None:
    line = b'{"messages": [{"role": "user", "content": "Hello"}]}\n'
    said = nanoshell("chat", "import", "-", "--json", stdin=line)
    assert said.json["name"] == "imported-1"
    assert nanoshell("chat", "export", "-", "imported-1", "--format", "jsonl").out.encode() == line
    assert nanoshell("chat", "import", "-", "mine", "--json", stdin=line).json["name"] == "mine"
    broken = nanoshell("chat", "import", "-", stdin=b"{")
    assert (broken.code, "standard input:1: broken JSON" in broken.err) == (1, True)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
marks = st.lists(st.sampled_from(['"', "'", '"""', "\\", " ", "a", "#", ":", "-", "\t", "$"]), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(texts | marks.map("".join) | marks.map("\n".join))
def test_what_is_quoted_is_one_word_of_a_script(tmp_path: Path, text: str) -> None:
    try:
        word = quoted(text)
    except DataError:
        assert '"""' in text.partition("\n")[0] or "\r" in text or '"""' in text
        return
    path = tmp_path / "talk.ns"
    path.write_bytes(f":chat --message {word}\n# the end\n".encode())
    first, *rest = script.file_lines(path)
    line = words.parse_line(first.text)
    assert isinstance(line, words.CommandLine)
    assert words.split(line.rest) == ["--message", text]
    assert len(rest) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(texts | marks.map("".join) | marks.map("\n".join) | marks.map(" ".join))
@example('Use """ docstrings')
@example('Use """a and b""" here')
def test_a_system_turn_of_a_script_is_what_it_was(tmp_path: Path, text: str) -> None:
    try:
        written = _raw(text)
    except DataError:
        assert '"""' in text or "\r" in text
        return
    path = tmp_path / "talk.ns"
    path.write_bytes(f":system {written}\n# the end\n".encode())
    first, *rest = script.file_lines(path)
    line = words.parse_line(first.text)
    assert isinstance(line, words.CommandLine)
    assert words.split_raw(system, line.rest) == (["--", text] if text else [])
    assert len(rest) == 1
