"""Opening the dashboard: which runs it shows, and what it is handed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell import paths
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.handover import TerminalHandover, check_terminal
from nanoshell.dashboard.serving import LOOPBACK, PORT, is_served, serve
from nanoshell.errors import UsageError
from nanoshell.narrator import Advance
from nanoshell.runs.directory import find_run

if TYPE_CHECKING:
    from nanoshell.session import Session


def open_dashboard(
    session: Session,
    words: Sequence[str] = (),
    *,
    read_only: bool = False,
    ascii: bool = False,  # noqa: A002
) -> None:
    """Show the runs that ``words`` name until the user leaves; the terminal is then as it was.

    A word is a run, or a folder of runs. Without any it is the run that the session follows, else the newest.
    On a page of a browser, which has no terminal, the dashboard only reads.
    Raises `NanoshellError` without a terminal, `UnknownNameError` and `RunError` for runs that are not there,
    and what made the dashboard fail.
    """
    if is_served():
        read_only = True
    else:
        check_terminal()
    app = build_app(session, words, read_only=read_only, ascii=ascii)
    handover = TerminalHandover(paths.private_folder(paths.data_dir()) / "dashboard.log")
    app.log_file = handover.log
    narrator, session.narrator = session.narrator, DeskNarrator(app.say)
    try:
        handover.run(app.run_async, app.leave)
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
    named = [Path(word).expanduser() for word in words]
    if len(words) == 1 and _is_folder_of_runs(named[0], folder, words[0]):
        return named[0].resolve(), []
    found = [find_run(folder, word) for word in words]
    if not words and (current := session.runs_in_progress()):
        found = [run for run, _status in current]
    inside = folder.resolve()
    names = [run.name if run.path.resolve().parent == inside else str(run.path) for run in found]
    return folder, list(dict.fromkeys(names))


def _is_folder_of_runs(path: Path, folder: Path, word: str) -> bool:
    """Return whether ``path`` is a folder and no run. A run's name comes before a folder's."""
    if not path.is_dir() or (path / "run.yaml").is_file() or (folder / word / "run.yaml").is_file():
        if path.is_file():
            raise UsageError(f"{path} is a file", hint="name runs, or a folder that holds runs")
        return False
    return True
