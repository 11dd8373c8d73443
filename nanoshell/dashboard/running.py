"""A line of the palette, carried out aside: the same commands as at the prompt, their output caught."""

from __future__ import annotations

import contextlib
import ctypes
import io
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from click.shell_completion import ShellComplete

from nanoshell.command import words
from nanoshell.command.group import CommandGroup, dress, find_entry
from nanoshell.command.invoke import fail, perform
from nanoshell.command.render import TerminalScreen
from nanoshell.errors import NanoshellError

if TYPE_CHECKING:
    from typing import TextIO

    import click

    from nanoshell.plugin.registry import Entry
    from nanoshell.session import Session

Tell = Callable[[str], None]

LOOK_UP_SECONDS = 0.1
"""A command that waits for an answer looks up so often whether it was told to stop."""


def palette_commands(session: Session) -> list[Entry[click.Command]]:
    """Return the commands that the palette offers."""
    return [entry for entry in session.plugins.commands if "palette" in entry.options["faces"]]


def completions(session: Session, line: str) -> list[tuple[str, str]]:
    """Return what ``line``, without its colon, may go on with: whole lines, each with a word about it."""
    complete, word, start = words.open_word(line)
    with contextlib.suppress(Exception):  # no names are better than an error in the middle of a line
        asked = ShellComplete(_group(session), {"obj": session}, "", "").get_completions(complete, word)
        return [
            (line[:start] + _quoted(str(item.value)), item.help or "")
            for item in asked
            if item.type == "plain" and str(item.value) != word
        ]
    return []


class LineRun:
    """One line under way in a thread; ``tell`` gets its output as it comes, ``done`` its exit code.

    ``asked`` is called where the command asks a question, which waits for `answer`.
    """

    def __init__(
        self,
        session: Session,
        line: str,
        tell: Tell,
        done: Callable[[int], None],
        asked: Callable[[], None],
    ) -> None:
        self._session = session
        self._line = line
        self._output = _Output(tell)
        self._answers = _Answers(asked)
        self._done = done
        self._thread = threading.Thread(target=self._run, name="palette", daemon=True)

    def start(self, columns: int) -> None:
        """Begin to carry the line out; its tables are to be ``columns`` wide at most."""
        self._output.columns = columns
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the line is still under way."""
        return self._thread.is_alive()

    def answer(self, text: str) -> None:
        """Answer the question that the line has asked."""
        self._answers.given.put(text)

    def stop(self) -> None:
        """Interrupt the line as Ctrl-C would, at its next step in Python."""
        if self._thread.ident is not None and self.running:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident), ctypes.py_object(KeyboardInterrupt)
            )

    def _run(self) -> None:
        code = 1
        try:
            with _caught(self._output, self._answers):
                code = run_line(self._session, self._line)
        except KeyboardInterrupt:  # it came between two lines of ours
            code = 130
        finally:
            self._done(code)


def run_line(session: Session, line: str) -> int:
    """Carry out ``line``, a command without its colon, and return its exit code. No exception leaves it."""
    try:
        parsed = words.parse_line(f":{line.strip().removeprefix(':')}")
        if not isinstance(parsed, words.CommandLine):
            return 0
        found = find_entry(session.plugins.commands, parsed.name)
        raw = found is not None and found.options["raw"]
        args = words.split_raw(dress(found.value), parsed.rest) if found and raw else words.split(parsed.rest)
        return perform(
            _group(session), "", [parsed.name, *args], TerminalScreen(prompt=True), obj=session
        ).code
    except NanoshellError as error:
        return fail(error)


def _group(session: Session) -> CommandGroup:
    return CommandGroup("palette", lambda _ctx: session, name="", add_help_option=True)


def _quoted(value: str) -> str:
    import shlex

    return value if value.endswith("=") else shlex.quote(value)


class _Output(io.TextIOBase):
    """A stream that hands on what is written to it, for a room of ``columns``."""

    columns: int | None = None

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # click tries bytes to see whether it must write these
            raise TypeError(f"a text is written, not {type(text).__name__}")
        self._tell(text)
        return len(text)


class _Answers(io.StringIO):
    """A stream that holds nothing, but for one line at a time of what a question is answered."""

    def __init__(self, asked: Callable[[], None]) -> None:
        super().__init__()
        self.given: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked = asked

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        """Return the next answer; whoever reads all there is gets nothing, and does not wait."""
        self._asked()
        while True:
            with contextlib.suppress(queue.Empty):  # a wait itself cannot be interrupted
                return self.given.get(timeout=LOOK_UP_SECONDS) + "\n"

    def __next__(self) -> str:  # type: ignore[override]
        raise StopIteration


@contextlib.contextmanager
def _caught(output: _Output, answers: _Answers) -> Iterator[None]:
    """Let stdout and stderr be ``output``, and questions be answered by ``answers``, in the block."""
    before = sys.stdin, sys.stdout, sys.stderr
    stream = cast("TextIO", output)
    try:
        sys.stdin, sys.stdout, sys.stderr = answers, stream, stream
        yield
    finally:
        if sys.stdout is stream:  # else the terminal has been given back meanwhile
            sys.stdin, sys.stdout, sys.stderr = before
