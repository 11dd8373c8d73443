"""``chat list``, ``show``, ``new``, ``switch`` and the others: the conversations that are kept, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell import CONVERSATION, human_time
from nanoshell_commands.layout import Rows, cell, turn

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from nanoshell import Conversation, Message, Session

SWITCH_SHOWS = 4
"""So many of the last messages are shown of a conversation that is taken up again."""
_BEFORE, _AROUND = 24, 72
"""Letters of a message before the first match, and of its whole snippet."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation: its ``position``, from 1, what it says, and how a reply came to be.

    ``created`` is in seconds since 1970. ``versions`` counts the earlier versions of the turn that it begins.
    """

    position: int
    role: str
    content: str
    interrupted: bool = False
    created: float | None = None
    model: str | None = None
    step: int | None = None
    seed: int | None = None
    tokens: int | None = None
    versions: int = 0

    def __rich__(self) -> RenderableType:
        notes = ["interrupted"] if self.interrupted else []
        if self.versions:
            notes.append(f"{self.versions} earlier version{'s' if self.versions > 1 else ''}")
        number = cell(f"{self.position:>3} ", "nano.quiet")
        return number.append_text(turn(self.role, self.content, ", ".join(notes)))


@dataclass(frozen=True)
class Talk:
    """A conversation with its turns; ``note`` says what has just been done to it."""

    name: str
    messages: list[Turn] = field(default_factory=list)
    note: str = ""
    _first_shown: int = 0

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        lines: list[RenderableType] = [
            cell(f"{self.name}: {self.note}" if self.note else self.name, "nano.quiet")
        ]
        if 0 < self._first_shown < len(self.messages):
            lines.append(cell(f"    … {self._first_shown} earlier", "nano.quiet"))
        return Group(*lines, *self.messages[self._first_shown :])


@dataclass(frozen=True)
class TalkRow:
    """A conversation that is kept; ``updated`` in seconds since 1970."""

    name: str
    messages: int
    updated: float
    title: str
    current: bool


@dataclass(frozen=True)
class FoundRow:
    """A message that was found: where, and the text around the first match.

    ``matches`` holds the first letter and the one after the last of each match in ``snippet``.
    """

    conversation: str
    position: int
    role: str
    snippet: str
    matches: list[tuple[int, int]]

    def marked(self) -> Text:
        shown = cell(self.snippet)
        for start, end in self.matches:
            shown.stylize("nano.match", start, end)
        return shown


def turns(messages: Sequence[Message], first: int = 1) -> list[Turn]:
    """Return ``messages``, of which the first is at the place ``first``, as results."""
    found = []
    for position, message in enumerate(messages, first):
        origin = message.origin
        found.append(
            Turn(
                position,
                message.role,
                message.content,
                message.interrupted,
                message.created,
                origin.model if origin else None,
                origin.step if origin else None,
                origin.seed if origin else None,
                origin.tokens if origin else None,
                len(message.replaced),
            )
        )
    return found


def talk(conversation: Conversation, note: str = "", last: int | None = None) -> Talk:
    """Return ``conversation`` as a result, of which a person is shown the ``last`` messages, else all."""
    messages = turns(conversation.messages)
    hidden = max(0, len(messages) - last) if last is not None else 0
    return Talk(conversation.name, messages, note, hidden)


def named(session: Session, name: str | None) -> Conversation:
    """Return the conversation ``name``, by default the current one. Raises `UnknownNameError`.

    On the command line the current one is that with which the prompt would go on.
    """
    session.take_up_conversation()
    if name is None or name == session.conversation.name:
        return session.conversation
    return session.store.load(name)


def _take_up(session: Session, conversation: Conversation, note: str) -> Talk:
    """Make ``conversation`` the current one; the command line goes on at the prompt with it."""
    from nanoshell import stay_at_prompt

    session.conversation = conversation
    session.last_written = None  # what was written last is no part of this one
    stay_at_prompt()
    return talk(conversation, note, SWITCH_SHOWS)


def _counted(conversation: Conversation) -> str:
    count = len(conversation.messages)
    return f"{count} message{'' if count == 1 else 's'}"


@click.command("list")
@click.pass_obj
def list_all(session: Session) -> Rows[TalkRow]:
    """List the conversations that are kept."""
    from nanoshell import typed

    current = named(session, None).name
    rows = [
        TalkRow(kept.name, kept.messages, kept.updated, kept.title, kept.name == current)
        for kept in session.store.list()
    ]
    return Rows(
        rows,
        [
            ("", lambda row: "*" if row.current else ""),
            ("conversation", lambda row: row.name),
            (">messages", lambda row: row.messages),
            ("last used", lambda row: human_time(row.updated)),
            ("begins with", lambda row: row.title),
        ],
        empty="no conversation is kept yet" if session.history else "history is off (--no-history)",
        footer=f"go on with one: {typed('chat switch NAME')}",
    )


@click.command()
@click.argument("name", type=CONVERSATION, required=False)
@click.pass_obj
def show(session: Session, name: str | None) -> Talk:
    """Show the current conversation, or NAME, with numbers."""
    conversation = named(session, name)
    return talk(conversation, "" if conversation.messages else "nothing has been said yet")


@click.command()
@click.argument("name", required=False)
@click.option("--no-system", is_flag=True, help="Leave the system turn behind.")
@click.pass_obj
def new(session: Session, name: str | None, no_system: bool) -> Talk:
    """Begin a new conversation; the old one is kept.

    The system turn goes along. Without NAME it is called chat-1, chat-2, and so on.
    """
    from nanoshell import Conversation

    if name is not None:
        session.store.check_new(name)
    fresh = Conversation(name or session.store.new_name())
    fresh.set_system(None if no_system else session.conversation.system)
    if name is not None:  # who gives a name wants to find it again
        session.store.save(fresh)
    return _take_up(session, fresh, "a new conversation")


@click.command()
@click.argument("name", type=CONVERSATION)
@click.pass_obj
def switch(session: Session, name: str) -> Talk:
    """Go on with the conversation NAME."""
    conversation = named(session, name)
    return _take_up(session, conversation, _counted(conversation))


@click.command()
@click.argument("names", nargs=-1, required=True, type=CONVERSATION, metavar="[NAME] NEW")
@click.pass_obj
def rename(session: Session, names: tuple[str, ...]) -> Talk:
    """Rename the current conversation, or NAME, to NEW."""
    from nanoshell import UsageError, typed

    if len(names) > 2:
        raise UsageError("rename takes one name or two", hint=f"quote a name with spaces: {typed(_QUOTED)}")
    conversation = named(session, names[0] if len(names) == 2 else None)
    old, new_name = conversation.name, names[-1]
    if conversation.id is None:
        session.store.check_new(new_name)
        conversation.name = new_name
        session.store.save(conversation)
    else:
        session.store.rename(old, new_name)
        conversation.name = new_name
    return Talk(new_name, note=f"this was {old}")


_QUOTED = "chat rename 'my talk'"


@click.command()
@click.argument("names", nargs=-1, required=True, type=CONVERSATION, metavar="NAME...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(session: Session, names: tuple[str, ...], yes: bool) -> list[Talk]:
    """Remove conversations for good."""
    from nanoshell import Conversation

    found = [session.store.load(name) for name in dict.fromkeys(names)]
    if not yes:
        listed = ", ".join(f"{one.name} ({_counted(one)})" for one in found)
        click.confirm(f"Remove {listed} for good?", abort=True, err=True)
    for conversation in found:
        session.store.delete(conversation.name)
        if conversation.name == session.conversation.name:
            session.conversation = Conversation(session.store.new_name())
            session.last_written = None
    return [
        Talk(one.name, turns(one.messages), f"removed, {_counted(one)}", len(one.messages)) for one in found
    ]


@click.command()
@click.argument("name", required=False)
@click.option("--at", type=click.IntRange(min=1), help="Up to this message, as show numbers them.")
@click.pass_obj
def fork(session: Session, name: str | None, at: int | None) -> Talk:
    """Go on in a copy; the conversation stays as it is."""
    from nanoshell import UsageError, typed

    before = named(session, None)
    if not before.messages:
        raise UsageError("the current conversation is empty", hint=typed("chat new"))
    if at is not None and at > len(before.messages):
        raise UsageError(
            f"{before.name} has no message {at}: it has {len(before.messages)}",
            hint=f"see their numbers with: {typed('chat show')}",
        )
    if name is not None:
        session.store.check_new(name)
    copy = before.fork(name or session.store.new_name(before.name), at)
    session.store.save(copy)
    return _take_up(session, copy, f"{_counted(copy)} of {before.name}")


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.argument("name", required=False)
@click.pass_obj
def import_file(session: Session, file: Path, name: str | None) -> Talk:
    """Read a conversation from FILE and go on with it.

    The file holds {"messages": […]}, as `chat export` writes it; - is standard input. Without NAME it is
    called as the file.
    """
    from nanoshell import import_conversation

    if name is not None:
        session.store.check_new(name)
    conversation = import_conversation(file.expanduser())
    conversation.name = name or conversation.name
    session.store.save(conversation)
    where = "standard input" if str(file) == "-" else cell(str(file)).plain
    return _take_up(session, conversation, f"{_counted(conversation)} from {where}")


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show at most so many."
)
@click.pass_obj
def search(session: Session, words: tuple[str, ...], limit: int) -> Rows[FoundRow]:
    """Find messages that hold all the words of TEXT.

    Case does not matter, parts of words count, and words in quotes are one text. The newest come first.
    """
    from nanoshell import UsageError, typed

    terms = [" ".join(word.split()) for word in words if word.strip()]
    if not terms:
        raise UsageError("there is nothing to search for", hint=typed("chat search TEXT"))
    patterns = [re.compile(r"\s+".join(map(re.escape, term.split())), re.IGNORECASE) for term in terms]
    rows: list[FoundRow] = []
    more = False
    for name, position, message in session.store.find(
        lambda text: all(pattern.search(text) for pattern in patterns)
    ):
        if len(rows) == limit:
            more = True
            break
        rows.append(FoundRow(name, position, message.role, *_snippet(message.content, patterns)))
    return Rows(
        rows,
        [
            ("conversation", lambda row: row.conversation),
            (">message", lambda row: row.position),
            ("role", lambda row: row.role),
            ("text", lambda row: row.marked()),
        ],
        empty="no message holds " + " and ".join(f"'{term}'" for term in terms),
        footer="there are more; -n shows more of them" if more else f"read one: {typed('chat show NAME')}",
    )


def _snippet(content: str, patterns: Sequence[re.Pattern[str]]) -> tuple[str, list[tuple[int, int]]]:
    """Return the text around the first match on one line, and where matches are in it."""
    line = " ".join(content.split())
    found = [match.span() for pattern in patterns for match in pattern.finditer(line)]
    start = max(0, min((begin for begin, _ in found), default=0) - _BEFORE)
    start = 0 if start <= 1 else start
    end = start + _AROUND if len(line) > start + _AROUND + 1 else len(line)
    opening, closing = "…" if start else "", "…" if end < len(line) else ""
    shift = len(opening) - start
    inside = sorted((begin + shift, min(stop, end) + shift) for begin, stop in found if start <= begin < end)
    return opening + line[start:end] + closing, inside
