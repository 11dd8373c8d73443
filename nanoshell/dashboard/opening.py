"""Opening the dashboard: which runs it shows, and what it is handed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell import paths
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.asciionly import wants_ascii
from nanoshell.dashboard.handover import LOG_NAME, TerminalHandover, check_terminal
from nanoshell.dashboard.serving import LOOPBACK, PORT, is_served, serve
from nanoshell.errors import MissingRunError, UnknownNameError, UsageError, nearest
from nanoshell.narrator import Advance
from nanoshell.runs.directory import RunDirectory, find_run, list_runs
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from nanoshell.session import Session

RUNS = "runs"
"""The folder of runs in a folder where somebody trains."""


def open_dashboard(
    session: Session,
    words: Sequence[str] = (),
    *,
    read_only: bool = False,
    ascii: bool | None = None,  # noqa: A002
    mouse: bool | None = None,
) -> None:
    """Show the runs that ``words`` name until the user leaves; the terminal is then as it was.

    A word is a run, or a folder of runs, or one with ``runs`` in it. Without any it is the runs that are in
    progress, else the newest. ``ascii`` draws in ASCII alone, by default where the terminal asks for it;
    ``mouse`` takes the mouse, by default as the setting ``dashboard_mouse`` says.
    On a page of a browser, which has no terminal, the dashboard only reads.
    Raises `NanoshellError` without a terminal, `UsageError` for a folder without runs, `UnknownNameError` and
    `RunError` for runs that are not there, and what made the dashboard fail.
    """
    if is_served():
        read_only = True
    else:
        check_terminal()
    plain = ascii if ascii is not None else wants_ascii() and not is_served()
    if mouse is None:
        mouse = session.settings.text("dashboard_mouse") == "on"
    app = build_app(session, words, read_only=read_only, ascii=plain)
    handover = TerminalHandover(paths.private_folder(paths.data_dir()) / LOG_NAME)
    app.log_file = handover.log
    narrator, session.narrator = session.narrator, DeskNarrator(app.say)
    try:
        handover.run(partial(app.run_async, mouse=mouse), app.leave)
    finally:
        session.narrator = narrator
    if app.failure is not None:
        raise app.failure


def serve_dashboard(
    session: Session,
    words: Sequence[str] = (),
    *,
    host: str = LOOPBACK,
    port: int = PORT,
    ascii: bool = False,  # noqa: A002
) -> None:
    """Serve the runs that ``words`` name to browsers, which only read, until Ctrl-C.

    Raises `UnknownNameError` and `RunError` for runs that are not there, and as `serving.serve` does.
    """
    folder, runs = chosen_runs(session, words)
    found = [str((folder / name).resolve()) for name in runs] if words and runs else []
    places = found or ([str(folder.resolve())] if folder.is_dir() else [])
    serve(session, places, host=host, port=port, options=["--ascii"] if ascii else [])


class DeskNarrator:
    """What the session has to say while the dashboard is open is said there."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say

    def note(self, text: str) -> None:
        """Say one line."""
        self._say(text, "information")

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        """Say what is begun."""
        self._say(f"{label} …", "information")
        yield lambda amount: None


def build_app(
    session: Session,
    words: Sequence[str] = (),
    *,
    read_only: bool = False,
    ascii: bool = False,  # noqa: A002
) -> DashboardApp:
    """Return the dashboard of the runs that ``words`` name. Raises as `open_dashboard` does."""
    folder, runs = chosen_runs(session, words)
    return DashboardApp(
        folder,
        runs,
        session=session,
        read_only=read_only,
        ascii=ascii,
        panels=session.plugins.panels,
        sections=session.plugins.run_sections,
        state_path=paths.data_dir() / "dashboard.json" if session.history and not is_served() else None,
        theme=session.settings.text("theme"),
        keys=session.settings.words("dashboard_keys"),
    )


def chosen_runs(session: Session, words: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the folder of runs, and those that are shown: names in it, or paths of runs elsewhere."""
    folder = session.runs_dir
    if len(words) == 1 and (named := _folder_of_runs(folder, words[0])) is not None:
        return named, []
    found = [_run_named(folder, word) for word in words]
    _refuse_one_name(found)
    if not words and (current := session.runs_in_progress()):
        found = [run for run, _status in current]
    inside = folder.resolve()
    names = [run.name if run.path.resolve().parent == inside else str(run.path) for run in found]
    return folder, list(dict.fromkeys(names))


def _run_named(folder: Path, word: str) -> RunDirectory:
    """Return the run that ``word`` means, as `find_run` does; of a path it is said what is wrong with it."""
    try:
        return find_run(folder, word)
    except (MissingRunError, UnknownNameError):
        path = Path(word).expanduser()
        if path.is_dir() and any(map(list_runs, (path, path / RUNS))):
            raise UsageError(
                f"{word} is a folder of runs, and one such alone can be shown",
                hint="name it alone, or runs in it by their paths",
            ) from None
        if "/" not in word:
            raise
        if not path.exists():
            raise UsageError(f"there is no {word}", hint=_nearest_path(path)) from None
        raise UsageError(f"{word} is no run", hint="name runs, or one folder that holds runs") from None


def _nearest_path(path: Path) -> str:
    """Return what there is in place of ``path``, which is not there."""
    missing, there = next((one, one.parent) for one in (path, *path.parents) if one.parent.is_dir())
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = [one.name for one in there.iterdir() if one.is_dir()]
    near = nearest(missing.name, beside)
    if near is None:
        return f"{missing} is a file" if missing.exists() else f"{there.resolve()} holds no {missing.name}"
    meant = there / near / path.relative_to(missing)
    return f"did you mean {meant if meant.exists() else there / near}?"


def _refuse_one_name(runs: Sequence[RunDirectory]) -> None:
    """Raise `UsageError` where two of ``runs`` have one name: they could not be told apart."""
    seen: dict[str, Path] = {}
    for run in runs:
        path = run.path.resolve()
        other = seen.setdefault(run.name, path)
        if other != path:
            raise UsageError(
                f"two runs are called {run.name}: {other} and {path}",
                hint="one of them alone can be shown; another terminal can show the other",
            )


def _folder_of_runs(folder: Path, word: str) -> Path | None:
    """Return the folder of runs that ``word`` means, None where it means a run: a run's name comes first.

    One without runs, in which there is a folder ``runs`` that has some, means that.
    """
    path = Path(word).expanduser()
    if (path / "run.yaml").is_file() or (folder / word / "run.yaml").is_file():
        return None
    if path.is_file():
        raise UsageError(f"{path} is a file", hint="name runs, or a folder that holds runs")
    if not path.is_dir():
        return None
    for place in (path, path / RUNS):
        if list_runs(place):
            return place.resolve()
    if any(run.name.startswith(word) for run in list_runs(folder)):
        return None
    if is_served():  # its server has looked already, and whoever opens a page may wait for the first run
        return path.resolve()
    raise UsageError(
        f"there is no run in {path}, nor in {path / RUNS}",
        hint=f"name runs, or a folder that holds runs; {typed('dashboard')} alone waits for the first one",
    )
