"""The palette of the dashboard: commands of the shell run in it and show what they write."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from textual.command import CommandList
from textual.pilot import Pilot
from textual.widgets import Input, RichLog

from nanoshell import hookimpl
from nanoshell.command.invoke import Outcome
from nanoshell.command.result import Screen
from nanoshell.dashboard import asking, running
from nanoshell.dashboard.commands import CommandLine, CommandOutput
from nanoshell.dashboard.help import HelpScreen
from nanoshell.dashboard.panels.kinds import LearningRateChart, LossChart
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.opening import open_session
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun, plugins_with
from tests.unit.dashboard.stage import HandFeed, desk, kind, play, screen_text, type_ahead, until

CHART = kind(panel_id="chart", title="Chart")


def test_a_command_is_found_completed_run_and_its_output_shown(tmp_path: Path) -> None:
    session = open_session(plugins=plugins_with(), history=False)
    app = desk(tmp_path, CHART, session=session)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        await pilot.press(*"toke")
        await until(pilot, lambda: ":tokens" in screen_text(app))
        await pilot.press("escape")
        app.type_command("tokens")
        await until(pilot, lambda: isinstance(app.screen, CommandLine))
        await pilot.press(*"hello world", "enter")
        await until(pilot, lambda: isinstance(app.screen, CommandOutput) and app.screen.code is not None)
        output = app.screen
        assert isinstance(output, CommandOutput)
        assert output.code == 0, output.text
        assert "15339" in output.text  # hello, in cl100k_base
        await until(pilot, lambda: "15339" in screen_text(app) and "done; Esc closes" in screen_text(app))
        await pilot.press("escape")
        app.type_command("tokens")
        await until(pilot, lambda: isinstance(app.screen, CommandLine))
        await pilot.press(*"--nonsense", "enter")
        await until(pilot, lambda: "failed with code 2" in screen_text(app))
        assert "nonsense" in screen_text(app)

    play(app, scene)


def test_what_a_command_writes_fits_its_window(tmp_path: Path) -> None:
    app = desk(tmp_path, CHART, session=open_session(plugins=plugins_with(), history=False))

    async def scene(pilot: Pilot[None]) -> None:
        app.type_command("show")
        await until(pilot, lambda: isinstance(app.screen, CommandLine))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, CommandOutput) and app.screen.code is not None)
        output = app.screen
        assert isinstance(output, CommandOutput)
        log = output.query_one(RichLog)
        room = log.scrollable_content_region.width
        lines = output.text.splitlines()
        assert len(lines) > 30
        assert room - 10 <= max(map(len, lines)) <= room < 80
        assert log.max_scroll_x == 0

    play(app, scene)


class Asks:
    """Brings a command that asks before it does something, and reads whatever else there is."""

    @hookimpl
    def register_commands(self, register: Callable[..., None]) -> None:
        @click.command()
        def purge() -> None:
            "Ask first."
            click.confirm("Remove 3 runs for good?", abort=True, err=True)
            click.echo(f"removed, and {list(sys.stdin)} is left")

        register(purge)


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        (("y", "enter"), 0, "removed, and [] is left"),
        (("n", "enter"), 1, ""),
        (("escape",), 130, "interrupted"),
        (("w", "enter", "y", "enter"), 0, "removed"),
    ],
)
def test_a_command_can_ask_and_is_answered(
    tmp_path: Path, keys: tuple[str, ...], code: int, said: str
) -> None:
    session = open_session(plugins=plugins_with(Asks()), history=False)
    app = desk(tmp_path, CHART, session=session)

    def output() -> CommandOutput:
        assert isinstance(app.screen, CommandOutput)
        return app.screen

    async def scene(pilot: Pilot[None]) -> None:
        app.type_command("purge")
        await until(pilot, lambda: isinstance(app.screen, CommandLine))
        await pilot.press("enter")
        await until(
            pilot, lambda: "Remove 3 runs for good?" in screen_text(app) and isinstance(app.focused, Input)
        )
        for key in keys:
            await until(pilot, lambda: key == "enter" or isinstance(app.focused, Input))  # noqa: B023
            await pilot.press(key)
        await until(pilot, lambda: output().code is not None)
        assert output().code == code
        await until(pilot, lambda: said in screen_text(app))
        assert ("removed" in output().text) is (code == 0)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, CommandOutput))

    play(app, scene)


def test_a_command_behaves_as_at_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training goes to the background, and the dashboard stays usable."""
    screens: list[Screen] = []
    done = Outcome(0)

    def perform(_group: object, _name: str, _args: object, screen: Screen, **_options: object) -> Outcome:
        screens.append(screen)
        return done

    monkeypatch.setattr(running, "perform", perform)
    session = open_session(plugins=plugins_with(), history=False)
    assert running.run_line(session, "train") == 0
    assert [screen.prompt for screen in screens] == [True]


