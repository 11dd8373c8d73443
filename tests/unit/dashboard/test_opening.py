"""What the words of the command mean, and how the dashboard is opened on this terminal."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from textual.pilot import Pilot

from nanoshell.dashboard import opening, serving
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.asciionly import wants_ascii
from nanoshell.dashboard.handover import TerminalHandover
from nanoshell.dashboard.opening import chosen_runs, open_dashboard, serve_dashboard
from nanoshell.errors import NanoshellError, UsageError
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import HandFeed, play, screen_text, until

Open = Callable[..., Any]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "de_DE.utf8@euro"}, False),
        ({"LANG": "de_DE.ISO-8859-15@euro"}, True),
        ({"LANG": "C"}, True),
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, True),
        ({"LC_ALL": "POSIX"}, True),
        ({"LC_ALL": "", "LC_CTYPE": "", "LANG": "C.UTF-8"}, False),
        ({"LC_CTYPE": "ja_JP.eucJP", "LANG": "C.UTF-8"}, True),
        ({"LC_CTYPE": "de_DE.UTF-8", "LANG": "C"}, False),
        ({"LC_CTYPE": "UTF-8"}, False),  # macOS
        ({"LC_CTYPE": "C.UTF-8"}, False),  # nothing was named, and Python has
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, True),  # C was named, and Python did
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, False),
        ({"LANG": "C.UTF-8", "TERM": "linux"}, True),
        ({"LANG": "C.UTF-8", "TERM": "xterm-256color"}, False),
    ],
)
def test_ascii_is_for_terminals_that_know_no_utf8(environ: dict[str, str], expected: bool) -> None:
    assert wants_ascii(environ) is expected


def test_a_locale_without_an_encoding_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: "ISO-8859-1")
    assert wants_ascii({"LANG": "de_DE"})
    monkeypatch.setattr("locale.getencoding", lambda: "UTF-8")
    assert not wants_ascii({"LANG": "de_DE"})


def test_a_folder_is_one_of_runs_or_has_them_in_runs(
    nanoshell_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = nanoshell_session().session
    work, empty = tmp_path / "work", tmp_path / "empty"
    empty.mkdir()
    with FakeRun(work / "runs") as run:
        assert chosen_runs(session, [str(work / "runs")]) == (work / "runs", [])
        assert chosen_runs(session, [str(work)]) == (work / "runs", [])
        monkeypatch.chdir(work)
        assert chosen_runs(session, ["."]) == (work / "runs", [])
        assert chosen_runs(session, ["runs"]) == (work / "runs", [])
        (work / "fake").mkdir()  # it has no runs, and a run begins with its name
        assert chosen_runs(session, ["fake"])[1] == [run.run.name]
        (work / "fake-1").write_text("a file")
        assert chosen_runs(session, ["fake-1"])[1] == [run.run.name]
        with pytest.raises(UsageError, match=r"there is no run in .*empty, nor in .*empty/runs") as raised:
            chosen_runs(session, [str(empty)])
        assert "waits for the first one" in (raised.value.hint or "")
        with pytest.raises(UsageError, match="is a file"):
            chosen_runs(session, [str(run.run.path / "run.yaml")])
        monkeypatch.setenv("TEXTUAL_DRIVER", "textual.drivers.web_driver:WebDriver")
        assert chosen_runs(session, [str(empty)]) == (empty, [])


def test_a_path_that_means_nothing_is_told_with_what_is_there(
    nanoshell_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = nanoshell_session().session

    def told(*words: str | Path) -> tuple[str, str]:
        with pytest.raises(UsageError) as raised:
            chosen_runs(session, [str(word) for word in words])
        return raised.value.message, raised.value.hint or ""

    one, other = tmp_path / "cluster", tmp_path / "elsewhere"
    with (
        FakeRun(one / "runs") as run,
        FakeRun(other / "runs") as same,
        FakeRun(other / "runs", "more") as more,
    ):
        wrong = tmp_path / "clustre" / "runs" / "fake-1"
        assert told(wrong) == (f"there is no {wrong}", f"did you mean {run.run.path}?")
        assert told(wrong.parent / "moon")[1] == f"did you mean {one}?"
        assert told(more.run.path, wrong)[1] == f"did you mean {run.run.path}?"
        lost = tmp_path / "moon" / "runs"
        assert told(lost) == (f"there is no {lost}", f"{tmp_path} holds no moon")
        monkeypatch.chdir(tmp_path)
        assert told("./moon") == ("there is no ./moon", f"{tmp_path} holds no moon")
        file = run.run.path / "run.yaml"
        assert told(file / "it") == (f"there is no {file / 'it'}", f"{file} is a file")
        assert told(more.run.path, file)[0] == f"{file} is no run"
        for words in ((one, other), (more.run.path, other), (more.run.path, other / "runs")):
            message, hint = told(*words)
            assert (
                message
                == f"{words[-1 * (words[0] != one)]} is a folder of runs, and one such alone can be shown"
            )
            assert "name it alone" in hint
        message, _ = told(more.run.path, run.run.path, same.run.path)
        assert message == f"two runs are called fake-1: {run.run.path} and {same.run.path}"
        assert chosen_runs(session, [str(run.run.path)] * 2)[1] == [str(run.run.path)]


def test_an_address_that_is_not_known_is_told(
    nanoshell_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_site: web.TCPSite) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(web.TCPSite, "start", refuse)
    with pytest.raises(NanoshellError) as raised:
        serving.serve(nanoshell_session().session, [], host="nosuch.invalid")
    assert raised.value.message == "cannot listen at nosuch.invalid:8000: no machine of this name is known"


class Opened:
    """`open_dashboard` on a terminal that is not there, and what happens while it is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: dict[str, Any] = {}
        self.scene: Callable[[DashboardApp, Any], Any] | None = None
        self.screen = ""
        monkeypatch.setattr(opening, "check_terminal", lambda: None)
        monkeypatch.setattr(TerminalHandover, "run", lambda _self, program, _leave: self.play(program))

    def play(self, program: partial[Any]) -> None:
        app = program.func.__self__  # type: ignore[attr-defined]
        self.options = {**program.keywords, "ascii": app.ascii, "theme": app.theme}

        async def run() -> None:
            async with app.run_test(size=(80, 24), notifications=True) as pilot:
                await until(pilot, lambda: "fake-1" in screen_text(app))
                if self.scene is not None:
                    await self.scene(app, pilot)
                self.screen = screen_text(app)

        asyncio.run(run())


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Opened:
    for name in ("LC_ALL", "LC_CTYPE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Opened(monkeypatch)


def test_what_is_said_in_the_session_stands_on_the_screen(
    nanoshell_session: Open, tmp_path: Path, opened: Opened
) -> None:
    session = nanoshell_session().session
    narrator = session.narrator

    async def scene(app: DashboardApp, pilot: Any) -> None:
        await asyncio.to_thread(session.narrator.note, "one line from a thread")
        with session.narrator.progress("reading", 10, "files") as advance:
            advance(3)
        await until(pilot, lambda: "reading" in screen_text(app))

    opened.scene = scene
    with FakeRun(tmp_path) as run:
        run.step(3)
        open_dashboard(session, [str(run.run.path)])
    assert "one line from a thread" in opened.screen
    assert session.narrator is narrator


def test_ascii_and_the_mouse_are_as_told_else_as_the_terminal_and_the_setting_say(
    nanoshell_session: Open, tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = nanoshell_session().session
    with FakeRun(tmp_path) as run:
        run.step(3)

        def options(**given: bool) -> tuple[bool, bool]:
            open_dashboard(session, [str(run.run.path)], **given)
            return opened.options["ascii"], opened.options["mouse"]

        assert options() == (False, True)
        assert not opened.screen.isascii()
        session.settings.set("dashboard_mouse", "off")
        monkeypatch.setenv("LC_ALL", "C")
        assert options() == (True, False)
        assert opened.screen.isascii()
        assert options(ascii=False, mouse=True) == (False, True)


def test_what_is_served_only_reads_as_its_command_says_and_as_it_is_opened(
    nanoshell_session: Open, tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = nanoshell_session().session
    commands: list[list[str]] = []

    def take(command: str, _host: str, _port: int) -> None:
        commands.append(shlex.split(command))
        raise NanoshellError("enough")

    async def scene(app: DashboardApp, _pilot: Any) -> None:
        assert app.read_only
        assert app.session is None

    monkeypatch.setattr(serving, "_server", take)
    opened.scene = scene
    with FakeRun(tmp_path) as run:
        run.step(3)
        with pytest.raises(NanoshellError, match="enough"):
            serve_dashboard(session, [str(run.run.path)], ascii=True)
        at = commands[0].index("dashboard")
        assert commands[0][at:] == ["dashboard", "--read-only", "--ascii", "--", str(run.run.path)]
        monkeypatch.setenv("TEXTUAL_DRIVER", "textual.drivers.web_driver:WebDriver")
        open_dashboard(session, [str(run.run.path)], read_only=False)
    assert opened.options, "it was opened"


def test_without_a_terminal_nothing_is_opened(nanoshell_session: Open) -> None:
    with pytest.raises(NanoshellError, match="needs a terminal"):
        open_dashboard(nanoshell_session().session)


def test_no_color_means_no_colours_and_no_greys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")

    def colours(no_color: str, theme: str = "terminal") -> tuple[bool, set[str]]:
        monkeypatch.setenv("NO_COLOR", no_color)
        app = DashboardApp(tmp_path, feed=HandFeed(), theme=theme)
        found: set[str] = set()

        async def scene(pilot: Pilot[None]) -> None:
            app.tell("a warning", severity="warning")
            await pilot.press("ctrl+p")
            await until(pilot, lambda: "Explain" in screen_text(app))
            await pilot.pause()
            for strip in app.screen._compositor.render_strips():
                for segment in strip:
                    style = segment.style
                    found.update(str(one) for one in (style.color, style.bgcolor) if one) if style else None

        play(app, scene)
        return app.no_color, found

    assert colours("1") == (True, set())
    off, found = colours("")  # no-color.org: an empty word says nothing
    assert not off
    assert found
    assert colours("", theme="mono") == (True, set())


def test_of_sixteen_colours_yellow_and_green_are_not_for_a_light_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM", raising=False)

    def state_colour(theme: str, state: str) -> int | None:
        feed = HandFeed()
        app = DashboardApp(tmp_path, feed=feed, theme=theme)
        found = None

        async def scene(pilot: Pilot[None]) -> None:
            nonlocal found
            feed.give(run.run)
            await until(pilot, lambda: state in screen_text(app))
            strip = app.screen._compositor.render_strips()[0]
            style = next(segment.style for segment in strip if segment.text == state)
            assert style is not None
            found = style.color.number if style.color else None

        play(app, scene)
        return found

    with FakeRun(tmp_path) as run:
        run.step(3)
        assert [state_colour(theme, "running") for theme in ("dark", "light")] == [2, 4]
        run.state("paused")
        assert [state_colour(theme, "paused") for theme in ("dark", "light")] == [3, 5]
