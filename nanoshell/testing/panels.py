"""The contract of a panel of the dashboard."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nanoshell.testing.contract import Contract, name_of, shown

if TYPE_CHECKING:
    from nanoshell.dashboard.app import DashboardApp
    from nanoshell.dashboard.course import Snapshot
    from nanoshell.dashboard.panel import Panel
    from nanoshell.runs.directory import RunDirectory

RULES = MappingProxyType(
    {
        "panel": "factory() returns a new nanoshell.Panel each time",
        "named": "panel_id is a word, and title and about say what it is",
        "placed": "place is a view of the dashboard, or empty: then it has one of its own",
        "actions": "each action has a method action_ID, and ids and keys of their own",
        "keys": "none has a key that the dashboard takes for a run, a view or itself, nor one of tmux",
        "draws": "in 80 × 24 it shows what it is handed: no run, one in any state, several, one that is gone",
        "only reads": "it does so with --read-only --ascii too, where there is no session",
        "leaves alone": "it changes nothing in a run's directory by showing it",
    }
)

COLUMNS, ROWS = 80, 24
PATIENCE_SECONDS = 60.0

_SHARED_KEYS = frozenset({"ctrl+c", "enter", "escape", "pageup", "pagedown"})
"""Keys of the dashboard that a panel may take for itself while it has the focus."""

_TAKEN_KEYS = frozenset({"ctrl+a", "ctrl+b", "ctrl+s", "ctrl+q", "tab", "shift+tab", *"123456789"})


class _Feed:
    """What a dashboard is handed in place of what it would read."""

    def __init__(self) -> None:
        self.deliver: Callable[[Snapshot], None] = lambda _snapshot: None

    def start(self, deliver: Callable[[Snapshot], None]) -> None:
        self.deliver = deliver

    def stop(self) -> None: ...

    def focus(self, name: str) -> None: ...

    def show(self, name: str, shown: bool) -> None: ...

    def rest(self, resting: bool) -> None: ...


def check_panel(factory: Callable[[], Panel], run: RunDirectory | None = None) -> None:
    """Check the panel that ``factory()`` makes, in a dashboard of made-up runs, and of ``run`` if given."""
    from nanoshell.dashboard.panel import Panel
    from nanoshell.dashboard.views import PLACES

    contract = Contract("panel", name_of(factory), RULES)
    with contract.keeping("panel", "the factory"):
        panel, other = factory(), factory()
    contract.must("panel", isinstance(panel, Panel) and panel is not other, f"it returned {shown(panel)}")
    word = panel.panel_id.replace("-", "").replace("_", "")
    contract.must("named", word.isalnum(), f"panel_id is {panel.panel_id!r}")
    for name in ("title", "about"):
        contract.must("named", getattr(panel, name), f"{name} is empty")
    contract.must("placed", panel.place in ("", *PLACES), f"place is {panel.place!r}")
    _check_actions(contract, panel)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_show(contract, "draws", factory, Path(folder, "runs"), run))
        if panel.place != "chat":  # there is none where one only reads
            asyncio.run(_show(contract, "only reads", factory, Path(folder, "read"), run))


def _check_actions(contract: Contract, panel: Panel) -> None:
    from nanoshell.dashboard.table import ACTIONS

    taken = {key for action in ACTIONS for key in action.keys} - _SHARED_KEYS | _TAKEN_KEYS
    for action in panel.actions:
        method = f"action_{action.id.partition('(')[0]}"
        contract.must("actions", callable(getattr(panel, method, None)), f"there is no {method}")
        for key in action.keys:
            contract.must("keys", key not in taken, f"'{action.title}' has the key {key}")
    told = Counter([action.id for action in panel.actions])
    told += Counter([key for action in panel.actions for key in action.keys])
    twice = [name for name, count in told.items() if count > 1]
    contract.must("actions", not twice, f"twice there: {', '.join(twice)}")


async def _show(
    contract: Contract, rule: str, factory: Callable[[], Panel], folder: Path, run: RunDirectory | None
) -> None:
    """Show what `_snapshots` yields in a dashboard that has the panel alone; ``rule`` says which one."""
    from nanoshell.dashboard.app import DashboardApp
    from nanoshell.plugin.registry import Entry

    feed = _Feed()
    only = rule == "only reads"
    panels = [Entry(contract.called, factory, "tests")]
    app = DashboardApp(folder, panels=panels, feed=feed, read_only=only, ascii=only)
    async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
        app.action_view(len(app.views) - 1)
        for case, snapshot in _snapshots(folder, run):
            if only and len(snapshot.courses) == 1 and not case.endswith("trains"):
                continue
            runs = [course.run for course in snapshot.courses]
            before = [_contents(one) for one in runs]
            feed.deliver(snapshot)
            await _shown(app, snapshot)
            await pilot.pause()
            await _rested(app)
            await pilot.pause()
            error = next(slot.error for view in app.views for slot in view.slots) or app.failure
            found = f"{case}: it raised {type(error).__name__}: {error}"
            contract.must(rule, error is None, found)
            after = [_contents(one) for one in runs]
            contract.must("leaves alone", before == after, f"{case}: there are other files or contents")


async def _shown(app: DashboardApp, snapshot: Snapshot) -> None:
    """Wait until the panel has been handed ``snapshot``, has failed, or is not wanted for it."""
    slot = next(slot for view in app.views for slot in view.slots)
    end = time.monotonic() + PATIENCE_SECONDS
    while app.snapshot is not snapshot or not (slot.error or slot.saw(snapshot) or not slot.wanted):
        if time.monotonic() > end:
            raise AssertionError(f"the panel was not updated within {PATIENCE_SECONDS:g} s")
        await asyncio.sleep(0.01)


async def _rested(app: DashboardApp) -> None:
    """Wait for what the panel reads aside; one that works for ever is not waited for."""
    end = time.monotonic() + 1.0
    while time.monotonic() < end and any(not worker.is_finished for worker in app.workers):
        await asyncio.sleep(0.01)


def _snapshots(folder: Path, given: RunDirectory | None) -> Iterator[tuple[str, Snapshot]]:
    """Yield what a dashboard may have to show, with words about it."""
    from nanoshell.dashboard.course import Course, Snapshot
    from nanoshell.dashboard.feed import RunFeed
    from nanoshell.testing.run import FakeRun, write_run

    def read(run: RunDirectory) -> Course:
        feed = RunFeed(run)
        feed.poll()
        return feed.course(run.status())

    def of(*courses: Course) -> Snapshot:
        return Snapshot(courses, 0, {course.run.name: at for at, course in enumerate(courses)}, time.time())

    yield "no run", of()
    states = {
        "a run that is finished": "finished",
        "a run that failed": "failed",
        "a run without an event": "",
    }
    made = {case: read(write_run(folder, state=state)) for case, state in states.items()}
    made |= {} if given is None else {f"run {given.name}": read(given)}
    for case, course in made.items():
        yield case, of(course)
    yield "several runs", of(*made.values())
    with FakeRun(folder, "live") as fake:
        fake.step(3)
        yield "a run that trains", of(read(fake.run))
        fake.step(loss=float("nan"), grad_norm=float("inf"))
        fake.sample("\x1b[31mnot red\x07 [b]nor bold[/]\r\n" + "long " * 100)
        yield "a run without numbers, with control characters", of(read(fake.run))
    gone = write_run(folder, "gone")
    course = read(gone)
    shutil.rmtree(gone.path)
    yield "a run whose directory has gone", of(course)
    yield "no run any more", of()


def _contents(run: RunDirectory) -> dict[Path, Any]:
    return {path: path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}
