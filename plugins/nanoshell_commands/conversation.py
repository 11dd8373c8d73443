"""The turns of the current conversation: its system turn, taking turns back, asking again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell_commands.layout import cell
from nanoshell_commands.sampling import chosen_bias, chosen_sampling, sampling_options
from nanoshell_commands.talks import Talk, talk, turns

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Reply, ReplyDocument, Screen, Session

SYSTEM_EXAMPLES = ("system You're a helpful assistant.", "system --clear")
UNDO_EXAMPLES = ("undo", "undo --json")
RETRY_EXAMPLES = ("retry", "retry --seed 7 --temperature 1", "retry --back")
EDIT_EXAMPLES = ("edit What is the capital of Spain?", "edit --seed 7 And of Italy?")


@dataclass(frozen=True)
class SystemTurn:
    """The system turn of a conversation, None where it has none."""

    conversation: str
    system: str | None

    def __rich__(self) -> RenderableType:
        from nanoshell import typed

        if self.system is None:
            return cell(f"there is no system turn; set one with: {typed('system TEXT')}")
        return cell(self.system)


@click.command()
@click.argument("text", required=False)
@click.option("--clear", is_flag=True, help="Remove the system turn.")
@click.pass_obj
def system(session: Session, text: str | None, clear: bool) -> SystemTurn:
    """Tell the model its role, or show it.

    TEXT is taken as typed, without quotes. The turns that follow see it; those before it stay.
    """
    from nanoshell import UsageError

    conversation = session.conversation
    if clear and text is not None:
        raise UsageError("a system turn cannot be set and cleared at once", hint="leave out TEXT or --clear")
    if clear or text is not None:
        conversation.set_system(text)
        if conversation.messages:
            session.store.save(conversation)
    return SystemTurn(conversation.name, conversation.system)


@click.command()
@click.pass_obj
def undo(session: Session) -> Talk:
    """Take back the last message and its reply."""
    conversation = session.conversation
    removed = conversation.undo()
    session.store.save(conversation)
    return Talk(conversation.name, turns(removed, len(conversation.messages) + 1), "taken back")


class AskedAgain:
    """The last turn anew, as `ReplyStream` shows it; the version before it is kept, and that is said."""

    def __init__(self, session: Session, start: Callable[[], Reply]) -> None:
        from nanoshell import ReplyStream

        self._session = session
        self._stream = ReplyStream(start)

    def show(self, screen: Screen) -> None:
        self._stream.show(screen)
        if note := self._note():
            screen.note(note)

    def lines(self) -> Iterator[ReplyDocument]:
        return self._stream.lines()

    def document(self) -> ReplyDocument:
        return self._stream.document()

    def _note(self) -> str:
        from nanoshell import typed

        question, *replies = self._session.conversation.last_turn
        if not question.replaced:
            return ""
        kept = f"what was there before is kept: {typed('retry --back')}"
        before_question, *before = question.replaced[-1]
        same = replies and replies == before and question == before_question
        origin = replies[-1].origin if replies else None
        if same and origin is not None and origin.sampling.get("temperature") == 0:
            return f"the same again: at temperature 0 the seed changes nothing. {kept}"
        return kept


@click.command()
@click.option("--back", is_flag=True, help="Exchange the last turn for the version before it.")
@sampling_options
@click.pass_obj
def retry(session: Session, /, back: bool, **options: Any) -> AskedAgain | Talk:
    """Ask the last message again, with another seed.

    The reply before is kept, and --back goes back to it; again and again, it comes round to the newest.
    """
    from nanoshell import UsageError

    conversation = session.conversation
    if not back:
        return _ask_again(session, conversation.last_turn[0].content, options)
    if any(value not in (None, ()) for value in options.values()):
        raise UsageError("--back draws nothing anew", hint="leave out the other options")
    count = conversation.bring_back()
    session.store.save(conversation)
    return talk(conversation, f"one of {count} versions of the last turn", len(conversation.last_turn))


@click.command()
@click.argument("text", required=False)
@click.option("--seed", type=click.IntRange(min=0), help="Make the draw repeatable.", show_default="random")
@click.pass_obj
def edit(session: Session, text: str | None, seed: int | None) -> AskedAgain | str:
    """Change the last message, and have it answered.

    TEXT, taken as typed, is said in its place; without it your editor ($VISUAL or $EDITOR) opens. What was
    there before is kept: see `retry --back`.
    """
    from nanoshell import UsageError, typed

    before = session.conversation.last_turn[0].content
    if text is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("no editor can be opened here", hint=f"give the text: {typed('edit TEXT')}")
        text = _edited(before)
        if text is None or text == before:
            return "nothing was changed"
    return _ask_again(session, text, {"seed": seed})


def _edited(text: str) -> str | None:
    """Return ``text`` as the user's editor leaves it, None where it is not saved or empty."""
    from nanoshell import edit_text

    return edit_text(text + "\n", suffix=".md").strip("\r\n") or None


def _ask_again(session: Session, text: str, options: Mapping[str, Any]) -> AskedAgain:
    conversation = session.conversation
    sampling = chosen_sampling(session, options)

    def start() -> Reply:
        model = session.model()
        before = list(conversation.messages)
        conversation.ask_again(text)
        try:
            return session.answer(
                model=model,
                sampling=sampling,
                seed=options["seed"],
                logit_bias=chosen_bias(options, model.engine.tokenizer),
            )
        except BaseException:
            conversation.messages[:] = before
            raise

    return AskedAgain(session, start)
