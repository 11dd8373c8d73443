"""The interactive prompt: read a line, carry it out, and keep an eye on the runs that go on meanwhile."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoshell.command.interrupt import typed_unseen
from nanoshell.command.invoke import fail
from nanoshell.command.render import TerminalScreen, counted, is_dumb, say, write_note
from nanoshell.command.script import run_line
from nanoshell.plugin.trouble import fresh_line
from nanoshell.repl import news, toolbar, welcome
from nanoshell.repl.several import separate
from nanoshell.repl.welcome import PROMPT

if TYPE_CHECKING:
    from nanoshell.session import Session

HINT = "Ctrl-D or :quit leaves, :help lists the commands"

MOST_FAILURES = 3
"""The shell ends where reading a line fails so often in a row: it would fail for ever."""

ReadLine = Callable[[], str]
"""Returns the next line; raises `KeyboardInterrupt` for Ctrl-C and `EOFError` for Ctrl-D."""


def run_prompt(session: Session, *, debug: bool = False) -> int:
    """Take lines until the user leaves, and return the exit code. Runs that were started go on."""
    watch = news.RunWatch(session)
    read = _plain_reader(watch) if is_dumb() else _editing_reader(session, watch)
    gc.freeze()  # what the start has made stays: no search for garbage, between two keys, looks at it
    for line in welcome.greeting(session):
        write_note(line)
    leave, failures = False, 0
    while not leave:
        try:
            leave = _turn(session, read, debug=debug)
            failures = 0
        except KeyboardInterrupt:  # one more, while the first was being answered
            continue
        except Exception as error:  # the editor of the line has failed, or a plugin in it
            failures += 1
            code = fail(error, "the prompt", debug=debug)
            if failures == MOST_FAILURES:
                return code
    for run, _status in session.runs_in_progress():
        write_note(f"run {run.name} goes on training: nanoshell runs show {run.name}")
    return 0


def _turn(session: Session, read: ReadLine, *, debug: bool) -> bool:
    """Read a line, carry it out, and return whether to leave."""
    try:
        return _carry_out(session, read(), debug=debug)
    except KeyboardInterrupt as interrupt:
        if not interrupt.args:
            write_note(HINT)
        return False
    except EOFError:
        return True


def _carry_out(session: Session, text: str, *, debug: bool) -> bool:
    """Carry out what was typed, and return whether to leave. Several commands run until one fails."""
    lines = [line.text for line in separate(text)]
    for number, line in enumerate(lines, 1):
        if not line.strip() or (len(lines) > 1 and line.lstrip().startswith("#")):
            continue
        if len(lines) > 1:
            say(line, "quiet", label=PROMPT)
        outcome = run_line(session, line, TerminalScreen(prompt=True), debug=debug)
        if outcome.leave:
            return True
        if outcome.code and number < len(lines):
            write_note(f"{counted(len(lines) - number, 'further line')} of the paste: not carried out")
            return False
    return False


def _plain_reader(watch: news.RunWatch) -> ReadLine:
    from nanoshell.command.words import is_open_block

    def read() -> str:
        watch.tell(now=True)
        try:
            text = input(PROMPT)
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
            with typed_unseen():
                sys.stdout.write(fresh_line(sys.stdout))  # what was typed ahead may stand there
                sys.stdout.flush()
                watch.tell(now=True)
                with news.written_above():
                    return prompt.prompt(pre_run=follow_runs)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*filter(None, [prompt.default_buffer.text])) from None

    return read
