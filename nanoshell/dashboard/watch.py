"""The watcher: a thread that reads the runs which are shown, and hands over what has changed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nanoshell.dashboard.beside import Beside
from nanoshell.dashboard.chart.palette import COLOURS
from nanoshell.dashboard.course import Course, Snapshot
from nanoshell.dashboard.feed import RunFeed
from nanoshell.runs.directory import RunDirectory, find_run, list_runs
from nanoshell.runs.live import live_runs, live_runs_here
from nanoshell.runs.status import RunStatus

POLL_SECONDS = 0.25
"""So often it looks at most."""

WATCH_SHARE = 0.003
"""Of one core, for looking: where a look is dearer it comes less often, since a run has the rest."""

PATIENCE_SECONDS = 1.0
"""Whoever leaves waits no longer for a disk that does not answer: the thread ends with the process."""

REST_SECONDS = 2.0
"""So often it looks at least, and while nobody does: nobody is at the keys, or the app is suspended."""

LIVENESS_SECONDS = 2.0
"""So often it is asked whether a run that says nothing new still lives, and what runs there are."""

OLDER_SHARE = 0.2
"""Of one core, for the older parts of a long log while a run trains on this machine."""

OLDER_SHARE_ALONE = 0.6
STATUS_SHARE = 0.01
"""Of one core, for how the runs stand: of a log without heartbeats that takes a quarter of a second."""

Deliver = Callable[[Snapshot], None]


def coloured(name: str, shown: Mapping[str, int], known: Mapping[str, int]) -> int:
    """Return the number of the colour of the run ``name`` beside those ``shown``, both by their names.

    It is the one it is ``known`` by, unless a run beside it has that; else the one that fewest are known by.
    """
    taken, used = Counter(shown.values()), Counter(known.values())
    kept = known.get(name)
    if kept is not None and not taken[kept]:
        return kept
    return min(range(COLOURS), key=lambda colour: (taken[colour], used[colour], colour))


class Standing:
    """How ``run`` stands, read no more often than it changes, and no more often than it is worth."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._signs: tuple[tuple[int, int] | None, ...] = ()
        self._read_at = self._next = 0.0
        self._status: RunStatus | None = None

    def look(self) -> RunStatus:
        """Return the status as it was when it was read last: now, where that is due."""
        now = time.monotonic()
        if self._status is not None and now < self._next:
            return self._status
        signs = (_sign(self._run.events_path), _sign(self._run.process_path))
        gone = self._status is not None and self._status.state == "gone"
        if signs == (None, None) and not self._run.path.is_dir():
            if self._status is None or not gone:
                known = self._status or RunStatus("gone")
                self._status = replace(known, state="gone", reason="its folder is gone", eta_seconds=None)
            return self._status
        due = not (self._status and self._status.ended) and now - self._read_at >= LIVENESS_SECONDS
        if self._status is None or due or gone or signs != self._signs:
            self._signs, self._read_at = signs, now
            self._status = self._run.status()
            after = time.monotonic()
            self._next = after + (after - now) / STATUS_SHARE
        return self._status


