"""What lists the actions: the palette, the page of keys, the explanation of a panel."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text
from textual.command import CommandPalette

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.commands import CommandLine, CommandOutput, DeskCommands
from nanoshell.dashboard.help import KEYS_WIDTH, HelpScreen, keys_text
from nanoshell.dashboard.inside import InnerApp
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.remap import Keymap
from nanoshell.dashboard.table import ACTIONS

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from nanoshell.dashboard.course import Snapshot
    from nanoshell.session import Session


class Menus(InnerApp, inherit_bindings=False):
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

    def tell(self, text: str, *, severity: str = "information") -> None:
        """Say ``text`` for some seconds."""
        raise NotImplementedError

    def ask_first(self, owner: DOMNode, action: Action) -> None:
        """Ask the question of ``action``, and let ``owner`` do it where the answer is yes."""
        raise NotImplementedError

    @property
    def focused_panel(self) -> Panel | None:
        """The panel that has the keys."""
        widget = self.screen.focused
        above = widget.ancestors_with_self if widget else ()
        return next((node for node in above if isinstance(node, Panel)), None)

    def possible_actions(self) -> list[tuple[DOMNode, Action]]:
        """Return what can be done now, with who does it: the panel that has the keys, then the app."""
        panel = self.focused_panel
        own: list[tuple[DOMNode, Action]] = [(panel, action) for action in panel.actions] if panel else []
        every = own + [(self, action) for action in ACTIONS]
        return [(owner, action) for owner, action in every if self.applies(owner, action)]

    def applies(self, owner: DOMNode, action: Action) -> bool:
        """Return whether ``action`` of ``owner`` has something to do now."""
        course = self.snapshot.focused
        if action.states and (course is None or course.status.state not in action.states):
            return False
        if action.writes and self.read_only:
            return False
        if owner is self:
            return self.fits(action.id)
        return bool(owner.check_action(action.id.partition("(")[0], ()))

    def perform(self, owner: DOMNode, action: Action) -> None:
        """Let ``owner`` do ``action``, after its question where it has one."""
        if action.question:
            self.ask_first(owner, action)
        else:
            self.call_later(self.run_action, action.id, owner)

    def action_palette(self) -> None:
        """Find an action or a command by a few letters."""
        self.push_screen(CommandPalette(providers=[DeskCommands], placeholder="What is to be done?"))

    def type_command(self, name: str) -> None:
        """Ask for the arguments of the command ``name``, run it, and show what it writes."""
        session = self.session
        if session is not None:

            def typed(line: str | None) -> None:
                if line:
                    self.push_screen(CommandOutput(session, line))

            self.push_screen(CommandLine(session, f"{name} "), typed)

    def action_help(self) -> None:
        """Show all keys that do something now."""
        text = Text()
        if (panel := self.focused_panel) is not None and panel.actions:
            text = self._keys_of(panel, panel.actions) + Text("\n")
        text += self._keys_of(self, ACTIONS)
        text.append(f"  {'1 … 9':{KEYS_WIDTH}}The views\n  {'Tab':{KEYS_WIDTH}}The next panel\n")
        self.push_screen(HelpScreen("Keys", text))

    def action_explain(self) -> None:
        """Explain the panel that has the keys."""
        panel = self.focused_panel
        if panel is None:
            self.tell("no panel has the keys; Tab goes to the next")
            return
        text = Text(inspect.cleandoc(panel.about) or "It says nothing about itself.")
        if panel.actions:
            text += Text("\n\n") + self._keys_of(panel, panel.actions)
        self.push_screen(HelpScreen(panel.title or panel.panel_id, text))

    def _keys_of(self, owner: DOMNode, actions: Iterable[Action]) -> Text:
        shown = [action for action in actions if self.applies(owner, action)]
        return keys_text((action, self.keymap.keys_of(owner, action)) for action in shown)
