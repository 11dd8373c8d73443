"""Steering a worker that runs in the test's own process: requests after a step, and from beside."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from nanoshell.runs import control
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import Event, follow, read_events
from nanoshell.training.trainer import StepResult, Trainer

Asked = tuple[str, dict[str, Any]]


@contextlib.contextmanager
def beside(act: Callable[[], None]) -> Iterator[None]:
    """Let ``act`` run in a thread while the block (the worker) runs, and raise what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def await_event(run: RunDirectory, wanted: Callable[[Event], bool]) -> Event:
    """Return the first event of ``run`` that is ``wanted``, once it is there."""
    return next(event for event in follow(run, poll=0.002) if wanted(event))


def ask(run: RunDirectory, action: str, **arguments: Any) -> Event:
    """Ask the worker of ``run`` and return its answer."""
    found = control.wait_for(run, control.request(run, action, **arguments), timeout=300, poll=0.002)
    assert found is not None, action
    return found


@contextlib.contextmanager
def asking(run: RunDirectory, script: Mapping[int, Sequence[Asked]]) -> Iterator[None]:
    """Write requests to ``run`` after its steps of ``script``, before the loop looks for any."""
    update = Trainer.update

    def update_and_ask(trainer: Trainer) -> StepResult:
        result = update(trainer)
        for action, arguments in script.get(result.step, ()):
            control.request(run, action, **arguments)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", update_and_ask)
        yield


def answers(run: RunDirectory) -> list[Event]:
    """Return the answers to all requests, in order."""
    return [event for event in read_events(run.events_path)[0] if event["type"] == "control"]
