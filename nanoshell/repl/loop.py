"""The interactive prompt: read a line, carry it out, and keep an eye on the runs that go on meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoshell.command.render import TerminalScreen, write_note
from nanoshell.command.script import run_line
from nanoshell.repl import toolbar, welcome

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from nanoshell.session import Session

HINT = "Ctrl-D or :quit leaves, :help lists the commands"

ReadLine = Callable[[], str]
"""Returns the next line; raises `KeyboardInterrupt` for Ctrl-C and `EOFError` for Ctrl-D."""


def run_prompt(session: Session, *, debug: bool = False) -> int:
    """Take lines until the user leaves, and return the exit code. Runs that were started go on."""
    watch = toolbar.RunWatch(session)
    read = _plain_reader() if _is_dumb() else _editing_reader(session, watch)
    for line in welcome.greeting(session):
        write_note(line)
    while True:
        for line in watch.poll(now=True):
            write_note(line)
        try:
            text = read()
        except KeyboardInterrupt as interrupt:
            if not interrupt.args:
                write_note(HINT)
            continue
        except EOFError:
            break
        if text.strip():
            outcome = run_line(session, text, TerminalScreen(prompt=True), debug=debug)
            if outcome.leave:
                break
    for run, _status in session.runs_in_progress():
        write_note(f"run {run.name} goes on training: nanoshell runs show {run.name}")
    return 0


def _is_dumb() -> bool:
    """Return whether the terminal cannot draw: its own editing of a line is the better one then."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _plain_reader() -> ReadLine:
    from nanoshell.command.words import is_open_block

    def read() -> str:
        text = input("nanoshell> ")
        while is_open_block(text):
            text += "\n" + input("... ")
        return text

    return read


def _editing_reader(session: Session, watch: toolbar.RunWatch) -> ReadLine:
    """Return what reads a line in the editor. Ctrl-C carries the text that it clears, if any."""
    from prompt_toolkit.patch_stdout import patch_stdout

    from nanoshell.repl.editor import build_prompt, use_keys

    prompt = build_prompt(session, lambda width: toolbar.text(session, watch, width))

    def read() -> str:
        use_keys(prompt, session.settings.text("keys"))
        try:
            with patch_stdout(raw=True):
                return prompt.prompt(pre_run=lambda: _follow_runs(prompt, watch))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*filter(None, [prompt.default_buffer.text])) from None

    return read


def _follow_runs(prompt: PromptSession[str], watch: toolbar.RunWatch) -> None:
    """While a run goes on, refresh the toolbar once a second and say its news above the prompt."""
    if not watch.active:
        return

    async def follow() -> None:
        while watch.active:
            await asyncio.sleep(toolbar.REFRESH_SECONDS)
            for line in watch.poll(now=True):
                write_note(line)
            prompt.app.invalidate()

    prompt.app.create_background_task(follow())
