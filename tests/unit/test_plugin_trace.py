"""``NANOSHELL_TRACE``: which call of which plugin took how long."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nanoshell.plugin.manager import load_plugins
from nanoshell.plugin.trace import HANGING_SECONDS, Tracer

LINE = re.compile(r"trace +(\d+\.\d\d) ms  ( *)(\S+)  (.+)")

PLUGIN = """
from nanoshell import hookimpl

class Template:
    name = "mine"
    def encode(self): pass
    def stop_ids(self): pass

@hookimpl
def register_chat_templates(register):
    register("mine", Template)

@hookimpl
def session_started(session):
    session.chat_templates.get("mine")()

@hookimpl
def run_finished():
    raise ValueError
"""


def traced(text: str) -> list[tuple[int, str, str]]:
    """Return depth, plugin and call of every line that the tracer has written."""
    matches = (LINE.fullmatch(line) for line in text.splitlines())
    return [(len(match[2]) // 2, match[3], match[4]) for match in matches if match]


@pytest.fixture
def written(
    write_plugin: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Path]:
    monkeypatch.setenv("NANOSHELL_TRACE", "1")
    return write_plugin


def test_every_call_is_a_line_and_what_is_within_stands_below_it(
    written: Callable[[str, str], Path], plugins_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written("mine", PLUGIN)
    plugins = load_plugins(plugins_dir=plugins_folder)
    out, err = capfd.readouterr()
    assert out == ""
    ours, mine = ([line for line in traced(err) if line[1] == plugin] for plugin in ("samplers", "mine"))
    assert ours == [
        (0, "samplers", "load"),
        (1, "samplers", "import"),
        (1, "samplers", "register_samplers"),
    ]
    assert mine == [(0, "mine", "load"), (1, "mine", "import"), (1, "mine", "register_chat_templates")]

    plugins.notify("session_started", session=plugins)
    plugins.notify("run_finished", session=None, run=None, status="finished")
    assert traced(capfd.readouterr().err) == [
        (0, "mine", "session_started"),
        (1, "mine", "chat template mine"),
        (0, "mine", "run_finished  raised ValueError"),
    ]


def test_factories_of_ours_are_traced_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOSHELL_TRACE", "1")
    plugins = load_plugins(only=[])
    capfd.readouterr()
    plugins.sources.get("nano-start")("")
    assert traced(capfd.readouterr().err) == [(0, "data", "data source nano-start")]


@pytest.mark.parametrize("value", ["", "0", "no"])
def test_without_it_nothing_is_written_and_factories_are_left_as_they_are(
    value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOSHELL_TRACE", value)
    plugins = load_plugins(only=[])
    assert capfd.readouterr().err == ""
    assert not hasattr(plugins.sources.get("nano-start"), "__wrapped__")


def test_of_a_factory_only_the_first_call_and_slow_ones_are_written(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toolbar asks for devices at every key."""
    factory = Tracer().around(lambda fail: 1 / (not fail), "torch", "device cpu")
    for _ in range(3):
        factory(False)
    with pytest.raises(ZeroDivisionError):
        factory(True)
    monkeypatch.setattr("nanoshell.plugin.trace.NOTABLE_MS", 0.0)
    factory(False)
    written = [call for _, _, call in traced(capfd.readouterr().err)]
    assert written == ["device cpu", "device cpu  raised ZeroDivisionError", "device cpu"]


def test_the_time_is_that_of_the_call_and_calls_of_other_threads_stand_apart(
    capfd: pytest.CaptureFixture[str],
) -> None:
    tracer = Tracer()
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with tracer.call("other", "waits"):
            inside.set()
            assert done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(60)
    with tracer.call("mine", "outer"), tracer.call("mine", "inner"):
        threading.Event().wait(0.02)
    done.set()
    thread.join()
    lines = [LINE.fullmatch(line) for line in capfd.readouterr().err.splitlines()]
    times = {match[4]: float(match[1]) for match in lines if match}
    assert [(len(match[2]), match[4]) for match in lines if match] == [
        (0, "outer"),
        (2, "inner"),
        (0, "waits"),
    ]
    assert 15 <= times["inner"] <= times["outer"] <= times["waits"]


def test_a_call_that_does_not_return_is_told_of_with_what_runs_within(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    due: list[Callable[[], None]] = []

    class Timer:
        """Rings when the test says so."""

        def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
            assert seconds == HANGING_SECONDS
            due.append(ring)

        def start(self) -> None: ...

        def cancel(self) -> None: ...

    monkeypatch.setattr(
        "nanoshell.plugin.trace.threading", SimpleNamespace(local=threading.local, Timer=Timer)
    )
    tracer = Tracer()
    with tracer.call("slow", "load"):
        with tracer.call("slow", "import"):
            pass
        with tracer.call("slow", "register_commands"):
            (ring,) = due
            ring()
            err = capfd.readouterr().err
    assert err.splitlines() == [
        "trace   still runs  slow  load",
        "trace   still runs    slow  register_commands",
    ]
    assert [call for _, _, call in traced(capfd.readouterr().err)] == ["load", "import", "register_commands"]


def test_a_process_that_is_killed_while_a_plugin_hangs_has_told_which(
    written: Callable[[str, str], Path], plugins_folder: Path
) -> None:
    written("stuck", "import time\ntime.sleep(600)")
    command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_folder), "tokens", "x"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as program:
        assert program.stderr is not None
        told = next((line for line in program.stderr if "stuck  import" in line), "")
        program.kill()
    assert told == "trace   still runs    stuck  import\n"
