"""What the palette finds: everything that can be done, ranked by the words that are typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual.fuzzy import Matcher

from nanoshell.dashboard.keys import written
from nanoshell.dashboard.running import palette_commands
from nanoshell.dashboard.table import ACTIONS, RUN
from nanoshell.dashboard.views import ChartGrid

if TYPE_CHECKING:
    from nanoshell.dashboard.actions import Action
    from nanoshell.dashboard.app import DashboardApp
    from nanoshell.dashboard.slots import PanelSlot
    from nanoshell.session import Session

_EXACT, _TITLE, _WORDS, _ABOUT = 1000.0, 600.0, 500.0, 300.0
"""Scores: the whole name is typed; all words of it are in the title, in the words for it, in what is told."""

_AS_TYPED = 599.0
"""A command with its arguments comes behind what has all these words for its title."""

_STEER, _HERE, _VIEW, _DESK, _THEME, _COMMAND, _MOVE = range(7)
"""The order in which is listed what can be done, before anything is typed: moving about is learnt first."""

_DIGITS = 9
"""So many views have a key of their own."""

_FEWEST = 3
"""So many letters are looked for in a title where they stand apart, too: fewer are found everywhere."""


@dataclass(frozen=True)
class Offer:
    """One line of the palette: how it reads, what it is about, what choosing it does.

    ``words`` are further ones by which it is found, ``key`` does the same without the palette. With ``aside``
    it is found alone, and not listed before; of what is listed the lowest ``rank`` comes first.
    """

    name: str
    about: str
    choose: Callable[[], object]
    words: str = ""
    aside: bool = False
    key: str = ""
    rank: int = 0


def listed(app: DashboardApp) -> list[Offer]:
    """Return what is offered before anything is typed, what matters most first."""
    return sorted((offer for offer in offers(app) if not offer.aside), key=lambda offer: offer.rank)


def found(app: DashboardApp, typed: str) -> list[Offer]:
    """Return what ``typed`` may mean, what it says best first."""
    scattered = Matcher(typed).match
    scored = [(likeness(offer, typed, scattered), offer) for offer in offers(app)]
    if (line := _line(app, typed)) is not None:
        scored.insert(0, (_EXACT + 1 if typed.lstrip().startswith(":") else _AS_TYPED, line))
    likely = [pair for pair in scored if pair[0] > 0]
    return [offer for _score, offer in sorted(likely, key=lambda pair: -pair[0])]


def _line(app: DashboardApp, typed: str) -> Offer | None:
    """Return ``typed`` as a line to run, where it is a command and its arguments."""
    name, _, arguments = typed.strip().removeprefix(":").lstrip().partition(" ")
    if app.session is None or not arguments:
        return None
    entries = (entry for entry in palette_commands(app.session) if entry.name == name.casefold())
    if (entry := next(entries, None)) is None:
        return None
    line = f"{entry.name} {arguments.lstrip()}"
    return Offer(f":{line}", entry.value.get_short_help_str(70), partial(app.type_command, line))


def offers(app: DashboardApp) -> Iterator[Offer]:
    """Yield what can be done: here, in another view, not now, and by a command; what is nearest first."""
    here = [(owner, action) for owner, action in app.possible_actions() if action.id != "palette"]
    for owner, action in here:
        yield Offer(
            action.title,
            action.group,
            partial(app.perform, owner, action),
            action.words,
            key=_key(app, owner, action),
            rank=_rank(app, owner, action),
        )
    for index, view in enumerate(app.views):
        yield Offer(
            f"Go to {view.title}",
            f"View {index + 1}",
            partial(app.action_view, index),
            key=str(index + 1) if index < _DIGITS else "",
            rank=_VIEW,
        )
    known = {(action.title, action.group) for _owner, action in here}
    for index, slot, action in _elsewhere(app):
        if (action.title, action.group) not in known:
            known.add((action.title, action.group))
            about = f"{action.group}, in view {index + 1}"
            yield Offer(
                action.title,
                about,
                partial(_perform_in, app, index, slot, action),
                action.words,
                True,
                _key(app, slot.panel, action),
            )
    yield from _charts(app)
    yield from _not_now(app)
    if app.session is not None:
        yield from _commands(app, app.session)


def _key(app: DashboardApp, owner: object, action: Action) -> str:
    return next(map(written, app.keymap.keys_of(owner, action)), "")


def _rank(app: DashboardApp, owner: object, action: Action) -> int:
    if "(" in action.id:
        return _MOVE
    return _HERE if owner is not app else _STEER if action.group == RUN else _DESK


def _elsewhere(app: DashboardApp) -> Iterator[tuple[int, PanelSlot, Action]]:
    """Yield what panels of other views can do, but moving about; of charts the first stands for all."""
    for index, view in enumerate(app.views):
        if index != app.chosen:
            slots = [slot for slot in view.slots if slot.panel is not None and slot.wanted]
            for slot in slots[:1] if isinstance(view, ChartGrid) else slots:
                if (panel := slot.panel) is not None:
                    actions = (action for action in panel.actions if "(" not in action.id)
                    yield from ((index, slot, action) for action in actions if app.applies(panel, action))


def _charts(app: DashboardApp) -> Iterator[Offer]:
    for index, view in enumerate(app.views):
        if isinstance(view, ChartGrid):
            for slot in view.wanted:
                name, place = slot.title.partition(" (")[0], f"View {index + 1}"
                yield Offer(f"{name}: the chart", place, partial(_alone, app, index, slot), aside=True)


def _not_now(app: DashboardApp) -> Iterator[Offer]:
    """Yield what is not asked of the run in the state it is in; choosing it tells why."""
    course = app.snapshot.focused
    state = f"{course.run.name} is {course.status.state}" if course is not None else "no run is shown"
    for action in ACTIONS:
        if action.states and not app.applies(app, action) and not (action.writes and app.read_only):
            about = f"not now: {state}"
            yield Offer(
                action.title,
                about,
                partial(app.perform, app, action),
                f"{action.group} {action.words}",
                True,
                _key(app, app, action),
            )


def _commands(app: DashboardApp, session: Session) -> Iterator[Offer]:
    for entry in palette_commands(session):
        about = entry.value.get_short_help_str(70)
        yield Offer(f":{entry.name}", about, partial(app.type_command, entry.name), rank=_COMMAND)
    for setting in session.settings:
        for choice, about in setting.choices.items():
            line = f"set {setting.name} {choice}"
            aside = setting.name != "theme"
            yield Offer(
                f":{line}", about, partial(app.type_command, line), setting.summary, aside, rank=_THEME
            )


def _perform_in(app: DashboardApp, index: int, slot: PanelSlot, action: Action) -> None:
    app.action_view(index)
    if slot.display and (first := slot.first_focus()) is not None:
        first.focus()

    def perform() -> None:
        panel = slot.panel if slot.display else app.focused_panel
        if panel is not None:
            app.perform(panel, action)

    app.call_after_refresh(perform)


def _alone(app: DashboardApp, index: int, slot: PanelSlot) -> None:
    app.action_view(index)
    view = app.views[index]
    if isinstance(view, ChartGrid):
        view.maximize(slot)


def likeness(offer: Offer, typed: str, scattered: Callable[[str], float]) -> float:
    """Return how well ``typed`` says what ``offer`` is, 0 for not at all.

    Its words begin words of the title before those of anything else; ``scattered`` tells how well its letters
    are found in a title, in their order.
    """
    wanted = _split(typed)
    title, words = _split(offer.name), _split(offer.words)
    if not wanted:
        return 0.0
    if wanted == title or typed.strip().removeprefix(":").casefold() == offer.name.removeprefix(":"):
        return _EXACT
    here = sum(_begins(word, title) for word in wanted)
    if here == len(wanted):
        return _TITLE + 90 * len(wanted) / len(title)
    if all(word in words for word in wanted):
        return _WORDS
    everything = [*title, *words, *_split(offer.about)]
    if all(_begins(word, everything) for word in wanted):
        return _ABOUT + 90 * here / len(wanted)
    return scattered(offer.name) if len(typed.strip()) >= _FEWEST else 0.0


def _split(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _begins(word: str, words: list[str]) -> bool:
    return any(each.startswith(word) for each in words)
