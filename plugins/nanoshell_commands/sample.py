"""``sample``, also called ``generate``: continue a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from nanoshell import MODEL
from nanoshell_commands.inputs import prompt_text, runs_dir_option
from nanoshell_commands.sampling import chosen_model, chosen_sampling, sampling_options

if TYPE_CHECKING:
    from nanoshell import Generation, Screen, Session

EXAMPLES = (
    'sample --temperature 0 "The capital of France is"',
    'generate --model latest --prompt "The capital of France is" --max-tokens 20 --json',
)

INTERRUPTED = "interrupted; what has come so far is kept"


class Continuation:
    """The text that a model adds to ``prompt``, as it comes. Ctrl-C keeps what has come."""

    def __init__(
        self,
        prompt: str,
        model: str,
        max_positions: int,
        start: Callable[[], Generation],
        stream: bool = True,
    ) -> None:
        self._prompt = prompt
        self._model = model
        self._max_positions = max_positions
        self._start = start
        self._stream = stream

    def show(self, screen: Screen) -> None:
        from nanoshell import Interrupted, on_interrupt

        generation = self._start()
        with on_interrupt(generation.interrupt):
            for token in generation:
                if self._stream:
                    screen.write(token.text)
        screen.write("\n" if self._stream else generation.text + "\n")
        if generation.finish_reason == "context":
            screen.note(context_note(self._max_positions))
        if generation.finish_reason == "interrupted":
            raise Interrupted(INTERRUPTED)

    def lines(self) -> Iterator[Any]:
        from nanoshell import Interrupted, on_interrupt

        generation = self._start()
        with on_interrupt(generation.interrupt):
            for _ in generation:
                pass
        yield {
            "prompt": self._prompt,
            "text": generation.text,
            "ids": list(generation.ids),
            "finish_reason": generation.finish_reason,
            "model": self._model,
            "seed": generation.seed,
            "prompt_tokens": generation.prompt_tokens,
            "seconds": round(generation.seconds, 4),
            "tokens_per_second": round(generation.tokens_per_second, 2),
        }
        if generation.finish_reason == "interrupted":
            raise Interrupted(INTERRUPTED)

    def document(self) -> Any:
        return None  # one line: an interrupted text is printed before its exit code is told


def context_note(max_positions: int) -> str:
    """Return what is said where a text ended because the model has no more positions."""
    return f"the text fills the model's {max_positions:,} positions; it can go no further"


@click.command()
@click.argument("text", nargs=-1)
@click.option("--prompt", help="The text to continue; - reads standard input.", show_default="TEXT")
@click.option(
    "--model",
    type=MODEL,
    help="A run, RUN@STEP, a model directory, or latest.",
    show_default="the chosen one",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Stop after this many tokens.",
    show_default="the setting",
)
@sampling_options
@click.option("--stop", multiple=True, help="Stop before this text; may be repeated.")
@click.option("--stream/--no-stream", default=True, show_default=True, help="Write the text as it comes.")
@click.option("--special", is_flag=True, help="Read spellings like <|user|> in the prompt as special tokens.")
@click.option("--no-bos", is_flag=True, help="Do not begin with the token that starts a document.")
@runs_dir_option
@click.pass_obj
def sample(
    session: Session,
    /,
    text: tuple[str, ...],
    prompt: str | None,
    model: str | None,
    max_tokens: int | None,
    stop: tuple[str, ...],
    stream: bool,
    special: bool,
    no_bos: bool,
    **options: Any,
) -> Continuation:
    """Continue a prompt with the model.

    The continuation alone is written to stdout. The prompt is TEXT, --prompt, or standard input for -. While
    a run trains, its newest weights are used.
    """
    from nanoshell import UsageError

    if text and prompt is not None:
        raise UsageError("the prompt is given twice", hint="give it as TEXT or as --prompt")
    if not text and prompt is None:
        raise UsageError("there is no prompt", hint='try: sample "The capital of France is"')
    whole = prompt_text(text or (prompt or "",))
    loaded = chosen_model(session, model)

    def start() -> Generation:
        return session.generate(
            whole,
            max_tokens=max_tokens,
            sampling=chosen_sampling(options),
            seed=options["seed"],
            stop=stop,
            special=special,
            start_of_document=not no_bos,
            model=loaded,
        )

    return Continuation(whole, loaded.label, loaded.engine.max_positions, start, stream)
