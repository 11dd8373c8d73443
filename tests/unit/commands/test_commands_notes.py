"""The plugin nanoshell_notes: its commands, its file with several writers, and its section of runs show."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nanoshell_notes
from nanoshell import RunDirectory, Session
from nanoshell.testing import check_command, check_run_section, write_run
from nanoshell_notes.journal import add_note, read_notes, remove_note

from .conftest import FakeRun, Program

Shell = Callable[..., Any]


def lines(run: RunDirectory) -> list[Any]:
    return [json.loads(line) for line in (run.path / "notes.jsonl").read_text().splitlines()]


def test_a_note_has_the_step_of_its_time(nanoshell: Program, fake_run: Callable[..., FakeRun]) -> None:
    fake = fake_run()
    said = nanoshell("note", "not", "a", "step", "yet")
    assert (said.code, said.out) == (0, "noted: tiny-1\n")
    fake.step(7)
    said = nanoshell("note", "--json", 'it\'s "falling" at last')
    assert said.json == {"run": "tiny-1", "number": 2, "step": 7, "text": 'it\'s "falling" at last'}
    assert [(line["step"], line["text"]) for line in lines(fake.run)] == [
        (None, "not a step yet"),
        (7, 'it\'s "falling" at last'),
    ]
    found = nanoshell("notes", "--json").json
    assert [(note["number"], note["step"]) for note in found] == [(1, None), (2, 7)]
    shown = nanoshell("notes")
    assert "not a step yet" in shown.out
    assert "step 7" in shown.out
    assert "tiny-1, 2 notes" in shown.err


def test_which_run_is_meant(nanoshell: Program, fake_run: Callable[..., FakeRun]) -> None:
    old, new = fake_run(), fake_run(alive=False)
    new.end()
    assert nanoshell("note", "the one in progress").out == "noted: tiny-1\n"
    assert nanoshell("note", "tiny-2 another one").out == "noted: tiny-2\n"
    assert nanoshell("note", "--run", "tiny-2", "by option").out == "noted: tiny-2\n"
    assert nanoshell("note", "tiny looks good").out == "noted: tiny-1\n", "a part of a name is a word"
    assert [note.text for note in read_notes(new.run)] == ["another one", "by option"]
    assert [note.text for note in read_notes(old.run)] == ["the one in progress", "tiny looks good"]
    old.end()
    assert [note["text"] for note in nanoshell("notes", "--json").json] == ["another one", "by option"]
    said = nanoshell("note", "tinny-1", "--run", "tinny-1")
    assert said.code == 2
    assert "did you mean 'tiny-1'" in said.err


def test_notes_go_by_number_and_numbers_stay(nanoshell: Program, fake_run: Callable[..., FakeRun]) -> None:
    run = fake_run().run
    for text in ("one", "two", "three"):
        nanoshell("note", text)
    assert [note["number"] for note in nanoshell("notes", "--delete", "2", "--json").json] == [1, 3]
    assert [note["number"] for note in nanoshell("notes", "--delete", "3", "--json").json] == [1]
    assert nanoshell("note", "--json", "four").json["number"] == 4
    said = nanoshell("notes", "--delete", "2")
    assert said.code == 2
    assert "has no note 2" in said.err
    assert "its notes: 1, 4" in said.err
    assert len(lines(run)) == 6, "nothing is ever taken out of the file"


def test_what_cannot_be_noted(nanoshell: Program, fake_run: Callable[..., FakeRun]) -> None:
    assert nanoshell("note", "words").code == 2, "there is no run"
    fake_run()
    for words in ([], [" "], ["tiny-1"], ["--run", "tiny-1"]):
        said = nanoshell("note", *words)
        assert said.code == 2, words
        assert "needs some words" in said.err
    assert nanoshell("notes").out == "there are no notes about tiny-1\n"
    assert nanoshell("notes", "--json").json == []


def test_at_the_prompt_words_are_taken_as_typed(
    bare_session: Session, fake_run: Callable[..., FakeRun], capfd: pytest.CaptureFixture[str]
) -> None:
    from nanoshell.command.render import TerminalScreen
    from nanoshell.command.script import run_line

    run = fake_run().run
    outcome = run_line(bare_session, ":note it's 'odd' | \\ --json  ", TerminalScreen(prompt=True))
    assert outcome.code == 0, capfd.readouterr().err
    assert [note.text for note in read_notes(run)] == ["it's 'odd' | \\ --json"]


def test_runs_show_has_them(nanoshell: Program, fake_run: Callable[..., FakeRun]) -> None:
    fake = fake_run()
    assert nanoshell("runs", "show", "--json").json["sections"] == {}
    fake.step(3)
    nanoshell("note", "look \x1b[2J here\nand there")
    assert nanoshell("runs", "show", "--json").json["sections"]["notes"][0]["step"] == 3
    shown = nanoshell("runs", "show").out
    assert "\nnotes\n" in shown
    assert "look \N{REPLACEMENT CHARACTER}[2J here" in shown
    assert "\x1b" not in shown


def test_half_written_and_foreign_lines_count_for_nothing(fake_run: Callable[..., FakeRun]) -> None:
    run = fake_run().run
    add_note(run, "first")
    path = run.path / "notes.jsonl"
    before = path.read_bytes()
    for cut in range(1, len(before) - 1):
        path.write_bytes(before + before[:cut])
        assert [note.text for note in read_notes(run)] == ["first"], cut
        assert add_note(run, "second").number == 2
        assert [note.text for note in read_notes(run)] == ["first", "second"]
    path.write_bytes(b'[1]\n{"t": "x", "text": 3}\n\xff\n{"delete": "1"}\n{"delete": 9}\nnull\n' + before)
    assert [(note.number, note.text) for note in read_notes(run)] == [(1, "first")]


def _write_many(path: Path, writer: int, gate: Any) -> None:
    gate.wait()
    for number in range(40):
        note = add_note(RunDirectory(path), f"{writer}:{number} " + "é" * 200)
        if number % 4 == 0:
            remove_note(RunDirectory(path), note.number)


def test_several_writers_lose_nothing(fake_run: Callable[..., FakeRun]) -> None:
    run = fake_run().run
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(3)
    writers = [context.Process(target=_write_many, args=(run.path, each, gate)) for each in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = {note.text.split()[0] for note in read_notes(run)}
    assert found == {f"{writer}:{number}" for writer in range(3) for number in range(40) if number % 4}


def test_the_contracts(nanoshell_session: Shell, nanoshell_run: RunDirectory) -> None:
    add_note(nanoshell_run, "seen")
    check_run_section(nanoshell_notes.show_notes, nanoshell_run)
    shell = nanoshell_session()
    check_command(shell, "note")
    check_command(shell, "notes")


def test_importing_the_plugin_is_light() -> None:
    program = (
        "import sys, nanoshell_notes\nfrom nanoshell.testing import plugins_with\n"
        "assert 'notes' in plugins_with().run_sections\n"
        "assert not {'rich', 'nanoshell_notes.journal', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# Sections of any plugin


class Broken:
    """A section that raises, one whose value cannot be shown, and one that is fine behind them."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def register_run_sections(self, register: Any) -> None:
        class Unshowable:
            def __rich__(self) -> str:
                raise ValueError("no picture")

            def to_json(self) -> str:
                raise ValueError("no JSON")

        def broken(run: RunDirectory) -> str:
            raise self.error

        register("broken", broken)
        register("unshowable", lambda run: Unshowable())
        register("empty", lambda run: None)
        register("fine", lambda run: {"name": run.name})


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), OSError("gone"), MemoryError("much")])
def test_a_broken_section_is_told_and_ends_nothing(
    nanoshell_session: Shell, tmp_path: Path, error: Exception
) -> None:
    from nanoshell import hookimpl

    hookimpl(Broken.register_run_sections)
    run = write_run(tmp_path / "runs")
    shell = nanoshell_session(Broken(error))
    said = shell(":runs show")
    assert said.code == 0
    assert f"plugin 'Broken' failed to make run section 'broken': {type(error).__name__}" in said.err
    assert "plugin 'Broken' failed to make run section 'unshowable': ValueError: no picture" in said.out
    assert "fine" in said.out
    said = shell(":runs show --json")
    assert said.code == 0
    assert json.loads(said.out)["sections"] == {"unshowable": None, "fine": {"name": run.name}}
    assert "ValueError: no JSON" in said.err


@pytest.mark.parametrize("word", ["list", "show", "delete"])
def test_a_word_that_looks_for_the_notes_is_not_noted(
    nanoshell: Program, fake_run: Callable[..., FakeRun], word: str
) -> None:
    fake_run()
    said = nanoshell("note", word)
    assert (said.code, "nanoshell notes shows them" in said.err) == (2, True)
    assert nanoshell("notes", "--json").json == []
    assert nanoshell("note", "--run", "tiny-1", word).code == 0
    assert "nanoshell notes tiny-1 --delete 2" in nanoshell("note", f"{word} of things").err
    assert [note["text"] for note in nanoshell("notes", "--json").json] == [word, f"{word} of things"]
