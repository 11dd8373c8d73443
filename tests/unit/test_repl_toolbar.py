"""The toolbar's line: what it says of a run, and what it leaves out in a narrow terminal."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import get_cwidth

from nanoshell.chat.template import Message, Origin
from nanoshell.opening import open_session
from nanoshell.repl import news, toolbar
from nanoshell.repl.news import Seen
from nanoshell.runs.directory import RunDirectory, RunStatus
from nanoshell.session import Session

RUN = RunDirectory(Path("runs/tiny-1"))


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session that has not loaded torch, whatever the tests before it have."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return open_session(safe=True)


def watching(*statuses: RunStatus) -> Any:
    active = [seen(status, f"tiny-{n}") for n, status in enumerate(statuses, 1)]
    return SimpleNamespace(active=active, ended=None)


def seen(status: RunStatus, name: str = "tiny-1", losses: tuple[float, ...] = ()) -> Seen:
    return Seen(RunDirectory(Path(f"runs/{name}")), status, list(losses), (0, 0), 0.0)


def progress(status: RunStatus, *losses: float) -> str:
    return " ".join(words for _, words in toolbar.run_parts(seen(status, losses=losses)))


def test_progress_says_what_is_known() -> None:
    assert progress(RunStatus("starting")) == "tiny-1 starting"
    status = RunStatus("running", step=3, total_steps=9, loss=1.5, tokens_per_second=999.6, eta_seconds=61)
    assert progress(status) == "tiny-1 3/9 loss 1.500 1.0k tokens/s 1m01s left"
    assert progress(RunStatus("paused", step=3)) == "tiny-1 paused step 3"


def test_an_ending_says_what_to_do_next() -> None:
    good = RunStatus("finished", step=9, loss=0.25, started=100.0, updated=170.0)
    assert news.ending(RUN, good).startswith(
        "run tiny-1 finished: step 9, loss 0.250, in 1m10s; type to chat"
    )
    bad = news.ending(RUN, RunStatus("crashed", reason="killed by signal 9"))
    assert bad == "run tiny-1 crashed: killed by signal 9 (:runs log tiny-1)"


def test_a_failure_says_what_to_do_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunDirectory, "latest_checkpoint", lambda run: Path("step-000004"))
    told = news.ending(RUN, RunStatus("failed", reason="it diverged", hint="lower the learning rate"))
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


def test_the_course_of_the_loss_stands_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    status = RunStatus("running", step=3, total_steps=9, loss=1.0, eta_seconds=4)
    assert progress(status, 100.0, 10.0, 1.0) == "tiny-1 3/9 loss 1.000 █▅▁ 4s left"
    monkeypatch.setattr(sys, "__stdout__", SimpleNamespace(encoding="ANSI_X3.4-1968"))
    assert progress(status, 100.0, 10.0, 1.0) == "tiny-1 3/9 loss 1.000 #=_ 4s left"


def test_eighty_columns_show_a_run_well(session: Session) -> None:
    session.model_name, session.data = "/runs/tiny-1", "notes.txt"
    status = RunStatus(
        "running", step=12_345, total_steps=30_000, loss=2.345, tokens_per_second=12_345.0, eta_seconds=4000
    )
    watch = SimpleNamespace(active=[seen(status, losses=tuple(2.0**-n for n in range(10)))], ended=None)
    line = toolbar.text(session, cast(Any, watch), 80)
    assert line == " tiny-1 12,345/30,000 loss 2.345 ██▇▆▅▄▃▂▁▁ 12.3k tokens/s 1h06m left "


def test_a_run_that_has_failed_stays_until_another_model_is_chosen(session: Session) -> None:
    session.model_name = "/runs/tiny-1"
    watch = SimpleNamespace(active=[], ended=seen(RunStatus("failed", step=7, total_steps=9)))
    assert toolbar.text(session, cast(Any, watch), 80).startswith(" tiny-1 failed 7/9 · no data")
    session.model_name = None  # it had no weights, and no model was chosen before
    assert toolbar.text(session, cast(Any, watch), 80).startswith(" tiny-1 failed 7/9 · no data")
    session.model_name = "/runs/kept-2"
    assert toolbar.text(session, cast(Any, watch), 80).startswith(" model kept-2 · no data")


def test_the_step_of_the_weights_and_the_context_that_is_used(session: Session) -> None:
    session.model_name = "/runs/tiny-1"
    engine = SimpleNamespace(max_positions=64)
    cast(Any, session)._loaded = SimpleNamespace(label="tiny-1@7", step=7, engine=engine)
    assert toolbar.text(session, watching(), 80).strip() == "model tiny-1@7 · no data · auto"
    origin = Origin("tiny-1", 7, seed=1, tokens=5, prompt_tokens=12, max_tokens=9)
    session.conversation.messages += [Message("user", "a"), Message("assistant", "b", origin=origin)]
    session.conversation.name = "talk"
    told = toolbar.text(session, watching(), 80).strip()
    assert told == "model tiny-1@7 · no data · auto · talk (2) · ctx 17/64"
    full = replace(origin, prompt_tokens=60)
    session.conversation.messages[-1] = Message("assistant", "b", origin=full)
    assert toolbar.text(session, watching(), 80).strip().endswith(" · ctx 64/64")
    session.conversation.messages[-1] = Message("assistant", "b", origin=replace(full, model="other-2@9"))
    assert toolbar.text(session, watching(), 80).strip().endswith("talk (2)")
    session.conversation.messages.clear()
    assert toolbar.text(session, watching(), 80).strip().endswith("talk (0)")
    training = watching(RunStatus("running", step=9))
    assert toolbar.text(session, training, 80).startswith(" tiny-1 step 9 · weights of step 7 · no data")


def test_a_device_that_cannot_be_asked_is_told_as_it_was_chosen(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(_session: Session) -> Any:
        raise RuntimeError("the driver is gone")

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    monkeypatch.setattr(Session, "backend", backend)
    assert toolbar.text(session, watching(), 80).strip() == "no model · no data · auto"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m \x1b[38:5:9mtoo", "\x1b[1;31mred\x1b[0m \x1b[38:5:9mtoo"),
        ("a\x08b\x0ec\x7f\td", "abc\td"),
        ("a\x9b2Jb\x85c", "abc"),
        ("a\x1b[>1mb\x1b[!pc\x1b[ qd\x1b[?25le", "abcde"),
        ("a\x1b]0;title\x07b\x1b]0;title\x1b\\c\x1bPdata\x1b\\d", "abcd"),
        ("a\x1b]0;never ended", "a"),
        ("a\x1b(0b\x1bcc\x1b7d\x1b", "abcd"),
        ("50%\r100%\r", "100%"),
    ],
)
def test_above_the_prompt_only_styles_are_obeyed(written: str, shown: str) -> None:
    for cuts in ([written, "\n"], [*written, "\n"]):  # in one piece, and letter by letter
        stream = io.StringIO()
        with create_app_session(output=Vt100_Output(stream, lambda: Size(24, 80), enable_cpr=False)):
            above = news.AbovePrompt(io.StringIO())
            for piece in cuts:
                above.write(piece)
        assert stream.getvalue().removeprefix("\x1b[?7h") == shown + "\n"