def test_what_is_chosen_can_be_seen_without_colours(tmp_path: Path) -> None:
    app = desk(tmp_path, CHART, theme="mono")

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        await pilot.press("down")

        def underlined() -> list[bool]:
            strips = app.screen._compositor.render_strips()
            first = next(at for at, strip in enumerate(strips) if "Go to Charts" in strip.text)
            return [
                any(part.style is not None and part.style.underline for part in strip)
                for strip in strips[first : first + 3]
            ]

        await until(pilot, lambda: underlined() == [False, True, False])

    play(app, scene)


@pytest.mark.parametrize("typed", ["run", ":run", "RUN", "train"])
def test_what_is_typed_by_its_whole_name_comes_first(tmp_path: Path, typed: str) -> None:
    session = open_session(plugins=plugins_with(), history=False)
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed, session=session)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(runs[0].run, runs[1].run)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        app.screen.query_one(Input).value = typed
        found = app.screen.query_one(CommandList)
        first = f":{typed.removeprefix(':').lower()}"
        await until(
            pilot,
            lambda: (
                found.option_count > 1 and str(found.get_option_at_index(0).prompt).lstrip().startswith(first)
            ),
        )

    with FakeRun(tmp_path) as one, FakeRun(tmp_path) as other:
        runs = [one, other]
        play(app, scene)


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("lr", "Learning rate down|Learning rate up|Set the learning rate"),
        ("loss", "Loss: the chart"),
        ("learning rate", "Learning rate down|Set the learning rate"),
        ("overlay", "Show in charts, or hide"),
        ("compare runs", "Compare configs, or back"),
        ("dark", ":set theme dark"),
        ("export", "Export as SVG and CSV"),
        ("save csv", "Export as SVG and CSV"),
    ],
)
def test_what_people_would_call_it_is_found(tmp_path: Path, typed: str, first: str) -> None:
    session = open_session(plugins=plugins_with(), history=False)
    feed = HandFeed()
    app = desk(tmp_path, LossChart, LearningRateChart, RunsPanel, session=session, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(
            run.run, status=RunStatus("finished")
        )  # nothing can be asked of it: it is found all the same
        await until(pilot, lambda: "finished" in screen_text(app))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        app.screen.query_one(Input).value = typed
        found = app.screen.query_one(CommandList)

        def among_the_first() -> bool:
            lines = [str(option.prompt).strip() for option in found.options[:3]]
            return any(re.match(first, line) for line in lines)

        await until(pilot, among_the_first)

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_what_another_view_does_is_done_there(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, LossChart, RunsPanel, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus("finished"))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        app.screen.query_one(Input).value = "filter"
        await until(pilot, lambda: "Runs, in view 2" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.focused, Input))
        assert app.view.place == "runs"

    with FakeRun(tmp_path) as run:
        play(app, scene)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("tokens Hello  World", "tokens Hello  World"),
        (":tokens hello", "tokens hello"),
        ("runs list", "runs list"),
        ("TOKENS Hi", "tokens Hi"),
    ],
)
def test_a_command_keeps_the_arguments_that_are_typed_behind_it(
    tmp_path: Path, typed: str, line: str
) -> None:
    session = open_session(plugins=plugins_with(), history=False)
    app = desk(tmp_path, CHART, session=session)

    async def scene(pilot: Pilot[None]) -> None:
        type_ahead(app, "ctrl+p", *typed)
        await until(pilot, lambda: f":{line} " in screen_text(app))
        type_ahead(app, "enter")
        await until(pilot, lambda: isinstance(app.screen, CommandLine))
        field = app.screen.query_one(Input)
        assert (field.value, field.cursor_position) == (line, len(line))

    play(app, scene)


