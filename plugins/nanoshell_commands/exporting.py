"""``export``: a conversation as a file, to read, to train on, or to say again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell import CONVERSATION, Choice
from nanoshell_commands.layout import cell
from nanoshell_commands.replay import script_of
from nanoshell_commands.talks import named

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Conversation, Message, Session

EXAMPLES = ("export talk.jsonl", "export talk.md", "export - --format script")

_FORMATS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ns": "script",
}


@dataclass(frozen=True)
class Exported:
    """A conversation that was written to ``file``.

    ``left_out`` messages are comments in a script, since no model here has said them.
    """

    name: str
    messages: int
    format: str
    file: str
    left_out: int = 0

    def __rich__(self) -> RenderableType:
        told = (
            f"{self.name}: {self.messages} message{'' if self.messages == 1 else 's'} written to {self.file}"
        )
        if self.left_out:
            told += f"; {self.left_out} of them as comments, since they were not sampled here"
        return cell(told)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.argument("name", type=CONVERSATION, required=False)
@click.option(
    "--format",
    "wanted",
    type=Choice(
        {
            "jsonl": "messages to train on; chat import reads them again",
            "markdown": "to be read",
            "script": "says the same again: nanoshell -f FILE",
        }
    ),
    help="What to write.",
    show_default="by FILE's ending: .jsonl, .md, .ns",
)
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@click.pass_obj
def export(session: Session, file: Path, name: str | None, wanted: str | None, force: bool) -> Exported | str:
    """Write a conversation to a file.

    It is the current one, or NAME. jsonl holds messages to train on, which `chat import` reads again;
    markdown is for reading; a script, carried out with `nanoshell -f FILE`, says the same with the same
    model. FILE - writes to standard output.
    """
    from nanoshell import UsageError, typed, write_text

    file = file.expanduser()
    chosen = wanted or _FORMATS.get(file.suffix.lower())
    if chosen is None:
        raise UsageError(
            f"the ending of {file} does not say what to write",
            hint="end it with .jsonl, .md or .ns, or say --format jsonl, markdown or script",
        )
    conversation = named(session, name)
    if not conversation.messages:
        raise UsageError(
            f"{conversation.name} is empty",
            hint=f"name one that is kept (see: {typed('chat list')}): {typed('export FILE NAME')}",
        )
    text, left_out = _written(session, conversation, chosen)
    if str(file) == "-":
        return text
    if file.exists() and not force:
        raise UsageError(f"{file} is there already", hint="choose another name, or replace it with --force")
    write_text(file, text, private=True)
    return Exported(conversation.name, len(conversation.messages), chosen, str(file), left_out)


def _written(session: Session, conversation: Conversation, chosen: str) -> tuple[str, int]:
    """Return the text of ``conversation`` in the format ``chosen``, and how many messages it leaves out."""
    from nanoshell import messages_line

    if chosen == "script":
        text, left_out = script_of(session, conversation)
        return _encodable(text), left_out
    return messages_line(conversation) if chosen == "jsonl" else _encodable(_markdown(conversation)), 0


def _encodable(text: str) -> str:
    """Return ``text`` with lone surrogates, which UTF-8 has not, as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _markdown(conversation: Conversation) -> str:
    parts = [f"# {conversation.title or conversation.name}"]
    for message in conversation.messages:
        parts += [f"## {message.role.capitalize()}", message.content.strip("\n")]
        if note := _note(message):
            parts.append(f"*{note}*")
    return "\n\n".join(parts) + "\n"


def _note(message: Message) -> str:
    origin = message.origin
    notes = ["interrupted"] if message.interrupted else []
    if origin is not None:
        notes += [origin.model, f"seed {origin.seed}"]
    return ", ".join(notes)
