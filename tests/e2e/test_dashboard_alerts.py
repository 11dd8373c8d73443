"""Alerts in a real terminal: what comes while one looks is told and rings once, nothing else does."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoshell.testing import FakeRun
from tests.e2e.test_dashboard_terminal import Window, window as window

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Bells:
    """Counts how often the program in ``window`` has rung."""

    def __init__(self, window: Window, path: Path) -> None:
        self._window, self._path = window, path
        path.touch()
        pipe = ["pipe-pane", f"cat >> {shlex.quote(str(path))}"]
        subprocess.run([*window._tmux, *pipe], check=True, timeout=300)

    def _written(self) -> bytes:
        """Return what was written, which comes here behind the screen, without commands to the terminal."""
        return re.sub(rb"\x1b(\][^\x07\x1b]*\x07|\[[\d;?<>=]*[a-zA-Z])", b"", self._path.read_bytes())

    def count(self, shown: str = "") -> int:
        """Return how many bells were rung, once ``shown`` was written as well."""
        self._window.wait_until(lambda: shown.encode() in self._written())
        return self._written().count(b"\x07")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[tuple[FakeRun, FakeRun]]:
    with (
        FakeRun(tmp_path / "runs", "here", now=time.time()) as here,
        FakeRun(tmp_path / "runs", "there", now=time.time()) as there,
    ):
        here.step(5)
        there.step(5)
        yield here, there


def test_a_new_alert_is_told_and_rings_once_and_an_old_one_never(
    window: Window, tmp_path: Path, runs: tuple[FakeRun, FakeRun]
) -> None:
    here, there = runs
    here.alert("the loss has not improved", kind="plateau")
    bells = Bells(window, tmp_path / "written")
    window.type("n dash here-1 there-1", "Enter")
    window.wait_until(window.is_open)
    window.wait_for("! plateau: the loss has not improved")
    here.step()
    window.wait_for("running  6/")
    assert bells.count("running  6/") == 0

    here.alert("the loss is no number", kind="divergence")
    window.wait_for("here-1: divergence: the loss is no number")
    window.wait_until(lambda: bells.count() == 1)
    here.step()
    window.wait_for("running  7/")

    there.alert("1 GB is free", kind="storage")
    there.alert("val_loss rises", kind="overfitting")
    window.wait_for("there-1: storage: 1 GB is free")
    window.wait_for("there-1: overfitting: val_loss rises")
    here.alert("it is one again", kind="divergence", cleared=True)
    window.wait_for("divergence: it is one again (over)")
    here.step()
    window.wait_for("running  8/")
    before = bells.count("running  8/")
    assert 2 <= before <= 3  # the two of one moment may have been read one after the other

    alerts = re.search(r"(\d) Alerts", window.screen())
    assert alerts is not None
    window.type(alerts[1])
    window.wait_for("4 alerts, 1 over; new ones are told with a bell (b)")
    window.type("b")
    window.wait_for("without a bell (b)")
    there.alert("the loss stands still", kind="stalled")
    window.wait_for("there-1: stalled: the loss stands still")
    window.type("q")
    window.wait_until(window.is_clean)
    window.type("clear; n dash here-1", "Enter")
    window.wait_until(window.is_open)
    here.alert("the loss jumps", kind="spike")
    window.wait_for("here-1: spike: the loss jumps")
    here.step()
    window.wait_for("running  9/")
    assert bells.count("running  9/") == before
