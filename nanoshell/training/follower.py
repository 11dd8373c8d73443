"""A process that follows the leader of a run: it builds the same trainer and makes the same updates.

It holds no lock, reads no request, writes no event and no checkpoint. It ends when the leader says so, when
the leader is gone, or when it fails itself, which it tells the leader: that one ends the run.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nanoshell.errors import NanoshellError
from nanoshell.runs.directory import RunDirectory
from nanoshell.training.distributed import LeaderGoneError, Link, Order, connect
from nanoshell.training.worker import StopSignal, describe_failure

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.training.distributed import Placement
    from nanoshell.training.team import Team
    from nanoshell.training.trainer import Trainer


def run_follower(place: Placement, plugins: Plugins, log: TextIO | None = None) -> int:
    """Follow the leader to the end of its run and return the exit code: 0 where it ended as it was told.

    What it has to say of an unexpected failure goes to ``log``; None is the stderr that it began with.
    """
    try:
        link = connect(place)
        folder = link.await_run()
        if not folder:
            link.say("end")
            return 0
    except (NanoshellError, KeyboardInterrupt):
        return 1  # the leader tells, or is gone
    # From here on a signal is the leader's to obey: who ended by himself would break its update.
    with StopSignal().caught():
        try:
            with link.present():
                try:
                    _follow(link, Path(folder), plugins)
                finally:
                    with contextlib.suppress(NanoshellError):
                        link.say("end")
        except LeaderGoneError:
            return 1
        except Exception as error:
            return _tell(link, error, log or sys.__stderr__ or sys.stderr)
    return 0


def _tell(link: Link, error: Exception, log: TextIO) -> int:
    """Tell the leader of ``error``, unless it is a consequence of the leader's own end; return 1."""
    if not isinstance(error, NanoshellError) and link.leader_left():
        return 1
    final = describe_failure(error, log)
    link.fail(final["reason"], final["hint"])
    return 1


def _follow(link: Link, folder: Path, plugins: Plugins) -> None:
    """Build what the leader builds, and make its updates until it says that this is the end."""
    from nanoshell.training.team import Ranks, disband

    team = Ranks(link)
    order = link.next_order()
    if order["action"] == "end":
        return
    trainer = _build(team, RunDirectory(folder), plugins, order)
    link.say("ready")
    while True:
        match link.next_order():
            case {"action": "unite"}:
                trainer.unite(team)
            case {"action": "update"}:
                trainer.update()
            case {"action": "change", "values": values}:
                trainer.change(values)
            case {"action": "extend", "horizon": horizon}:
                trainer.extend(horizon)
            case _:
                break
    disband()


def _build(team: Team, run: RunDirectory, plugins: Plugins, order: Order) -> Trainer:
    """Return the trainer that ``order`` describes, not yet united with those of the other processes."""
    from nanoshell.training.numerics import Numerics
    from nanoshell.training.opening import open_trainer
    from nanoshell.training.record import read_record

    checkpoint = Path(order["checkpoint"]) if order["checkpoint"] else None
    numerics = Numerics.from_dict(order["numerics"], "the leader of the run")
    trainer, _ = open_trainer(run, read_record(run), plugins, numerics, checkpoint, team)
    return trainer
