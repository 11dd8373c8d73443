"""The toolbar's line: what it says of a run, and what it leaves out in a narrow terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prompt_toolkit.utils import get_cwidth

from nanoshell.repl import toolbar
from nanoshell.runs.directory import RunDirectory, RunStatus
from nanoshell.session import Session, open_session

RUN = RunDirectory(Path("runs/tiny-1"))


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session that has not loaded torch, whatever the tests before it have."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return open_session(safe=True)


def watching(*statuses: RunStatus) -> Any:
    return SimpleNamespace(
        active=[(RunDirectory(Path(f"runs/tiny-{n}")), s) for n, s in enumerate(statuses, 1)]
    )


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-3, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3599, "59m59s"), (3600, "1h00m")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert toolbar.duration(seconds) == expected


def test_progress_says_what_is_known() -> None:
    assert toolbar.progress(RUN, RunStatus("starting")) == "tiny-1 starting"
    status = RunStatus("running", step=3, total_steps=9, loss=1.5, tokens_per_second=999.6, eta_seconds=61)
    assert toolbar.progress(RUN, status) == "tiny-1 3/9 loss 1.500 1000 tokens/s 1m01s left"
    assert toolbar.progress(RUN, RunStatus("paused", step=3)) == "tiny-1 paused step 3"


def test_an_ending_says_what_to_do_next() -> None:
    good = RunStatus("finished", step=9, loss=0.25, started=100.0, updated=170.0)
    assert toolbar.ending(RUN, good).startswith(
        "run tiny-1 finished: step 9, loss 0.250, in 1m10s; type to chat"
    )
    bad = toolbar.ending(RUN, RunStatus("crashed", reason="killed by signal 9"))
    assert bad == "run tiny-1 crashed: killed by signal 9 (:runs log tiny-1)"


def test_a_failure_says_what_to_do_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunDirectory, "latest_checkpoint", lambda run: Path("step-000004"))
    told = toolbar.ending(RUN, RunStatus("failed", reason="it diverged", hint="lower the learning rate"))
    assert told.splitlines() == [
        "run tiny-1 failed: it diverged (:runs log tiny-1)",
        "  lower the learning rate",
        "  go on with :train --resume tiny-1",
    ]


def test_what_matters_least_goes_first(session: Session) -> None:
    session.model_name, session.data = "/runs/kept-7", "nano-start"
    watch = watching(RunStatus("running", step=1, total_steps=9))
    lines = [toolbar.text(session, watch, width).strip() for width in (80, 45, 40, 30, 14)]
    assert lines == [
        "tiny-1 1/9 · model kept-7 · data nano-start · auto",
        "tiny-1 1/9 · model kept-7 · data nano-start",
        "tiny-1 1/9 · model kept-7",
        "tiny-1 1/9 · model kept-7",
        "tiny-1 1/9",
    ]


def test_the_run_of_the_chosen_model_stands_for_it(session: Session) -> None:
    session.model_name = "/runs/tiny-1"
    watch = watching(RunStatus("running", step=1), RunStatus("running", step=2))
    assert toolbar.text(session, watch, 80).strip() == "tiny-1 step 1 (+1) · no data · auto"


def test_wide_letters_and_controls_do_not_break_the_line(session: Session) -> None:
    session.model_name = "語" * 60 + "\x1b[31m"
    line = toolbar.text(session, cast(Any, watching()), 40)
    assert get_cwidth(line) <= 40
    assert "\x1b" not in line
