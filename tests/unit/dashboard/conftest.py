"""What tests of several panels look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from textual import app, pilot
from textual._wait import wait_for_idle

from nanoshell.testing import FakeRun

from .still import with_samples

ROUNDS = 100


async def wait_until_idle(*seconds: float) -> None:
    """Wait as Textual does for what came of a key, and until nothing is left to be done in the loop.

    Textual goes by the time that the process was at work, of which a process gets none on a busy machine.
    """
    for _ in range(ROUNDS):
        await wait_for_idle(*seconds)
        if not await was_busy():
            return


async def was_busy() -> bool:
    """Let the loop do what is ready, and what comes of that; return whether there was anything."""
    ready = cast(Any, asyncio.get_running_loop())._ready
    if not ready:
        return False
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
        if not ready:
            break
    return True


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and pauses of a `Pilot` last until the dashboard has nothing left to do; what is told stays."""
    for module in (app, pilot):
        monkeypatch.setattr(module, "wait_for_idle", wait_until_idle)
    monkeypatch.setattr("nanoshell.dashboard.app.SHOW_SECONDS", 3600.0)


@pytest.fixture
def written(nanoshell_fake_run: Callable[..., FakeRun]) -> FakeRun:
    """Return a run that has written texts."""
    return with_samples(nanoshell_fake_run)
