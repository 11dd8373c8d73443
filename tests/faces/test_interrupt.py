"""Ctrl-C: late during an import that must not be cut short, ignored where the shell says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nanoshell.command.interrupt import interruptible, on_interrupt

SLOW_IMPORT = "import sys, time\nprint('importing', flush=True)\ntime.sleep(0.5)\nvalue = 1\n"

PROGRAM = """
import sys
from nanoshell.command.interrupt import interruptible
try:
    with interruptible():
        import torch
        import time
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted with", sys.modules["torch"].value)
"""


def test_ctrl_c_waits_for_the_import_of_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(SLOW_IMPORT)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, env=env) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"importing\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == b"interrupted with 1\n"


def test_an_action_takes_the_place_of_the_exception_and_the_handler_returns() -> None:
    before = signal.getsignal(signal.SIGINT)
    struck: list[int] = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        with on_interrupt(lambda: struck.append(1)):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        assert len(struck) == 2
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_background_job_goes_on_ignoring() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
