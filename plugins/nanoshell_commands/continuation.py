"""The texts that a model adds to prompts, as a command's result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nanoshell_commands.layout import table
from nanoshell_commands.tokens import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Batch, GeneratedToken, Generation, LoadedModel, Screen, Tokenizer, TokenScore

INTERRUPTED = "interrupted: the text is not finished"

_LABEL_WIDTH = 40


class Continuations:
    """What a model adds to ``prompts``, ``n`` times each, as it comes. Ctrl-C keeps what has come.

    Only the first text that is unfinished can be written as it comes; of the others, what has come is written
    when their turn is. ``logprobs`` adds each token's log-probability, and that many likeliest in its place.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        n: int,
        model: LoadedModel,
        start: Callable[[], Batch],
        *,
        stream: bool = True,
        logprobs: int | None = None,
    ) -> None:
        self._prompts = prompts
        self._n = n
        self._model = model
        self._start = start
        self._stream = stream
        self._logprobs = logprobs

    def show(self, screen: Screen) -> None:
        from nanoshell import Interrupted, on_interrupt

        batch = self._start()
        with on_interrupt(batch.interrupt):
            for index, row in enumerate(batch.rows):
                self._show_row(screen, batch, index, row)
        reasons = {row.finish_reason for row in batch.rows}
        if "context" in reasons:
            screen.note(context_note(self._model.engine.max_positions))
        if len(batch.rows) > 1:
            tokens = sum(len(row.ids) for row in batch.rows)
            screen.note(
                f"{len(batch.rows)} texts · {tokens:,} tokens · {batch.tokens_per_second:.0f} tokens/s"
            )
        if "interrupted" in reasons:
            raise Interrupted(INTERRUPTED)

    def _show_row(self, screen: Screen, batch: Batch, index: int, row: Generation) -> None:
        """Write one text. Reading a row goes on with all: what the others gain meanwhile waits in them."""
        if len(batch.rows) > 1:
            screen.note(self._label(index, row))
        for token in row:
            if self._stream:
                screen.write(token.text)
        screen.write("\n" if self._stream else row.text + "\n")
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

    def lines(self) -> Iterator[Any]:
        from nanoshell import Interrupted, on_interrupt

        batch = self._start()
        with on_interrupt(batch.interrupt):
            for _ in batch:
                pass
        samples = [self._document(index, row) for index, row in enumerate(batch.rows)]
        if len(samples) == 1:
            yield samples[0]
        else:
            yield {
                "samples": samples,
                "seconds": round(batch.seconds, 4),
                "tokens_per_second_of_all": round(batch.tokens_per_second, 2),
            }
        if any(row.finish_reason == "interrupted" for row in batch.rows):
            raise Interrupted(INTERRUPTED)

    def _document(self, index: int, row: Generation) -> dict[str, Any]:
        document: dict[str, Any] = {
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

    def document(self) -> Any:
        return None  # one line: an interrupted text is printed before its exit code is told


def context_note(max_positions: int) -> str:
    """Return what is said where a text ended because the model has no more positions."""
    return f"the text fills the model's {max_positions:,} positions; it can go no further"


def _score(token_id: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
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
