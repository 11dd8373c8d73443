"""What was asked for stands once among the events in Log: its answer, or what the run did."""

from __future__ import annotations

from pathlib import Path

from nanoshell.dashboard.panels.log import LogPanel
from nanoshell.dashboard.panels.loglines import EventLines
from nanoshell.runs.control import request
from nanoshell.testing import FakeRun

from .desk import Shown, run, shown


def test_what_was_asked_for_is_told_once_among_the_events(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.step(2)

    def ask(*actions: str) -> None:
        for action in actions:
            request(fake.run, action)
            fake.answer_requests()

    def said(desk: Shown) -> list[str]:
        return [line.partition("step 2  ")[2].strip() for line in desk.lines if "step 2  " in line]

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [fake]) as desk:
            await desk.sees("events", "running")
            ask("sample", "evaluate", "checkpoint", "snapshot", "pause")
            await desk.sees("paused")
            sampled, measured, *rest = said(desk)
            assert sampled.startswith("sample:")
            assert measured.startswith("validation loss 4.076 (best)")
            assert rest == ["saved step-000002 (10 B)", "saved snapshots/step-000002", "paused"]
            fake.sample()
            fake.alert("it hangs", step=2)
            fake.control("sample", message="1 sample")  # another event stands between
            ask("resume", "stop")
            await desk.sees("stopped: asked to stop")
            assert said(desk)[5:] == [
                "sample: HelloHello, friend.",
                "1 sample",
                "resumed",
                "saving and stopping",
                "saved step-000002 (10 B)",
                "stopped: asked to stop",
            ]

    run(scene)
    fake.close()


def test_a_line_of_events_that_is_read_again_is_told_again() -> None:
    lines = EventLines(steps=False)
    asked = '{"t": 0, "type": "control", "action": "pause", "ok": true, "step": 1, "message": "paused"}'
    state = '{"t": 0, "type": "state", "state": "paused", "step": 1}'
    first = lines(asked)
    assert first is not None
    assert lines(asked) == first
    assert lines(state) is None
    assert lines('{"t": 9, "type": "heartbeat"}') is None
    assert lines(state.replace("1}", "7}")) is not None
