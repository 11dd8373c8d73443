"""The conversation: its system turn, taking turns back, asking again, and the conversations that are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell import CONVERSATION, CONVERSATION_OR_FILE
from nanoshell_commands.layout import Rows, cell, moment, turn

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Conversation, Message, ReplyStream, Session

SYSTEM_EXAMPLES = ("system You're a helpful assistant.", "system --clear")
HISTORY_EXAMPLES = ("history", "history chat-3")
SAVE_EXAMPLES = ("save talk.jsonl", "save talk.jsonl chat-3")
LOAD_EXAMPLES = ("load talk.jsonl", "load chat-3")
RESET_EXAMPLES = ("reset", "reset --system")
UNDO_EXAMPLES = ("undo", "undo --json")
RETRY_EXAMPLES = ("retry", "retry --json")


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str
    interrupted: bool = False


@dataclass(frozen=True)
class Talk:
    """A conversation with its turns; ``note`` says what has just been done to it."""

    name: str
    messages: list[Turn] = field(default_factory=list)
    note: str = ""

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        lines = [cell(f"{self.name}: {self.note}" if self.note else self.name, "dim")]
        for message in self.messages:
            note = "interrupted" if message.interrupted else ""
            lines.append(turn(message.role, message.content, note))
        return Group(*lines)


@dataclass(frozen=True)
class TalkRow:
    """A conversation in the history; ``updated`` in seconds since the epoch."""

    name: str
    messages: int
    updated: float
    title: str
    current: bool


def turns(messages: list[Message]) -> list[Turn]:
    """Return ``messages`` as results."""
    return [Turn(message.role, message.content, message.interrupted) for message in messages]


def _talk(conversation: Conversation, note: str = "") -> Talk:
    return Talk(conversation.name, turns(conversation.messages), note)


@click.command()
@click.argument("text", required=False)
@click.option("--clear", is_flag=True, help="Remove the system turn.")
@click.pass_obj
def system(session: Session, text: str | None, clear: bool) -> str:
    """Tell the model its role, or show it.

    TEXT is taken as typed, without quotes.
    """
    from nanoshell import UsageError

    conversation = session.conversation
    if clear and text is not None:
        raise UsageError("a system turn cannot be set and cleared at once", hint="leave out TEXT or --clear")
    if clear or text is not None:
        conversation.set_system(text)
        if conversation.messages:
            session.store.save(conversation)
    return conversation.system or "there is no system turn; set one with: system TEXT"


@click.command()
@click.option("--system", "drop_system", is_flag=True, help="Leave the system turn behind too.")
@click.pass_obj
def reset(session: Session, drop_system: bool) -> Talk:
    """Begin a new conversation; the old one is kept.

    The system turn goes along.
    """
    from nanoshell import Conversation

    before = session.conversation
    fresh = Conversation(name=session.store.new_name())
    fresh.set_system(None if drop_system else before.system)
    session.conversation = fresh
    return _talk(fresh, "a new conversation")


@click.command()
@click.pass_obj
def undo(session: Session) -> Talk:
    """Take back the last message and its reply."""
    conversation = session.conversation
    removed = conversation.undo()
    session.store.save(conversation)
    return Talk(conversation.name, turns(removed), "taken back")


@click.command()
@click.pass_obj
def retry(session: Session) -> ReplyStream:
    """Ask the last message again, with another seed."""
    from nanoshell import NanoshellError, ReplyStream

    conversation = session.conversation
    session.model()  # without a model nothing is taken back
    removed = conversation.undo()
    try:
        reply = session.reply(removed[0].content)
    except NanoshellError:
        conversation.messages.extend(removed)
        raise
    return ReplyStream(lambda: reply)


@click.command()
@click.argument("name", type=CONVERSATION, required=False)
@click.option("--delete", is_flag=True, help="Remove the conversation NAME for good.")
@click.pass_obj
def history(session: Session, name: str | None, delete: bool) -> Rows[TalkRow] | Talk:
    """List the conversations that are kept, or show one."""
    from nanoshell import UsageError, typed

    if delete and name is None:
        raise UsageError("which conversation?", hint="give its NAME; see them with: " + typed("history"))
    if name is not None:
        found = _stored(session, name)
        if delete:
            session.store.delete(found.name)
        return _talk(found, "removed" if delete else "")
    rows = [
        TalkRow(kept.name, kept.messages, kept.updated, kept.title, kept.name == session.conversation.name)
        for kept in session.store.list()
    ]
    return Rows(
        rows,
        [
            ("", lambda row: "*" if row.current else ""),
            ("conversation", lambda row: row.name),
            (">messages", lambda row: row.messages),
            ("last used", lambda row: moment(row.updated)),
            ("begins with", lambda row: row.title),
        ],
        empty="no conversation is kept yet" if session.history else "history is off (--no-history)",
        footer=f"continue one with: {typed('load NAME')}",
    )


def _stored(session: Session, name: str) -> Conversation:
    """Return the kept conversation ``name``. Raises `UnknownNameError` with the nearest."""
    from nanoshell import unknown_name

    names = [kept.name for kept in session.store.list()]
    if name not in names:
        raise unknown_name("conversation", name, names)
    return session.store.load(name)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("name", type=CONVERSATION, required=False)
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@click.pass_obj
def save(session: Session, file: Path, name: str | None, force: bool) -> str:
    """Write a conversation to FILE, in a form to train on.

    It is the current one, or the kept one NAME.
    """
    from nanoshell import UsageError, export_conversation

    conversation = _stored(session, name) if name is not None else session.conversation
    if not conversation.messages:
        raise UsageError(
            "the current conversation is empty",
            hint="name a kept one (see: history): save FILE NAME",
        )
    file = file.expanduser()
    if file.exists() and not force:
        raise UsageError(f"{file} is there already", hint="choose another name, or replace it with --force")
    export_conversation(conversation, file)
    return f"{conversation.name}: {len(conversation.messages)} messages written to {file}"


@click.command()
@click.argument("source", type=CONVERSATION_OR_FILE, metavar="FILE|NAME")
@click.pass_obj
def load(session: Session, source: str) -> Talk:
    """Continue a kept conversation, or one from FILE."""
    from nanoshell import import_conversation

    path = Path(source).expanduser()
    if path.is_file() or path.suffix in (".json", ".jsonl"):
        conversation = import_conversation(path)
        conversation.name = session.store.new_name()
        session.store.save(conversation)
    else:
        conversation = _stored(session, source)
    session.conversation = conversation
    return _talk(conversation, f"{len(conversation.messages)} messages")
