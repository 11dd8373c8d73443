"""The line editor: it puts completion, colours, history, keys and the toolbar together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import AnyFormattedText, StyleAndTextTuples
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.styles import DynamicStyle

from nanoshell.repl.completer import CommandCompleter
from nanoshell.repl.history import open_history
from nanoshell.repl.keys import key_bindings
from nanoshell.repl.lexer import CommandLexer
from nanoshell.repl.patient import PatientCompleter
from nanoshell.repl.style import prompt_style
from nanoshell.repl.welcome import PROMPT

if TYPE_CHECKING:
    from nanoshell.session import Session

_MODES = {
    InputMode.INSERT: "ins",
    InputMode.INSERT_MULTIPLE: "ins",
    InputMode.NAVIGATION: "nav",
    InputMode.REPLACE: "rep",
    InputMode.REPLACE_SINGLE: "rep",
}

_ESCAPE_SECONDS = 0.1
"""How long a lone Esc of vi may be the beginning of another key."""


def build_prompt(session: Session, toolbar: Callable[[int], AnyFormattedText]) -> PromptSession[str]:
    """Return the line editor; ``toolbar`` gives the line below it for a number of columns."""
    prompt: PromptSession[str] = PromptSession(
        message=_message,
        completer=PatientCompleter(CommandCompleter(session)),
        lexer=CommandLexer(session),
        style=DynamicStyle(lambda: prompt_style(session.settings.text("theme"))),
        include_default_pygments_style=False,
        auto_suggest=AutoSuggestFromHistory(),
        history=open_history(keep=session.history),
        key_bindings=key_bindings(),
        prompt_continuation=_continuation,
        enable_suspend=True,
        search_ignore_case=True,
        reserve_space_for_menu=6,
    )
    prompt.bottom_toolbar = lambda: toolbar(prompt.output.get_size().columns)
    return prompt


def use_keys(prompt: PromptSession[str], name: str) -> None:
    """Let the next line be typed with the keys of ``name``: emacs or vi."""
    vi = name == "vi"
    mode = EditingMode.VI if vi else EditingMode.EMACS
    if prompt.editing_mode is not mode:
        prompt.editing_mode = mode
        prompt.app.vi_state.reset()
    prompt.app.ttimeoutlen = _ESCAPE_SECONDS if vi else 0.5
    prompt.app.timeoutlen = _ESCAPE_SECONDS if vi else 1.0


def _message() -> StyleAndTextTuples:
    """Return what stands before the line; with the keys of vi, their mode too."""
    app = get_app()
    if app.editing_mode != EditingMode.VI:
        return [("class:prompt", PROMPT)]
    visual = app.current_buffer.selection_state is not None
    mode = "vis" if visual else _MODES.get(app.vi_state.input_mode, "ins")
    return [("class:prompt.mode", f"[{mode}] "), ("class:prompt", PROMPT)]


def _continuation(width: int, _line: int, wrapped: int) -> StyleAndTextTuples:
    """Return what stands before a further line; nothing before the rest of one that is too long."""
    return [] if wrapped else [("class:prompt-continuation", "... ".rjust(width))]
