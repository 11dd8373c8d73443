"""``loss``: what each token of a text costs a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell_commands.heat import (
    Chart,
    HeatLine,
    Label,
    encoded,
    has_colour,
    heat,
    heated,
    labels,
    perplexity,
    text_options,
)
from nanoshell_commands.inputs import decoded, joined
from nanoshell_commands.layout import figure
from nanoshell_commands.sampling import chosen_model

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from nanoshell import LoadedModel, Session, TokenLoss

EXAMPLES = (
    'loss "The capital of France is Paris."',
    'loss --list "Colorless green ideas sleep furiously"',
    "loss --file notes.txt --json",
)

LIMIT = 4096
_SHOWN_TOKENS = 512
_FULL_BAR = 12.0
"""Nats of a full bar: what a guess among 160,000 tokens costs."""


@dataclass(frozen=True)
class LossOfToken:
    """A token: its loss (nats), the probability that the model gave it, and its rank among all (1: first)."""

    id: int
    text: str
    loss: float
    probability: float
    rank: int


@dataclass(frozen=True)
class LossOfText:
    """The mean ``loss`` (nats a token), exp of it, and bits for each byte of text, over ``tokens``.

    ``bits_per_byte`` compares across tokenizers; it is None where the tokens stand for no byte of text.
    ``left_out`` tokens followed that were not read. Each is judged by those before it, the first by
    ``<|endoftext|>``.
    """

    model: str
    loss: float
    perplexity: float
    bits_per_byte: float | None
    bytes: int
    tokens: list[LossOfToken]
    left_out: int
    _labels: Sequence[Label]
    _listed: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        shown = list(islice(zip(self.tokens, self._labels, strict=True), _SHOWN_TOKENS))
        if self._listed or not has_colour(console):
            yield Chart(
                [">", "token", ">loss", "", ">likely", ">rank"],
                [
                    (
                        str(place),
                        label.short,
                        f"{token.loss:.2f}",
                        min(1.0, token.loss / _FULL_BAR),
                        heated(token.probability),
                        f"{token.rank:,}",
                    )
                    for place, (token, label) in enumerate(shown, start=1)
                ],
                [f"nano.heat{heat(token.probability)}" for token, _ in shown],
            )
        else:
            yield HeatLine([(label, token.probability) for token, label in shown])
        if len(shown) < len(self.tokens):
            yield Text(f"… and {len(self.tokens) - len(shown):,} more tokens", style="nano.quiet")
        yield Text(self._summary())

    def _summary(self) -> str:
        count = len(self.tokens)
        parts = [f"loss {self.loss:.3f} nats a token", f"perplexity {figure(self.perplexity)}"]
        if self.bits_per_byte is not None:
            parts.append(f"{self.bits_per_byte:.3f} bits per byte")
        parts.append(f"{count:,} token{'s'[: count != 1]}")
        return " · ".join(parts)


@click.command()
@click.argument("text", nargs=-1)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read the text from a file.",
    show_default="TEXT",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=LIMIT,
    show_default=True,
    help="Read so many tokens at most; 0 reads all.",
)
@click.option("--list", "listed", is_flag=True, help="A line for each token, with bars.")
@text_options
@click.pass_obj
def loss(
    session: Session,
    /,
    text: tuple[str, ...],
    file: Path | None,
    limit: int,
    listed: bool,
    model: str | None,
    special: bool,
    no_bos: bool,
) -> LossOfText:
    """Show what each token of TEXT costs the model.

    A token's loss is minus the logarithm of the probability that the model gave it: 0 where it was sure. Each
    is coloured by that probability; without colours, or with --list, a table with bars shows it. Several
    words are joined by a space; - reads standard input as it is.
    """
    from nanoshell import UsageError, typed

    if (file is None) == (not text):
        raise UsageError(
            "the text is given twice" if text else "there is no text",
            hint=f"give it as TEXT or by --file: {typed(EXAMPLES[0])}",
        )
    whole = decoded(file.read_bytes(), str(file)) if file is not None else joined(text)
    loaded = chosen_model(session, model)
    ids = encoded(loaded.engine.tokenizer, whole, special=special, no_bos=no_bos)
    if len(ids) < 2:
        raise UsageError("the text has no token to judge", hint="give more of it, or leave out --no-bos")
    left_out = max(0, len(ids) - 1 - limit) if limit else 0
    if left_out:
        session.narrator.note(f"{limit:,} of {len(ids) - 1:,} tokens are read; --limit 0 reads all")
        del ids[limit + 1 :]
    return _told(loaded, ids, _judged(session, loaded, ids), left_out, listed)


def _judged(session: Session, loaded: LoadedModel, ids: Sequence[int]) -> list[TokenLoss]:
    """Return the losses of ``ids`` but the first; where they take several windows, that is told."""
    from nanoshell import token_losses

    engine = loaded.engine
    model, positions, vocab_size = engine.model, engine.max_positions, engine.vocab_size
    if len(ids) - 1 <= positions:
        return list(token_losses(model, ids, vocab_size=vocab_size))
    session.narrator.note(f"longer than the model's {positions:,} positions: read in windows that overlap")
    found = []
    with session.narrator.progress("reading", len(ids) - 1, "tokens") as advance:
        for each in token_losses(model, ids, vocab_size=vocab_size):
            found.append(each)
            advance(1)
    return found


def _told(
    loaded: LoadedModel, ids: Sequence[int], found: Sequence[TokenLoss], left_out: int, listed: bool
) -> LossOfText:
    shown = labels(ids[1:], loaded.engine.tokenizer)
    size = sum(len(label.data) for label in shown if not label.special)
    total = -sum(each.logprob for each in found)
    return LossOfText(
        model=loaded.label,
        loss=total / len(found),
        perplexity=perplexity(total / len(found)),
        bits_per_byte=total / math.log(2) / size if size else None,
        bytes=size,
        tokens=[
            LossOfToken(each.id, label.text, -each.logprob, math.exp(each.logprob), each.rank)
            for each, label in zip(found, shown, strict=True)
        ],
        left_out=left_out,
        _labels=shown,
        _listed=listed,
    )
