"""``runs``: what has been trained and is training, its log, its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell import RUN
from nanoshell_commands.inputs import runs_dir_option
from nanoshell_commands.layout import Rows, figure, human_bytes, human_count, human_seconds, moment, pairs
from nanoshell_commands.runlog import LogView
from nanoshell_commands.watch import RunSummary, summary

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import RunDirectory, Session

EXAMPLES = ("runs", "runs show latest", "runs log nano-start-1 --follow", "runs prune --yes")

IN_PROGRESS = ("starting", "running", "paused", "stopping")

STOP_SECONDS = 60.0
"""How long `runs stop` waits for the answer: one step and one checkpoint."""


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


@dataclass(frozen=True)
class CheckpointRow:
    """A complete checkpoint: the step it was taken after, and its bytes."""

    step: int
    path: str
    bytes: int


@dataclass(frozen=True)
class RunDetails:
    """All that is known of a run; what is not known (yet) is None, times are seconds since the epoch."""

    name: str
    path: str
    state: str
    reason: str
    step: int | None
    total_steps: int | None
    epoch: float | None
    loss: float | None
    val_loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    tokens_per_second: float | None
    eta_seconds: float | None
    started: float | None
    updated: float | None
    pid: int | None
    host: str | None
    bytes: int
    checkpoints: list[CheckpointRow]
    record: dict[str, Any]
    expert_load: dict[str, list[float]] | None = None

    def __rich__(self) -> RenderableType:
        step = f"{self.step:,}" if self.step is not None else None
        if step and self.total_steps:
            step += f" of {self.total_steps:,}"
        process = f"{self.pid} on {self.host}" if self.pid is not None else None
        kept = [f"step {kept.step:,}  {human_bytes(kept.bytes)}  {kept.path}" for kept in self.checkpoints]
        return pairs(
            [
                ("run", self.name),
                ("folder", f"{self.path} ({human_bytes(self.bytes)})"),
                ("state", f"{self.state}: {self.reason}" if self.reason else self.state),
                ("data", self.record.get("source") or self.record.get("data")),
                ("step", step),
                ("epoch", _maybe(self.epoch, 3)),
                ("loss", _maybe(self.loss)),
                ("validation", _maybe(self.val_loss)),
                ("learning rate", _maybe(self.learning_rate, 3)),
                ("gradient norm", _maybe(self.grad_norm, 3)),
                (
                    "speed",
                    f"{human_count(self.tokens_per_second)} tokens/s" if self.tokens_per_second else None,
                ),
                ("experts", _loads(self.expert_load)),
                ("ETA", human_seconds(self.eta_seconds) if self.eta_seconds is not None else None),
                ("started", moment(self.started) or None),
                ("last sign", moment(self.updated) or None),
                ("process", process),
                ("checkpoints", "\n".join(kept) or "none"),
                ("model", _keys(self.record.get("model"), _MODEL_KEYS)),
                ("training", _keys(self.record.get("trainer"), _TRAINER_KEYS)),
            ]
        )


_MODEL_KEYS = ("name", "hidden_size", "num_layers", "num_heads", "max_seq_len", "vocab_size")
_TRAINER_KEYS = (
    "num_epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "schedule",
    "optimizer",
    "softmax",
    "seed",
)


def _keys(section: Any, keys: tuple[str, ...]) -> str | None:
    """Return the ``keys`` of a section of the configuration that are there, on one line."""
    found = section if isinstance(section, dict) else {}
    return ", ".join(f"{key} {found[key]}" for key in keys if key in found) or None


def _loads(load: dict[str, list[float]] | None) -> str | None:
    """Return a line for each layer with experts: the least and the most that one of them is used."""
    return (
        "\n".join(
            f"layer {layer}: {min(shares):.1%} to {max(shares):.1%} of its load (even: {1 / len(shares):.1%})"
            for layer, shares in (load or {}).items()
            if shares
        )
        or None
    )


def _expert_load(run: RunDirectory) -> dict[str, list[float]] | None:
    """Return the shares of each layer's experts in the newest step, None for a model without experts."""
    from nanoshell import effective_events, read_events

    model = run.record().get("model")
    if not isinstance(model, dict) or not model.get("num_experts"):
        return None
    steps = (event for event in reversed(effective_events(read_events(run.events_path)[0])))
    return next((event["expert_load"] for event in steps if event.get("expert_load")), None)


def _maybe(value: float | None, digits: int = 4) -> str | None:
    return None if value is None else figure(value, digits)


def _row(run: RunDirectory) -> RunRow:
    status = run.status()
    return RunRow(
        name=run.name,
        state=status.state,
        step=status.step,
        total_steps=status.total_steps,
        loss=status.loss,
        bytes=run.size_bytes(),
        started=status.started,
        path=str(run.path),
    )


def _steps(row: RunRow) -> str:
    if row.step is None:
        return ""
    return f"{row.step:,}/{row.total_steps:,}" if row.total_steps else f"{row.step:,}"


@click.group(invoke_without_command=True)
@click.pass_context
def runs(ctx: click.Context) -> Any:
    """List, show, stop and remove training runs."""
    return ctx.invoke(list_all) if ctx.invoked_subcommand is None else None


