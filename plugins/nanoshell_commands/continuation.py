"""The texts that a model adds to prompts, as a command's result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NotRequired, TypedDict

from nanoshell_commands.layout import table
from nanoshell_commands.tokens import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import (
        Aside,
        Batch,
        GeneratedToken,
        Generation,
        LoadedModel,
        Screen,
        Session,
        Tokenizer,
        TokenScore,
    )

INTERRUPTED = "interrupted: the text is not finished"

_LABEL_WIDTH = 40
_UNFINISHED = {"", "interrupted"}


class ScoreDocument(TypedDict):
    """A token and the natural logarithm of how likely it was before any sampler."""

    id: int
    token: str
    logprob: float


class TokenDocument(ScoreDocument):
    """A token that was drawn, and the likeliest at its place."""

    top: list[ScoreDocument]


class SampleDocument(TypedDict):
    """A text that a model added to a prompt, why it ended, and its figures."""

    prompt: str
    text: str
    ids: list[int]
    finish_reason: str
    stop_reason: str | None
    model: str
    seed: int
    prompt_tokens: int
    reused_tokens: int
    seconds: float
    tokens_per_second: float
    compiled: bool
    logprobs: NotRequired[list[TokenDocument]]


class SamplesDocument(TypedDict):
    """Several texts, and the speed of all together, prompts included."""

    samples: list[SampleDocument]
    seconds: float
    tokens_per_second_of_all: float


class Continuations:
    """What a model adds to ``prompts``, ``n`` times each, as it comes. Ctrl-C keeps what has come.

    Only the first text that is unfinished can be written as it comes; of the others, what has come is written
    when their turn is. ``logprobs`` adds each token's log-probability, and that many likeliest in its place.
    """

    def __init__(
        self,
        session: Session,
        prompts: Sequence[str],
        n: int,
        model: LoadedModel,
        start: Callable[[], Batch],
        *,
        stream: bool = True,
        logprobs: int | None = None,
    ) -> None:
        self._session = session
        self._prompts = prompts
        self._n = n
        self._model = model
        self._start = start
        self._stream = stream
        self._logprobs = logprobs

    def show(self, screen: Screen) -> None:
        from nanoshell import LEFT_BEHIND, Aside, Interrupted, speed_note, tell_slow

        batch = self._start()
        tell = partial(tell_slow, screen)
        with Aside(_row_by_row(batch), batch.interrupt, slow=tell) as aside:
            for index in range(len(batch.rows)):
                self._show_row(screen, batch, index, aside)
        if self._left_behind(aside):
            screen.note(LEFT_BEHIND)
        reasons = {row.finish_reason for row in batch.rows}
        if "context" in reasons:
            screen.note(context_note(self._model.engine.max_positions))
        if len(batch.rows) > 1:
            tokens = sum(len(row.ids) for row in batch.rows)
            screen.note(
                f"{len(batch.rows)} texts · {tokens:,} tokens · {batch.tokens_per_second:,.0f} tokens/s"
            )
        elif screen.live and batch.rows[0].ids:
            if reasons & _UNFINISHED:
                raise Interrupted(speed_note(batch.rows[0]))  # which says that it was interrupted
            screen.note(speed_note(batch.rows[0]))
        if reasons & _UNFINISHED:
            raise Interrupted(INTERRUPTED)

    def _left_behind(self, aside: Aside[GeneratedToken | None]) -> bool:
        """Return whether a step is still at work for which nobody waits, and then let go of the model."""
        if aside.left_behind:
            self._session.abandon_model()
        return aside.left_behind

    def _show_row(
        self, screen: Screen, batch: Batch, index: int, tokens: Iterator[GeneratedToken | None]
    ) -> None:
        """Write one text. Reading a row goes on with all: what the others gain meanwhile waits in them."""
        from nanoshell import awaited

        row, special = batch.rows[index], self._model.engine.tokenizer.special_tokens.values()
        if len(batch.rows) > 1:
            screen.note(self._label(index, row))
        written = 0
        for token in awaited(iter(tokens.__next__, None), screen):
            if self._stream and token is not None:
                screen.flow(token.text, "nano.special" if token.id in special else "")
                written += len(token.text)
        screen.flow(row.text[written:] + "\n")  # more than nothing, where nobody waited for the end
        if row.finish_reason == "stop" and not row.text:
            by_text = row.stop_reason in row.request.stop
            screen.note(
                f"'{row.stop_reason}' came at once" if by_text else "the model ended its reply at once"
            )
        if self._logprobs is not None and row.tokens:
            screen.out.print(_scores(row, self._model.engine.tokenizer))

    def _label(self, index: int, row: Generation) -> str:
        prompt, sample = divmod(index, self._n)
        parts = []
        if len(self._prompts) > 1:
            line = " ".join(self._prompts[prompt].split())
            short = line if len(line) <= _LABEL_WIDTH else line[: _LABEL_WIDTH - 1] + "…"
            parts.append(f"prompt {prompt + 1} of {len(self._prompts)}: {short}")
        if self._n > 1:
            parts.append(f"sample {sample + 1} of {self._n} · seed {row.seed}")
        return " · ".join(parts)

    def lines(self) -> Iterator[SampleDocument | SamplesDocument]:
        from nanoshell import Aside, Interrupted

        batch = self._start()
        with Aside(_row_by_row(batch), batch.interrupt) as aside:
            for _ in aside:
                pass
        self._left_behind(aside)
        samples = [self._document(index, row) for index, row in enumerate(batch.rows)]
        if len(samples) == 1:
            yield samples[0]
        else:
            yield {
                "samples": samples,
                "seconds": round(batch.seconds, 4),
                "tokens_per_second_of_all": round(batch.tokens_per_second, 2),
            }
        if any(row.finish_reason in _UNFINISHED for row in batch.rows):
            raise Interrupted(INTERRUPTED)

    def _document(self, index: int, row: Generation) -> SampleDocument:
        document: SampleDocument = {
            "prompt": self._prompts[index // self._n],
            "text": row.text,
            "ids": list(row.ids),
            "finish_reason": row.finish_reason,
            "stop_reason": row.stop_reason,
            "model": self._model.label,
            "seed": row.seed,
            "prompt_tokens": row.prompt_tokens,
            "reused_tokens": row.reused_tokens,
            "seconds": round(row.seconds, 4),
            "tokens_per_second": round(row.tokens_per_second, 2),
            "compiled": self._model.engine.compiled.in_use,
        }
        if self._logprobs is not None:
            tokenizer = self._model.engine.tokenizer
            document["logprobs"] = [
                {
                    **_score(token.id, token.logprob, tokenizer),
                    "top": [_score(other.id, other.logprob, tokenizer) for other in token.top],
                }
                for token in row.tokens
            ]
        return document

    def document(self) -> None:
        return None  # one line: an interrupted text is printed before its exit code is told


def context_note(max_positions: int) -> str:
    """Return what is said where a text ended because the model has no more positions."""
    return f"the text fills the model's {max_positions:,} positions; it can go no further"


def _row_by_row(batch: Batch) -> Iterator[GeneratedToken | None]:
    """Yield the tokens of the first text, then None, then those of the second, and so on."""
    return chain.from_iterable(chain(row, (None,)) for row in batch.rows)


def _score(token_id: int, logprob: float, tokenizer: Tokenizer) -> ScoreDocument:
    text = _bytes(token_id, tokenizer).decode("utf-8", "replace")
    return {"id": token_id, "token": text, "logprob": round(logprob, 6)}


def _bytes(token_id: int, tokenizer: Tokenizer) -> bytes:
    """Return the bytes of a token, of which an id that stands for nothing has none."""
    return b"" if token_id in tokenizer.unused_ids else tokenizer.token_bytes(token_id)


def _scores(row: Generation, tokenizer: Tokenizer) -> RenderableType:
    """Return the tokens of a text with their probabilities, and with what the model thought likely there."""

    def shown(score: GeneratedToken | TokenScore) -> tuple[str, str]:
        return visible(_bytes(score.id, tokenizer)), _percent(math.exp(score.logprob))

    rows = [
        (*shown(token), "   ".join(" ".join(shown(other)) for other in token.top)) for token in row.tokens
    ]
    if not any(token.top for token in row.tokens):
        return table(["token", ">probability"], [cells[:2] for cells in rows])
    return table(["token", ">probability", "likeliest here"], rows)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"
