"""A prompt that is typed at through a pipe, and drawn on a screen of text."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from nanoshell.repl.loop import run_prompt
from nanoshell.session import Session

CTRL_C, CTRL_D = "\x03", "\x04"
WHERE_THE_CURSOR_IS = "\x1b[1;1R"
"""What a terminal answers: it is asked before a toolbar is drawn."""

PATIENCE_SECONDS = 60.0

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Keyboard:
    """Calling it opens the prompt and types; ``screen`` holds all that prompt_toolkit drew."""

    pipe: PipeInput
    screen: io.StringIO

    def drawn(self) -> str:
        """Return what was drawn, without its styles."""
        return _CONTROLS.sub("", self.screen.getvalue())

    def when(self, shown: str, typed: str) -> None:
        """Type once ``shown`` has been drawn."""
        self.once(lambda: shown in self.drawn(), typed)

    def once(self, happened: Callable[[], bool], typed: str) -> None:
        """Type once ``happened`` is true. Where it never is, leave the prompt, so that the test ends."""

        def wait() -> None:
            end = time.monotonic() + PATIENCE_SECONDS
            while not happened():
                if time.monotonic() > end:
                    self.pipe.send_text(CTRL_C + CTRL_D)
                    return
                time.sleep(0.01)
            self.pipe.send_text(typed)

        threading.Thread(target=wait, daemon=True).start()

    def __call__(self, session: Session, *typed: str) -> int:
        self.pipe.send_text("".join([WHERE_THE_CURSOR_IS, *typed]))
        return run_prompt(session)


@contextmanager
def attached_keyboard() -> Iterator[Keyboard]:
    """Make a `Keyboard` and a screen those of the prompts in the block."""
    with create_pipe_input() as pipe:
        screen = io.StringIO()
        output = Vt100_Output(screen, lambda: Size(rows=24, columns=80), term="xterm")
        with create_app_session(input=pipe, output=output):
            yield Keyboard(pipe, screen)
