"""``runs``: what has been trained and is training, its log and samples. (``run`` steers one that trains.)"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nanoshell import RUN, human_bytes, human_seconds
from nanoshell_commands.cleaning import prune, remove
from nanoshell_commands.inputs import runs_dir_option
from nanoshell_commands.layout import Rows, figure
from nanoshell_commands.runlog import LogView
from nanoshell_commands.samples import SampleRow, Samples, read_samples
from nanoshell_commands.steer import STEERABLE
from nanoshell_commands.watch import RunSummary, Watch, stop_run

if TYPE_CHECKING:
    from nanoshell import RunDirectory, Screen, Session
    from nanoshell_commands.compare import Comparison
    from nanoshell_commands.details import RunDetails

EXAMPLES = (
    "runs list",
    "runs list --json",
    "runs show latest",
    "runs show nano-start-1 --json",
    "runs log nano-start-1 --follow",
    "runs log latest --lines 5",
    "runs samples",
    "runs samples nano-start-1 --last 3",
    "runs attach nano-start-1",
    "runs attach --all",
    "runs detach",
    "runs detach nano-start-1",
    "runs stop nano-start-1",
    "runs stop latest --no-wait",
    "runs compare nano-start-1 nano-start-2",
    "runs compare latest nano-start-1 --json",
    "runs rm nano-start-2 --yes",
    "runs rm nano-start-1 nano-start-2 --yes",
    "runs prune --yes",
    "runs prune --keep 2 --dry-run",
)


@dataclass(frozen=True)
class RunRow:
    """A run in a list: its state, last step and loss, bytes on disk, start in seconds since the epoch."""

    name: str
    state: str
    step: int | None
    total_steps: int | None
    loss: float | None
    bytes: int
    started: float | None
    path: str


def _row(run: RunDirectory) -> RunRow:
    status = run.status()
    return RunRow(
        name=run.name,
        state=status.state,
        step=status.step,
        total_steps=status.total_steps,
        loss=status.loss,
        bytes=run.size_bytes(),
        started=run.created() or status.started,
        path=str(run.path),
    )


def _steps(row: RunRow) -> str:
    if row.step is None:
        return ""
    return f"{row.step:,}/{row.total_steps:,}" if row.total_steps else f"{row.step:,}"


def _printable(name: str) -> str:
    """Return ``name`` on one line: a folder may be called anything."""
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in name)


@click.group(invoke_without_command=True)
@runs_dir_option
@click.pass_context
def runs(ctx: click.Context) -> Rows[RunRow] | None:
    """List, show, compare and remove training runs.

    `run` steers the one that is training: pause, set, sample, extend.
    """
    return ctx.invoke(list_all) if ctx.invoked_subcommand is None else None


@runs.command("list")
@runs_dir_option
@click.pass_obj
def list_all(session: Session) -> Rows[RunRow]:
    """List the runs, the newest first.

    Each with its state, step, loss and size.
    """
    from nanoshell import list_runs, typed

    now = time.time()
    rows = [_row(run) for run in list_runs(session.runs_dir)]
    total = human_bytes(sum(row.bytes for row in rows))
    return Rows(
        rows,
        [
            ("run", lambda row: _printable(row.name)),
            ("state", lambda row: row.state),
            (">step", _steps),
            (">loss", lambda row: figure(row.loss)),
            (">size", lambda row: human_bytes(row.bytes)),
            (">age", lambda row: human_seconds(now - row.started) if row.started else ""),
        ],
        empty=f"there are no runs in {session.runs_dir}; start one: {typed('train')}, or {typed('demo')}",
        footer=f"{total} in {session.runs_dir}",
    )


@runs.command("show")
@click.argument("run", type=RUN, default="latest")
@runs_dir_option
@click.pass_obj
def show_run(session: Session, run: str) -> RunDetails:
    """Show how RUN stands, its checkpoints and settings.

    Below stand the sections of plugins, such as the notes that were taken with `note`.
    """
    from nanoshell_commands.details import whole_details

    return whole_details(session, session.find_run(run))


@runs.command("log")
@click.argument("run", type=RUN, default="latest")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many events, and lines of its worker, at most.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with the run's events until it ends.")
@runs_dir_option
@click.pass_obj
def log(session: Session, run: str, lines: int, follow: bool) -> LogView:
    """Show the last events of RUN, and its worker's words.

    Each event has its time. Of its steps it is the newest alone; --follow shows all that come.
    """
    return LogView(session.find_run(run), lines, follow)


@runs.command("samples")
@click.argument("run", type=RUN, default="latest")
@click.option("--step", type=click.IntRange(min=0), help="Only those taken after this step.")
@click.option("-n", "--last", type=click.IntRange(min=1), help="Only so many, the newest.")
@runs_dir_option
@click.pass_obj
def samples(session: Session, run: str, step: int | None, last: int | None) -> Samples[SampleRow]:
    """Show the samples that RUN took while it trained."""
    return read_samples(session.find_run(run), step=step, last=last)


@runs.command("stop")
@click.argument("run", type=RUN, default="latest")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until it has saved and stopped."
)
@runs_dir_option
@click.pass_obj
def stop(session: Session, run: str, wait: bool) -> RunSummary:
    """Ask RUN to save its weights and stop."""
    return stop_run(session, session.find_run(run), wait=wait)


class Attached(Watch):
    """A run that was started elsewhere and is followed from now on: `Watch` where there is no prompt."""

    def show(self, screen: Screen) -> None:
        if not screen.prompt:
            super().show(screen)
            return
        from nanoshell import typed

        name, session, status = self.run.name, self._session, self.run.status()
        session.follow(self.run, everything=self._everything)
        step = f" at step {status.step:,}" if status.step is not None else ""
        screen.note(f"following {name}, {status.state}{step}; {typed(f'runs detach {name}')} ends that")
        if session.model_name is None:
            session.model_name = str(self.run.path)
            screen.note("it is the model now, with its newest weights")


@runs.command("attach")
@click.argument("run", type=STEERABLE, required=False)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Tell evaluations and samples, too; with --json, all.",
)
@runs_dir_option
@click.pass_obj
def attach(session: Session, run: str | None, everything: bool) -> Attached:
    """Follow RUN, which was started elsewhere.

    At the prompt it is as if it had been started here: its progress stands in the toolbar, and alerts,
    changes and its end are told above. On the command line its bar is shown until it ends; Ctrl-C detaches
    and lets it train on. Without RUN it is the only one in progress.
    """
    from nanoshell import RunError, typed

    found = session.steered_run(run)
    status = found.status()
    if status.ended:
        raise RunError(
            f"run {found.name} has ended: it is {status.state}",
            hint=f"look at it with: {typed(f'runs show {found.name}')}\n"
            f"go on with it: {typed(f'train --resume {found.name}')}",
        )
    return Attached(session, found, since=status.started or 0.0, attached=True, everything=everything)


@runs.command("detach")
@click.argument("run", type=RUN, required=False)
@runs_dir_option
@click.pass_obj
def detach(session: Session, run: str | None) -> str:
    """Follow RUN no more, and let it train on. Without RUN it is the one in the toolbar."""
    from nanoshell import RunError, typed

    followed = [found for found, _ in session.runs_in_progress()]
    if run is None and not followed:
        raise RunError("this session follows no run", hint=f"see all of them: {typed('runs list')}")
    found = session.steered_run(run)
    if not session.unfollow(found):
        names = ", ".join(each.name for each in followed) or "none"
        raise RunError(f"this session does not follow {found.name}", hint=f"it follows: {names}")
    return f"{found.name} trains on; follow it again with: {typed(f'runs attach {found.name}')}"


@runs.command("compare")
@click.argument("names", nargs=-1, required=True, type=RUN, metavar="RUN RUN...")
@runs_dir_option
@click.pass_obj
def compare(session: Session, names: tuple[str, ...]) -> Comparison:
    """Show what differs between runs, and what came of it.

    That is the keys of their configs that differ, their losses at the last step that all of them have
    reached, validation, speed, time and sizes.
    """
    from nanoshell import UsageError, typed
    from nanoshell_commands.compare import comparison

    found = list({run.path.resolve(): run for run in map(session.find_run, names)}.values())
    if len(found) < 2:
        raise UsageError(
            "there is one run to compare", hint=f"name two, for example: {typed('runs compare latest RUN')}"
        )
    return comparison(found)


for _member in (remove, prune):
    runs.add_command(_member)
