"""Lines of the prompt carried out one after another without one: ``-c``, ``-f`` and piped standard input."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nanoshell.command import words
from nanoshell.command.group import HELP_WIDTH, CommandGroup, all_names, dress, find_entry
from nanoshell.command.interrupt import interruptible
from nanoshell.command.invoke import Outcome, fail, perform
from nanoshell.command.render import TerminalScreen, show
from nanoshell.command.turn import reply_to
from nanoshell.errors import DataError, MissingDataError, NanoshellError, UsageError, nearest
from nanoshell.session import Session
from nanoshell.spelling import spelled_with

OFFER = "there is no model to answer yet: :demo trains a small one in a minute or two"

COMMENT = "a line that begins with # is a comment; \\# begins a text with that mark"


_SLASHED = re.compile(r"\s*(?P<escaped>\\?)/(?P<name>[\w?-]+)(?=\s|$)")
_ELSEWHERE = {"?": "help", "bye": "quit"}
"""What commands are called where a slash begins them."""


@dataclass(frozen=True)
class ScriptLine:
    """One line of a script, or the lines of one block, and ``where`` it begins (``FILE:LINE``)."""

    text: str
    where: str


def run_line(
    session: Session, text: str, screen: TerminalScreen, *, debug: bool = False, where: str = ""
) -> Outcome:
    """Carry out one line: ``:command …``, or a turn of chat. No exception leaves this function."""
    try:
        if screen.prompt:
            text = _without_slash(session, text, screen)
        line = words.parse_line(text)
        if isinstance(line, words.CommandLine):
            group = prompt_group(session)
            found = find_entry(session.plugins.commands, line.name)
            raw = found is not None and found.options["raw"]
            args = words.split_raw(dress(found.value), line.rest) if found and raw else words.split(line.rest)
            return perform(group, "", [line.name, *args], screen, obj=session, debug=debug, where=where)
        if screen.prompt and not line and text.lstrip().startswith("#"):
            screen.note(COMMENT)
        if line:
            with spelled_with(":"), interruptible():
                _chat(session, line, screen)
    except BaseException as error:
        return Outcome(fail(error, "chat", debug=debug, where=where))
    return Outcome()


def run_lines(
    session: Session, lines: Iterable[ScriptLine], screen: TerminalScreen, *, debug: bool = False
) -> int:
    """Carry out ``lines`` until one fails, and return its exit code; comments and blanks are passed over."""
    try:
        for line in lines:
            if not line.text.strip():
                continue
            outcome = run_line(session, line.text, screen, debug=debug, where=line.where)
            if outcome.code or outcome.leave:
                return outcome.code
    except (NanoshellError, OSError, KeyboardInterrupt) as error:
        return fail(error, debug=debug)
    return 0


def prompt_group(session: Session) -> CommandGroup:
    """Return the commands as the prompt spells them."""
    return CommandGroup(
        "prompt",
        lambda _ctx: session,
        name="",
        add_help_option=True,
        context_settings={"max_content_width": HELP_WIDTH},
    )


def argument_lines(texts: Iterable[str]) -> Iterator[ScriptLine]:
    """Yield the lines of ``-c`` options."""
    for number, text in enumerate(texts, 1):
        yield from with_blocks(ScriptLine(line, f"-c {number}") for line in text.splitlines())


def with_blocks(lines: Iterable[ScriptLine]) -> Iterator[ScriptLine]:
    """Yield ``lines``, those of a block that is opened by three quotes as one, which is where it begins.

    Raises `UsageError` where the last block is not closed.
    """
    block: list[str] = []
    where = ""
    for line in lines:
        where = where if block else line.where
        block.append(line.text.rstrip("\r\n"))
        text = "\n".join(block)
        if not words.is_open_block(text):
            yield ScriptLine(text, where)
            block = []
    if block:
        raise UsageError(
            f"{where}: the {words.FENCE} that begins here is never closed",
            hint=f"end the text with {words.FENCE}",
        )


def file_lines(path: Path) -> Iterator[ScriptLine]:
    """Yield the lines of a script file. Raises `DataError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            yield from with_blocks(_decoded(file, str(path)))
    except OSError as error:
        kind = MissingDataError if isinstance(error, FileNotFoundError) else DataError
        raise kind(f"cannot read the script {path}: {error.strerror}") from None


def stdin_lines() -> Iterator[ScriptLine]:
    """Yield the lines of standard input as they come. The commands between them find it empty."""
    script = sys.stdin.buffer
    for line in with_blocks(_decoded(script, "standard input")):
        with _empty_stdin():
            yield line


@contextlib.contextmanager
def _empty_stdin() -> Iterator[None]:
    whole, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        yield
    finally:
        sys.stdin = whole


def _decoded(file: BinaryIO, name: str) -> Iterator[ScriptLine]:
    for number, line in enumerate(iter(file.readline, b""), 1):
        try:
            yield ScriptLine(line.decode("utf-8-sig" if number == 1 else "utf-8"), f"{name}:{number}")
        except UnicodeDecodeError:
            raise DataError(f"{name}:{number}: this line is not UTF-8") from None


def _without_slash(session: Session, text: str, screen: TerminalScreen) -> str:
    r"""Return ``text``; where it is a command as other programs spell it (``/help``) say how, and return ''.

    With a backslash (``\/help``) it is text all the same: what stands behind that is returned.
    """
    named = _SLASHED.match(text)
    if named is None:
        return text
    name = _ELSEWHERE.get(named["name"], named["name"])
    if name not in all_names(session.plugins.commands):
        return text
    if named["escaped"]:
        return text.lstrip()[1:]
    screen.note(f"commands begin with a colon: :{name}; to say it to the model, type \\{text.strip()}")
    return ""


def _chat(session: Session, text: str, screen: TerminalScreen) -> None:
    if session.model_name is None and screen.prompt:
        screen.note(OFFER)
        return
    if session.model_name is None:
        first = text.split()[0]
        names = all_names(session.plugins.commands)
        near = first if first in names else nearest(first, names) if " " not in text else None
        hint = f"for the command type :{near}; " if near else ""
        raise UsageError("no model is loaded to chat with", hint=f"{hint}to get one, type :demo")
    show(reply_to(session, text), screen)
