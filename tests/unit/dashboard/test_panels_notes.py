"""The panel of notes: what it shows of the run in focus, how one is written, and where none may be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from textual.pilot import Pilot

import nanoshell_notes
from nanoshell import Sight
from nanoshell.testing import FakeRun, check_panel, write_run
from nanoshell_notes.journal import add_note, read_notes
from nanoshell_notes.panel import NotesPanel
from tests.unit.dashboard.stage import HandFeed, desk, play, screen_text, until


def test_it_is_a_good_panel(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    add_note(run, "[b]no markup[/] \x1b[31mnor red")
    check_panel(nanoshell_notes.notes_panel, run)


def test_a_note_is_written_about_the_run_in_focus(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, NotesPanel, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("2", "n")
        await until(pilot, lambda: "no run is shown" in screen_text(app))
        with FakeRun(tmp_path) as fake:
            fake.step(3)
            feed.give(fake.run)
            await until(pilot, lambda: "there are no notes about fake-1" in screen_text(app))
            await pilot.press("n")
            await until(pilot, lambda: "A note about fake-1, its newest step, 3 by now:" in screen_text(app))
            await pilot.press(*"It", "space", *"falls", "enter")
            await until(pilot, lambda: "It falls" in screen_text(app))
            assert [(note.step, note.text) for note in read_notes(fake.run)] == [(3, "It falls")]
            await pilot.press("n", *"no", "escape")
            await until(pilot, lambda: "A note about" not in screen_text(app))
            assert len(read_notes(fake.run)) == 1

    play(app, scene)


def test_a_note_is_about_the_step_of_the_crosshair_where_one_stands(tmp_path: Path) -> None:
    with FakeRun(tmp_path, seconds=2.0) as fake:
        fake.step(40)
        feed = HandFeed([fake.run])
        app = desk(tmp_path, NotesPanel, feed=feed)

        async def scene(pilot: Pilot[None]) -> None:
            feed.read()
            await pilot.press("2")
            await until(pilot, lambda: "there are no notes about fake-1" in screen_text(app))
            for sight, step, said in (
                (Sight(cursor=20.0), 20, "step 20 at the crosshair"),
                (Sight(axis="tokens", cursor=512 * 21.4), 21, "step 21 at the crosshair"),
                (Sight(axis="time", cursor=2 * 21.6), 22, "step 22 at the crosshair"),
                (Sight(axis="time", cursor=2000.0), 40, "its newest step, 40 by now"),
                (Sight(cursor=41.0), 40, "its newest step, 40 by now"),
                (Sight(), 40, "its newest step, 40 by now"),
            ):
                before = len(read_notes(fake.run))
                app.set_sight(sight)
                await pilot.press("n")
                await until(pilot, lambda said=said: f"A note about fake-1, {said}:" in screen_text(app))
                await pilot.press("x", "enter")
                await until(pilot, lambda before=before: len(read_notes(fake.run)) > before)
                assert read_notes(fake.run)[-1].step == step

        play(app, scene)


WRITER = """
import sys
from pathlib import Path
from nanoshell import RunDirectory
from nanoshell_notes.journal import add_note

print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    note = add_note(RunDirectory(Path(sys.argv[1])), f"{sys.argv[2]} {number}")
    assert note.text == f"{sys.argv[2]} {number}"
"""


def test_terminals_that_write_at_once_lose_nothing_and_see_each_others_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes write notes while the panel of a third shows a run that stands still."""
    monkeypatch.setattr("nanoshell_notes.panel.READ_SECONDS", 0.02)
    run = write_run(tmp_path)
    feed = HandFeed()
    app = desk(tmp_path, NotesPanel, feed=feed)
    command = [sys.executable, "-c", WRITER, str(run.path)]
    writers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("left", "right")
    ]

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run)
        await pilot.press("2")
        await until(pilot, lambda: "there are no notes about tiny-1: n writes one" in screen_text(app))
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.communicate("go\n", timeout=300)
            assert writer.returncode == 0
        await pilot.press(*["down"] * 40)
        await until(pilot, lambda: "left 19" in screen_text(app) or "right 19" in screen_text(app))

    play(app, scene)
    notes = read_notes(run)
    assert [note.number for note in notes] == list(range(1, 41))
    for name in ("left", "right"):
        assert [note.text for note in notes if name in note.text] == [
            f"{name} {number}" for number in range(20)
        ]


def test_a_note_that_cannot_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = HandFeed()
    app = desk(tmp_path, NotesPanel, feed=feed)
    run = write_run(tmp_path)
    (run.path / "notes.jsonl").mkdir()

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run)
        await pilot.press("2")
        await until(pilot, lambda: "tiny-1" in screen_text(app))
        await pilot.press("n", "x", "enter")
        await until(pilot, lambda: any("notes.jsonl" in told.message for told in app._notifications))

    play(app, scene)


def test_of_a_run_whose_folder_is_gone_it_is_said_before_anything_is_typed(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, NotesPanel, feed=feed)
    run = write_run(tmp_path)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run)
        await pilot.press("2")
        await until(pilot, lambda: "tiny-1" in screen_text(app))
        shutil.rmtree(run.path)
        await pilot.press("n")
        await until(pilot, lambda: "the folder of tiny-1 is gone" in screen_text(app))
        assert len(app.screen_stack) == 1

    play(app, scene)


def test_nothing_is_written_where_the_dashboard_only_reads(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, NotesPanel, feed=feed, read_only=True)
    run = write_run(tmp_path)
    add_note(run, "an old note")

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run)
        await pilot.press("2")
        await until(pilot, lambda: "an old note" in screen_text(app))
        assert "Write a note" not in screen_text(app)
        await pilot.press("n")
        await pilot.pause()
        assert len(app.screen_stack) == 1

    play(app, scene)
