"""``demo``: train a small model, see it learn, hear it answer, and go on from there."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell_commands.curve import draw
from nanoshell_commands.inputs import attended, runs_dir_option
from nanoshell_commands.layout import utf8
from nanoshell_commands.watch import Watch, summary

if TYPE_CHECKING:
    from nanoshell import RunDirectory, Screen, Session, TrainRequest
    from nanoshell_commands.lesson import Answer

EXAMPLES = ("demo", "demo --again")

PRESET = "nano-start"
SOURCE = "nano-start"
RUN_NAME = "demo"

QUESTION = "Why is the sky blue?"

NEXT = (
    ('sample "Water freezes at"', "continue a text"),
    (f'chat --message "{QUESTION}"', "ask it what it has learnt"),
    ("data head nano-start:qa", "see what that is"),
    ("dashboard", "its curves, texts and log on the whole screen; q comes back"),
    ("train --data your-notes.txt", "train the same model on a text of yours"),
    ("help", "all the commands"),
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo did: its run, the losses (step, loss), and the answers beside what the data has."""

    run: str
    path: str
    trained: bool
    steps: int | None
    seconds: float
    loss: float | None
    losses: list[tuple[int, float]]
    answers: list[Answer]
    right: bool


class Demo:
    """The demo as a stream: training, curve, answers, what to type next."""

    def __init__(self, session: Session, *, again: bool) -> None:
        self._session = session
        self._again = again

    def show(self, screen: Screen) -> None:
        run = None if self._again else finished_demo(self._session)
        if run is not None and attended() and not keep(run):
            run = None
        if run is None:
            run = self._train(screen)
        else:
            screen.note(f"using {run.name}, which is there already (demo --again trains anew)")
            self._session.use_data(SOURCE)
        self._show_curve(run, screen)
        answers = self._show_answers(run, screen)
        self._show_verdict(answers, screen)
        self._show_next(screen)

    def lines(self) -> Iterator[DemoResult]:
        yield self.document()

    def document(self) -> DemoResult:
        from nanoshell_commands.lesson import answer, tasks

        began = time.monotonic()
        run = None if self._again else finished_demo(self._session)
        trained = run is None
        if run is None:
            run = self._train(None)
        loaded = self._session.use_model(str(run.path))
        answers = [
            answer(self._session, task, lambda text, style: None)
            for task in tasks(self._session, loaded.engine.max_positions)
        ]
        status = run.status()
        return DemoResult(
            run=run.name,
            path=str(run.path),
            trained=trained,
            steps=status.step,
            seconds=round(time.monotonic() - began, 2),
            loss=status.loss,
            losses=losses(run),
            answers=answers,
            right=all(found.right for found in answers),
        )

    def _train(self, screen: Screen | None) -> RunDirectory:
        since = time.time()
        run = None if self._again else demo_in_progress(self._session)
        if run is not None:
            since = 0.0
            _note(screen, f"{run.name} is training already …")
        else:
            _note(screen, f"training preset '{PRESET}' on the embedded dataset '{SOURCE}' …")
            run = self._session.train(self._request())
        watch = Watch(self._session, run, since=since, patient=True)
        watch.wait(screen)
        if screen is not None:
            screen.out.print(summary(run, watch.seconds))
        return run

    def _request(self) -> TrainRequest:
        from nanoshell import TrainRequest, load_config

        settings = self._session.settings
        return TrainRequest(
            config=load_config(PRESET),
            source=SOURCE,
            runs_dir=self._session.runs_dir,
            name=RUN_NAME,
            device=settings.text("device") if settings.is_set("device") else None,
            chat_template=settings.text("chat_template"),
            argv=["nanoshell", "demo"],
        )

    def _show_curve(self, run: RunDirectory, screen: Screen) -> None:
        from rich.text import Text

        points = [(float(step), loss) for step, loss in losses(run)]
        width = max(24, min(60, screen.out.width))
        chart = draw(points, x_label="steps", width=width, plain=not utf8(screen.out))
        if chart:
            screen.out.print(Text("\nloss, step by step", style="nano.heading"))
            screen.out.print(Text("\n".join(chart)))

    def _show_answers(self, run: RunDirectory, screen: Screen) -> list[Answer]:
        from nanoshell_commands.lesson import answer, tasks

        session = self._session
        loaded = session.use_model(str(run.path))
        found = []
        for task in tasks(session, loaded.engine.max_positions):
            screen.write(f"\n{_TITLES[task.kind]}\n", "nano.heading")
            said = answer(session, task, screen.write)
            found.append(said)
            for text, expected in zip(said.text, said.expected, strict=True):
                if text != expected:
                    screen.write(f"this differs from the data, which has: {expected}\n", "red")
        return found

    def _show_verdict(self, answers: list[Answer], screen: Screen) -> None:
        right = sum(found.right for found in answers)
        tokens = self._session.prepare_corpus(SOURCE).num_tokens
        screen.write(
            f"\n{right} of {len(answers)} answers are as in the data. This model has read {tokens:,} "
            "tokens over\nand over: it recites them, and babbles beyond them.\n"
        )

    def _show_next(self, screen: Screen) -> None:
        here = screen.prompt or attended()
        mark = "·" if utf8(screen.out) else "-"
        prefix = ":" if here else "nanoshell "
        typed = [(QUESTION if here and "chat" in line else prefix + line, why) for line, why in NEXT]
        width = max(len(line) for line, _ in typed)
        screen.write("\nWhat you can type next:\n", "nano.heading")
        for line, why in typed:
            screen.write(f"  {line:<{width}}  {mark} {why}\n")


