"""Removing runs, and what of them nobody needs: `runs rm` and `runs prune`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nanoshell import RUN, human_bytes
from nanoshell_commands.inputs import runs_dir_option
from nanoshell_commands.layout import Rows

if TYPE_CHECKING:
    from nanoshell import Session

IN_PROGRESS = ("starting", "running", "paused", "stopping")


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


@click.command("rm")
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


@click.command("prune")
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
    """Remove old checkpoints and snapshots of ended runs."""
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
