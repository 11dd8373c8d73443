"""The panel of samples: by step and by prompt, compared, and with the charts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import SampleText
from nanoshell.dashboard.panels.kinds import LossChart
from nanoshell.dashboard.panels.samples import SamplesPanel
from nanoshell.dashboard.panels.sampletext import heading
from nanoshell.testing import FakeRun

from .still import more, play, samples_of, settled, text

Make = Callable[..., FakeRun]


def test_the_newest_text_is_shown_and_steps_are_gone_through(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "Once upon the fox sat" in text(app)
        assert "step 30   3 of 3 texts, the newest" in text(app)
        assert "prompt 1 of 2" in text(app)
        await pilot.press("left")
        assert "Once upon the dog sat" in text(app)
        assert app.sight.cursor == 20
        await pilot.press("left", "left", "left")
        assert "Once upon the cat sat" in text(app)
        await pilot.press("right_square_bracket")
        assert "Count number 1" in text(app)
        await pilot.press("end")
        assert "Count number 3" in text(app)
        assert app.sight.cursor is None

    play([written], [SamplesPanel], scene)


def test_the_crosshair_chooses_the_step(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        app.set_sight(replace(app.sight, cursor=12.0))
        await settled(app, pilot)
        assert "Once upon the cat sat" in text(app)
        app.set_sight(replace(app.sight, axis="tokens", cursor=512 * 21.0))
        await settled(app, pilot)
        assert "Once upon the dog sat" in text(app)
        await pilot.press("left")
        assert app.sight.cursor == 512 * 10

    play([written], [SamplesPanel], scene)


def test_a_number_goes_to_the_nearest_step(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("j", *"soon", "enter")
        await settled(app, pilot)
        assert "Go to the text of which step (10 to 30)?" in text(app)
        assert "'soon' is no step" in text(app)
        await pilot.press("ctrl+u", *"12", "enter")
        await settled(app, pilot)
        assert "Once upon the cat sat" in text(app)
        assert app.sight.cursor == 10
        await pilot.press("j", *"0.021k", "enter")
        await settled(app, pilot)
        assert "Once upon the dog sat" in text(app)
        await pilot.press("j", "escape")
        await settled(app, pilot)
        assert samples_of(app).position == 1
        await pilot.press("j", *"9,999", "enter")
        await settled(app, pilot)
        assert "Once upon the fox sat" in text(app)
        for word in ("go", "step", "jump"):
            await pilot.press("ctrl+p", *word)
            await settled(app, pilot)
            assert "Go to a step" in text(app), word
            await pilot.press("escape", "escape")
            await settled(app, pilot)

    play([written], [SamplesPanel], scene)


def test_without_a_text_there_is_no_step_to_go_to(nanoshell_fake_run: Make) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("j")
        await settled(app, pilot)
        assert len(app.screen_stack) == 1
        assert "there is no text to go to yet" in [told.message for told in app._notifications]

    play([nanoshell_fake_run()], [SamplesPanel], scene)


def test_the_newest_stays_the_newest_and_one_that_is_read_stays(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        written.step(10)
        written.sample(" the owl sat", "Once upon")
        await more(app, pilot)
        assert "the owl sat" in text(app)
        await pilot.press("home")
        written.step(10)
        written.sample(" the bee sat", "Once upon")
        await more(app, pilot)
        assert "the cat sat" in text(app)
        assert "1 of 5 texts, newest 50" in text(app)

    play([written], [SamplesPanel], scene)


def test_two_steps_stand_side_by_side_with_differences_marked(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("d")
        await pilot.pause()
        line = next(line for line in text(app).split("\n") if "Once upon" in line and "dog" in line)
        assert line.index("dog") < 40 <= line.index("fox")
        headings = next(line for line in text(app).split("\n") if "step 20" in line)
        assert headings.index("step 20   67% alike") < 40 <= headings.index("step 30   3 of 3 texts")
        underlined = [
            segment.text.strip()
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style and segment.style.underline
        ]
        assert "dog" in underlined
        assert "fox" in underlined
        assert "sat" not in underlined
        await pilot.press("home", "m", "right")
        assert any("step 10" in line and "step 20   2 of 3" in line for line in text(app).split("\n"))
        await pilot.press("d")
        assert samples_of(app).pinned is None

    play([written], [SamplesPanel], scene)


def test_a_text_cannot_steer_the_terminal_or_the_markup(nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run()
    fake.step(1)
    fake.sample("[red]not red[/] \x1b[2Jcleared\x07", "[bold]P[/bold]")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "[bold]P[/bold][red]not red[/]" in text(app)
        assert "\x1b" not in text(app)
        assert "\x07" not in text(app)

    play([fake], [SamplesPanel], scene)


def test_ascii_draws_nothing_but_ascii(nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run()
    fake.step(1)
    fake.sample("naïve — “quoted” …", "Prémier")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert text(app).isascii(), [mark for mark in text(app) if ord(mark) > 127]
        assert 'na?ve - "quoted" ...' in text(app)

    play([fake], [SamplesPanel], scene, ascii=True)


def test_a_run_without_samples_says_so(nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "has written no sample yet" in text(app)
        await pilot.press("left", "d", "m", "end", "right_square_bracket")
        assert app.failure is None

    play([fake], [SamplesPanel], scene)


def test_other_steps_are_listed_with_their_losses_where_there_is_room(nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run(total_steps=100)
    for number in range(30):
        fake.step(1)
        if number % 10 == 5:
            fake.eval(val_loss=3.0 - number / 10)
        fake.sample(f" take\n{number}" + (" and so on" * 100 if number == 29 else ""), "Once")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("home", *["right"] * 3)
        assert "▸    4         take 3" in text(app), "no validation loss was known by then"
        await pilot.press("m", *["right"] * 3)
        assert "▸    7  2.500  take 6" in text(app)
        assert "◂    4         take 3" in text(app)
        await pilot.press("m")
        assert "the same step" in text(app)
        assert "alike" not in text(app)
        await pilot.press("end", "d")
        assert "what was written" not in text(app), "the text needs the room"
        await pilot.press("left")
        assert "▸   29  0.500  take 28" in text(app)
        await pilot.resize_terminal(80, 10)
        await settled(app, pilot)
        assert "what was written" not in text(app)
        assert "Once take" in text(app)

    play([fake], [SamplesPanel], scene)


def test_less_room_takes_words_from_the_line_above_a_text_whole() -> None:
    one = SampleText(1200, 0, "a", "b", 1, "context", 0.0)
    said = [heading(one, [one, replace(one, step=1300)], 0, room) for room in (80, 45, 25, 5)]
    assert said == [
        "step 1,200   1 of 2 texts, newest 1,300   context is full",
        "step 1,200   1 of 2 texts   context is full",
        "step 1,200",
        "step 1,200",
    ]


def test_an_empty_text_and_the_token_that_ended_one_are_shown(nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run()
    fake.step(1)
    fake.sample("", "Nothing", index=0)
    fake.sample(" \n ", "Blank", index=1)
    fake.sample(" it ends", "Here", index=2, stop="<|endoftext|>")
    fake.sample(" from nothing", "", index=3)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "prompt 1 of 4" in text(app)
        assert "Nothing (nothing was written)" in text(app)
        await pilot.press("right_square_bracket")
        assert "(nothing but white space was written)" in text(app)
        await pilot.press("right_square_bracket")
        assert "Here it ends<|endoftext|>" in text(app)
        assert text(app).count("<|endoftext|>") == 1
        await pilot.press("right_square_bracket")
        assert "prompt 4 of 4  (no prompt)" in text(app)

    play([fake], [SamplesPanel], scene)


def test_the_first_of_many_prompts_is_shown_first_though_one_is_empty(nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run()
    fake.step(1)
    for index in range(30):
        fake.sample(" text", f"prompt number {index}" if index != 7 else "", index=index)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "prompt 1 of 30  prompt number 0" in text(app)
        await pilot.press("left_square_bracket")
        assert "prompt 30 of 30  prompt number 29" in text(app)

    play([fake], [SamplesPanel], scene)


def test_two_steps_stay_compared_when_the_prompt_changes(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("home", "d")
        panel = samples_of(app)
        assert (panel.pinned and panel.pinned.step, panel.sample and panel.sample.step) == (10, 20)
        await pilot.press("right_square_bracket")
        assert "Count number 1" in text(app)
        assert "Count number 2" in text(app)

    play([written], [SamplesPanel], scene)


def test_long_texts_scroll_by_lines_and_pages(nanoshell_fake_run: Make) -> None:
    fake = nanoshell_fake_run()
    fake.step(1)
    fake.sample("".join(f"\nline {at}" for at in range(60)), "Long")

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "line 3" in text(app)
        await pilot.press("down", "down")
        assert "Long" not in text(app).split("\n", 6)[-1]
        await pilot.press("pagedown", "pagedown", "pagedown", "pagedown")
        assert "line 59" in text(app)
        await pilot.press("pageup", "pageup", "pageup", "pageup", "pageup")
        await pilot.pause()
        assert re.search(r"line 3\b", text(app))

    play([fake], [SamplesPanel], scene)


def test_the_charts_and_the_samples_share_the_crosshair(written: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("comma")
        at = app.sight.cursor
        assert at in (29, 30)
        await pilot.press("comma")
        assert app.sight.cursor == at - 1
        app.set_sight(replace(app.sight, cursor=14.0))
        await pilot.press("2")
        await settled(app, pilot)
        assert "Once upon the cat sat" in text(app)
        await pilot.press("right", "1")
        await settled(app, pilot)
        assert app.query_one(LossChart).chart.sight.cursor == 20

    play([written], [LossChart, SamplesPanel], scene)
