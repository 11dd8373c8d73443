"""Whatever happens between the beginning of a reply and its first token, no question is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nanoshell.command import turn
from nanoshell.command.render import TerminalScreen
from nanoshell.session import Session
from nanoshell_commands.chat import Exchanges


def interrupted(*_arguments: Any, **_options: Any) -> Any:
    raise KeyboardInterrupt


def kept(session: Session) -> list[tuple[str, bool]]:
    """Return the roles of the conversation as another start finds it, and which messages are cut short."""
    last = session.store.last()
    assert last is not None
    assert last.messages == session.conversation.messages
    return [(message.role, message.interrupted) for message in last.messages]


BEGUN = [("user", False), ("assistant", True)]


@pytest.mark.parametrize("place", ["_aside", "awaited"])
def test_ctrl_c_before_the_first_token(session: Session, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(turn, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        turn.reply_to(session, "Hello").show(TerminalScreen())
    assert kept(session) == BEGUN


def test_ctrl_c_while_what_says_that_the_model_loads_is_taken_away(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Patience:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(turn, "patience", lambda *_: Patience())
    with pytest.raises(KeyboardInterrupt):
        turn.reply_to(session, "Hello").show(TerminalScreen())
    assert kept(session) == BEGUN


def test_ctrl_c_before_the_first_token_of_a_document(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "_aside", interrupted)
    with pytest.raises(KeyboardInterrupt):
        turn.reply_to(session, "Hello").document()
    assert kept(session) == BEGUN


def test_a_reader_who_goes_after_the_question(session: Session) -> None:
    lines = Exchanges(["Hello"], session.reply).lines()
    assert next(lines) == {"role": "user", "content": "Hello"}
    lines.close()
    assert kept(session) == BEGUN


def test_a_reply_that_has_ended_is_kept_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(session.plugins, "notify", lambda name, **_: told.append(name))
    reply = session.reply("Hello")
    whole = "".join(token.text for token in reply)
    reply.close()
    assert [message.content for message in session.conversation.messages] == ["Hello", whole]
    assert not session.conversation.messages[-1].interrupted
    assert told == ["message_finished"]


def test_special_tokens_of_a_sample_are_set_apart(
    session: Session, prompt: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    special = min(set(session.tokenizer.special_tokens) - {"<|endoftext|>", "<|user|>", "<|assistant|>"})
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    code, out, err = prompt(f":sample Hello --special --logit-bias '{special}=100' --max-tokens 2")
    assert code == 0, err
    assert f"\x1b[2;35m{special}" in out
