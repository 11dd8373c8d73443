"""The watcher: what it hands over, and when; what it does not read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from nanoshell.dashboard import watch
from nanoshell.dashboard.course import Snapshot
from nanoshell.dashboard.watch import Standing, Watcher
from nanoshell.errors import UnknownNameError
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

Begin = Callable[..., FakeRun]
PATIENCE_SECONDS = 60.0


class Seen:
    """What a watcher handed over, and a way to wait for something."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self._news = threading.Condition()

    def __call__(self, snapshot: Snapshot) -> None:
        with self._news:
            self.snapshots.append(snapshot)
            self._news.notify_all()

    def until(self, found: Callable[[Snapshot], Any]) -> Snapshot:
        """Return the first snapshot from now on of which ``found`` is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._news:
            while not (self.snapshots and found(self.snapshots[-1])):
                assert self._news.wait(deadline - time.monotonic()), self.snapshots[-1:]
            return self.snapshots[-1]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(watch, "LIVENESS_SECONDS", 0.05)
    monkeypatch.setattr(watch, "STATUS_SHARE", 1.0)
    monkeypatch.setattr(watch, "WATCH_SHARE", 1.0)


@pytest.fixture
def watching() -> Iterator[Callable[..., tuple[Watcher, Seen]]]:
    """Return a function that starts a watcher and what it hands over to."""
    begun: list[Watcher] = []

    def start(*given: Any) -> tuple[Watcher, Seen]:
        watcher, seen = Watcher(*given), Seen()
        begun.append(watcher)
        watcher.start(seen)
        return watcher, seen

    yield start
    for watcher in begun:
        watcher.stop()


def steps(snapshot: Snapshot) -> int:
    course = snapshot.focused
    return len(course.series["loss"].step) if course is not None and "loss" in course.series else 0


def look_on(watcher: Watcher, times: int) -> None:
    """Wait until ``watcher`` has looked so often."""
    looked = threading.Semaphore(0)
    look = watcher._look_around

    def count() -> None:
        looked.release()
        look()

    watcher._look_around = count  # type: ignore[method-assign]
    for _ in range(times):
        assert looked.acquire(timeout=PATIENCE_SECONDS)


def test_it_follows_a_run_that_is_written(nanoshell_fake_run: Begin, watching: Any) -> None:
    fake = nanoshell_fake_run(total_steps=50)
    fake.step(5)
    _, seen = watching(fake.run.path.parent, ["fake-1"])
    snapshot = seen.until(lambda snapshot: steps(snapshot) == 5)
    assert snapshot.focused is not None
    assert (snapshot.focused.status.state, snapshot.colours, snapshot.focus) == ("running", {"fake-1": 0}, 0)
    fake.step(3)
    fake.half_line()
    fake.eval()
    snapshot = seen.until(lambda snapshot: "val_loss" in snapshot.focused.series)
    assert steps(snapshot) == 8
    fake.crash()
    snapshot = seen.until(lambda snapshot: snapshot.focused.status.state == "crashed")
    fake.resume(6)
    snapshot = seen.until(lambda snapshot: steps(snapshot) == 6)
    assert snapshot.focused is not None
    assert [mark.kind for mark in snapshot.focused.marks] == ["resume"]
    seen.until(lambda snapshot: snapshot.focused.status.state == "running")
    revisions = [snapshot.focused.revision for snapshot in seen.snapshots]
    assert revisions == sorted(set(revisions))
    fake.vanish()
    snapshot = seen.until(lambda snapshot: snapshot.focused.problem)
    assert "is gone" in snapshot.focused.problem
    assert steps(snapshot) == 6


def test_nothing_is_handed_over_where_nothing_changed(nanoshell_fake_run: Begin, watching: Any) -> None:
    fake = nanoshell_fake_run()
    fake.step(3)
    fake.finish()
    watcher, seen = watching(fake.run.path.parent, ["fake-1"])
    seen.until(lambda snapshot: steps(snapshot) == 3)
    look_on(watcher, 20)
    assert len(seen.snapshots) <= 2  # the run as it was read, and without more


def test_without_a_name_the_newest_run_is_shown_once_there_is_one(
    nanoshell_fake_run: Begin, watching: Any, tmp_path: Path
) -> None:
    _, seen = watching(tmp_path / "runs")
    assert seen.until(lambda snapshot: True).focused is None
    nanoshell_fake_run("first").step(2)
    snapshot = seen.until(steps)
    assert snapshot.focused is not None
    assert snapshot.focused.run.name == "first-1"
    nanoshell_fake_run("second")
    with pytest.raises(UnknownNameError, match="firsst"):
        Watcher(tmp_path / "runs", ["firsst"])


def test_of_runs_that_come_at_once_one_that_trains_is_shown(
    nanoshell_fake_run: Begin, watching: Any, tmp_path: Path
) -> None:
    nanoshell_fake_run("busy").step(2)
    nanoshell_fake_run("over").finish()
    (tmp_path / "runs").rename(tmp_path / "away")
    _, seen = watching(tmp_path / "runs")
    assert seen.until(lambda snapshot: True).focused is None
    (tmp_path / "away").rename(tmp_path / "runs")
    snapshot = seen.until(lambda snapshot: snapshot.focused)
    assert snapshot.focused is not None
    assert snapshot.focused.run.name == "busy-1"


def test_runs_are_shown_and_hidden_and_keep_their_colours(nanoshell_fake_run: Begin, watching: Any) -> None:
    one = nanoshell_fake_run("one")
    nanoshell_fake_run("two")
    watcher, seen = watching(one.run.path.parent, [one.run, "two"])

    def names(snapshot: Snapshot) -> tuple[list[str], int]:
        return [course.run.name for course in snapshot.courses], snapshot.focus

    seen.until(lambda snapshot: names(snapshot) == (["one-1", "two-1"], 0))
    watcher.focus("two-1")
    seen.until(lambda snapshot: names(snapshot) == (["one-1", "two-1"], 1))
    three = nanoshell_fake_run("three")
    watcher.focus(three.run.name)
    snapshot = seen.until(lambda snapshot: names(snapshot) == (["one-1", "two-1", "three-1"], 2))
    assert snapshot.colours == {"one-1": 0, "two-1": 1, "three-1": 2}
    watcher.show("three-1", False)
    seen.until(lambda snapshot: names(snapshot) == (["one-1", "two-1"], 0))
    watcher.show("one-1", False)
    seen.until(lambda snapshot: names(snapshot) == (["two-1"], 0))
    watcher.show("one-1")
    snapshot = seen.until(lambda snapshot: names(snapshot) == (["two-1", "one-1"], 0))
    assert snapshot.colours == {"one-1": 0, "two-1": 1, "three-1": 2}
    watcher.show("two-1", False)
    watcher.show("one-1", False)
    seen.until(lambda snapshot: names(snapshot)[1] == 0)


def test_older_parts_come_after_the_newest(
    nanoshell_fake_run: Begin, watching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell.dashboard.feed.NEWEST_BYTES", 2000)
    monkeypatch.setattr("nanoshell.dashboard.feed.BLOCK_BYTES", 3000)
    fake = nanoshell_fake_run()
    fake.step(300)
    _, seen = watching(fake.run.path.parent, [fake.run])
    seen.until(lambda snapshot: snapshot.courses and snapshot.focused.complete)
    first = next(snapshot for snapshot in seen.snapshots if steps(snapshot))
    assert first.focused is not None
    assert not first.focused.complete
    assert first.focused.series["loss"].step[-1] == 300
    assert steps(first) < 20
    assert steps(seen.snapshots[-1]) == 300


def test_at_rest_it_looks_and_reads_little(
    nanoshell_fake_run: Begin, watching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "REST_SECONDS", 3600.0)
    fake = nanoshell_fake_run()
    watcher, seen = watching(fake.run.path.parent, [fake.run])
    seen.until(lambda snapshot: snapshot.courses)
    watcher.rest(True)
    fake.step(4)
    watcher.rest(False)
    seen.until(lambda snapshot: steps(snapshot) == 4)


def test_a_status_is_read_where_something_changed_or_liveness_is_due(
    nanoshell_fake_run: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    status = RunDirectory.status

    def count(run: RunDirectory) -> RunStatus:
        reads.append(run.name)
        return status(run)

    monkeypatch.setattr(RunDirectory, "status", count)
    monkeypatch.setattr(watch, "STATUS_SHARE", 1e9)
    monkeypatch.setattr(watch, "LIVENESS_SECONDS", 3600.0)
    fake = nanoshell_fake_run()
    standing = Standing(fake.run)
    for _ in range(3):
        assert standing.look().state == "running"
    assert len(reads) == 1
    fake.step()
    assert standing.look().step == 1
    assert len(reads) == 2
    monkeypatch.setattr(watch, "LIVENESS_SECONDS", 0.0)
    standing.look()
    assert len(reads) == 3
    fake.finish()
    for _ in range(3):
        assert standing.look().state == "finished"
    assert len(reads) == 4
    monkeypatch.setattr(watch, "STATUS_SHARE", 1e-9)  # one that takes long is not read again soon
    fake.log("")
    fake.resume(0)
    assert standing.look().state == "running"
    fake.step()
    assert standing.look().step == 0


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_whose_folder_is_away_is_gone_and_comes_back(
    nanoshell_fake_run: Begin, watching: Any, tmp_path: Path, ended: bool
) -> None:
    fake = nanoshell_fake_run()
    fake.step(3)
    if ended:
        fake.finish()
    state = "finished" if ended else "running"
    watcher, seen = watching(fake.run.path.parent, [fake.run])
    seen.until(lambda snapshot: snapshot.courses and snapshot.focused.status.state == state)
    fake.run.path.rename(tmp_path / "away")
    snapshot = seen.until(lambda snapshot: snapshot.focused.status.state == "gone")
    assert "is gone" in snapshot.focused.problem
    assert steps(snapshot) == 3
    (tmp_path / "away").rename(fake.run.path)
    snapshot = seen.until(lambda snapshot: snapshot.focused.status.state == state)
    assert (snapshot.focused.problem, steps(snapshot)) == ("", 3)
    before = len(seen.snapshots)
    fake.run.path.rename(tmp_path / "away")
    seen.until(lambda snapshot: snapshot.focused.status.state == "gone")
    look_on(watcher, 10)
    assert len(seen.snapshots) <= before + 2, "there is nothing new to tell"


def test_a_status_that_cannot_be_read_is_a_problem_of_the_run(
    nanoshell_fake_run: Begin, watching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = nanoshell_fake_run()
    fake.step(2)
    read = RunDirectory.status
    monkeypatch.setattr(RunDirectory, "status", lambda run: 1 / 0)
    _, seen = watching(fake.run.path.parent, [fake.run])
    snapshot = seen.until(lambda snapshot: snapshot.courses and snapshot.focused.problem)
    assert "ZeroDivisionError" in snapshot.focused.problem
    monkeypatch.setattr(RunDirectory, "status", read)
    snapshot = seen.until(lambda snapshot: not snapshot.focused.problem)
    assert steps(snapshot) == 2
    assert len(seen.snapshots) <= 4, "an equal problem is told once"


def test_what_goes_wrong_in_the_watcher_is_told_once_and_it_goes_on(
    nanoshell_fake_run: Begin, watching: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "REST_SECONDS", 0.02)
    looked = threading.Semaphore(0)

    def broken(folder: Path) -> list[RunDirectory]:
        looked.release()
        raise OSError("the disk is on fire")

    listed = watch.list_runs
    monkeypatch.setattr(watch, "list_runs", broken)
    nanoshell_fake_run().step(2)
    _, seen = watching(tmp_path / "runs")
    for _ in range(5):
        assert looked.acquire(timeout=PATIENCE_SECONDS)
    assert [snapshot.problem for snapshot in seen.snapshots if snapshot.problem] == [
        "the runs cannot be watched: OSError: the disk is on fire"
    ]
    monkeypatch.setattr(watch, "list_runs", listed)
    assert seen.until(lambda snapshot: steps(snapshot) == 2).problem == ""


def test_runs_are_read_though_the_folder_cannot_be_looked_at(
    nanoshell_fake_run: Begin, watching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "REST_SECONDS", 0.02)
    fake = nanoshell_fake_run()
    watcher, seen = watching(fake.run.path.parent, [fake.run])
    seen.until(lambda snapshot: snapshot.courses)

    def broken() -> None:
        raise OSError("the disk is on fire")

    watcher._look_around = broken
    seen.until(lambda snapshot: snapshot.problem)
    fake.step(3)
    assert "on fire" in seen.until(lambda snapshot: steps(snapshot) == 3).problem


def test_a_dear_look_is_taken_less_often_but_not_while_a_long_log_is_read(
    nanoshell_fake_run: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.25)
    monkeypatch.setattr(watch, "WATCH_SHARE", 0.01)
    fake = nanoshell_fake_run()
    watcher = Watcher(fake.run.path.parent, [fake.run])
    watched = watcher._watched()[0]
    watched.read()
    assert [watcher._pause(taken) for taken in (0.001, 0.01, 1.0)] == [0.25, 1.0, 2.0]
    watched.feed._oldest = 1
    assert watcher._pause(1.0) == 0.25
    watcher.rest(True)
    assert watcher._pause(0.0) == watch.REST_SECONDS


def test_colours_are_the_runs_own_from_one_start_to_the_next(nanoshell_fake_run: Begin) -> None:
    runs = {name: nanoshell_fake_run(name).run for name in ("a", "b", "c")}
    folder, names = runs["a"].path.parent, [run.name for run in runs.values()]
    first = Watcher(folder, names[:1])._colours
    alone = Watcher(folder, [names[1]], first)._colours
    assert alone["b-1"] != first["a-1"], "who is seen alone today may be seen beside it tomorrow"
    for order in (names, names[::-1], names[1:]):
        again = Watcher(folder, order, alone)._colours
        assert {name: again[name] for name in ("a-1", "b-1")} == {"a-1": 0, "b-1": 1}
        assert again["c-1"] == 2
    clash = Watcher(folder, names, dict.fromkeys(names, 5))._colours
    assert clash["a-1"] == 5
    assert len(set(clash.values())) == 3


@given(st.lists(st.integers(0, 7), max_size=20), st.permutations([f"run-{at}" for at in range(12)]))
def test_no_two_of_eight_runs_shown_at_once_share_a_colour(known: list[int], order: list[str]) -> None:
    kept = {f"run-{at}": colour for at, colour in enumerate(known)}
    shown: dict[str, int] = {}
    for name in order:
        shown[name] = kept[name] = watch.coloured(name, shown, kept)
        assert len(set(shown.values())) == min(8, len(shown))
