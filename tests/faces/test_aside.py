"""Replies that are computed aside: what the first Ctrl-C does, and the second, in a real process."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nanoshell.command import aside as room
from nanoshell.command.aside import Aside

LIMIT_SECONDS = 60.0


class Work:
    """Numbers from 1 on, until it is interrupted; ``before`` is called with each."""

    def __init__(self, before: Callable[[int], object] = lambda number: None, last: int = 10**9) -> None:
        self.interrupted = threading.Event()
        self._before = before
        self._last = last

    def __iter__(self) -> Iterator[int]:
        for number in range(1, self._last + 1):
            self._before(number)
            if self.interrupted.is_set():
                return
            yield number


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_everything_comes_in_order_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Aside(iter(Work(last=5000)), press) as aside:
        assert list(aside) == list(range(1, 5001))
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert not aside.left_behind


def test_what_goes_wrong_there_is_raised_here() -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise ValueError("the third")

    found: list[int] = []
    with pytest.raises(ValueError, match="the third"), Aside(iter(Work(fail)), press) as aside:
        found.extend(aside)
    assert found == [1, 2]


def test_ctrl_c_ends_it_after_its_step_and_keeps_what_has_come() -> None:
    def at_three(number: int) -> None:
        if number == 3:
            press()
            assert work.interrupted.wait(LIMIT_SECONDS)

    work = Work(at_three)
    with Aside(iter(work), work.interrupted.set) as aside:
        assert list(aside) == [1, 2]
    assert not aside.left_behind


@pytest.mark.parametrize("where", ["in C", "in Python", "asleep"])
def test_a_second_one_does_not_wait_for_a_step_that_hangs(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ABORT_SECONDS", LIMIT_SECONDS)  # the second is soon enough on any machine
    let_go = threading.Event()
    reader, writer = os.pipe()

    def hang(number: int) -> None:
        if number < 3:
            return
        press()
        assert work.interrupted.wait(LIMIT_SECONDS)
        press()
        if where == "in C":
            ctypes.CDLL(None).read(reader, ctypes.create_string_buffer(1), 1)
        elif where == "asleep":
            let_go.wait()
        else:
            while not let_go.is_set():
                pass

    work = Work(hang)
    with Aside(iter(work), work.interrupted.set) as aside:
        assert list(aside) == [1, 2]
    assert aside.left_behind
    if where == "in Python":  # it is ended there: nobody sets what it waits for
        thread = aside._thread
        assert thread is not None
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()
    let_go.set()
    os.write(writer, b"x")
    assert aside._thread is not None
    aside._thread.join(LIMIT_SECONDS)
    os.close(reader)
    os.close(writer)


def test_two_that_are_far_apart_are_two_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Aside, "_pressed_for", lambda _aside: 2 * room.ABORT_SECONDS)
    monkeypatch.setattr(room, "_GLANCE_SECONDS", LIMIT_SECONDS)  # nobody says that the step lasts
    pressed: list[int] = []

    def at_three(number: int) -> None:
        for count in (1, 2) if number == 3 else ():
            press()
            while len(pressed) < count:
                time.sleep(0.001)

    with Aside(iter(Work(at_three, last=4)), lambda: pressed.append(1)) as aside:
        assert list(aside) == [1, 2, 3, 4]
    assert len(pressed) == 2


def test_whoever_stops_reading_ends_the_work() -> None:
    work = Work()
    with pytest.raises(BrokenPipeError), Aside(iter(work), work.interrupted.set) as aside:
        next(aside)
        raise BrokenPipeError
    assert work.interrupted.is_set()
    assert not aside.left_behind


def test_in_another_thread_there_is_no_keyboard_to_answer() -> None:
    found: list[tuple[int, str]] = []

    def read() -> None:
        with Aside(iter(Work(last=3)), press) as aside:
            found.extend((number, threading.current_thread().name) for number in aside)

    thread = threading.Thread(target=read, name="reader")
    thread.start()
    thread.join()
    assert found == [(1, "reader"), (2, "reader"), (3, "reader")]


def test_where_the_step_lasts_that_is_said_and_one_more_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ABORT_SECONDS", 0.01)
    said, let_go = [], threading.Event()

    def at_three(number: int) -> None:
        if number == 3:
            press()
            let_go.wait()

    def slow() -> None:
        said.append("slow")
        press()

    work = Work(at_three)
    with Aside(iter(work), work.interrupted.set, slow=slow) as aside:
        assert list(aside) == [1, 2]
    assert said == ["slow"]
    assert aside.left_behind
    let_go.set()
