"""The chat of the dashboard: the prompt's own conversation, written by a real model of a tiny size."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell import Session, hookimpl, open_session
from nanoshell.chat.conversation import Conversation
from nanoshell.chat.template import Message
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.panels.chat import ChatPanel
from nanoshell.testing import FakeRun, plugins_with

from .still import play, say, shows, text

Make = Callable[..., FakeRun]


class Gate:
    """A sampler that lets a token through when the test does."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.steps = 0

    @hookimpl
    def register_samplers(self, register: Any) -> None:
        register("gate", self._made, order=1, default=1, neutral=0, minimum=0, maximum=1, summary="waits")

    def _made(self, value: float, **used: Any) -> Callable[[Any, Any], Any]:
        def step(logits: Any, history: Any) -> Any:
            self.steps += 1
            if self.steps > 2:
                assert self.open.wait(60)
            return logits

        return step


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def session(nanoshell_home: Path, nanoshell_model: Path, gate: Gate) -> Iterator[Session]:
    made = open_session(plugins=plugins_with(gate))
    made.settings.override("temperature", "0")
    made.settings.override("max_tokens", "12")
    made.use_model(str(nanoshell_model))
    yield made
    made.close()


def panel_of(app: DashboardApp) -> ChatPanel:
    return app.query_one(ChatPanel)


def test_the_conversation_of_the_prompt_goes_on(session: Session, nanoshell_fake_run: Make) -> None:
    session.conversation.add("user", "What was said before?")
    session.conversation.add("assistant", "This [b]and[/b] that.")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "This [b]and[/b] that." in text(app))
        assert "> What was said before?" in text(app)
        assert isinstance(app.focused, Input)
        await say(app, pilot, "Hello!")
        await shows(app, pilot, lambda: len(session.conversation.messages) == 4)
        await shows(app, pilot, lambda: not panel_of(app).replying)
        reply = session.conversation.messages[-1]
        assert reply.role == "assistant"
        assert reply.content
        await shows(app, pilot, lambda: reply.content.split("\n")[0] in text(app))
        assert "> Hello!" in text(app)
        session.conversation.undo()  # as a command does
        await shows(app, pilot, lambda: "> Hello!" not in text(app))

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    kept = session.store.last()
    assert kept is not None
    assert kept.messages[0].content == "What was said before?"


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
def test_a_reply_is_interrupted_and_what_has_come_is_kept(
    session: Session, gate: Gate, nanoshell_fake_run: Make, key: str
) -> None:
    gate.open.clear()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await say(app, pilot, "Hello!")
        await shows(app, pilot, lambda: gate.steps == 3)
        assert panel_of(app).replying
        await say(app, pilot, "Too early")
        assert app.query_one(Input).value == "Too early"
        app.query_one(Input).value = ""
        await pilot.press(key)
        gate.open.set()
        await shows(app, pilot, lambda: not panel_of(app).replying)
        await pilot.press("ctrl+c")  # comes late: it is not meant for the dashboard
        assert app.is_running
        await shows(app, pilot, lambda: "(interrupted)" in text(app))
        app.query_one(Input).value = "Something else"
        await pilot.press("ctrl+c", "ctrl+c")
        assert (app.query_one(Input).value, app.return_code) == ("", None)
        assert app._exit is False

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    question, reply = session.conversation.messages
    assert (question.content, reply.interrupted) == ("Hello!", True)


def test_leaving_keeps_what_has_come(
    session: Session, gate: Gate, nanoshell_fake_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell.dashboard.panels.chat._LAST_WORD_SECONDS", 60.0)
    gate.open.clear()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await say(app, pilot, "Hello!")
        await shows(app, pilot, lambda: gate.steps == 3)
        writing = panel_of(app)._writing
        assert writing is not None
        interrupt = writing.interrupt

        def interrupt_and_go_on() -> None:
            interrupt()
            gate.open.set()

        monkeypatch.setattr(writing, "interrupt", interrupt_and_go_on)

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    assert [message.role for message in session.conversation.messages] == ["user", "assistant"]
    assert session.conversation.messages[-1].interrupted


def test_a_step_that_hangs_is_left_behind(
    session: Session, gate: Gate, nanoshell_fake_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell.dashboard.panels.chat._LAST_WORD_SECONDS", 0.05)
    gate.open.clear()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await say(app, pilot, "Hello!")
        await shows(app, pilot, lambda: gate.steps == 3)

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    assert session.loaded is None
    assert session.conversation.messages[-1].interrupted
    gate.open.set()


def test_a_question_that_cannot_be_answered_is_given_back(session: Session, nanoshell_fake_run: Make) -> None:
    words = "Hello! " * 400

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await say(app, pilot, words)
        await shows(app, pilot, lambda: bool(app._notifications))
        (note,) = app._notifications
        assert "positions of the model" in note.message
        assert app.query_one(Input).value == words
        await shows(app, pilot, lambda: "nothing has been said yet" in text(app))

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    assert session.conversation.messages == []


def test_commands_and_blanks_are_not_said(session: Session, nanoshell_fake_run: Make) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await say(app, pilot, "   ")
        await say(app, pilot, ":chat new")
        await shows(app, pilot, lambda: any("Ctrl-P" in note.message for note in app._notifications))

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    assert session.conversation.messages == []


def test_there_is_no_chat_where_one_only_reads(session: Session, nanoshell_fake_run: Make) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "Chat" not in text(app)

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session, read_only=True, first=False)


def test_without_a_model_it_is_said_how_to_get_one(nanoshell_home: Path, nanoshell_fake_run: Make) -> None:
    session = open_session(plugins=plugins_with())
    run = nanoshell_fake_run("fresh")
    run.finish("failed", "as the test wants it")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "with the newest of fresh-1" in text(app)
        await say(app, pilot, "Hello!")
        await shows(app, pilot, lambda: bool(app._notifications))
        assert "fresh-1" in next(iter(app._notifications)).message

    play([run], [ChatPanel], scene, session=session)


def test_the_model_chosen_and_the_run_in_focus_take_turns(session: Session, nanoshell_fake_run: Make) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        chosen = session.model_name
        assert Path(str(chosen)).name in text(app)
        await pilot.press("ctrl+t")
        assert "with the newest of fake-1" in text(app)
        await pilot.press("ctrl+t")
        assert "with the newest of fake-1" not in text(app)
        assert session.model_name == chosen

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)


def test_what_was_said_cannot_steer_the_terminal(session: Session, nanoshell_fake_run: Make) -> None:
    session.conversation = Conversation(
        "odd",
        [Message("system", "be \x1b[31mred"), Message("user", "ring \x07"), Message("assistant", "é\x9b2J")],
    )

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "> ring ?" in text(app))
        assert text(app).isascii()
        assert not {"\x1b", "\x07", "\x9b"} & set(text(app))

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session, ascii=True)


def test_long_conversations_show_their_end_and_scroll(session: Session, nanoshell_fake_run: Make) -> None:
    for number in range(130):
        session.conversation.add("user" if number % 2 == 0 else "assistant", f"line {number}.")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "line 129." in text(app))
        await pilot.press("pageup")
        await pilot.pause()
        assert "line 129." not in text(app)
        for _ in range(20):
            await pilot.press("pageup")
        await shows(app, pilot, lambda: "30 earlier messages" in text(app))

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)


def test_a_model_is_used_without_being_chosen(nanoshell_home: Path, nanoshell_model: Path) -> None:
    session = open_session(plugins=plugins_with())
    assert session.model(str(nanoshell_model)).path == nanoshell_model.resolve()
    assert session.model_name is None
    session.close()
