"""``run``: steer the run that is training. (``runs`` is about all of them: list, compare, remove.)"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell import NameType
from nanoshell_commands.asking import answered, ask
from nanoshell_commands.inputs import key_values, runs_dir_option
from nanoshell_commands.layout import cell
from nanoshell_commands.progress import Event
from nanoshell_commands.samples import SampleRow, sample_row
from nanoshell_commands.sampling import chosen_sampling, sampler_options
from nanoshell_commands.watch import RunSummary, stop_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from nanoshell import RunDirectory, Session
    from nanoshell_commands.details import RunDetails

    Command = Callable[..., Any]

EXAMPLES = (
    "run",
    "run --json",
    "run show",
    "run show nano-start-1 --json",
    "run pause",
    "run pause nano-start-1 --json",
    "run resume",
    "run resume nano-start-1",
    "run checkpoint",
    "run checkpoint nano-start-1",
    "run snapshot",
    "run snapshot --json",
    "run evaluate",
    "run evaluate --json",
    'run sample "Once upon a time" --tokens 40',
    "run sample --temperature 0 --json",
    "run set learning_rate=1e-4 batch_size=8",
    "run set eval_interval=50 --run nano-start-1",
    "run extend --steps 500",
    "run extend --epochs 0.5",
    "run stop",
    "run stop nano-start-1 --no-wait",
)

WHICH = (
    "Without RUN it is the run that this session follows (the one in the toolbar), else the only one that is "
    "in progress."
)


@dataclass(frozen=True)
class Steered:
    """What a run did on request: after which step, and the fields of its answer."""

    run: str
    action: str
    answer: Event
    samples: Sequence[SampleRow] = ()

    def to_json(self) -> dict[str, Any]:
        hidden = ("t", "type", "id", "ok", "hint", "run", "action", "samples")
        told = {name: value for name, value in self.answer.items() if name not in hidden}
        found = {"run": self.run, "action": self.action, **told}
        return {**found, "samples": list(self.samples)} if self.action == "sample" else found

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        head = cell(f"{self.run}, step {self.answer.get('step') or 0:,}: {self._line()}")
        return Group(head, *self.samples)

    def _line(self) -> str:
        from nanoshell import tell_changes, tell_evaluation, typed

        answer = self.answer
        message = str(answer.get("message") or self.action)
        match self.action:
            case "pause":
                return f"{message}; go on with: {typed(f'run resume {self.run}')}"
            case "checkpoint" | "snapshot" if answer.get("path"):
                return f"{message} in {answer['path']}"
            case "evaluate" if {"loss", "val_loss"} & answer.keys():
                return tell_evaluation(answer)
            case "set" if answer.get("values"):
                return tell_changes(answer)
            case "extend" if answer.get("total_steps"):
                return f"goes on to step {answer['total_steps']:,}"
            case "sample" if answer.get("no_prompts"):
                return f"{message}; give it one with: {typed(f'run sample TEXT --run {self.run}')}"
            case "sample" if self.samples:
                return f"{len(self.samples)} sample{'' if len(self.samples) == 1 else 's'}"
        return message


def _runs(session: Session, _incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the runs, those in progress first: they are what can be steered."""
    from nanoshell import list_runs

    found = [(run, run.status()) for run in list_runs(session.runs_dir)[:40]]
    for run, status in sorted(found, key=lambda pair: pair[1].ended):
        yield run.name, f"{status.state}, step {status.step}"


