"""``why``: how sure the model was of each token that it wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import click

from nanoshell_commands.heat import (
    Cell,
    Chart,
    HeatLine,
    Label,
    has_colour,
    heat,
    heated,
    labels,
    model_options,
    percent,
    perplexity,
)
from nanoshell_commands.layout import figure
from nanoshell_commands.next_token import NextTokens, likeliest
from nanoshell_commands.sampling import chosen_model

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from nanoshell import Conversation, LoadedModel, Session, TokenLoss, WrittenText

EXAMPLES = ("why", "why --top 3", "why 2")

_FIRST = 'chat --message "Why is the sky blue?"'
_CONTEXT = 12
_EXPECTED = 10
_SURPRISES = 3


@dataclass(frozen=True)
class Alternative:
    """A token that could have stood there, and its probability before any sampler."""

    id: int
    text: str
    probability: float


@dataclass(frozen=True)
class WrittenToken:
    """A written token, counted from 1: how likely it was before any sampler, and its rank among all.

    ``entropy`` (nats) tells how unsure the model was here; ``top`` the likeliest tokens, where asked for.
    """

    position: int
    id: int
    text: str
    probability: float
    logprob: float
    rank: int
    entropy: float
    top: list[Alternative]


@dataclass(frozen=True)
class Explanation:
    """The last text that a model wrote, token by token, as ``model`` sees it now.

    ``written_by`` is the model that wrote it, None where that is not known; ``perplexity`` is exp of the mean
    loss, 1 where it was sure of all.
    """

    model: str
    written_by: str | None
    tokens: list[WrittenToken]
    perplexity: float
    _labels: Sequence[Label]
    _others: Sequence[Sequence[Label]]
    _listed: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        if has_colour(console) and not self._listed and not any(token.top for token in self.tokens):
            pairs = zip(self._labels, self.tokens, strict=True)
            yield HeatLine([(label, token.probability) for label, token in pairs])
        else:
            yield self._chart()
        yield Text(self._summary(console), style="nano.quiet")

    def _chart(self) -> Chart:
        with_top = any(token.top for token in self.tokens)
        rows: list[Sequence[Cell]] = []
        for token, label, others in zip(self.tokens, self._labels, self._others, strict=True):
            start: list[Cell] = [str(token.position), label.short, heated(token.probability)]
            rest: list[Cell] = [token.probability, f"{token.rank:,}"]
            rows.append([*start, *([_row(token.top, others)] if with_top else rest)])
        headings = [">", "token", ">likely", *(["likeliest here"] if with_top else ["", ">rank"])]
        return Chart(headings, rows, [f"nano.heat{heat(token.probability)}" for token in self.tokens])

    def _summary(self, console: Console) -> str:
        from nanoshell import typed

        amount = len(self.tokens)
        tokens = f"{amount} token{'s'[: amount != 1]}"
        first = f"{tokens} · perplexity {figure(self.perplexity, 3)}, before samplers"
        doubtful = [pair for pair in zip(self.tokens, self._labels, strict=True) if pair[0].probability < 0.5]
        if not doubtful:
            return f"{first} · none below 50%"
        least = sorted(doubtful, key=lambda pair: pair[0].probability)[:_SURPRISES]
        named = ", ".join(
            f"{token.position} {label.short(console)} {percent(token.probability)}" for token, label in least
        )
        return f"{first}\nleast expected: {named} · look: {typed(f'why {least[0][0].position}')}"


@dataclass(frozen=True)
class Place:
    """One written token, and what the model expected in its place; ``before`` is the end of what it saw."""

    token: WrittenToken
    before: str
    expected: NextTokens
    _label: Label
    _before: Sequence[Label]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        token = self.token
        line = Text("…" if len(self._before) == _CONTEXT else "", style="nano.quiet")
        for label in self._before:
            line.append_text(label.on(console))
        line.append_text(
            Text(f" {self._label.on(console).plain} ", style=f"nano.heat{heat(token.probability)} reverse")
        )
        yield line
        yield Text(f"token {token.position}: {percent(token.probability)} likely, rank {token.rank:,}")
        yield self.expected


@click.command()
@click.argument("position", type=click.IntRange(min=1), required=False)
@click.option(
    "--top",
    type=click.IntRange(1, 100),
    metavar="K",
    help="Show the K likeliest tokens at each place.",
)
@click.option("--list", "listed", is_flag=True, help="A line for each token, with bars.")
@model_options
@click.pass_obj
def why(
    session: Session, /, position: int | None, top: int | None, listed: bool, model: str | None
) -> Explanation | Place:
    """Show how sure the model was of its last reply.

    Each token of the last reply or sample is coloured by the probability that the model gave it; without
    colours, or with --list, a table with bars shows it. With a POSITION, what it expected in that place.
    Where nothing has been written since the start, it is the last reply of the conversation.
    Another model explains it too, if both have the same tokenizer.
    """
    from nanoshell import UsageError, token_losses

    loaded = chosen_model(session, model) if model is not None else _writer(session)
    text = _written(session, loaded)
    if text.model and text.model != loaded.label:
        session.narrator.note(f"{text.model} wrote this; the probabilities are those of {loaded.label}")
    ids = list(text.ids)
    if position is not None:
        if position > len(ids):
            raise UsageError(f"there is no token {position}", hint=f"the text has tokens 1 to {len(ids)}")
        ids = ids[:position]
    whole = [*text.prompt, *ids]
    engine = loaded.engine
    losses = token_losses(engine.model, whole, vocab_size=engine.vocab_size, top=top or 0)
    found = list(losses)[len(text.prompt) - 1 :]
    shown = labels(ids, engine.tokenizer)
    others = [labels([other.id for other in each.top], engine.tokenizer) for each in found]
    tokens = [_told(*each) for each in zip(count(1), found, shown, others, strict=False)]
    if position is not None:
        before = labels(whole[:-1][-_CONTEXT:], engine.tokenizer)
        return Place(
            token=tokens[-1],
            before="".join(label.text for label in before),
            expected=likeliest(session, loaded, whole[:-1], top or _EXPECTED),
            _label=shown[-1],
            _before=before,
        )
    mean = -sum(each.logprob for each in found) / len(found)
    return Explanation(loaded.label, text.model or None, tokens, perplexity(mean), shown, others, listed)


def _told(position: int, loss: TokenLoss, label: Label, others: Sequence[Label]) -> WrittenToken:
    top = [
        Alternative(other.id, other.text, math.exp(score.logprob))
        for other, score in zip(others, loss.top, strict=True)
    ]
    return WrittenToken(
        position, loss.id, label.text, math.exp(loss.logprob), loss.logprob, loss.rank, loss.entropy, top
    )


def _row(top: Sequence[Alternative], others: Sequence[Label]) -> Callable[[Console], Text]:
    """Return a cell with the likeliest tokens at one place, and how likely each is."""

    def drawn(console: Console) -> Text:
        from rich.text import Text

        return Text("   ").join(
            label.short(console).append(f" {percent(token.probability)}", style="nano.quiet")
            for token, label in zip(top, others, strict=True)
        )

    return drawn


def _writer(session: Session) -> LoadedModel:
    """Return the model to judge by where none is named: of a kept reply the one that wrote it.

    Where that is gone, it is the newest of its run, else the chosen model. What is chosen stays chosen.
    """
    from nanoshell import NanoshellError

    if session.last_written is None or not session.last_written.ids:
        conversation, index = _last_reply(session)
        origin = conversation.messages[index].origin
        before, label = session.model_name, origin.model if origin is not None else ""
        for reference in dict.fromkeys(filter(None, (label, label.partition("@")[0]))):
            session.model_name = reference
            try:
                return session.model()
            except NanoshellError:
                continue
            finally:
                session.model_name = before
    return chosen_model(session, None)


def _last_reply(session: Session) -> tuple[Conversation, int]:
    """Return the last reply that is kept, of the conversation, else of the newest, and its place there.

    Raises `UsageError` where there is none.
    """
    from nanoshell import UsageError, typed

    conversation: Conversation | None = session.conversation
    if conversation is None or not _replies(conversation):
        conversation = session.store.last()
    replies = _replies(conversation) if conversation is not None else []
    if conversation is None or not replies:
        raise UsageError(
            "nothing has been written yet",
            hint=f"say something to the model: {typed(_FIRST)}",
        )
    return conversation, replies[-1]


def _written(session: Session, loaded: LoadedModel) -> WrittenText:
    """Return the last text that was written, else the last reply that is kept."""
    from nanoshell import WrittenText

    if session.last_written is not None and session.last_written.ids:
        return _readable(session.last_written, loaded)
    conversation, last = _last_reply(session)
    tokenizer, origin = loaded.engine.tokenizer, conversation.messages[last].origin
    session.narrator.note(f"the last reply of {conversation.name}, split into tokens anew")
    prompt = session.template.encode(conversation.messages[:last], tokenizer, reply=True)
    ids = tokenizer.encode(conversation.messages[last].content)
    # As much of the beginning is left out as the model cannot see.
    seen = prompt[-max(1, loaded.engine.max_positions + 1 - len(ids)) :]
    return WrittenText(seen, ids, model=origin.model if origin is not None else "")


def _readable(text: WrittenText, loaded: LoadedModel) -> WrittenText:
    """Return ``text``. Raises `UsageError` where its ids are those of another tokenizer than the model's."""
    from nanoshell import UsageError

    if text.tokenizer and text.tokenizer != loaded.engine.tokenizer.fingerprint:
        writer = text.model or "another model"
        raise UsageError(
            f"{writer} wrote it in tokens that {loaded.label} does not know: their tokenizers differ",
            hint=f"choose {writer} again by --model, or let {loaded.label} write something",
        )
    return text


def _replies(conversation: Conversation) -> list[int]:
    """Return which messages are replies that hold something."""
    return [
        index
        for index, message in enumerate(conversation.messages)
        if message.role == "assistant" and message.content
    ]