_TITLES = {"completion": "A text to continue", "question": "A question", "chat": "A conversation"}


def losses(run: RunDirectory) -> list[tuple[int, float]]:
    """Return (step, loss) of every step whose loss is a number, of the course that the run has kept."""
    from nanoshell import effective_events, read_events

    events, _ = read_events(run.events_path)
    return [
        (int(event["step"]), round(float(event["loss"]), 4))
        for event in effective_events(events)
        if event.get("type") == "step" and event.get("loss") is not None
    ]


def _note(screen: Screen | None, text: str) -> None:
    if screen is not None:
        screen.note(text)


def finished_demo(session: Session) -> RunDirectory | None:
    """Return the newest finished demo run of today's preset and data, if there is one."""
    runs = (run for run in _demo_runs(session) if run.status().state == "finished")
    return next((run for run in runs if run.latest_checkpoint() is not None), None)


def demo_in_progress(session: Session) -> RunDirectory | None:
    """Return the newest demo run of today's preset and data that is training now, if there is one."""
    return next((run for run in _demo_runs(session) if run.status().state in ("starting", "running")), None)


def _demo_runs(session: Session) -> Iterator[RunDirectory]:
    """Yield the demo runs of today's preset and data, the newest first."""
    from nanoshell import RunError, list_runs, load_config

    runs = [run for run in list_runs(session.runs_dir) if re.fullmatch(rf"{RUN_NAME}-\d+", run.name)]
    if not runs:
        return
    config, data_hash = load_config(PRESET).to_dict(), session.prepare_corpus(SOURCE).sha256
    for run in runs:
        with contextlib.suppress(RunError):
            if fits(run.record(), config, data_hash):
                yield run


def fits(record: dict[str, Any], config: dict[str, Any], data_hash: str) -> bool:
    """Return whether the run of ``record`` is of the preset as it is today, on the data as they are today."""
    corpus = record.get("corpus")
    same_data = isinstance(corpus, dict) and corpus.get("sha256") == data_hash
    same_model = bool(record.get("model") == config["model"])
    return same_data and same_model and _training(record.get("trainer")) == _training(config["trainer"])


def _training(trainer: Any) -> dict[str, Any]:
    """Return what of a trainer's section decides what is learnt: not where, nor what is written meanwhile."""
    beside = ("device", "target_device", "log_interval", "save_interval", "max_checkpoints", "checkpoint_dir")
    return {key: value for key, value in dict(trainer or {}).items() if key not in beside}


def keep(run: RunDirectory) -> bool:
    """Ask whether to use ``run`` (Enter) or to train anew (t), and return the first. Ctrl-D leaves."""
    from nanoshell import LeaveShell

    try:
        said = click.prompt(
            f"{run.name} has been trained already: Enter uses it, t trains anew",
            type=click.Choice(["", "t"], case_sensitive=False),
            default="",
            show_choices=False,
            show_default=False,
            err=True,
        )
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            raise LeaveShell from None
        raise
    return not said


@click.command()
@click.option("--again", is_flag=True, help="Train anew, also where a finished demo is there.")
@runs_dir_option
@click.pass_obj
def demo(session: Session, again: bool) -> Demo:
    """Train a small model, and hear what it has learnt.

    In a minute or two it learns the embedded dataset by heart. On a terminal the shell stays open with the
    model loaded. A finished demo that is there is used again.
    """
    from nanoshell import stay_at_prompt

    stay_at_prompt()
    return Demo(session, again=again)
