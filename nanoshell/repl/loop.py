"""The interactive prompt: read a line, carry it out, and keep an eye on the runs that go on meanwhile."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoshell.command.render import TerminalScreen, write_note
from nanoshell.command.script import run_line
from nanoshell.repl import news, toolbar, welcome

if TYPE_CHECKING:
    from nanoshell.session import Session

HINT = "Ctrl-D or :quit leaves, :help lists the commands"

ReadLine = Callable[[], str]
"""Returns the next line; raises `KeyboardInterrupt` for Ctrl-C and `EOFError` for Ctrl-D."""


def run_prompt(session: Session, *, debug: bool = False) -> int:
    """Take lines until the user leaves, and return the exit code. Runs that were started go on."""
    watch = news.RunWatch(session)
    read = _plain_reader() if _is_dumb() else _editing_reader(session, watch)
    gc.freeze()  # what the start has made stays: no search for garbage, between two keys, looks at it
    for line in welcome.greeting(session):
        write_note(line)
    leave = False
    while not leave:
        try:
            watch.tell(now=True)
            text = read()
            if text.strip():
                leave = run_line(session, text, TerminalScreen(prompt=True), debug=debug).leave
        except KeyboardInterrupt as interrupt:
            if not interrupt.args:
                write_note(HINT)
        except EOFError:
            leave = True
    for run, _status in session.runs_in_progress():
        write_note(f"run {run.name} goes on training: nanoshell runs show {run.name}")
    return 0


def _is_dumb() -> bool:
    """Return whether the terminal cannot draw: its own editing of a line is the better one then."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _plain_reader() -> ReadLine:
    from nanoshell.command.words import is_open_block

    def read() -> str:
        try:
            text = input("nanoshell> ")
            while is_open_block(text):
                text += "\n" + input("... ")
        except (KeyboardInterrupt, EOFError):
            print()  # behind ^C, or what had been typed
            raise
        return text

    return read


def _editing_reader(session: Session, watch: news.RunWatch) -> ReadLine:
    """Return what reads a line in the editor. Ctrl-C carries the text that it clears, if any."""
    from nanoshell.repl.editor import build_prompt, use_keys

    prompt = build_prompt(session, lambda width: toolbar.text(session, watch, width))

    def follow_runs() -> None:
        prompt.app.create_background_task(news.follow(watch, prompt.app))

    def read() -> str:
        use_keys(prompt, session.settings.text("keys"))
        try:
            with news.written_above():
                return prompt.prompt(pre_run=follow_runs)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*filter(None, [prompt.default_buffer.text])) from None

    return read
