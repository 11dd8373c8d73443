"""``sample``, also called ``generate``: continue a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nanoshell import MODEL
from nanoshell_commands.continuation import Continuations
from nanoshell_commands.inputs import dtype_option, prompt_text, runs_dir_option
from nanoshell_commands.sampling import (
    chosen_bias,
    chosen_model,
    chosen_sampling,
    never_ending,
    sampling_options,
)

if TYPE_CHECKING:
    from nanoshell import Batch, Session

EXAMPLES = (
    'sample --temperature 0 "The capital of France is"',
    'sample -n 4 --seed 1 "Once upon a time"',
    'sample --logprobs 3 --logit-bias " Paris=-100" "The capital of France is"',
    'generate --model latest --prompt "The capital of France is" --max-tokens 20 --json',
)


@click.command()
@click.argument("text", nargs=-1)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="The text to continue; - reads standard input. May be repeated: all are computed together.",
    show_default="TEXT",
)
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
@click.option(
    "-n",
    "--n",
    "count",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Continue each prompt this many times, with seeds that follow each other.",
)
@sampling_options
@click.option("--stop", multiple=True, help="Stop before this text; may be repeated.")
@click.option("--stream/--no-stream", default=True, show_default=True, help="Write the text as it comes.")
@click.option(
    "--logprobs",
    type=click.IntRange(0, 100),
    metavar="K",
    help="Tell how likely each token was, and the K likeliest in its place.",
)
@click.option("--special", is_flag=True, help="Read spellings like <|user|> in the prompt as special tokens.")
@click.option("--ignore-eos", is_flag=True, help="Go on where the model would end: never draw such a token.")
@click.option("--no-bos", is_flag=True, help="Do not begin with the token that starts a document.")
@dtype_option
@runs_dir_option
@click.pass_obj
def sample(
    session: Session,
    /,
    text: tuple[str, ...],
    prompts: tuple[str, ...],
    model: str | None,
    max_tokens: int | None,
    count: int,
    stop: tuple[str, ...],
    stream: bool,
    logprobs: int | None,
    special: bool,
    ignore_eos: bool,
    no_bos: bool,
    **options: Any,
) -> Continuations:
    """Continue a prompt with the model.

    The continuation alone is written to stdout; with -n or several prompts, one after another. The prompt is
    TEXT, --prompt, or standard input for -. While a run trains, its newest weights are used.
    """
    from nanoshell import UsageError, typed

    if text and prompts:
        raise UsageError("the prompt is given twice", hint="give it as TEXT or as --prompt")
    if not text and not prompts:
        raise UsageError("there is no prompt", hint=f"try: {typed(EXAMPLES[0])}")
    if prompts.count("-") > 1:
        raise UsageError("standard input is named as a prompt twice", hint="it can be read once")
    whole = [prompt_text(text)] if text else [prompt_text((prompt,)) for prompt in prompts]
    loaded = chosen_model(session, model)
    bias = chosen_bias(options, loaded.engine.tokenizer)
    if ignore_eos:
        bias |= never_ending(loaded.engine.tokenizer)

    def start() -> Batch:
        return session.generate_batch(
            whole,
            n=count,
            max_tokens=max_tokens,
            sampling=chosen_sampling(session, options),
            seed=options["seed"],
            stop=stop,
            special=special,
            start_of_document=not no_bos,
            logit_bias=bias,
            top_logprobs=logprobs or 0,
            model=loaded,
        )

    return Continuations(session, whole, count, loaded, start, stream=stream, logprobs=logprobs)
