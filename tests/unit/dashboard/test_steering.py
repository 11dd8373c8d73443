"""What is asked of a run: what is asked first, what is pending, what is refused, and who is told."""

from __future__ import annotations

import asyncio
import errno
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard import asking
from nanoshell.dashboard.asking import Request, Requests, answer_words
from nanoshell.dashboard.steering import length_question, rate_question
from nanoshell.files import storage_error
from nanoshell.runs.control import request
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import (
    PATIENCE_SECONDS,
    Counter,
    HandFeed,
    desk,
    kind,
    play,
    requests,
    screen_text,
    until,
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[FakeRun]:
    with FakeRun(tmp_path) as fake:
        fake.step(10)
        yield fake


def wait(holds: Callable[[], object]) -> None:
    """Wait until ``holds`` returns something true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("before", "rate", "asked"),
    [
        (0.003, 0.009, ""),
        (0.003, 0.0001, ""),
        (None, 5.0, ""),
        (0.003, 0.01, "Raise the learning rate of a-1 from 0.003 to 0.01, 3.3 times as high?"),
        (1e-5, 0.5, "Raise the learning rate of a-1 from 1e-05 to 0.5, 50,000 times as high?"),
    ],
)
def test_a_rate_that_is_far_higher_is_asked_about(before: float | None, rate: float, asked: str) -> None:
    assert rate_question("a-1", before, rate) == asked


@pytest.mark.parametrize(
    ("by", "asked"),
    [
        ({"steps": 1000}, ""),
        ({"steps": 1001}, "Train a-1 to step 2,001 instead of 1,000, 2 times as long?"),
        ({"steps": 500_000}, "Train a-1 to step 501,000 instead of 1,000, 501 times as long?"),
        ({"epochs": 20.0}, ""),
        ({"epochs": 60.0}, "Train a-1 to about step 4,000 instead of 1,000, 4 times as long?"),
    ],
)
def test_a_length_that_is_multiplied_is_asked_about(by: dict[str, float], asked: str) -> None:
    assert length_question("a-1", RunStatus("running", step=100, total_steps=1000, epoch=2.0), by) == asked
    assert length_question("a-1", RunStatus("starting"), by) == ""


def test_what_is_dangerous_is_asked_with_its_figures_and_not_done_without_a_yes(
    tmp_path: Path, run: FakeRun
) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: app.snapshot.courses)
        for answer, wanted in (("n", []), ("y", [{"learning_rate": 0.1}])):
            await pilot.press("L", "0", "full_stop", "1", "enter")
            await until(pilot, lambda: "from 0.01 to 0.1, 10" in screen_text(app))
            await pilot.press(answer)
            await until(pilot, lambda: [line["values"] for line in requests(run)] == wanted)  # noqa: B023
        await pilot.press("X", *"9000", "enter")
        await until(pilot, lambda: "to step 10,000 instead of" in screen_text(app))
        await pilot.press("enter")
        await pilot.press("X", *"900", "enter")
        await until(pilot, lambda: [line.get("steps") for line in requests(run)] == [None, 900])

    play(app, scene)


def test_what_is_pending_stands_at_the_top_and_is_not_asked_twice(tmp_path: Path, run: FakeRun) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: app.snapshot.courses)
        await pilot.press("E", "E", *["right_curly_bracket"] * 3)
        top = "asked: evaluate, learning rate, learning rate, learning rate"
        await until(pilot, lambda: top in screen_text(app).splitlines()[0])
        await until(pilot, lambda: "was asked already (evaluate)" in screen_text(app))
        await until(pilot, lambda: len(requests(run)) == 4)
        assert [line.get("values") for line in requests(run)] == [
            None,
            {"learning_rate": 0.0125},
            {"learning_rate": 0.0156},
            {"learning_rate": 0.0195},
        ]
        run.answer_requests()
        await until(pilot, lambda: "learning rate 0.01 -> 0.0195" in screen_text(app))
        await until(pilot, lambda: "asked:" not in screen_text(app).splitlines()[0])

    play(app, scene)


def test_of_answers_to_the_same_the_newest_stands_and_none_tells_of_samples_that_are_seen(
    tmp_path: Path, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell.dashboard.app.SHOW_SECONDS", 3600.0)
    feed = HandFeed()
    app = desk(tmp_path, Counter, kind(panel_id="texts", place="samples"), feed=feed)

    def said() -> list[str]:
        return [notice.message for notice in app.notices]

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: app.snapshot.courses)
        for number, key in enumerate(("P", "P", "R", "G"), 1):
            await pilot.press(key)
            await until(pilot, lambda number=number: len(requests(run)) == number)  # type: ignore[misc]
            run.answer_requests()
            await until(pilot, lambda: not app.unanswered("fake-1"))
        await until(pilot, lambda: len(said()) == 2)
        assert said() == ["fake-1: resumed", "fake-1: 1 sample more, in the view Samples"]
        await pilot.press("escape", "2", "G")
        await until(pilot, lambda: len(requests(run)) == 5)
        run.answer_requests()
        await until(pilot, lambda: not app.unanswered("fake-1"))
        await pilot.press("C")
        await until(pilot, lambda: len(requests(run)) == 6)
        run.answer_requests()
        await until(pilot, lambda: any("checkpoint" in words for words in said()))
        assert not any("sample" in words for words in said())

    play(app, scene)


def test_the_answer_of_one_run_is_told_though_another_was_asked_later_and_answered_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "IMPATIENCE_SECONDS", 300.0)
    said = queue.SimpleQueue[str]()
    desk = Requests(None, lambda text, *_: said.put(text) if text else None)
    with FakeRun(tmp_path, "first") as first, FakeRun(tmp_path, "second") as second:
        desk.ask(first.run, "sample")
        desk.ask(second.run, "sample")
        for each in (second, first):
            with each.answering():
                assert said.get(timeout=60).startswith(f"{each.run.name}: 1 sample more")
    desk.close()


def test_of_an_answer_that_was_overtaken_only_a_refusal_is_told_and_it_stands_alone(run: FakeRun) -> None:
    said: list[tuple[str, str]] = []
    desk = Requests(None, lambda text, _severity, about: said.append((text, about)))
    first, second, third = (Request(run.run, "pause", number=number) for number in (1, 2, 3))
    desk._pending += [first, second, third]
    desk._end(third, "the newest", "information")
    desk._end(first, "older", "information")
    desk._end(second, "refused", "error")
    assert said == [("the newest", "fake-1: pause"), ("", ""), ("refused", "")]


def test_requests_keep_their_order(run: FakeRun) -> None:
    desk = Requests(None, lambda text, *_: None)
    wanted = ["pause", "resume"] * 10
    for action in wanted:
        desk.ask(run.run, action)
    with run.answering():
        while desk.pending(run.run.name):
            time.sleep(0.01)
    desk.close()
    assert [line["action"] for line in requests(run)] == wanted


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("finished", "is not running: it is finished"),
        ("crashed", "is not running: it is crashed"),
        ("elsewhere", "has not answered (extend) for"),
        ("vanished", "its folder is gone"),
    ],
)
def test_who_cannot_answer_is_told_of_and_nothing_stays_pending(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, end: str, said: str
) -> None:
    monkeypatch.setattr(asking, "IMPATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.2)
    told: list[str] = []
    desk = Requests(None, lambda text, *_: told.append(text))
    if end == "elsewhere":
        run.move()
    elif end == "vanished":
        run.vanish()
    else:
        run.finish(end)
    desk.ask(run.run, "extend", steps=5)
    last = "no longer waited for" if end == "elsewhere" else said
    wait(lambda: told and last in told[-1])  # it is told after it is no longer pending
    desk.close()
    assert not desk.pending(run.run.name)
    assert said in told[0]


@pytest.mark.parametrize("end", ["failed", "crashed"])
def test_a_run_that_ends_owes_no_answer(run: FakeRun, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(asking, "IMPATIENCE_SECONDS", 0.1)
    told: list[str] = []
    desk = Requests(None, lambda text, *_: told.append(text))
    desk.ask(run.run, "pause")
    wait(lambda: requests(run))
    run.crash() if end == "crashed" else run.finish(end)
    wait(lambda: "fake-1 ended before it answered (pause)" in told)
    desk.close()
    assert not desk.pending(run.run.name)


def test_what_no_disk_takes_is_told_with_what_helps(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [errno.EROFS, errno.ENOSPC]

    def refuse(asked: RunDirectory, *_: object) -> str:
        raise storage_error(asked.control_path, OSError(numbers.pop(0), ""))

    monkeypatch.setattr(asking, "request", refuse)
    told: list[str] = []
    desk = Requests(None, lambda text, *_: told.append(text))
    for action in ("pause", "resume"):
        desk.ask(run.run, action)
    wait(lambda: len(told) == 2)
    desk.close()
    path = run.run.control_path
    only = "--read-only shows runs and asks nothing"
    assert told == [
        f"fake-1 was not asked (pause): cannot write {path}: the file system is read-only; {only}",
        f"fake-1 was not asked (resume): cannot write {path}: the disk is full",
    ]


def test_two_dashboards_and_a_prompt_steer_one_run_and_each_hears_its_own(
    tmp_path: Path, run: FakeRun
) -> None:
    first, second = HandFeed(), HandFeed()
    left = desk(tmp_path, Counter, feed=first)
    right = desk(tmp_path, Counter, feed=second)

    def told(app: object) -> list[str]:
        return [notice.message for notice in app._notifications]  # type: ignore[attr-defined]

    async def scene() -> None:
        async with left.run_test(size=(80, 24)) as one, right.run_test(size=(80, 24)) as other:
            for feed in (first, second):
                feed.give(run.run)
            await until(one, lambda: left.snapshot.courses)
            await until(other, lambda: right.snapshot.courses)
            await one.press("P")
            await other.press("E")
            await until(one, lambda: len(requests(run)) == 2)
            request(run.run, "sample", prompts=["Hello"])
            with run.answering():
                await until(one, lambda: told(left))
                await until(other, lambda: told(right))
            assert told(left) == ["fake-1: paused"]
            assert len(told(right)) == 1
            assert told(right)[0].startswith("fake-1: validation loss")
            for feed in (first, second):
                feed.give(run.run)
            for app, pilot in ((left, one), (right, other)):
                await until(pilot, lambda: "fake-1  paused" in screen_text(app).splitlines()[0])  # noqa: B023

    asyncio.run(scene())


def test_answers_are_told_with_what_was_before_and_what_follows() -> None:
    rate = "the rate of step 8 is 0.0004 (cosine, with its peak at 0.0008)"
    answer = {
        "ok": True,
        "message": f"learning_rate is 0.0008, it was 0.001; {rate}; it would have been 0.0005",
        "values": {"learning_rate": 0.0008},
        "before": {"learning_rate": 0.001},
    }
    assert answer_words("set", answer) == "learning rate 0.001 -> 0.0008; now 0.0004 (cosine)"
    longer = {
        "ok": True,
        "message": f"it goes on to step 1,200; {rate}; it would have been 4e-05; not saved yet: full",
    }
    said = "goes on to step 1,200; learning rate 4e-05 -> 0.0004 (cosine); not saved yet: full"
    assert answer_words("extend", {**longer, "total_steps": 1200}) == said
    same = {"ok": True, "message": "learning_rate is 0.001 already", "values": {}, "before": {}}
    assert answer_words("set", same) == "learning_rate is 0.001 already"
    refused = {"ok": False, "message": "it cannot", "hint": "try later"}
    begun = {"samples": 1, "no_prompts": True, "message": "1 sample from nothing: no prompts"}
    said = "1 sample from nothing: no prompts; t in the view Samples tries a prompt"
    assert answer_words("sample", begun) == said
    assert answer_words("evaluate", refused) == "it cannot; try later"
