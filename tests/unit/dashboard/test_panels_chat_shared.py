"""One conversation, seen from the chat of the dashboard, from the prompt, and from another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from nanoshell import Session, open_session
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.panels.chat import ChatPanel
from nanoshell.narrator import SilentNarrator
from nanoshell.testing import FakeRun, check_panel, plugins_with
from nanoshell.testing.shell import Shell

from .still import play, say, shows, text

Make = Callable[..., FakeRun]


@pytest.fixture
def session(nanoshell_home: Path, nanoshell_model: Path) -> Iterator[Session]:
    made = open_session(plugins=plugins_with())
    made.settings.override("max_tokens", "4")
    made.use_model(str(nanoshell_model))
    yield made
    made.close()


def panel_of(app: DashboardApp) -> ChatPanel:
    return app.query_one(ChatPanel)


class Heard(SilentNarrator):
    """Notes what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


ELSEWHERE = """
import sys
from pathlib import Path
from nanoshell.chat.history import ConversationStore

store = ConversationStore(Path(sys.argv[1]))
conversation = store.last()
print("ready", flush=True)
for line in sys.stdin:
    conversation.add("user", f"there {line.strip()}")
    store.save(conversation)
    conversation.add("assistant", "yes")
    store.save(conversation)
    print("said", flush=True)
store.close()
"""


def test_another_terminal_goes_on_with_the_same_conversation(
    session: Session, nanoshell_fake_run: Make
) -> None:
    """Two processes write one conversation in turn and at once: each has its own, whole and unmixed."""
    session.conversation.add("user", "the beginning")
    session.conversation.add("assistant", "yes")
    session.store.save(session.conversation)
    path = session.store.path
    assert path is not None
    other = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    heard = Heard()
    session.narrator = heard

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        for number in range(3):
            other.stdin.write(f"{number}\n")
            other.stdin.flush()
            if number == 0:
                assert other.stdout.readline() == "said\n"
            await say(app, pilot, f"here {number}")
            await shows(app, pilot, lambda: not panel_of(app).replying)

    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    other.communicate(timeout=300)
    assert other.returncode == 0
    kept = {each.name: session.store.load(each.name) for each in session.store.list()}
    questions = {name: [said.content for said in each.messages[::2]] for name, each in kept.items()}
    assert questions == {
        "chat-1": ["the beginning", "there 0", "there 1", "there 2"],
        "chat-2": ["the beginning", "here 0", "here 1", "here 2"],
    }
    assert all(len(each.messages) == 8 for each in kept.values())
    assert session.conversation.name == "chat-2"
    assert heard.notes == ["chat-1 was changed elsewhere meanwhile: this goes on as chat-2"]


def test_what_is_said_in_the_dashboard_is_the_prompts_to_show_and_to_ask_again(
    session: Session, nanoshell_fake_run: Make
) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "> At the prompt" in text(app))
        await say(app, pilot, "In the dashboard")
        await shows(app, pilot, lambda: len(session.conversation.messages) == 4)
        await shows(app, pilot, lambda: not panel_of(app).replying)

    shell = Shell(session)
    assert shell("At the prompt").code == 0
    play([nanoshell_fake_run()], [ChatPanel], scene, session=session)
    shown = shell(":chat show --json").json["messages"]
    assert [said["content"] for said in shown if said["role"] == "user"] == [
        "At the prompt",
        "In the dashboard",
    ]
    assert shell(":retry --seed 3").code == 0
    question, reply = session.conversation.last_turn
    assert (question.content, len(question.replaced)) == ("In the dashboard", 1)
    assert reply.origin is not None
    assert reply.origin.seed == 3


def test_it_is_a_good_panel() -> None:
    check_panel(ChatPanel)