def _settings(session: Session, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield ``KEY=`` of what can be set, and once the key is there, its values as far as they can be told.

    A run need not be in progress; of one that is, the value in its config is offered, too.
    """
    from nanoshell import SETTABLE, NanoshellError, key_summaries, value_summaries

    trainer: dict[str, Any] = {}
    with contextlib.suppress(NanoshellError):
        trainer = session.steered_run().record().get("trainer", {})
    written, chosen, _ = incomplete.partition("=")
    key = written.removeprefix("trainer.")
    if chosen:
        began = str(trainer.get(key, ""))
        if began:
            yield f"{written}={began}", "as the run began"
        values = value_summaries(f"trainer.{key}") if key in SETTABLE else {}
        yield from ((f"{written}={value}", told) for value, told in values.items() if value != began)
        return
    start = "trainer." if incomplete.startswith("trainer.") else ""
    for name in sorted(SETTABLE):
        began = f"{trainer[name]} as the run began" if name in trainer else ""
        yield f"{start}{name}=", began or key_summaries()[f"trainer.{name}"]


STEERABLE = NameType("run", _runs)
SETTING_OF_RUN = NameType("key=value", _settings)


def run_argument(command: Command) -> Command:
    """Add RUN to ``command``, as a word or as ``--run``; it is handed over as ``name``."""
    command = click.argument("word", metavar="[RUN]", type=STEERABLE, required=False)(command)
    return run_option(command)


def run_option(command: Command) -> Command:
    """Add ``--run`` and ``--runs-dir`` to ``command``."""
    option = click.option("--run", "name", type=STEERABLE, help="Which run.", show_default="the followed one")
    return option(runs_dir_option(command))


def _chosen(session: Session, name: str | None, word: str | None = None) -> RunDirectory:
    from nanoshell import UsageError

    if name is not None and word is not None:
        raise UsageError("the run is named twice", hint="give it as RUN or as --run")
    return session.steered_run(name or word)


def _chosen_or_last(session: Session, name: str | None, word: str | None) -> RunDirectory:
    """Return what `_chosen` returns; where none is in progress, the run of the chosen model."""
    from nanoshell import NanoshellError, RunError

    try:
        return _chosen(session, name, word)
    except RunError:
        if name or word or session.model_name is None:
            raise
        with contextlib.suppress(NanoshellError):
            return session.find_run(session.model_name)
        raise


def steer(session: Session, run: RunDirectory, action: str, **arguments: Any) -> Steered:
    """Ask ``run`` for ``action``, wait for its answer and return it. Raises as `ask` does."""
    answer, events = ask(session, run, action, **arguments)
    samples = []
    if action == "sample":
        written = [event for event in events if event.get("type") == "sample"]
        count = answer.get("samples")
        samples = written[-count:] if isinstance(count, int) and count else written
    return Steered(run.name, action, answer, [sample_row(event) for event in samples])


@click.group("run", invoke_without_command=True, epilog=WHICH)
@runs_dir_option
@click.pass_context
def run(ctx: click.Context) -> RunDetails | None:
    """Steer the run that is training: pause, set, sample …

    Alone it shows how that run stands. `runs` is about all runs: list, compare, remove.
    """
    return ctx.invoke(show) if ctx.invoked_subcommand is None else None


@run.command("show")
@run_argument
@click.pass_obj
def show(session: Session, name: str | None = None, word: str | None = None) -> RunDetails:
    """Show how RUN stands, in short."""
    from nanoshell import typed
    from nanoshell_commands.details import RunBrief, details

    found = details(_chosen_or_last(session, name, word), RunBrief)
    if found.state in ("finished", "stopped") and found.checkpoints:
        way = typed(f"sample --model {found.name} TEXT")
        session.narrator.note(f"{found.name} has {found.state}; continue a text with it: {way}")
    return found


def _plain(action: str, text: str) -> click.Command:
    """Return a command that asks for ``action`` and nothing further."""

    @run_argument
    @click.pass_obj
    def command(session: Session, name: str | None, word: str | None) -> Steered:
        return steer(session, _chosen(session, name, word), action)

    return click.command(action, help=text)(command)


for _action, _text in (
    ("pause", "Let RUN rest after its step. It goes on answering requests."),
    ("resume", "Let RUN go on after a pause. (One that has ended: train --resume RUN.)"),
    ("checkpoint", "Write a checkpoint of RUN now."),
    ("snapshot", "Write the weights of RUN now, for sampling."),
    ("evaluate", "Measure the exact loss of RUN now. Also called eval."),
):
    run.add_command(_plain(_action, _text))

_eval = _plain("evaluate", "Another spelling of evaluate.")
_eval.hidden = True
run.add_command(_eval, "eval")


@run.command("stop")
@run_argument
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until it has saved and stopped."
)
@click.pass_obj
def stop(session: Session, name: str | None, word: str | None, wait: bool) -> RunSummary:
    """Ask RUN to save its weights and stop."""
    return stop_run(session, _chosen(session, name, word), wait=wait)


@run.command("sample")
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--tokens", type=click.IntRange(min=1), help="How many at most.", show_default="the config's")
@sampler_options
@run_option
@click.pass_obj
def sample(
    session: Session, /, prompts: tuple[str, ...], tokens: int | None, name: str | None, **options: Any
) -> Steered:
    """Let the run continue each PROMPT now.

    Without one, the prompts of its config (sample_prompts); where that names none, it begins from nothing.
    The samples are kept in its events, where `runs samples` finds them. (`sample` draws from its newest
    weights too, in this process, and shows the text as it comes.)
    """
    found = _chosen(session, name)
    asked: dict[str, Any] = {"prompts": list(prompts)} if prompts else {}
    if tokens is not None:
        asked["tokens"] = tokens
    if settings := chosen_sampling(session, options):
        asked["settings"] = settings
    return steer(session, found, "sample", **asked)


@run.command("set")
@click.argument(
    "settings", nargs=-1, required=True, metavar="KEY=VALUE...", type=SETTING_OF_RUN, callback=key_values
)
@run_option
@click.pass_obj
def set_values(session: Session, settings: tuple[tuple[str, Any], ...], name: str | None) -> Steered:
    """Change settings of the run from its next step on.

    All of them, or none where one is wrong. KEY is one of the config's: learning_rate, batch_size,
    gradient_accumulation, schedule, warmup_steps, weight_decay, max_grad_norm, eval_interval … They last
    when the run is resumed.
    """
    from nanoshell import settable_key

    values = {settable_key(key): value for key, value in settings}
    return steer(session, _chosen(session, name), "set", values=values)


@run.command("extend")
@run_argument
@click.option("--steps", type=click.IntRange(min=1), help="So many steps more.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="So many passes more.")
@click.pass_obj
def extend(
    session: Session, name: str | None, word: str | None, steps: int | None, epochs: float | None
) -> Steered:
    """Let RUN train longer than was planned.

    Its schedule is stretched to the new end. A run that has ended is resumed.
    """
    from nanoshell import UsageError, typed

    if (steps is None) == (epochs is None):
        raise UsageError(
            "say by how much: --steps or --epochs", hint=f"for example: {typed('run extend --steps 500')}"
        )
    more: Mapping[str, float] = {"steps": steps} if steps is not None else {"epochs": float(epochs or 0)}
    found = _chosen_or_last(session, name, word)
    if not found.status().ended:
        return steer(session, found, "extend", **more)
    session.narrator.note(f"{found.name} has ended: resuming it")
    answer, _ = answered(session, found, "extend", lambda: session.extend_ended(found, **more))
    return Steered(found.name, "extend", answer)
