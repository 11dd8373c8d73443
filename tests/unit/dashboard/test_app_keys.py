"""Keys as the user wants them: the app, its footer and help follow; what makes no sense is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.keyset import check_dashboard_keys, dashboard_key_words
from nanoshell.dashboard.remap import key_named, keymap
from nanoshell.dashboard.table import ACTIONS
from nanoshell.errors import UsageError
from nanoshell.opening import open_session
from nanoshell.runs.status import RunStatus
from nanoshell.settings import Settings
from nanoshell.testing import FakeRun, plugins_with
from tests.unit.dashboard.stage import Counter, HandFeed, desk, kind, play, requests, screen_text, until

TOY = kind(
    panel_id="toy",
    title="Toy",
    actions=(Action("spin", "Spin", ("s",), "Toy", footer=True), Action("turn", "Turn", ("t",), "Toy")),
)


def test_wanted_keys_do_what_the_old_ones_did_and_are_shown(tmp_path: Path) -> None:
    feed = HandFeed()
    spun: list[int] = []
    TOY.action_spin = lambda self: spun.append(1)  # type: ignore[attr-defined]
    TOY.action_turn = lambda self: None  # type: ignore[attr-defined]
    app = desk(tmp_path, TOY, feed=feed, keys=["pause=f5", "pause=!", "toy.spin=w"])

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus("running"))
        await until(pilot, lambda: "F5 Pause" in screen_text(app).splitlines()[-1])
        assert "w Spin" in screen_text(app).splitlines()[-1]
        await pilot.press("P", "s", "w")
        await until(pilot, lambda: spun == [1])
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: [line["action"] for line in requests(run)] == ["pause"])
        run.answer_requests()
        await until(pilot, lambda: "fake-1: paused" in screen_text(app))
        await pilot.press("f5")
        await until(pilot, lambda: len(requests(run)) == 2)
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        text = app.screen.text.plain  # type: ignore[attr-defined]
        assert re.search(r"^  F5 ! +Pause$", text, re.M)
        assert re.search(r"^  w +Spin$", text, re.M)

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_what_makes_no_sense_is_told_when_the_dashboard_opens(tmp_path: Path) -> None:
    app = desk(tmp_path, TOY, keys=["puase=f5", "stop=f6"])

    async def scene(pilot: Pilot[None]) -> None:
        await until(
            pilot, lambda: "did you mean 'pause'?" in " ".join(screen_text(app).replace("▌", "").split())
        )
        assert app.keymap.keys == {"stop": ("f6",)}

    play(app, scene)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("puase=f5", "did you mean 'pause'?"),
        ("toy.spim=f5", "did you mean 'toy.spin'?"),
        ("pause=nokey", "no key is called 'nokey'"),
        ("pause=3", "3 chooses views and panels"),
        ("pause=tab", "Tab chooses views and panels"),
        ("pause=S", "S is the key of stop (Stop and save)"),
        ("toy.spin=t", "t is the key of toy.turn (Turn)"),
    ],
)
def test_a_word_that_cannot_be_followed_is_left_out(word: str, said: str) -> None:
    found = keymap([word, "resume=f9"], ACTIONS, [TOY()])
    assert found.keys == {"resume": ("f9",)}
    assert len(found.problems) == 1
    assert said in found.problems[0]


def test_keys_may_change_places_and_a_panel_may_hide_one() -> None:
    swapped = keymap(["pause=S", "stop=P"], ACTIONS, [TOY()])
    assert (swapped.keys, swapped.problems) == ({"pause": ("S",), "stop": ("P",)}, ())
    hidden = keymap(["pause=s"], ACTIONS, [TOY()])
    assert hidden.keys == {"pause": ("s",)}
    assert (hidden.problems, hidden.hidden) == ((), ("pause=s: s does something else in toy",))
    chain = keymap(["pause=S", "stop=R"], ACTIONS, [])  # stop cannot leave S, so pause cannot have it
    assert chain.keys == {}
    assert len(chain.problems) == 2


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("p", "p"), ("P", "P"), ("?", "question_mark"), ("question_mark", "question_mark"), ("/", "slash"),
        ("+", "plus"), ("ctrl+R", "ctrl+r"), ("Ctrl+f5", "ctrl+f5"), ("F5", "f5"), ("Esc", "escape"),
        ("PgDn", "pagedown"), ("ctrl++", "ctrl+plus"), ("comma", "comma"), ("{", "left_curly_bracket"),
        ("", ""), ("hyper+x", ""), ("ctrl+", ""), ("fnord", ""),
    ],
)  # fmt: skip
def test_keys_are_named_as_people_write_them(text: str, key: str) -> None:
    assert key_named(text) == key


def test_every_action_of_the_app_may_have_any_free_key() -> None:
    for action in ACTIONS:
        assert keymap([f"{action.id}=f12"], ACTIONS, [Counter()]).keys == {action.id: ("f12",)}


def test_the_setting_keeps_words_and_refuses_others(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.toml")
    settings.set("dashboard_keys", "pause=p,toy.spin=w")
    assert Settings(tmp_path / "settings.toml").words("dashboard_keys") == ["pause=p", "toy.spin=w"]
    for wrong in ("pause", "pause=", "=p"):
        with pytest.raises(UsageError, match="pause=p"):
            settings.set("dashboard_keys", wrong)


def test_setting_keys_tells_at_once_what_is_wrong() -> None:
    session = open_session(plugins=plugins_with(), history=False)
    panels = session.plugins.panels
    for word, said in (
        ("pauze=p", "'pause'"),
        ("pause=q", "q is the key of leave"),
        ("chart.exprt=w", "'chart.export'"),
    ):
        with pytest.raises(UsageError, match=said):
            check_dashboard_keys(panels, [word])
    assert check_dashboard_keys(panels, ["pause=f5", "chart.export=w"]) == ""
    assert "p does something else in log" in check_dashboard_keys(panels, ["pause=p"])
    offered = dict(dashboard_key_words(panels, "pause=f5,ch"))
    assert offered["pause=f5,chart.export="] == "Export as SVG and CSV"
    assert "pause=f5,stop=" in offered
