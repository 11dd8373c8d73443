"""``dashboard``: see and steer runs on the whole screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanoshell import RUN

if TYPE_CHECKING:
    from nanoshell import Session

EXAMPLES = (
    "dashboard",
    "dashboard latest",
    "dashboard nano-start-1 nano-start-2",
    "dashboard runs --read-only",
    "dashboard --ascii",
)


@click.command("dashboard")
@click.argument("runs", nargs=-1, metavar="[RUN|DIR]...", type=RUN)
@click.option(
    "--read-only", is_flag=True, help="Show runs only: no commands, no chat, nothing is asked of them."
)
@click.option("--ascii", "plain", is_flag=True, help="Draw with nothing but ASCII.")
@click.pass_obj
def dashboard(session: Session, runs: tuple[str, ...], read_only: bool, plain: bool) -> None:
    """Show and steer runs on the whole screen.

    It shows each RUN, the first in focus; of a folder, and without any, those in progress, else the newest.
    It reads the runs' directories alone: runs of other terminals and machines are shown as well.
    Inside ? lists the keys, Ctrl-P the commands, q comes back.
    """
    from nanoshell import open_dashboard

    open_dashboard(session, runs, read_only=read_only, ascii=plain)
