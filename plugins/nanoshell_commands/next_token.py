"""``next``: what a model expects to come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell_commands.heat import Cell, Chart, Label, encoded, labels, percent, text_options
from nanoshell_commands.inputs import prompt_text
from nanoshell_commands.sampling import chosen_model, chosen_sampling, sampler_options

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from nanoshell import LoadedModel, Session

EXAMPLES = (
    'next "The capital of France is"',
    'next -n 5 --temperature 1.5 "The sun is"',
    'next --sampled "Water freezes at" --json',
)


@dataclass(frozen=True)
class Candidate:
    """A token that may come next: its probability, log-probability (nats) and logit, before any sampler.

    ``sampled`` is the probability with which it is drawn after the samplers; None where they were not asked.
    """

    id: int
    text: str
    probability: float
    logprob: float
    logit: float
    sampled: float | None


@dataclass(frozen=True)
class NextTokens:
    """The likeliest next tokens after ``prompt_ids``, and what ``rest`` of the probability others share.

    ``entropy`` (nats) is how unsure the model is. With samplers, ``sampling`` holds those that are not off,
    and ``kept`` is how many tokens they leave to draw from.
    """

    model: str
    prompt_ids: list[int]
    tokens: list[Candidate]
    rest: float
    entropy: float
    sampling: dict[str, float] | None
    kept: int | None
    _labels: Sequence[Label]
    _others: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        sampled = self.sampling is not None
        drawn = [">drawn"] if sampled else []
        headings = [">", "next", ">likely", "", *drawn, ">log-prob", ">logit", ">id"]
        rows: list[Sequence[Cell]] = [
            (
                str(place),
                label.short,
                percent(token.probability),
                token.probability if token.sampled is None else token.sampled,
                *([percent(token.sampled)] if token.sampled is not None else []),
                f"{round(token.logprob, 2) + 0.0:.2f}",
                f"{token.logit:.2f}",
                str(token.id),
            )
            for place, (token, label) in enumerate(zip(self.tokens, self._labels, strict=True), start=1)
        ]
        yield Chart(headings, rows)
        yield Text(self._summary(), style="nano.quiet")

    def _summary(self) -> str:
        others = f"{self._others:,} others share {percent(self.rest)}"
        equal = f"{math.exp(self.entropy):,.1f} equal tokens"
        lines = [f"{others} · entropy {self.entropy:.2f} nats, as among {equal}"]
        if self.sampling is not None:
            active = ", ".join(f"{name} {value:g}" for name, value in self.sampling.items())
            left = f"{self.kept:,} token{'s'[: self.kept != 1]}"
            lines.append(f"drawn (bars): after {active or 'no sampler'}, with {left} left")
        return "\n".join(lines)


@click.command("next")
@click.argument("text", nargs=-1, required=True)
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How many tokens to show.",
)
@click.option("--sampled", is_flag=True, help="Show what the samplers make of it, too.")
@sampler_options
@text_options
@click.pass_obj
def next_tokens(
    session: Session,
    /,
    text: tuple[str, ...],
    count: int,
    sampled: bool,
    model: str | None,
    special: bool,
    no_bos: bool,
    **options: Any,
) -> NextTokens:
    """Show the likeliest next tokens after TEXT.

    Probabilities are the model's own, before any sampler. With --sampled, or a sampler given as an option,
    the bars show how often each token would be drawn. Several words are joined by a space; - reads standard
    input.
    """
    whole = prompt_text(text)
    chosen = chosen_sampling(session, options)
    loaded = chosen_model(session, model)
    ids = encoded(loaded.engine.tokenizer, whole, special=special, no_bos=no_bos)
    if whole.endswith(" ") and not special:
        session.narrator.note("the text ends in a space; most tokens bring their own: try it without")
    positions = loaded.engine.max_positions
    if len(ids) > positions:
        session.narrator.note(f"the model sees the last {positions:,} of {len(ids):,} tokens")
    sampling = session.sampling(chosen) if sampled or chosen else None
    return likeliest(session, loaded, ids, count, sampling)


def likeliest(
    session: Session,
    loaded: LoadedModel,
    ids: Sequence[int],
    count: int,
    sampling: Mapping[str, float] | None = None,
) -> NextTokens:
    """Return the ``count`` likeliest tokens after ``ids``, with what ``sampling`` makes of them, if given."""
    from nanoshell import next_scores, sampled_probabilities

    engine = loaded.engine
    logits = next_scores(engine.model, ids, engine.vocab_size)
    logprobs = logits.log_softmax(-1)
    best = logprobs.topk(min(count, len(logprobs)))
    drawn, kept = None, None
    if sampling is not None:
        drawn = sampled_probabilities(engine, ids[-engine.max_positions :], logits, sampling)
        kept = int((drawn > 0).sum())
    shown = labels(best.indices.tolist(), engine.tokenizer)
    tokens = [
        Candidate(
            label.id,
            label.text,
            math.exp(logprob),
            logprob,
            float(logits[label.id]),
            None if drawn is None else float(drawn[label.id]),
        )
        for label, logprob in zip(shown, best.values.tolist(), strict=True)
    ]
    return NextTokens(
        model=loaded.label,
        prompt_ids=list(ids),
        tokens=tokens,
        rest=max(0.0, 1 - sum(token.probability for token in tokens)),
        entropy=float(-(logprobs.exp() * logprobs.clamp(min=-200)).sum()),
        sampling=None if sampling is None else _active(session, sampling),
        kept=kept,
        _labels=shown,
        _others=len(logprobs) - len(tokens),
    )


def _active(session: Session, sampling: Mapping[str, float]) -> dict[str, float]:
    """Return the samplers of ``sampling`` that do something."""
    entries = {entry.name: entry for entry in session.plugins.samplers}
    return {
        name: value
        for name, value in sampling.items()
        if entries[name].value is not None and value != entries[name].options["neutral"]
    }
