"""What others have written, wherever it is shown, neither steers the terminal nor shifts columns."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len
from textual.pilot import Pilot

from nanoshell.dashboard.harmless import unsteered
from nanoshell.dashboard.panels.runlist import RunRow
from nanoshell.dashboard.panels.runtable import STARTED, Look, fitting, head_line, row_line
from nanoshell.plugin.registry import Entry
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun
from nanoshell_notes import notes_panel
from nanoshell_notes.journal import add_note
from nanoshell_panels import register_panels

from .stage import HandFeed, desk, keys_taken, play, screen_text, type_ahead, until

EVIL = "\x1b[31mX\x07\r\n\u202eY\x9b2J\x1b]0;t\x07"


def spoilt(value: Any) -> Any:
    """Return ``value`` with every text in it ending in `EVIL`."""
    if isinstance(value, dict):
        return {key: spoilt(each) for key, each in value.items()} | {EVIL: EVIL}
    return f"{value}{EVIL}" if isinstance(value, str) else value


def evil_run(folder: Path) -> RunDirectory:
    """Return a run all of whose texts are evil, its name among them."""
    with FakeRun(folder, "plain", total_steps=50) as fake:
        path = fake.run.record_path
        path.write_text(yaml.safe_dump(spoilt(yaml.safe_load(path.read_text())) | {"argv": [EVIL]}))
        fake.step(5, **{EVIL: 1.0})
        fake.sample(EVIL, EVIL)
        fake.step(5)
        fake.eval(split=EVIL)
        fake.sample(f"{EVIL} and on", EVIL, stop=EVIL)
        fake.alert(EVIL, kind=EVIL, hint=EVIL)
        fake.control("set", values={EVIL: EVIL}, before={EVIL: EVIL}, message=EVIL)
        fake.control(EVIL, ok=False, message=EVIL, hint=EVIL)
        fake.event(EVIL, **{EVIL: EVIL})
        fake.checkpoint(path=EVIL)
        fake.log(f"{EVIL}\n{EVIL}")
        add_note(fake.run, EVIL)
        fake.finish("failed", EVIL, hint=EVIL)
    return RunDirectory(fake.run.path.rename(folder / f"evil{EVIL}-1"))


def test_no_text_of_a_run_reaches_the_terminal_raw(tmp_path: Path) -> None:
    entries: list[Entry[Any]] = []
    register_panels(lambda name, made, summary="": entries.append(Entry(name, made, "panels")))
    entries.append(Entry("notes", notes_panel, "notes"))
    evil = evil_run(tmp_path)
    sections = [Entry(EVIL, lambda run: {EVIL: [EVIL]}, EVIL)]

    with FakeRun(tmp_path, "other") as other:
        other.step(3)
        feed = HandFeed([evil, other.run])
        app = desk(tmp_path, feed=feed, panels=entries, sections=sections)

        def look() -> None:
            for line in screen_text(app).split("\n"):
                raw = [mark for mark in line if unicodedata.category(mark) in ("Cc", "Cf", "Zl", "Zp")]
                assert not raw, (app.view.title, line)
            for strip in app.screen._compositor.render_strips():
                assert cell_len(strip.text) == app.size.width, (app.view.title, strip.text)

        async def press(*keys: str) -> None:
            for key in keys:
                type_ahead(app, key)
                await keys_taken(app)
                look()

        async def scene(pilot: Pilot[None]) -> None:
            feed.read()
            await until(pilot, lambda: "evil" in screen_text(app))
            seen = {
                "Charts": ("evil", ("enter", "c", "enter", "N")),
                "Samples": ("and on", ("left", "d", "escape")),
                "Runs": ("other", ("m", "down", "m", "d", "slash", "x", "escape", "escape")),
                "Log": ("2J", ("e", "y")),
                "Notes": ("step 10", ("n", "escape")),
            }
            for index, view in enumerate(app.views):
                app.action_view(index)
                words, keys = seen.get(view.title, ("", ()))
                await until(pilot, lambda words=words: words in screen_text(app))
                await press(*keys)
            await press("S", "escape", "question_mark", "escape", "f1", "escape")
            app.tell(EVIL)
            app.ask_line(EVIL, EVIL, lambda _text: EVIL, lambda _text: None)
            await until(pilot, lambda: len(app.screen_stack) > 1)
            await press("enter", "escape")
            await until(pilot, lambda: bool(app.notices))
            look()
            assert app.failure is None

        play(app, scene)


@pytest.mark.parametrize("ascii", [False, True])
def test_columns_of_runs_stand_below_their_headings_whatever_the_names_are(ascii: bool) -> None:  # noqa: A002
    names = ["plain", "漢字" * 30, "❤️ 1️⃣ heart", "👨‍👩‍👧 family 👩🏽", f"evil{EVIL}", "e\u0301" * 9, "n" * 60]
    rows = [RunRow(RunDirectory(Path(name)), RunStatus("finished", EVIL, loss=2.5)) for name in names]
    columns = fitting(100)
    look = Look({}, "", (), STARTED, False, ascii, 0.0)
    head = "".join(text for text, _ in head_line(columns, 100, look))
    at = head.index(" state")
    for row in rows:
        line = "".join(text for text, _ in row_line(row, columns, 100, look))
        assert cell_len(line[: line.index(" finished")]) == at, row.run.name
        assert not ascii or line.isascii()


def test_what_is_taken_out_keeps_the_columns() -> None:
    for text in ("plain", EVIL, "漢\u200e字", "a\tb", "👨‍👩‍👧", "soft\u00adhyphen", "\ue0b0 private"):
        made = unsteered(text)
        assert cell_len(made) == cell_len(text)
        assert not any(unicodedata.category(mark) == "Cc" for mark in made)
    assert unsteered("👨‍👩‍👧") == "👨‍👩‍👧"
