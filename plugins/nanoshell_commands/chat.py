"""``chat``: talk to a model from a script, a pipe, or at the prompt; its subcommands are in `talks`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

import click

from nanoshell import CONVERSATION, MODEL
from nanoshell_commands import exporting, talks
from nanoshell_commands.inputs import decoded, dtype_option, runs_dir_option
from nanoshell_commands.replay import default_max_tokens
from nanoshell_commands.sampling import chosen_bias, chosen_model, chosen_sampling, sampling_options
from nanoshell_commands.talks import named

if TYPE_CHECKING:
    from nanoshell import Reply, ReplyDocument, Screen, Session

EXAMPLES = (
    'chat --model latest --message "What is the capital of France?"',
    'chat --system "You are a helpful assistant." --message "Hello!" --message "Thank you."',
    "chat list",
    "chat list --json",
    "chat show",
    "chat show chat-1",
    "chat new physics",
    "chat new --no-system",
    "chat switch chat-1",
    "chat switch chat-2 --json",
    "chat rename physics",
    "chat rename chat-1 physics",
    "chat search capital France",
    'chat search "capital of" -n 5',
    "chat fork --at 2",
    "chat fork other-answer",
    "chat export talk.jsonl",
    "chat export talk.md chat-1",
    "chat import talk.jsonl",
    "chat import talk.jsonl physics",
    "chat delete chat-1 --yes",
    "chat delete chat-1 chat-2 --yes",
)

INTERRUPTED = "interrupted; what has come so far is kept"

StartReply = Callable[[str], "Reply"]


class UserTurn(TypedDict):
    """A message that is answered: its reply follows on the next line."""

    role: str
    content: str


class Exchanges:
    """Messages answered in turn: the replies as text, one after another; in JSON a line for each turn.

    Ctrl-C keeps the reply so far and ends the exchange.
    """

    def __init__(self, messages: Iterable[str], start: StartReply, *, echo: bool = True) -> None:
        self._messages = messages
        self._start = start
        self._echo = echo

    def show(self, screen: Screen) -> None:
        from nanoshell import ReplyStream

        for message in self._messages:
            if self._echo and screen.live:
                screen.note(f"> {message}")
            with contextlib.closing(self._start(message)) as reply:
                ReplyStream(partial(_itself, reply)).show(screen)
            if reply.generation.finish_reason in ("", "interrupted"):
                return  # at the prompt, where the stream has said so and raises nothing

    def lines(self) -> Iterator[UserTurn | ReplyDocument]:
        from nanoshell import Interrupted, answer_aside, reply_document

        for message in self._messages:
            with contextlib.closing(self._start(message)) as reply:
                yield {"role": "user", "content": message}
                answer_aside(reply)
            yield reply_document(reply)
            if reply.generation.finish_reason in ("", "interrupted"):
                raise Interrupted(INTERRUPTED)

    def document(self) -> None:
        return None


def _itself(reply: Reply) -> Reply:
    return reply


def _piped_lines() -> Iterator[str]:
    """Yield the lines of standard input that hold something, as they arrive."""
    for number, line in enumerate(iter(sys.stdin.buffer.readline, b""), start=1):
        text = decoded(line, f"standard input, line {number},").strip()
        if text:
            yield text


class _Chat(click.Group):
    """The subcommands. A word that is none of them was probably meant to be said."""

    lists_all = True

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from nanoshell import typed, unknown_command

        known = self.list_commands(ctx)
        if args[0] not in known and not ctx.resilient_parsing:
            message = shlex.quote(" ".join(args))
            hint = f"a message needs its option: {typed(f'chat --message {message}')}"
            raise unknown_command(args[0], known, path="chat", hint=hint)
        return super().resolve_command(ctx, args)


@click.group(cls=_Chat, invoke_without_command=True, subcommand_metavar="[COMMAND]")
@click.option(
    "--model",
    type=MODEL,
    help="A run, RUN@STEP, a model directory, or latest.",
    show_default="the chosen one",
)
@click.option(
    "--conversation", "name", type=CONVERSATION, help="Go on with this one.", show_default="a new one"
)
@click.option("--system", help="Tell the model its role; kept in front of every message.")
@click.option("--message", "messages", multiple=True, help="A message to answer; may be repeated.")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), help="Longest reply, in tokens.", show_default="the setting"
)
@click.option("--stop", multiple=True, help="A text at which a reply ends; may be repeated.")
@sampling_options
@click.option(
    "--no-settings", is_flag=True, help="What is not given here is at its default, not as it was set."
)
@dtype_option
@runs_dir_option
@click.pass_context
def chat(
    ctx: click.Context,
    /,
    model: str | None,
    name: str | None,
    system: str | None,
    messages: tuple[str, ...],
    max_tokens: int | None,
    stop: tuple[str, ...],
    no_settings: bool,
    **options: Any,
) -> Exchanges | str | None:
    """Talk to a model, or manage conversations.

    It answers each --message, or each line of piped input; on a terminal, without any, the prompt opens. The
    conversation is kept. Where the model's context is full, its oldest turns are left out.
    """
    from nanoshell import UsageError, stay_at_prompt

    session: Session = ctx.obj
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return None
    sampling = chosen_sampling(session, options)
    longest = str(max_tokens or session.settings.get("max_tokens"))
    if no_settings:
        sampling = {entry.name: entry.options["default"] for entry in session.plugins.samplers} | sampling
        longest = str(max_tokens or default_max_tokens(session))
    if name is not None:
        session.conversation = named(session, name)
    loaded = chosen_model(session, model)
    if system is not None:
        session.conversation.set_system(system)

    def start(text: str) -> Reply:
        with session.settings.overridden("max_tokens", longest):
            return session.reply(
                text,
                sampling=sampling,
                seed=options["seed"],
                stop=stop,
                logit_bias=chosen_bias(options, loaded.engine.tokenizer),
            )

    if messages:
        return Exchanges(messages, start)
    if sys.stdin.isatty():
        if stop or no_settings:
            raise UsageError(f"{'--stop' if stop else '--no-settings'} goes with --message or piped lines")
        stay_at_prompt()
        if max_tokens is not None:
            session.settings.override("max_tokens", str(max_tokens))
        return f"you talk to {loaded.label}; type a message, :system TEXT sets its role, :quit leaves"
    return Exchanges(_piped_lines(), start, echo=False)


def _refuse_options(ctx: click.Context) -> None:
    """Raise `UsageError` for options of `chat` itself before the name of a subcommand."""
    from click.core import ParameterSource

    from nanoshell import UsageError

    for param in ctx.command.params:
        if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"{param.opts[-1]} does not go with chat {ctx.invoked_subcommand}",
                hint=f"leave it out, or put it behind {ctx.invoked_subcommand}",
            )


for _subcommand in (
    talks.list_all,
    talks.show,
    talks.new,
    talks.switch,
    talks.rename,
    talks.search,
    talks.fork,
    exporting.export,
    talks.import_file,
    talks.delete,
):
    chat.add_command(_subcommand)
