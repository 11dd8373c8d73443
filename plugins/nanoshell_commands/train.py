"""``train``: start a run, or go on with one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nanoshell import CONFIG_KEY, DEVICE, DTYPE_WORDS, PRESET, RUN, SOURCE, Choice, json_option
from nanoshell_commands.inputs import key_values, runs_dir_option
from nanoshell_commands.watch import Watch

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Session, TrainRequest
    from nanoshell_commands.torchrun import Leading

EXAMPLES = (
    "train --config nano-start --data nano-start",
    'train --data "notes/*.md" --val-fraction 0.1 --num-epochs 20',
    "train --resume latest --max-steps 1000",
    "train --config nano-start --data nano-start --resume auto",
)

DEFAULT_PRESET = "nano-start"

_KEYS = {
    "num_epochs": "trainer.num_epochs",
    "batch_size": "trainer.batch_size",
    "seq_len": "trainer.seq_len",
    "grad_accum": "trainer.gradient_accumulation",
    "learning_rate": "trainer.learning_rate",
    "dtype": "trainer.dtype",
    "compiled": "trainer.compile",
    "seed": "trainer.seed",
    "val_fraction": "trainer.val_fraction",
}
"""Options and the keys of a config that they stand for."""

_WORDS = "nanoshell_commands.train.words"


@dataclass(frozen=True)
class Started:
    """A run that trains in the background."""

    run: str
    path: str

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        from nanoshell import typed

        see, stop = typed(f"runs show {self.run}"), typed(f"runs stop {self.run}")
        return Text(
            f"{self.run} trains in the background in {self.path}\nsee it with: {see}, stop it with: {stop}"
        )


def _processes(ctx: click.Context, param: click.Parameter, value: str | None) -> int | Literal["auto"] | None:
    if value is None:
        return None
    if value == "auto":
        return "auto"
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"'{value}' is neither a number of processes nor 'auto'", ctx, param)
    return int(value)


class _Remembering(click.Command):
    """A command that keeps its words: those of the process may hold other commands, and what they tell."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = [*args]
        return super().parse_args(ctx, args)


@click.command(cls=_Remembering)
@click.option("--config", type=PRESET, help="A preset or a YAML file.", show_default=DEFAULT_PRESET)
@click.option("--data", type=SOURCE, help="What to learn from.", show_default="the chosen source")
@click.option(
    "--max-steps",
    metavar="N",
    type=click.IntRange(min=1),
    help="Stop after this step; no change to the schedule.",
)
@click.option(
    "--num-epochs", metavar="X", type=click.FloatRange(min=0, min_open=True), help="Passes over the data."
)
@click.option("--batch-size", metavar="N", type=click.IntRange(min=1), help="Windows in a micro-batch.")
@click.option("--seq-len", metavar="N", type=click.IntRange(min=1), help="Tokens in a window.")
@click.option(
    "--grad-accum", metavar="N", type=click.IntRange(min=1), help="Micro-batches in an optimizer step."
)
@click.option("--learning-rate", metavar="RATE", type=click.FloatRange(min=0), help="Peak of the schedule.")
@click.option(
    "--val-fraction",
    metavar="SHARE",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of documents to hold back.",
)
@click.option("--device", type=DEVICE, help="Where to compute.", show_default="the setting")
@click.option(
    "--dtype",
    type=Choice(DTYPE_WORDS),
    metavar="DTYPE",
    help="float32, bfloat16 or float16; auto: the device's best.",
)
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=None,
    help="Compile the step meanwhile, and use it where faster.",
)
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Decides weights, shuffling and draws.")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    type=CONFIG_KEY,
    multiple=True,
    callback=key_values,
    help="A key of the config: trainer.seed=7. May be repeated.",
)
@click.option("--special", is_flag=True, help="Read spellings like <|endoftext|> in text as special tokens.")
@click.option("--resume", type=RUN, help="Go on with a run: its name or folder, latest, or auto.")
@click.option("--force", is_flag=True, help="Go on although config or data have changed.")
@click.option(
    "--nproc",
    metavar="N|auto",
    callback=_processes,
    help="Processes of this machine; auto: one a CUDA device.",
    show_default="1, or as many as the run had",
)
@click.option("--name", help="What to call the run; a number is added.", show_default="the config's name")
@click.option("--background", is_flag=True, help="Return at once; the run goes on.")
@click.option(
    "--events",
    is_flag=True,
    help="With --json, a line for all events, not only steps.",
)
@click.option("--warm-up", is_flag=True, hidden=True)
@click.option("--run", "--worker", "worker", type=click.Path(path_type=Path), hidden=True)
@runs_dir_option
@json_option("--headless")
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> Watch | Leading | Started:
    """Train a model, in a process of its own.

    The config says what to train and how, the data what it learns. Without a terminal it writes plain lines,
    with --json a line for each step. Ctrl-C asks the run to save and stop; a second one returns at once, and
    the run saves and stops by itself. At the prompt it returns at once; `run` steers it. What is not given
    here has its value from the config.
    """
    from nanoshell import placement

    session: Session = ctx.obj
    if options["worker"] is not None:
        ctx.exit(_work(session, options["worker"]))
    if options["warm_up"]:
        from nanoshell import run_warm_up

        ctx.exit(run_warm_up(session.plugins))
    argv = ["nanoshell", "train", *ctx.meta[_WORDS]]
    place = placement()
    if place is not None:
        from nanoshell_commands import torchrun

        if place.rank:
            ctx.exit(torchrun.follow(session, place))
        return torchrun.lead(
            session, place, lambda: _request(session, options, argv), everything=options["events"]
        )
    since = time.time()
    run = session.train(_request(session, options, argv))
    if options["background"]:
        return Started(run.name, str(run.path))
    return Watch(session, run, since=since, everything=options["events"])


def _work(session: Session, folder: Path) -> int:
    """Be the worker of the run in ``folder``, and return its exit code."""
    from nanoshell import RunDirectory, run_worker

    code: int = run_worker(RunDirectory(folder), session.plugins)
    return code


def _request(session: Session, options: Mapping[str, Any], argv: Sequence[str]) -> TrainRequest:
    from nanoshell import TrainRequest, load_config

    overrides = {key: options[name] for name, key in _KEYS.items() if options[name] is not None}
    overrides.update(options["settings"])
    settings = session.settings
    # A run that is named to go on with has data of its own; the chosen source is not meant for it.
    chosen = session.data if options["resume"] in (None, "auto") else None
    return TrainRequest(
        config=load_config(options["config"], overrides) if options["config"] else None,
        source=options["data"] or chosen,
        runs_dir=session.runs_dir,
        name=options["name"],
        max_steps=options["max_steps"],
        resume=options["resume"],
        force=options["force"],
        processes=options["nproc"],
        device=options["device"] or (settings.text("device") if settings.is_set("device") else None),
        special=options["special"],
        chat_template=settings.text("chat_template"),
        overrides=overrides,
        argv=argv,
    )