@runs.command("list")
@runs_dir_option
@click.pass_obj
def list_all(session: Session) -> Rows[RunRow]:
    """List the runs, the newest first, with state, step, loss and size."""
    from nanoshell import list_runs, typed

    now = time.time()
    rows = [_row(run) for run in list_runs(session.runs_dir)]
    total = human_bytes(sum(row.bytes for row in rows))
    return Rows(
        rows,
        [
            ("run", lambda row: row.name),
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
    """Show how RUN stands, its checkpoints and its main settings; --json has all of them."""
    found = session.find_run(run)
    status = found.status()
    return RunDetails(
        name=found.name,
        path=str(found.path),
        state=status.state,
        reason=status.reason,
        step=status.step,
        total_steps=status.total_steps,
        epoch=status.epoch,
        loss=status.loss,
        val_loss=status.val_loss,
        learning_rate=status.learning_rate,
        grad_norm=status.grad_norm,
        tokens_per_second=status.tokens_per_second,
        eta_seconds=status.eta_seconds,
        started=status.started,
        updated=status.updated,
        pid=status.pid,
        host=status.host,
        bytes=found.size_bytes(),
        checkpoints=[
            CheckpointRow(kept.step, str(kept.path), kept.num_bytes) for kept in found.checkpoints()
        ],
        record=found.record(),
        expert_load=_expert_load(found),
    )


@runs.command("log")
@click.argument("run", type=RUN, default="latest")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many lines of its end.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with the run's events until it ends.")
@runs_dir_option
@click.pass_obj
def log(session: Session, run: str, lines: int, follow: bool) -> LogView:
    """Show the end of the log of RUN, or its last events where the log is empty."""
    return LogView(session.find_run(run), lines, follow)


@runs.command("stop")
@click.argument("run", type=RUN, default="latest")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until it has saved and stopped."
)
@runs_dir_option
@click.pass_obj
def stop(session: Session, run: str, wait: bool) -> RunSummary:
    """Ask RUN to save its weights and stop."""
    from nanoshell import request

    found = session.find_run(run)
    request(found, "stop")
    if wait:
        _wait_for_end(session, found)
    return summary(found)


def _wait_for_end(session: Session, run: RunDirectory) -> None:
    from nanoshell import RunError, typed

    deadline = time.monotonic() + STOP_SECONDS
    while not (status := run.status()).ended:
        if time.monotonic() > deadline:
            raise RunError(
                f"run {run.name} has not stopped within {STOP_SECONDS:.0f} s: it is {status.state}",
                hint=f"it will stop after its step; look again with: {typed(f'runs show {run.name}')}",
            )
        time.sleep(0.1)
    session.run_ended(run, status.state)


@dataclass(frozen=True)
class RemovedRow:
    """One thing that was removed: of which run, what, where, and the bytes that this set free."""

    run: str
    kind: str
    path: str
    bytes: int


def _removed(rows: list[RemovedRow], done: str = "set free") -> Rows[RemovedRow]:
    return Rows(
        rows,
        [
            ("run", lambda row: row.run),
            ("what", lambda row: row.kind),
            (">size", lambda row: human_bytes(row.bytes)),
            ("folder", lambda row: row.path),
        ],
        empty="there is nothing to remove",
        footer=f"{human_bytes(sum(row.bytes for row in rows))} {done}",
    )


@runs.command("rm")
@click.argument("names", nargs=-1, required=True, type=RUN, metavar="RUN...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--force", is_flag=True, help="Remove a run of another host too that has not said that it ended."
)
@runs_dir_option
@click.pass_obj
def remove(session: Session, names: tuple[str, ...], yes: bool, force: bool) -> Rows[RemovedRow]:
    """Remove runs with all their checkpoints, for good. A run in progress is refused."""
    from nanoshell import RunError, find_run, remove_run, typed

    found = {
        run.path.resolve(): run for run in (find_run(session.runs_dir, name, whole=True) for name in names)
    }
    for run in found.values():
        state = run.status().state
        if state in IN_PROGRESS:
            raise RunError(
                f"run {run.name} is {state}", hint=f"stop it first: {typed(f'runs stop {run.name}')}"
            )
    size = human_bytes(sum(run.size_bytes() for run in found.values()))
    if not yes:
        listed = ", ".join(run.name for run in found.values())
        click.confirm(f"Remove {listed} ({size}) for good?", abort=True, err=True)
    rows = []
    for run in found.values():
        rows.append(RemovedRow(run.name, "run", str(run.path), remove_run(run, force=force)))
        session.run_removed(run)
    return _removed(rows)


@runs.command("prune")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Newest checkpoints to keep of each.",
)
@click.option("--empty", is_flag=True, help="Remove whole runs that have no checkpoint, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@runs_dir_option
@click.pass_obj
def prune(session: Session, keep: int, empty: bool, dry_run: bool, yes: bool) -> Rows[RemovedRow]:
    """Free the space of old checkpoints and snapshots of the runs that have ended."""
    from nanoshell import prune as prune_runs

    rows = [
        RemovedRow(found.run, found.kind, str(found.path), found.num_bytes)
        for found in prune_runs(session.runs_dir, keep=keep, empty=empty, dry_run=True)
    ]
    if dry_run or not rows:
        return _removed(rows, "would be set free")
    if not yes:
        size = human_bytes(sum(row.bytes for row in rows))
        click.confirm(f"Remove {len(rows)} folders ({size}) for good?", abort=True, err=True)
    pruned = prune_runs(session.runs_dir, keep=keep, empty=empty)
    return _removed([RemovedRow(found.run, found.kind, str(found.path), found.num_bytes) for found in pruned])