def _sign(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


class _Watched:
    """A run that is shown: its feed, and how it stands."""

    def __init__(self, run: RunDirectory) -> None:
        self.feed = RunFeed(run)
        self.course: Course | None = None
        self._standing = Standing(run)

    def read(self) -> None:
        """Read what is new. Whatever goes wrong is told as the run's problem: others go on."""
        try:
            self.feed.poll()
        except Exception as error:
            self.feed.fail(error)
        try:
            self.course = self.feed.course(self._standing.look())
        except Exception as error:
            known = self.course or Course(self.feed.run, RunStatus("silent"), complete=self.feed.complete)
            problem = f"how it stands cannot be told: {type(error).__name__}: {error}"
            if known is not self.course or known.problem != problem:  # the same course says: nothing new
                self.course = replace(known, problem=problem, revision=known.revision + 1)


class Watcher:
    """Watches runs of ``runs_dir``: those that ``runs`` name or are, else the newest, once there is one.

    The first of them has the focus. ``colours`` are those that runs had before, by their names. Raises
    `UnknownNameError` and `RunError` for a name that means no run; what cannot be read later is told in
    `Course.problem`. Every method may be called in any thread.
    """

    def __init__(
        self,
        runs_dir: Path,
        runs: Sequence[str | RunDirectory] = (),
        colours: Mapping[str, int] | None = None,
    ) -> None:
        self._runs_dir = runs_dir
        found = [run if isinstance(run, RunDirectory) else find_run(runs_dir, run) for run in runs]
        self._known = {run.name: run for run in found}
        self._shown: dict[str, _Watched] = {run.name: _Watched(run) for run in found}
        self._focus = next(iter(self._shown), "")
        self._colours = dict(colours or {})
        for at, name in enumerate(self._shown):
            self._colour(name, list(self._shown)[:at])
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._resting = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._told: Snapshot | None = None
        self._fault = ""
        self._looked_around = -LIVENESS_SECONDS
        self._seen_folder: int | None = None
        self._training_here = True
        self._beside = Beside(runs_dir)

    def start(self, deliver: Deliver) -> None:
        """Begin to watch in a thread, which calls ``deliver`` whenever something has changed."""
        self._ended.clear()
        self._told = None
        self._thread = threading.Thread(target=self._watch, args=(deliver,), name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read and deliver nothing any more."""
        self._ended.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE_SECONDS)
        self._thread = None

    def show(self, name: str, shown: bool = True) -> None:
        """Show the run ``name`` beside the others, or no longer."""
        with self._lock:
            if shown:
                self._add(name)
            elif self._shown.pop(name, None) is not None and self._focus == name:
                self._focus = next(iter(self._shown), "")
        self._wake.set()

    def focus(self, name: str) -> None:
        """Give the run ``name`` the focus, and show it where it is not shown."""
        with self._lock:
            self._add(name)
            self._focus = name
        self._wake.set()

    def rest(self, resting: bool) -> None:
        """Look less often, or as often as before."""
        self._resting = resting
        self._wake.set()

    def _add(self, name: str) -> None:
        if name not in self._shown:
            self._colour(name, self._shown)
            self._shown[name] = _Watched(self._known.get(name) or RunDirectory(self._runs_dir / name))
            self._focus = self._focus or name

    def _colour(self, name: str, beside: Iterable[str]) -> None:
        number = coloured(name, {one: self._colours[one] for one in beside}, self._colours)
        others = {one: known for one, known in self._colours.items() if one != name}
        self._colours = {**others, name: number}  # the last one is forgotten last

    # In the thread

    def _watch(self, deliver: Deliver) -> None:
        while not self._ended.is_set():
            begun, taken = time.monotonic(), -time.thread_time()
            self._wake.clear()
            faults = [_fault_of(self._look_around), _fault_of(lambda: self._look(deliver))]
            if (fault := next(filter(None, faults), "")) != self._fault:
                self._fault = fault
                _fault_of(lambda: self._tell(deliver))
            taken += time.thread_time()
            self._wake.wait(max(0.01, self._pause(taken) - (time.monotonic() - begun)))

    def _pause(self, taken: float) -> float:
        """Return how long a turn lasts of which looking took ``taken`` seconds of this thread's time."""
        if self._resting or self._fault:
            return REST_SECONDS
        if any(not watched.feed.complete for watched in self._watched()):
            return POLL_SECONDS  # reading a long log has its own share
        return min(max(POLL_SECONDS, taken / WATCH_SHARE), REST_SECONDS)

    def _look(self, deliver: Deliver) -> None:
        for watched in self._watched():
            first = watched.course is None
            watched.read()
            if first:  # a long log has its first part on the screen before the next run is opened
                self._tell(deliver)
            if self._ended.is_set():
                return
        self._tell(deliver)
        if not self._resting:
            self._read_older()

    def _watched(self) -> list[_Watched]:
        """Return what is shown, the run with the focus first."""
        with self._lock:
            return sorted(self._shown.values(), key=lambda watched: watched.feed.run.name != self._focus)

    def _look_around(self) -> None:
        """See what runs there are, where that is due: show the newest where none is."""
        now = time.monotonic()
        if now - self._looked_around < LIVENESS_SECONDS and self._shown:
            return
        if any(not watched.feed.complete for watched in self._watched()):
            self._training_here = bool(live_runs_here(self._runs_dir))
        self._looked_around = now
        with self._lock:
            shown = set(self._shown)
        self._beside.look(shown)
        folder = _changed(self._runs_dir)
        if not self._shown and folder is not None and folder != self._seen_folder:
            runs = list_runs(self._runs_dir)
            first = next(iter(live_runs(self._runs_dir) or runs), None)
            with self._lock:
                if first is not None and not self._shown:
                    self._add(first.name)
            # A run without its record yet is seen when that is there, which changes the run's folder alone.
            self._seen_folder = folder if runs else None

    def _read_older(self) -> None:
        """Read older parts for as long as it may take of this turn, those of the run with the focus first."""
        left = POLL_SECONDS * (OLDER_SHARE if self._training_here else OLDER_SHARE_ALONE)
        for watched in self._watched():
            begun = time.monotonic()
            if left <= 0 or self._ended.is_set():
                return
            if not watched.feed.complete:
                try:
                    watched.feed.read_older(left)
                except Exception as error:
                    watched.feed.fail(error)
                left -= time.monotonic() - begun

    def _tell(self, deliver: Deliver) -> None:
        """Hand over what is known, where that is not what was handed over before."""
        with self._lock:
            read = {
                name: watched.course for name, watched in self._shown.items() if watched.course is not None
            }
            colours, focus = self._colours, self._focus
        names = list(read)
        courses = tuple(read.values())
        at = names.index(focus) if focus in read else 0
        told = self._told
        if self._ended.is_set() or (
            told is not None
            and (told.focus, told.colours, told.problem) == (at, colours, self._fault)
            and told.beside == self._beside.courses
            and len(told.courses) == len(courses)
            and all(one is other for one, other in zip(told.courses, courses, strict=True))
        ):
            return
        snapshot = Snapshot(courses, at, colours, time.time(), self._fault, self._beside.courses)
        deliver(snapshot)
        self._told = snapshot


def _fault_of(act: Callable[[], None]) -> str:
    """Do ``act``; return what went wrong, '' for nothing: who brings the news must not end silently."""
    try:
        act()
    except Exception as error:
        return f"the runs cannot be watched: {type(error).__name__}: {error}"
    return ""


def _changed(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None
