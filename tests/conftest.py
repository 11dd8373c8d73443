"""What every test gets: a home of its own, and a folder for runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine fails no property, and a run of the tests ends like the one before it: what is drawn is drawn
# anew with --hypothesis-profile default.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

# Read when torch is loaded, here and in the workers that tests start: tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The servers of the tests are on this machine, and what is said of one that is gone is that of no proxy.
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]

# What is drawn is for the same terminal, one that knows all letters, wherever the tests run.
for _name in ("LC_ALL", "LC_CTYPE", "COLORTERM"):
    os.environ.pop(_name, None)
os.environ |= {"LANG": "C.UTF-8", "TERM": "xterm"}

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_home(nanoshell_home: Path) -> Path:
    """Point settings, history and caches to a fresh folder, and let no setting of the machine leak in."""
    return nanoshell_home


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """A folder for runs that does not exist yet."""
    return tmp_path / "runs"
