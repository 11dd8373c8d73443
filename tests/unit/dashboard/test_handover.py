"""The dashboard and the process around it: what is logged meanwhile, and an end that cannot be refused."""

from __future__ import annotations

import logging
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.drivers.linux_driver import LinuxDriver

from nanoshell.dashboard import handover
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.handover import MOST_LOG_BYTES, RESET, LogFile, TerminalHandover
from nanoshell.errors import UsageError

PATIENCE_SECONDS = 60.0

STUBBORN = """
import sys, time, tty
from nanoshell.dashboard import handover
from nanoshell.dashboard.app import DashboardApp

async def stubborn():
    tty.setraw(0)
    sys.stderr.write("\\x1b[?1049h\\x1b[?1003hdrawn")
    sys.stderr.flush()
    while True:
        time.sleep(1)  # the loop never comes round to what it is asked

handover.FORCE_SECONDS = 0.2
handover.TerminalHandover().run(stubborn, lambda: None)
"""


def test_who_does_not_end_when_told_to_is_ended_and_the_terminal_is_reset() -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        seen = b""
        while not seen.endswith(b"drawn"):
            seen += os.read(ours, 1000)
        assert termios.tcgetattr(theirs)[3] != before[3]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
        while not seen.endswith(RESET.encode()):
            seen += os.read(ours, 1000)
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_after_an_exception_the_terminal_is_reset_and_its_modes_are_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r+b", buffering=0) as terminal:
        monkeypatch.setattr(sys, "__stdin__", terminal)
        monkeypatch.setattr(sys, "__stderr__", terminal)
        before = termios.tcgetattr(terminal)

        async def program() -> None:
            tty.setraw(terminal)
            assert termios.tcgetattr(terminal) != before
            terminal.write(b"\x1b[?1049hdrawn")
            raise LookupError("broken")

        with pytest.raises(LookupError, match="broken"):
            TerminalHandover().run(program, lambda: None)
        assert termios.tcgetattr(terminal) == before
        seen = b""
        while not seen.endswith(RESET.encode()):
            seen += os.read(ours, 1000)
        assert seen == b"\x1b[?1049hdrawn" + RESET.encode()
        monkeypatch.undo()
    os.close(ours)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of its own, which hands nothing on to pytest's."""
    made = logging.getLogger("tests.handover")
    made.propagate = False
    yield made
    made.propagate = True  # pytest listens to whom it finds without, the next time
    for handler in list(made.handlers):
        made.removeHandler(handler)


def test_what_is_logged_meanwhile_goes_to_the_file_and_afterwards_to_the_terminal(
    tmp_path: Path,
    logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger.addHandler(logging.StreamHandler(sys.stderr))
    own = tmp_path / "own.log"
    kept = logging.FileHandler(own)
    logger.addHandler(kept)
    silent = logging.getLogger("tests.handover.silent")
    # It has no handler: the last resort of logging writes to stderr.
    monkeypatch.setattr(silent, "propagate", False)

    async def program() -> None:
        logger.warning("meanwhile")
        silent.warning("and what nobody handles")

    there = TerminalHandover(tmp_path / "dashboard.log")
    there.run(program, lambda: None)
    logger.warning("afterwards")
    kept.close()
    assert (tmp_path / "dashboard.log").read_text() == "meanwhile\nand what nobody handles\n"
    assert list(there.log.lines) == ["meanwhile", "and what nobody handles"]
    assert capsys.readouterr().err == "afterwards\n"
    assert own.read_text() == "meanwhile\nafterwards\n"


def test_a_handler_that_was_made_meanwhile_writes_to_the_terminal_afterwards(
    tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    from textual.app import App

    class Loud(App[None]):
        def on_mount(self) -> None:
            self.begin_capture_print(self)
            logger.addHandler(logging.StreamHandler())  # it takes what sys.stderr is now
            self.exit()

    TerminalHandover(tmp_path / "log").run(lambda: Loud().run_async(headless=True), lambda: None)
    logger.warning("afterwards")
    assert capsys.readouterr().err == "afterwards\n"


def test_an_error_is_raised_and_the_signals_are_as_before(tmp_path: Path) -> None:
    numbers = (signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH)
    before = [signal.getsignal(number) for number in numbers]

    async def program() -> None:
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        TerminalHandover(tmp_path / "log").run(program, lambda: None)
    assert [
        signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH)
    ] == before


def test_in_a_thread_or_in_a_loop_it_is_refused() -> None:
    raised: list[BaseException] = []

    def aside() -> None:
        try:
            handover.check_place()
        except UsageError as error:
            raised.append(error)

    thread = threading.Thread(target=aside)
    thread.start()
    thread.join()
    assert "main thread" in str(raised[0])

    async def inside() -> None:
        handover.check_place()

    with pytest.raises(UsageError, match="an event loop runs"):
        TerminalHandover().run(inside, lambda: None)


def test_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.log"
    path.write_text("x" * MOST_LOG_BYTES + "\n")
    other = LogFile(path)  # it makes room; a second one beside it appends
    beside = LogFile(path)
    for log, word in ((other, "one\n"), (beside, "two\n")):
        log.write(word)
        log.close()
    assert path.read_text() == "one\ntwo\n"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["dashboard.log", "dashboard.old.log"]


class Recorded(LinuxDriver):
    """The terminal's driver, of which it is noted what it is told to do."""

    def __init__(self, *, suspended: bool) -> None:
        self._must_signal_resume = suspended
        self.told: list[str] = []

    def suspend_application_mode(self) -> None:
        self.told.append("suspend")

    def resume_application_mode(self) -> None:
        self.told.append("resume")


@pytest.mark.parametrize(("suspended", "told"), [(False, ["suspend", "resume"]), (True, ["resume"])])
def test_after_a_stop_that_it_did_not_hear_of_nothing_uses_the_terminal_twice(
    tmp_path: Path, suspended: bool, told: list[str]
) -> None:
    app = DashboardApp(tmp_path)
    before = signal.getsignal(signal.SIGCONT)
    app._driver = driver = Recorded(suspended=suspended)
    try:
        app.take_terminal_once()
        signal.raise_signal(signal.SIGCONT)
        assert driver.told == told
    finally:
        signal.signal(signal.SIGCONT, before)
