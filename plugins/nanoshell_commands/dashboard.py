"""``dashboard``: see and steer runs on the whole screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from nanoshell import RUN_OR_DIR, UsageError

if TYPE_CHECKING:
    from nanoshell import Session

LOOPBACK = "127.0.0.1"

EXAMPLES = (
    "dashboard",
    "dashboard latest",
    "dashboard nano-start-1 nano-start-2",
    "dashboard runs --read-only",
    "dashboard --ascii",
    "dashboard --web --port 8123",
)


@click.command("dashboard")
@click.argument("runs", nargs=-1, metavar="[RUN... | DIR]", type=RUN_OR_DIR)
@click.option(
    "--read-only", is_flag=True, help="Show runs only: no commands, no chat, nothing is asked of them."
)
@click.option(
    "--ascii/--no-ascii",
    "plain",
    default=None,
    show_default="by the locale",
    help="Draw with nothing but ASCII.",
)
@click.option(
    "--mouse/--no-mouse",
    default=None,
    show_default="dashboard_mouse",
    help="Take the mouse from the terminal.",
)
@click.option("--web", is_flag=True, help="Serve it to browsers, which can only look.")
@click.option("--host", default=LOOPBACK, show_default=True, help="With --web: the address to listen at.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="With --web: the port to listen at.",
)
@click.pass_context
def dashboard(
    ctx: click.Context,
    runs: tuple[str, ...],
    read_only: bool,
    plain: bool | None,
    mouse: bool | None,
    web: bool,
    host: str,
    port: int,
) -> None:
    """Show and steer runs on the whole screen.

    It shows each RUN, the first in focus; of a folder (DIR, or DIR/runs), and without any, those in progress,
    else the newest.
    It reads the runs' directories alone: runs of other terminals and machines are shown as well.
    A terminal whose locale is not UTF-8 gets ASCII. With --no-mouse it selects text as ever.
    Inside ? lists the keys, Ctrl-P the commands, q comes back.

    With --web it is a page for browsers of this machine: no commands, no chat, nothing is asked of a run.
    With another --host it is one for whoever reaches that address; there is no password.
    """
    session: Session = ctx.obj
    if web:
        if mouse is False:
            raise UsageError("--no-mouse goes with a terminal alone: pages of a browser have the mouse")
        from nanoshell import serve_dashboard

        serve_dashboard(session, runs, host=host, port=port, ascii=bool(plain))
        return
    given = [
        name for name in ("host", "port") if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"--{given[0]} goes with --web alone")
    from nanoshell import open_dashboard

    open_dashboard(session, runs, read_only=read_only, ascii=plain, mouse=mouse)
