"""The interactive prompt: read a line, carry it out, and keep an eye on the runs that go on meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.patch_stdout import patch_stdout

from nanoshell.command.render import TerminalScreen, write_note
from nanoshell.command.script import run_line
from nanoshell.repl import toolbar, welcome
from nanoshell.repl.completer import CommandCompleter
from nanoshell.repl.history import open_history

if TYPE_CHECKING:
    from nanoshell.session import Session

PROMPT = "nanoshell> "
HINT = "Ctrl-D or :quit leaves, :help lists the commands"


def run_prompt(session: Session, *, debug: bool = False) -> int:
    """Take lines until the user leaves, and return the exit code. Runs that were started go on."""
    watch = toolbar.RunWatch(session)
    prompt = build_prompt(session, watch)
    for line in welcome.greeting(session):
        write_note(line)
    while True:
        text = _read(prompt, session, watch)
        if text is None:
            break
        if text.strip():
            outcome = run_line(session, text, TerminalScreen(prompt=True), debug=debug)
            if outcome.leave:
                break
    for run, _status in session.runs_in_progress():
        write_note(f"run {run.name} goes on training: nanoshell runs show {run.name}")
    return 0


def build_prompt(session: Session, watch: toolbar.RunWatch) -> PromptSession[str]:
    """Return the line editor: completion, history, suggestions and the toolbar."""
    prompt: PromptSession[str] = PromptSession(
        message=PROMPT,
        completer=CommandCompleter(session),
        complete_in_thread=True,
        auto_suggest=AutoSuggestFromHistory(),
        history=open_history(keep=session.history),
        enable_suspend=True,
        reserve_space_for_menu=6,
    )
    prompt.bottom_toolbar = lambda: toolbar.text(session, watch, prompt.output.get_size().columns)
    return prompt


def _read(prompt: PromptSession[str], session: Session, watch: toolbar.RunWatch) -> str | None:
    """Return the next line, an empty one after Ctrl-C, or None when the user leaves."""
    for line in watch.poll(now=True):
        write_note(line)
    try:
        with patch_stdout(raw=True):
            return prompt.prompt(pre_run=lambda: _follow_runs(watch))
    except KeyboardInterrupt:
        if not prompt.default_buffer.text:
            write_note(HINT)
        return ""
    except EOFError:
        return None


def _follow_runs(watch: toolbar.RunWatch) -> None:
    """While a run goes on, refresh the toolbar once a second and say its news above the prompt."""
    app = get_app_or_none()
    if app is None or not watch.active:
        return

    async def follow() -> None:
        while watch.active:
            await asyncio.sleep(toolbar.REFRESH_SECONDS)
            for line in watch.poll(now=True):
                write_note(line)
            app.invalidate()

    app.create_background_task(follow())
