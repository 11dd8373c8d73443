"""What lists the actions: the palette, the page of keys, the explanation of a panel."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text
from textual.actions import parse
from textual.keys import key_to_character

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.commands import CommandLine, CommandOutput, Palette
from nanoshell.dashboard.help import KEYS_WIDTH, HelpScreen, keys_text
from nanoshell.dashboard.keys import find
from nanoshell.dashboard.notices import Notices
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.remap import Keymap
from nanoshell.dashboard.table import ACTIONS, DESK, RUN

if TYPE_CHECKING:
    from textual.actions import ActionParseResult
    from textual.dom import DOMNode
    from textual.widget import Widget

    from nanoshell.dashboard.course import Snapshot
    from nanoshell.session import Session


_FIXED = (("1 … 9", "The views"), ("Tab", "The next panel"), ("Shift-Tab", "The panel before"))
"""Keys that are no actions, as help shows them."""

_PASSED_ON = ("copy", "screen.copy_text")
"""What takes Ctrl-C where something is selected, and lets it go on where nothing is."""


class Menus(Notices, inherit_bindings=False):
    """The part of the dashboard that knows what can be done, and shows it."""

    keymap = Keymap()

    @property
    def session(self) -> Session | None:
        """The session of the prompt; None where only run directories are read."""
        raise NotImplementedError

    @property
    def read_only(self) -> bool:
        """Whether nothing may be asked of a run."""
        raise NotImplementedError

    @property
    def snapshot(self) -> Snapshot:
        """What panels were last handed."""
        raise NotImplementedError

    def fits(self, name: str) -> bool:
        """Return whether the action ``name`` of the app has something to do where one is."""
        raise NotImplementedError

    def tell(self, text: str, *, severity: str = "information", about: str = "") -> None:
        """Say ``text`` for some seconds, in the place of what was said ``about`` the same."""
        raise NotImplementedError

    def ask_first(self, owner: DOMNode, action: Action) -> None:
        """Ask the question of ``action``, and let ``owner`` do it where the answer is yes."""
        raise NotImplementedError

    @property
    def focused_panel(self) -> Panel | None:
        """The panel that has the keys, also while a menu is open over it."""
        widget = self.screen_stack[0].focused
        above = widget.ancestors_with_self if widget else ()
        return next((node for node in above if isinstance(node, Panel)), None)

    def possible_actions(self) -> list[tuple[DOMNode, Action]]:
        """Return what can be done now, with who does it: the panel that has the keys, then the app."""
        panel = self.focused_panel
        own: list[tuple[DOMNode, Action]] = [(panel, action) for action in panel.actions] if panel else []
        every = own + [(self, action) for action in ACTIONS]
        return [(owner, action) for owner, action in every if self.applies(owner, action)]

    @property
    def field(self) -> Widget | None:
        """What has the keys where that is a thing to type in."""
        widget = self.screen_stack[0].focused
        return widget if widget is not None and widget.check_consume_key("a", "a") else None

    def offered_keys(self) -> list[tuple[Action, str]]:
        """Return what can be done now by a key alone, each with the first of its keys that gets through.

        A panel's keys come before the app's, and a field keeps what it can write and what moves about in it.
        """
        field, taken = self.field, set[str]()
        if field is not None:
            bound = self.screen_stack[0].active_bindings.items()
            taken = {key for key, by in bound if by.node is field and by.binding.action not in _PASSED_ON}
            taken.discard("escape")  # a field that takes it is left by it
        found: list[tuple[Action, str]] = []
        for owner, action in self.possible_actions():
            keys = [key for key in self.keymap.keys_of(owner, action) if key not in taken]
            if owner is not self:
                taken.update(keys)
            free = [key for key in keys if field is None or not _writes(field, key)]
            if free:
                found.append((action, free[0]))
        return found

    def applies(self, owner: DOMNode, action: Action) -> bool:
        """Return whether ``action`` of ``owner`` has something to do now."""
        course = self.snapshot.focused
        if action.states and (course is None or course.status.state not in action.states):
            return False
        if action.writes and self.read_only:
            return False
        if owner is self:
            return self.fits(action.id)
        try:
            return bool(owner.check_action(action.id.partition("(")[0], ()))
        except Exception as error:  # whoever asks goes on: it may be about to open the dashboard
            self.fault(error)
            return False

    def perform(self, owner: DOMNode, action: Action) -> None:
        """Let ``owner`` do ``action``, after its question where it has one."""
        if action.question:
            self.ask_first(owner, action)
        else:
            self.call_later(self.run_action, action.id, owner)

    def action_palette(self) -> None:
        """Find an action or a command by a few letters."""
        self.push_screen(Palette())

    def type_command(self, line: str) -> None:
        """Ask for the rest of ``line``, a command or one with arguments, run it, and show what it writes."""
        session = self.session
        if session is not None:

            def typed(whole: str | None) -> None:
                if whole:
                    self.push_screen(CommandOutput(session, whole))

            self.push_screen(CommandLine(session, line if " " in line else f"{line} "), typed)

    def action_help(self) -> None:
        """Show all keys that do something now."""
        text = Text()
        if (panel := self.focused_panel) is not None and panel.actions:
            text = self._keys_of(panel, panel.actions) + Text("\n")
        text += self._keys_of(self, (action for action in ACTIONS if action.group == DESK))
        for key, what in _FIXED:
            text.append(f"  {key:{KEYS_WIDTH}}{what}\n")
        text += Text("\n") + self._keys_of(self, (action for action in ACTIONS if action.group == RUN))
        text.append(
            "\nown cpu, at the end of the last line: what the dashboard itself takes of one core.\n", "dim"
        )
        self.push_screen(HelpScreen("Keys", text))

    def action_explain(self) -> None:
        """Explain the panel that has the keys."""
        panel = self.focused_panel
        if panel is None:
            self.tell("no panel has the keys; Tab goes to the next")
            return
        text = Text(inspect.cleandoc(panel.about) or "It says nothing about itself.")
        if panel.actions:
            groups = list(dict.fromkeys(action.group for action in panel.actions))
            first = sorted(panel.actions, key=lambda action: (groups.index(action.group), not action.footer))
            text += Text("\n\n") + self._keys_of(panel, first)
        self.push_screen(HelpScreen(panel.title or panel.panel_id, text))

    def _keys_of(self, owner: DOMNode, actions: Iterable[Action]) -> Text:
        shown = [action for action in actions if self.applies(owner, action)]
        return keys_text((action, self.keymap.keys_of(owner, action)) for action in shown)


def writes(owner: DOMNode | None, action: str | ActionParseResult) -> bool:
    """Return whether ``action`` of ``owner``, a panel or the app, asks something of a run."""
    _, name, parameters = parse(action) if isinstance(action, str) else action
    name = str(parameters[0]) if name == "ask_first" and parameters else name
    known = find(owner.actions if isinstance(owner, Panel) else ACTIONS, name)
    return known is not None and known.writes


def _writes(field: Widget, key: str) -> bool:
    """Return whether ``key`` writes a letter into ``field``."""
    return field.check_consume_key(key, key_to_character(key))
