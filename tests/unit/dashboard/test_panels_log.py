"""Log and Alerts: followed while they grow, harmless whatever they hold, each alert told once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from nanoshell.dashboard.course import Course
from nanoshell.dashboard.panels import tail as tails
from nanoshell.dashboard.panels.alerts import AlertsPanel, AlertWatch, paired
from nanoshell.dashboard.panels.lines import TextLines, wrapped
from nanoshell.dashboard.panels.log import LogPanel
from nanoshell.dashboard.panels.plain import plain, without_escapes
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.dashboard.panels.tail import MOST_LINES, Tail, event_line, log_line
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

from .desk import run, shown


def told(tail: Tail) -> list[str]:
    return [text for text, _ in tail.lines]


# Harmless text


@given(st.text())
def test_nothing_that_moves_the_cursor_is_left(text: str) -> None:
    assert plain(text).isprintable()
    shown_in_ascii = plain(text, ascii=True)
    assert shown_in_ascii.isprintable()
    assert shown_in_ascii.isascii()
    assert plain(plain(text)) == plain(text)


def test_escapes_go_and_words_stay() -> None:
    text = "\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x1b(Bend\x9b2J"
    assert without_escapes(text) == "red link end"
    assert plain("a\tb\x00c\u202ed\u200be") == "a   b\ufffdcde"
    assert plain("α…→─", ascii=True) == "?...->-"


@given(st.lists(st.text("ab  c", max_size=40), max_size=4), st.integers(1, 20), st.integers(0, 4))
def test_folding_loses_no_word(words: list[str], width: int, indent: int) -> None:
    line = tuple((text, "") for text in words)
    folded = wrapped([line], width, indent)
    whole = "".join(text for each in folded for text, _ in each)
    assert whole.replace(" ", "") == "".join(words).replace(" ", "")
    assert all(sum(len(text) for text, _ in each) <= width for each in folded)


# The tail of a file


def test_it_begins_at_the_end_and_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "FIRST_BYTES", 100)
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(1000)))
    tail = Tail(path, log_line)
    assert tail.poll()
    assert tail.cut
    assert told(tail)[-1] == "line 999"
    assert told(tail)[0] == "line 989"  # the first whole one of the last 100 bytes
    assert not tail.poll()
    with path.open("a") as file:
        file.write("half")
        file.flush()
        assert tail.poll()
        assert told(tail)[-1] == "half"
        file.write(" and whole\nnext\n")
    assert tail.poll()
    assert told(tail)[-2:] == ["half and whole", "next"]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "MOST_BYTES", 5000)
    path = tmp_path / "log"
    path.write_text("first\n")
    tail = Tail(path, log_line)
    tail.poll()
    with path.open("a") as file:
        file.write("x" * 200_000 + "\nlast\n")
    tail.poll()
    assert told(tail)[-1] == "last"
    assert sum(map(len, told(tail))) < 10_000
    path.write_text("\n" * (2 * tails.MOST_LINES))
    tail.poll()
    assert len(tail.lines) <= tails.MOST_LINES


def test_a_file_that_is_cut_replaced_or_gone_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path, log_line)
    assert not tail.poll()
    path.write_text("one\ntwo\n")
    assert tail.poll()
    path.write_text("three\n")
    assert tail.poll()
    assert told(tail) == ["three"]
    other = tmp_path / "other"
    other.write_text("a new file, longer than the old\n")
    other.replace(path)
    assert tail.poll()
    assert told(tail) == ["a new file, longer than the old"]
    path.unlink()
    assert tail.poll()
    assert not tail.there
    assert not tail.poll()


@given(st.lists(st.sampled_from(["a", "bc\n", "\n", "d\re", "\r\n", "é"]), max_size=12), st.data())
def test_pieces_read_as_the_whole(tmp_path_factory: Any, pieces: list[str], data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("tail") / "log"
    whole, tail = "".join(pieces).encode(), Tail(path, log_line)
    path.write_bytes(b"")
    for byte in whole:
        with path.open("ab") as file:
            file.write(bytes([byte]))
        if data.draw(st.booleans()):
            tail.poll()
    tail.poll()
    fresh = Tail(path, log_line)
    fresh.poll()
    assert told(tail) == told(fresh)


def test_events_of_any_shape_become_lines_or_nothing() -> None:
    assert event_line('{"t": 0, "type": "heartbeat"}', steps=True) is None
    assert event_line('{"t": 0, "type": "step", "step": 1, "loss": 2.0}', steps=False) is None
    assert (
        "loss 2.000"
        in (event_line('{"t": 0, "type": "step", "step": 1, "loss": 2.0}', steps=True) or ("",))[0]
    )
    for odd in ("{", "[]", '{"type": "eval"}', '{"t": "x", "type": "eval"}', '{"t": 1e300, "type": "eval"}'):
        assert event_line(odd, steps=True) is None
    assert event_line('{"t": 0, "type": "step", "step": 1, "expert_load": 3}', steps=True) is None


# The panel of the log


def test_the_log_is_followed_until_one_scrolls(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.log("".join(f"line {number}\n" for number in range(100)))

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [fake]) as desk:
            await desk.sees("line 99", "100 lines", "following")
            fake.log("\x1b[31mone \x1b[2Jmore\x07\n")
            await desk.sees("one more\ufffd")
            await desk.press("pageup")
            await desk.sees("End follows")
            assert "one more" not in desk.text
            fake.log("still unseen\n")
            await desk.sees("102 lines")
            assert "still unseen" not in desk.text
            await desk.press("end")
            await desk.sees("still unseen", "following")
            await desk.press("home")
            await desk.sees("line 0\n")

    run(scene)
    fake.close()


def test_long_lines_fold_or_do_not(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.log("word " * 40 + "end\n")

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [fake]) as desk:
            await desk.sees("end", "1 line ")
            await desk.press("w")
            await desk.until(lambda: " end" not in desk.text)
            assert len(desk.app.query_one("#log-lines", TextLines).lines) == 1

    run(scene)
    fake.close()


def test_search_goes_from_place_to_place(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.log("".join(f"line {number}{' Needle' if number in (3, 50) else ''}\n" for number in range(100)))

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [fake]) as desk:
            await desk.sees("line 99")
            panel = desk.app.query_one(LogPanel)
            await desk.press("slash")
            await desk.type("needle")
            await desk.press("enter")
            await desk.sees("line 50 Needle", "51 of")
            await desk.press("n")
            await desk.sees("line 3 Needle", "4 of")
            await desk.press("p")
            await desk.sees("line 50 Needle")
            await desk.press("slash", "x", "enter")
            await desk.until(lambda: "'x' is not in these lines" in desk.notices)
            await desk.press("slash", "escape")
            assert panel.has_focus
            assert "needle" not in desk.text
            await desk.press("slash", "x", "enter", "escape")
            assert panel.is_on_screen
            assert not panel._term
            fake.run.log_path.unlink()
            await desk.sees("the file is gone", "line 50 Needle")

    run(scene)
    fake.close()


def test_the_line_found_stays_the_same_line_while_older_ones_are_dropped(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.log("".join(f"line {number}\n" for number in range(MOST_LINES - 1)) + "a needle\n")

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [fake]) as desk:
            await desk.sees("a needle")
            await desk.press("slash", *"needle", "enter")
            await desk.sees(f"{MOST_LINES:,} of")
            fake.log("".join(f"later {number}\n" for number in range(7)))
            await desk.sees(f"{MOST_LINES - 7:,} of the last")
            await desk.press("y")
            await desk.until(lambda: desk.app.clipboard == "a needle")
            fake.run.log_path.write_text("begun anew\n")
            await desk.sees("worker.log  1 line ")
            await desk.press("y")
            await desk.until(lambda: desk.app.clipboard == "begun anew")

    run(scene)
    fake.close()


def test_events_are_lines_with_and_without_steps(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.step(2)
    fake.eval()
    fake.alert("it \x1b[31mhangs")

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [fake]) as desk:
            await desk.sees("events", "validation loss", "alert: it", "running")
            assert "\x1b" not in desk.text
            assert "step 1 " not in desk.text
            await desk.press("e")
            await desk.sees("step 1  loss")
            rest = fake.half_line()
            await desk.press("up", "end")
            fake.raw(rest)
            await desk.sees("step 3  loss")
            fake.vanish()
            await desk.sees("events and steps")
            desk.feed.read()
            await desk.press("e")
            await desk.sees("is gone")

    run(scene)


@pytest.mark.parametrize("size", [(40, 12), (80, 24)])
def test_a_worker_that_has_printed_nothing_has_its_events_shown_until_one_asks(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    silent, loud = FakeRun(tmp_path, "silent"), FakeRun(tmp_path, "loud")
    silent.log("")
    loud.log("of the loud\n")

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [silent, loud], size=size) as desk:
            panel = desk.app.query_one(LogPanel)

            async def focus(number: int) -> None:
                desk.feed.focused = number
                desk.feed.read()

            await desk.sees("silent-1  events", "running")
            await focus(1)
            await desk.sees("loud-1  worker.log", "of the loud")
            await focus(0)
            await desk.sees("silent-1  events")
            await desk.press("e", "e")
            await desk.sees("silent-1  worker.log", "what the worker prints", "e shows events")
            assert panel.kind == "worker.log"
            silent.run.log_path.unlink()
            await desk.press("e", "e", "e")
            await desk.sees("there is no worker.log (yet)")

    run(scene)
    silent.close()
    loud.close()


def test_what_has_not_been_read_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, go = FakeRun(tmp_path), threading.Event()
    fake.log("a word\n")
    poll = Tail.poll

    def slow(tail: Tail) -> bool:
        assert go.wait(60)
        return poll(tail)

    monkeypatch.setattr(Tail, "poll", slow)

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [fake]) as desk:
            try:
                await desk.sees("fake-1  worker.log  reading …")
                assert "there is no" not in desk.text
                assert "0 lines" not in desk.text
            finally:
                go.set()
            await desk.sees("a word", "1 line  following")

    run(scene)
    fake.close()


def test_another_focus_is_another_log(tmp_path: Path) -> None:
    first, second = FakeRun(tmp_path, "first"), FakeRun(tmp_path, "second")
    first.log("of the first\n")
    second.log("of the second\n")

    async def scene() -> None:
        async with shown(tmp_path, [LogPanel], [first, second]) as desk:
            await desk.sees("first-1", "of the first")
            desk.feed.focused = 1
            desk.feed.read()
            await desk.sees("second-1", "of the second")
            assert "of the first" not in desk.text

    run(scene)
    first.close()
    second.close()


# Alerts


def course(*alerts: dict[str, Any], updated: float = 100.0, complete: bool = True) -> Course:
    status = RunStatus("running", updated=updated)
    return Course(RunDirectory(Path("runs/a-1")), status, alerts=alerts, complete=complete)


def alert(t: float, kind: str = "plateau", **fields: Any) -> dict[str, Any]:
    return {"t": t, "type": "alert", "kind": kind, "message": "hm", **fields}


def test_only_what_comes_while_one_looks_is_new() -> None:
    watch = AlertWatch()
    old, new, late = alert(50), alert(101), alert(20)
    assert watch.new([course(old)]) == []
    assert watch.new([course(old, new)]) == [("a-1", new)]
    assert watch.new([course(old, new)]) == []
    assert watch.new([course(late, old, new)]) == []  # an older part of the log has been read
    back = alert(90)  # the clock was put back
    assert watch.new([course(late, old, new, back)]) == [("a-1", back)]


def test_the_first_alert_of_a_run_is_new_and_older_parts_are_not() -> None:
    watch = AlertWatch()
    assert watch.new([course(complete=False)]) == []
    assert watch.new([course(alert(20))]) == []
    assert len(watch.new([course(alert(20), alert(120))])) == 1


def test_the_first_alert_is_new_whatever_the_clock_says_once_the_log_has_been_read() -> None:
    watch = AlertWatch()
    watch.new([course(complete=False)])
    assert watch.new([course()]) == []
    assert len(watch.new([course(alert(100))])) == 1  # in the millisecond of what was last written


def test_alerts_that_a_resume_makes_void_let_none_before_them_be_told_again() -> None:
    watch = AlertWatch()
    watch.new([course()])
    first, second = alert(110), alert(120)
    assert len(watch.new([course(first, second)])) == 2
    assert watch.new([course(first)]) == []
    assert watch.new([course(first, again := alert(130))]) == [("a-1", again)]


def test_what_is_over_is_paired_with_what_it_ends() -> None:
    found = paired(
        "a-1", [alert(1, "stalled"), alert(2), alert(3, "stalled", cleared=True), alert(4, "stalled")]
    )
    assert [(each.event["kind"], each.over) for each in found] == [
        ("stalled", 3),
        ("plateau", None),
        ("stalled", None),
    ]


def test_a_new_alert_is_told_once_in_any_view_with_a_bell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRun(tmp_path)
    fake.step(5)
    fake.alert("an old one")
    rung: list[int] = []

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel, AlertsPanel], [fake]) as desk:
            monkeypatch.setattr(desk.app, "bell", lambda: rung.append(1))
            panel = desk.app.query_one(AlertsPanel)
            await desk.until(lambda: panel._seen is desk.app.snapshot and bool(desk.app.snapshot.courses))
            assert desk.notices == []
            fake.step(1)
            fake.alert("the loss stands still", hint="lower the rate")
            desk.feed.read()
            await desk.until(lambda: desk.notices == ["fake-1: plateau: the loss stands still"])
            fake.step(1)
            desk.feed.read()
            desk.app.action_view(2)
            await desk.sees("2 alerts;", "lower the rate", "an old one", "step 6")
            assert len(rung) == 1
            await desk.press("b")
            await desk.sees("without a bell")
            fake.alert("quiet now", kind="stalled")
            fake.alert("", kind="stalled", cleared=True)
            desk.feed.read()
            await desk.sees("3 alerts, 1 over;", "over at")
            assert len(rung) == 1
            assert len(desk.notices) == 3

    run(scene)
    fake.close()


def test_without_alerts_it_says_so(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)

    async def scene() -> None:
        async with shown(tmp_path, [AlertsPanel], [fake]) as desk:
            await desk.sees("nothing was found to be wrong")

    run(scene)
    fake.close()
