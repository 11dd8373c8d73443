"""``chat`` and the commands of the conversation, on a model of one layer with random weights."""

from __future__ import annotations

import json
from pathlib import Path

from nanoshell.session import Session
from tests.unit.commands.test_commands_sampling import STOPPER


def contents(session: Session) -> list[str]:
    return [message.content for message in session.conversation.messages]


def test_chat_answers_each_message_in_turn(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "5")
    command = (
        "chat",
        "--model",
        model,
        "--system",
        "Be kind.",
        "--message",
        "Hello!",
        "--message",
        "And now?",
    )
    said = nanoshell(*command, "--seed", "1")
    assert said.code == 0
    lines = nanoshell(*command, "--seed", "1", "--json").lines
    assert [line["role"] for line in lines] == ["user", "assistant"] * 2
    assert said.out == "".join(line["content"] + "\n" for line in lines if line["role"] == "assistant")
    (second, _first) = nanoshell("chat", "list", "--json").json
    assert second["messages"] == 5
    kept = nanoshell("chat", "show", second["name"], "--json").json["messages"]
    assert (kept[0]["position"], kept[0]["role"], kept[0]["content"]) == (1, "system", "Be kind.")
    assert [turn["seed"] for turn in kept] == [None, None, 1, None, 1]
    assert (kept[2]["model"], kept[2]["tokens"]) == (Path(model).name, lines[1]["tokens"])
    assert [turn["content"] for turn in kept[1:]] == [line["content"] for line in lines]


def test_chat_answers_piped_lines(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "2")
    lines = nanoshell("chat", "--model", model, "--json", stdin=b"one\n\n  two\n").lines
    assert [line["content"] for line in lines if line["role"] == "user"] == ["one", "two"]
    said = nanoshell("chat", "--model", model, stdin=b"one\nt\xffo\n")
    assert said.code == 1
    assert "line 2" in said.err


def test_turns_that_do_not_fit_are_left_out_and_it_is_said(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "4")
    message = "word " * 12
    said = nanoshell("chat", "--model", model, *("--message", message) * 3)
    assert said.code == 0
    assert "oldest" in said.err
    lines = nanoshell("chat", "--model", model, *("--message", message) * 3, "--json").lines
    assert lines[1]["dropped_turns"] == 0
    assert lines[-1]["dropped_turns"] > 0


def test_chat_without_a_model_says_what_to_do(nanoshell) -> None:
    said = nanoshell("chat", "--message", "hello")
    assert said.code == 2
    assert "train" in said.err


def test_a_turn_ends_at_a_stop_text(nanoshell, model: str) -> None:
    command = (
        "chat",
        "--model",
        model,
        "--temperature",
        "0",
        "--max-tokens",
        "6",
        "--message",
        "a",
        "--json",
    )
    whole = nanoshell(*command).lines[-1]
    stop = whole["content"][3:5]
    turn = nanoshell(*command, "--stop", stop).lines[-1]
    assert (turn["finish_reason"], turn["stop_reason"]) == ("stop", stop)
    assert turn["content"] == whole["content"][: whole["content"].index(stop)]


def test_chat_takes_a_bias_too(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "2")
    command = ("chat", "--model", model, "--message", "Hello", "--logit-bias", " Paris=100")
    assert nanoshell(*command).out == " Paris Paris\n"


def test_a_turn_of_chat_computes_its_new_tokens_alone(session: Session, prompt) -> None:
    prompt("first")
    again = json.loads(prompt(":retry --json")[1])
    assert again["reused_tokens"] == again["prompt_tokens"] - 1
    session.settings.override("max_tokens", "1")
    prompt("x")
    last = json.loads(prompt(":retry --json")[1])
    assert last["reused_tokens"] == last["prompt_tokens"] - 1


def test_the_system_turn_is_taken_as_typed(session: Session, prompt) -> None:
    assert prompt(':system You\'re "kind" & brief.')[0] == 0
    assert session.conversation.system == 'You\'re "kind" & brief.'
    assert prompt(":system")[1] == 'You\'re "kind" & brief.\n'
    prompt(":system --clear")
    assert session.conversation.system is None


def test_undo_takes_back_a_turn_and_retry_asks_again(session: Session, prompt) -> None:
    prompt("first")
    prompt("second")
    before = contents(session)
    assert len(before) == 4
    assert prompt(":retry")[0] == 0
    after = contents(session)
    assert after[:3] == before[:3]
    assert len(after) == 4
    code, out, _ = prompt(":undo --json")
    assert code == 0
    assert [turn["content"] for turn in json.loads(out)["messages"]] == after[2:]
    assert contents(session) == after[:2]
    prompt(":undo")
    assert prompt(":undo")[0] == 1
    assert prompt(":retry")[0] == 1


def test_a_retry_that_cannot_be_answered_takes_nothing_back(session: Session, prompt) -> None:
    prompt("first")
    before = contents(session)
    session.conversation.set_system("word " * 60)
    assert prompt(":retry")[0] == 1
    assert contents(session)[1:] == before


def test_a_turn_has_one_shape_in_json(session: Session, prompt, nanoshell, model: str) -> None:
    typed = json.loads(prompt(":retry --json")[1]) if prompt("first")[0] == 0 else {}
    line = nanoshell("chat", "--model", model, "--message", "first", "--json").lines[1]
    assert typed.keys() == line.keys()
    assert typed["role"] == "assistant"


def test_an_interrupted_reply_says_so_once(nanoshell, model: str, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "stopper.py").write_text(STOPPER)
    command = ("--plugins-dir", "extra", "chat", "--model", model, "--sampler", "stopper=4", "--top-k", "1")
    said = nanoshell(*command, "--message", "one", "--message", "two")
    assert (said.code, said.err.count("interrupted")) == (130, 1)
    assert said.out.count("\n") == 1, "the second message is not answered"
    (kept,) = nanoshell("chat", "list", "--json").json
    assert kept["messages"] == 2
