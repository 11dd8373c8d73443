"""`check_panel`: a plain panel passes, and for each rule one that breaks it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nanoshell import Action, Panel, Snapshot
from nanoshell.testing import check_panel, write_run
from nanoshell.testing.panels import RULES
from tests.unit.testing.broken import assert_told


class Plain(Panel):
    panel_id = "plain"
    title = "Plain"
    about = "The names of the runs."
    actions = (Action("blink", "Blink", ("b", "enter")),)
    shown: tuple[str, ...] = ()

    def update(self, snapshot: Snapshot) -> None:
        self.shown = tuple(course.run.name for course in snapshot.courses)
        SEEN.append(self.shown)
        self.refresh()

    def render(self) -> str:
        return " ".join(self.shown)

    def action_blink(self) -> None: ...


SEEN: list[tuple[str, ...]] = []


def panel(**attributes: Any) -> type[Panel]:
    return type("Broken", (Plain,), attributes)


def of_a_run(panel: Panel, snapshot: Snapshot) -> None:
    panel.shown = (snapshot.courses[0].run.name,)  # type: ignore[attr-defined]


def reading(panel: Panel, snapshot: Snapshot) -> None:
    for course in snapshot.courses:
        course.run.events_path.read_text()  # which a new run has not


def marking(panel: Panel, snapshot: Snapshot) -> None:
    for course in snapshot.courses:
        (course.run.path / "seen").write_text("yes")


def drawing(panel: Panel) -> str:
    return panel.shown[0]  # type: ignore[attr-defined, no-any-return]


def steering(panel: Panel, snapshot: Snapshot) -> None:
    if panel.desk.read_only:
        raise LookupError("nothing can be asked")


def composing(panel: Panel) -> list[Any]:
    return [None]


ONE = Plain()
BROKEN: list[tuple[str, Any]] = [
    ("panel", lambda: ONE),
    ("panel", lambda: object()),
    ("panel", lambda run: Plain()),
    ("named", panel(panel_id="two words")),
    ("named", panel(title="")),
    ("named", panel(about="")),
    ("placed", panel(place="chats")),
    ("only reads", panel(update=steering)),
    ("actions", panel(actions=(Action("wink", "Wink", ("w",)),))),
    ("actions", panel(actions=(Action("blink", "Blink", ("b",)), Action("blink", "Again", ("a",))))),
    ("actions", panel(actions=(Action("blink", "Blink", ("b",)), Action("blink(2)", "Again", ("b",))))),
    ("keys", panel(actions=(Action("blink", "Blink", ("P",)),))),
    ("keys", panel(actions=(Action("blink", "Blink", ("ctrl+b",)),))),
    ("panel", lambda: panel(actions=(Action("blink", "Blink", ("3",)),))()),
    ("draws", panel(update=of_a_run)),
    ("draws", panel(update=reading)),
    ("draws", panel(render=drawing)),
    ("draws", panel(compose=composing)),
    ("leaves alone", panel(update=marking)),
]


@pytest.mark.parametrize("place", ["", "charts", "run", "chat"])
def test_a_panel_that_keeps_every_rule(place: str, tmp_path: Path) -> None:
    SEEN.clear()
    check_panel(panel(place=place), write_run(tmp_path, "mine"))
    assert SEEN[0] == SEEN[-1] == ()
    assert ("mine-1",) in SEEN
    assert any(len(names) > 1 for names in SEEN)


@pytest.mark.parametrize(("rule", "factory"), BROKEN)
def test_a_broken_panel_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_panel(factory), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)
