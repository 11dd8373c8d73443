"""A scripted session: lines of the prompt carried out in this process, and what they printed."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoshell.testing.loading import plugins_with

if TYPE_CHECKING:
    from nanoshell.session import Session


@dataclass(frozen=True)
class Said:
    """What lines printed: ``out`` (stdout) and ``err`` (stderr), and the exit ``code`` that they ended with.

    0 is well, 1 failed, 2 a mistake in the line, 130 interrupted.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document that was printed. Raises `AssertionError` where something else was."""
        return self._parsed(self.out)

    @property
    def lines(self) -> list[Any]:
        """What a command that streams printed with ``--json``: a value for each line."""
        return [self._parsed(line) for line in self.out.splitlines()]

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(
                f"this is no JSON: {text!r}; it ended with {self.code}: {self.err}"
            ) from None


class Shell:
    """A `Session` at work: call it with lines as they are typed at the prompt, ``:command`` or chat.

    It behaves as ``nanoshell -c``: no terminal, training is waited for, and of several lines given at once
    those after a failed one are left out. ``started`` is what plugins said when the session started.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        with self._captured("") as streams:
            session.plugins.notify("session_started", session=session)
        self.started = self._said(0, streams)

    def __call__(self, *lines: str, stdin: str = "") -> Said:
        """Carry out ``lines``, with ``stdin`` as standard input, and return what they printed."""
        from nanoshell.command.render import TerminalScreen
        from nanoshell.command.script import argument_lines, run_lines

        with self._captured(stdin) as streams:
            code = run_lines(self.session, argument_lines(lines), TerminalScreen())
        return self._said(code, streams)

    def close(self) -> None:
        """Close what the session has open."""
        self.session.close()

    @contextlib.contextmanager
    def _captured(self, stdin: str) -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
        out, err, typed = _stream(), _stream(), _stream(stdin)
        whole, sys.stdin = sys.stdin, typed
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield out, err
        finally:
            sys.stdin = whole

    def _said(self, code: int, streams: tuple[io.TextIOWrapper, io.TextIOWrapper]) -> Said:
        return Said(code, *(_text(stream) for stream in streams))


def open_shell(
    *plugins: object,
    plugins_dir: Path | None = None,
    model: Path | str | None = None,
    data: Path | str | None = None,
) -> Shell:
    """Return a scripted session with nanoshell's own plugins and ``plugins``, loaded as `plugins_with` does.

    ``model`` and ``data`` are chosen from the start. Settings are those of the home that the environment
    names: the fixture ``nanoshell_home`` makes it a fresh one. Raises `PluginError`.

    A training run is a process of its own, which loads installed plugins and those of ``plugins_dir``, and
    knows nothing of ``plugins``.
    """
    from nanoshell.command.narrate import ScreenNarrator
    from nanoshell.command.render import TerminalScreen
    from nanoshell.opening import open_session

    session = open_session(
        plugins=plugins_with(*plugins, plugins_dir=plugins_dir), narrator=ScreenNarrator(TerminalScreen())
    )
    session.model_name = None if model is None else str(model)
    session.data = None if data is None else str(data)
    return Shell(session)


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode("utf-8")), "utf-8", "backslashreplace", newline="")


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8")
