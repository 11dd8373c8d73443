"""What lists the actions: the palette, the page of keys, the explanation of a panel."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import App
from textual.command import CommandPalette

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.commands import CommandLine, CommandOutput, DeskCommands
from nanoshell.dashboard.help import KEYS_WIDTH, HelpScreen, keys_text
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.table import ACTIONS

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from nanoshell.session import Session


class Menus(App[None], inherit_bindings=False):
    """The part of the dashboard that knows what can be done, and shows it."""

    @property
    def session(self) -> Session | None:
        """The session of the prompt; None where only run directories are read."""
        raise NotImplementedError

    @property
    def read_only(self) -> bool:
        """Whether nothing may be asked of a run."""
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
        return [(owner, action) for owner, action in every if not (action.writes and self.read_only)]

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
        """Show all keys."""
        text = Text()
        if (panel := self.focused_panel) is not None and panel.actions:
            text = keys_text(self._allowed(panel.actions)) + Text("\n")
        text += keys_text(self._allowed(ACTIONS))
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
            text += Text("\n\n") + keys_text(self._allowed(panel.actions))
        self.push_screen(HelpScreen(panel.title or panel.panel_id, text))

    def _allowed(self, actions: Iterable[Action]) -> list[Action]:
        return [action for action in actions if not (action.writes and self.read_only)]
