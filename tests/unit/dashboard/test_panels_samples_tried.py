"""The panel of samples: prompts that are tried, by a run that trains or by a model that is loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.panels.kinds import LossChart
from nanoshell.dashboard.panels.log import LogPanel
from nanoshell.dashboard.panels.samples import SamplesPanel
from nanoshell.testing import FakeRun

from .still import more, play, samples_of, shows, text
from .test_panels_manner import samplers

Make = Callable[..., FakeRun]


def test_a_live_run_is_asked_for_a_text(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("2", "home", "t", *"Hello", "enter")
        assert "asked; the text comes" in text(app)
        assert app.focused is samples_of(app), "the next key is meant for the dashboard"
        await pilot.press("3")
        await shows(app, pilot, lambda: app.chosen == 2)
        await pilot.press("2", "t", "x", "escape", "1")
        await shows(app, pilot, lambda: app.chosen == 0)
        await pilot.press("2")
        found: list[Any] = []

        def asked() -> bool:
            found.extend(written.answer_requests())
            return bool(found)

        await shows(app, pilot, asked)
        assert (found[0]["action"], found[0]["prompts"]) == ("sample", ["Hello"])
        await more(app, pilot)
        assert "Hello and so on, at step 30" in text(app)
        assert "asked; the text comes" not in text(app)

    play([written], [LossChart, SamplesPanel, LogPanel], scene)


def test_nothing_is_tried_where_one_only_reads(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert not app.query_one(Input).display
        assert "only reads" in text(app)
        await pilot.press("t")
        assert not isinstance(app.focused, Input)

    play([written], [SamplesPanel], scene, read_only=True)


def test_a_finished_run_without_a_session_says_why(written: FakeRun) -> None:
    written.finish()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("t", *"Hi", "enter")
        await pilot.pause()
        assert any("nothing is here to load it" in note.message for note in app._notifications)

    play([written], [SamplesPanel], scene)


class Slowly:
    """Tokens that come one by one as a test lets them."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.turn = threading.Semaphore(0)
        self.stopped = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        for piece in self.texts:
            self.turn.acquire()
            if self.stopped.is_set():
                return
            yield SimpleNamespace(id=1, text=piece)

    def interrupt(self) -> None:
        self.stopped.set()
        self.turn.release()


def session_with(generation: Slowly, asked: list[Any]) -> Any:
    def generate(prompt: str, *, model: Any) -> Slowly:
        asked.append((prompt, model))
        return generation

    return SimpleNamespace(
        model=lambda reference: Path(reference).name,
        generate=generate,
        plugins=SimpleNamespace(samplers=samplers()),
        settings=SimpleNamespace(number=lambda name: 0.8),
    )


def test_a_finished_run_is_loaded_and_streams(written: FakeRun) -> None:
    written.finish()
    generation, asked = Slowly(["Good", " day", " to"]), []

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("t", *"Hello ", "enter")
        generation.turn.release(2)
        await shows(app, pilot, lambda: "Hello Good day" in text(app))
        assert asked == [("Hello ", written.run.name)]
        assert "tried here" in text(app)
        await pilot.press("escape")
        await shows(app, pilot, lambda: generation.stopped.is_set() and samples_of(app)._writing is None)
        assert "Hello Good day" in text(app)
        await pilot.press("escape", "right_square_bracket")
        assert "Once upon" in text(app)

    play([written], [SamplesPanel], scene, session=session_with(generation, asked))


def test_leaving_while_a_text_is_written_ends_it(written: FakeRun) -> None:
    written.finish()
    generation = Slowly(["Good", " day"])

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("t", *"Hello", "enter")
        generation.turn.release()
        await shows(app, pilot, lambda: "HelloGood" in text(app))

    play([written], [SamplesPanel], scene, session=session_with(generation, []))
    assert generation.stopped.is_set()


def test_what_the_engine_refuses_is_said(written: FakeRun) -> None:
    from nanoshell.errors import CheckpointError

    written.finish()

    def refuse(reference: str) -> None:
        raise CheckpointError("there are no weights", hint="train first")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("t", *"Hello", "enter")
        said = "there are no weights; train first"
        await shows(app, pilot, lambda: any(said in note.message for note in app._notifications))
        assert "Once upon the fox sat" in text(app)

    play([written], [SamplesPanel], scene, session=SimpleNamespace(model=refuse, generate=None))


def test_what_is_asked_of_a_run_that_refuses_is_not_waited_for(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("t", *"Hello", "enter")
        assert "asked; the text comes" in text(app)
        written.step(2)
        await more(app, pilot)
        assert "asked; the text comes" in text(app)
        written.step(5)
        await more(app, pilot)
        assert "asked; the text comes" not in text(app)

    play([written], [SamplesPanel], scene)


def test_what_was_tried_on_an_older_checkpoint_is_shown_while_it_is_written(written: FakeRun) -> None:
    written.at = 20
    written.checkpoint()
    written.at = 30
    written.finish()
    generation = Slowly(["!"])

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("t", *"Count", "enter")
        assert "loading the checkpoint of step 20 (" in text(app)
        generation.turn.release()
        await shows(app, pilot, lambda: "Count!" in text(app))
        assert "step 20   3 of 4 texts" in text(app)

    play([written], [SamplesPanel], scene, session=session_with(generation, []))


def test_how_prompts_are_tried_is_typed_and_handed_on(written: FakeRun) -> None:
    written.finish()
    generation, given = Slowly([]), {}

    def generate(prompt: str, **options: Any) -> Slowly:
        given.update(options)
        return generation

    session = session_with(generation, [])
    session.generate = generate

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("o")
        await shows(app, pilot, lambda: "How prompts are tried" in text(app))
        await pilot.press("ctrl+u", *"sed=7", "enter")
        assert "did you mean 'seed'" in text(app)
        await pilot.press("ctrl+u", *"seed=7 top_k=3", "enter")
        assert "(top_k=3 seed=7)" in text(app)
        await pilot.press("t", "H", "enter")
        await shows(app, pilot, lambda: samples_of(app)._writing is None)
        nothing = "the model wrote nothing"
        await shows(app, pilot, lambda: any(nothing in note.message for note in app._notifications))

    play([written], [SamplesPanel], scene, session=session)
    assert (given["sampling"], given["seed"]) == ({"top_k": 3.0}, 7)
    assert "max_tokens" not in given