def test_what_is_typed_ahead_is_found_before_it_is_chosen(tmp_path: Path) -> None:
    app = desk(tmp_path, CHART)

    async def scene(pilot: Pilot[None]) -> None:
        type_ahead(app, "ctrl+p", *"keys", "enter")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))

    play(app, scene)


def test_each_row_ends_with_its_key_and_what_steers_comes_first(tmp_path: Path) -> None:
    session = open_session(plugins=plugins_with(), history=False)
    feed = HandFeed()
    app = desk(tmp_path, RunsPanel, feed=feed, session=session, keys=["pause=w"])

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus("running"))
        await until(pilot, lambda: "w Pause" in screen_text(app))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: re.search(r"Pause +Run +w\b", screen_text(app)))
        await until(pilot, lambda: re.search(r"Set the learning rate +Run +L\b", screen_text(app)))
        rows = [str(option.prompt).strip() for option in app.screen.query_one(CommandList).options]
        order = [
            "Stop and save",
            "Focus the run",
            "Go to Runs",
            "Keys",
            ":set theme dark",
            ":tokens",
            "The run above",
        ]
        places = [next(at for at, row in enumerate(rows) if row.startswith(name)) for name in order]
        assert places == sorted(places)
        await pilot.press("ctrl+end")
        await until(pilot, lambda: "Text below: down" in screen_text(app))
        await pilot.resize_terminal(40, 12)
        await until(pilot, lambda: re.search(r"^.{34,} w ", screen_text(app), re.M))

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_a_click_chooses_and_one_beside_the_palette_leaves_it(tmp_path: Path) -> None:
    app = desk(tmp_path, CHART)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+p", *"keys")
        await until(pilot, lambda: re.search(r"Keys +Dashboard +\?", screen_text(app)))
        await pilot.click(CommandList, offset=(5, 0))
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape", "ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        await pilot.click(offset=(0, 0))
        await until(pilot, lambda: len(app.screen_stack) == 1)

    play(app, scene, size=(100, 30))


def test_the_palette_offers_every_command_but_two(tmp_path: Path) -> None:
    session = open_session(plugins=plugins_with(), history=False)
    app = desk(tmp_path, CHART, session=session)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        found = app.screen.query_one(CommandList)
        wanted = {entry.name for entry in session.plugins.commands} - {"clear", "dashboard"}

        def offered() -> set[str]:
            lines = [str(option.prompt).split() for option in found.options]
            return {line[0].removeprefix(":") for line in lines if line and line[0].startswith(":")}

        await until(pilot, lambda: len(offered()) >= len(wanted))
        assert offered() == wanted, "these two make no sense in a dashboard"

    play(app, scene)


def test_reading_only_the_palette_has_no_commands(tmp_path: Path) -> None:
    session = open_session(plugins=plugins_with(), history=False)
    app = desk(tmp_path, CHART, session=session, read_only=True)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "Explain this panel" in screen_text(app))
        await pilot.press(*"toke")
        await until(pilot, lambda: "No matches found" in screen_text(app))

    play(app, scene)


def test_everything_is_reached_without_a_mouse(tmp_path: Path) -> None:
    """The keys of one view go from panel to panel, and come back."""
    charts = [kind(panel_id=f"chart{n}", title=f"Chart {n}") for n in range(2)]
    app = desk(tmp_path, *charts, kind(panel_id="runs", title="Runs", place="runs"))

    async def scene(pilot: Pilot[None]) -> None:
        seen = []
        for _ in range(3):
            seen.append(app.focused_panel.panel_id if app.focused_panel else "")
            await pilot.press("tab")
        assert seen == ["chart0", "chart1", "chart0"]
        await pilot.press("shift+tab", "2")
        assert app.focused_panel is not None
        assert app.focused_panel.panel_id == "runs"
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        await pilot.press(*"keys")
        await until(pilot, lambda: len(app.screen_stack) == 2 and "Keys" in screen_text(app))
        await pilot.press("escape")

    play(app, scene)


def test_a_run_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "IMPATIENCE_SECONDS", 0.3)
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus("running"))
        await until(pilot, lambda: "fake-1" in screen_text(app))
        await pilot.press("P")
        await until(pilot, lambda: "has not answered (pause)" in screen_text(app))
        with run.answering():
            await until(pilot, lambda: "fake-1: " in screen_text(app))

    with FakeRun(tmp_path) as run:
        run.step()
        play(app, scene)
