"""Completion at the prompt: what click offers for a command line, matched loosely where nothing fits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from click.shell_completion import CompletionItem, ShellComplete
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from nanoshell.command import words
from nanoshell.command.group import CommandGroup, find_entry
from nanoshell.command.script import prompt_group
from nanoshell.session import Session

MOST_PATHS = 500
"""Entries of one folder that are offered."""

_NEEDS_QUOTES = re.compile(r"[\s'\"\\]")


class CommandCompleter(Completer):
    """Completes ``:commands``, their options and values. Chat text gets nothing, and nothing ever raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return the completions of the word before the cursor."""
        try:
            return list(self._complete(document.text_before_cursor))
        except Exception:  # a plugin's completer must not end the prompt
            return []

    def _complete(self, text: str) -> Iterator[Completion]:
        line = text.lstrip()
        if not line.startswith(":"):
            return
        complete, word, start = words.open_word(line[1:])
        typed = len(line) - 1 - start
        group = prompt_group(self._session)
        if not complete:
            yield from self._names(group, word, typed)
            return
        if find_entry(self._session.plugins.commands, complete[0]) is None:
            return
        value = word.partition("=")[2] if word.startswith("--") and "=" in word else word
        if value != word:
            typed = len(value)
        for item in _matching(lambda part: self._ask(group, complete, part), word, value):
            yield from _completions(item, value, typed)

    def _names(self, group: CommandGroup, word: str, typed: int) -> Iterator[Completion]:
        commands = [e for e in self._session.plugins.commands if "prompt" in e.options["faces"]]
        offers = {
            name: entry.value.get_short_help_str(60) if name == entry.name else f"the same as :{entry.name}"
            for entry in commands
            if not entry.value.hidden
            for name in (entry.name, *(entry.options["aliases"] if word else ()))
        }
        starting = [name for name in offers if name.startswith(word)]
        for name in starting or loosely(word, offers):
            yield Completion(name, -typed, display=f":{name}", display_meta=offers[name])

    def _ask(self, group: CommandGroup, complete: list[str], word: str) -> list[CompletionItem]:
        offers = ShellComplete(group, {"obj": self._session}, "", "")
        return offers.get_completions(list(complete), word)


def loosely(word: str, names: Iterable[str]) -> list[str]:
    """Return the ``names`` that hold the letters of ``word`` in their order, the closest first."""
    pattern = re.compile(".*?".join(map(re.escape, word)), re.IGNORECASE)
    found = [
        (match.end() - match.start(), match.start(), name)
        for name in names
        if (match := pattern.search(name))
    ]
    return [name for _, _, name in sorted(found)]


def _matching(ask: Callable[[str], list[CompletionItem]], word: str, value: str) -> list[CompletionItem]:
    exact = ask(word)
    if exact or not value:
        return exact
    everything = ask("-") if value.startswith("-") else ask(word.removesuffix(value))
    by_name = {str(item.value): item for item in everything if item.type == "plain"}
    return [by_name[name] for name in loosely(value, by_name)]


def _completions(item: CompletionItem, word: str, typed: int) -> Iterator[Completion]:
    if item.type in ("file", "dir"):
        for path in _paths(word, only_folders=item.type == "dir"):
            name = path.rstrip("/").rpartition("/")[2] + "/" * path.endswith("/")
            yield Completion(_quoted(path), -typed, display=name)
    else:
        value = str(item.value)
        yield Completion(_quoted(value), -typed, display=value, display_meta=item.help or "")


def _paths(word: str, *, only_folders: bool) -> Iterator[str]:
    """Yield the paths that begin with ``word``, folders with a slash; hidden ones when a dot is typed."""
    folder, slash, start = word.rpartition("/")
    parent = Path((folder or "/") if slash else ".").expanduser()
    try:
        entries = sorted(os.scandir(parent), key=lambda entry: entry.name)[:MOST_PATHS]
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start.startswith(".")):
            continue
        if entry.is_dir():
            yield f"{folder}{slash}{entry.name}/"
        elif not only_folders:
            yield f"{folder}{slash}{entry.name}"


def _quoted(value: str) -> str:
    """Return ``value`` as the prompt's line splitting wants it."""
    return "'" + value.replace("'", "'\"'\"'") + "'" if _NEEDS_QUOTES.search(value) else value
