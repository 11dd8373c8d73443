"""The keys of the prompt beyond those of its library."""

from __future__ import annotations

import asyncio
import sys

from prompt_toolkit.application import in_terminal
from prompt_toolkit.buffer import Buffer, CompletionState
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import (
    Condition,
    emacs_mode,
    has_focus,
    has_selection,
    is_searching,
    vi_insert_mode,
    vi_navigation_mode,
)
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from nanoshell.command.render import write_note
from nanoshell.command.words import is_open_block
from nanoshell.errors import NanoshellError
from nanoshell.plugin.trouble import fresh_line

_LOOK_SECONDS = 0.01

_CONTINUES = ("/", "=", "@", ":")
"""A completion that ends so is a beginning."""


def key_bindings() -> KeyBindings:
    """Return the keys for several lines, for the editor, for pasting, and for completion."""
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER) & ~is_searching
    inserting = typing & (emacs_mode | vi_insert_mode)

    keys.add("escape", "enter", filter=inserting)(_new_line)
    keys.add("enter", filter=inserting & Condition(_in_open_block))(_new_line)
    keys.add("c-x", "c-e", filter=typing & emacs_mode)(_edit)
    keys.add("c-g", filter=typing & ~has_selection)(_edit)
    keys.add("v", filter=typing & vi_navigation_mode)(_edit)
    keys.add("<bracketed-paste>", filter=inserting)(_paste)
    keys.add("tab", filter=inserting)(_complete)
    return keys


def _in_open_block() -> bool:
    from prompt_toolkit.application import get_app

    return is_open_block(get_app().current_buffer.text)


def _new_line(event: KeyPressEvent) -> None:
    event.current_buffer.newline(copy_margin=False)


def _paste(event: KeyPressEvent) -> None:
    """Insert what was pasted. Line breaks stay, and none of them sends anything; those at the end go."""
    text = event.data.replace("\r\n", "\n").replace("\r", "\n")
    buffer = event.current_buffer
    if not buffer.document.text_after_cursor:
        text = text.rstrip("\n")
    buffer.save_to_undo_stack()
    buffer.insert_text(text)


def _edit(event: KeyPressEvent) -> None:
    """Open the line in an editor. Enter then sends it as it came back."""
    buffer = event.current_buffer

    async def run() -> None:
        from nanoshell.command.editor import edit_text

        async with in_terminal():
            try:
                text = edit_text(buffer.text)
            except NanoshellError as error:
                told = f"{error.message}; the line stays as it was"
                write_note(f"{told}\n  {error.hint}" if error.hint else told)
                return
            event.app.output.write_raw(fresh_line(sys.stdout))  # behind what the editor, or ^C, has left
            event.app.output.flush()
        buffer.document = Document(text, len(text))

    event.app.create_background_task(run())


def _complete(event: KeyPressEvent) -> None:
    """Take the first completion, or the next; where they are on their way, as soon as they are there."""
    buffer = event.current_buffer
    state = buffer.complete_state
    if state is None:
        buffer.start_completion(insert_common_part=True)
    elif state.completions:
        _take(buffer, state)
    else:
        event.app.create_background_task(_take_when_there(buffer, state))


async def _take_when_there(buffer: Buffer, state: CompletionState) -> None:
    while buffer.complete_state is state and not state.completions:
        await asyncio.sleep(_LOOK_SECONDS)
    if buffer.complete_state is state:
        _take(buffer, state)


def _take(buffer: Buffer, state: CompletionState) -> None:
    """Take the next completion. The only one is taken for good, and where it is a beginning, it goes on."""
    if len(state.completions) > 1 or state.complete_index is not None:
        buffer.complete_next()
        return
    completion = state.completions[0]
    buffer.apply_completion(completion)
    if completion.text.endswith(_CONTINUES):
        buffer.start_completion()
