"""Completion at the prompt: what click offers for a command line, the likeliest first."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

import click
from click.shell_completion import CompletionItem, ShellComplete
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples

from nanoshell.command import words
from nanoshell.command.folder import look_up
from nanoshell.command.group import find_entry
from nanoshell.command.script import prompt_group
from nanoshell.repl.ranking import Match, ranked
from nanoshell.session import Session
from nanoshell.tokenizer.special import SPECIAL_GROUPS
from nanoshell.wording import human_bytes

MOST_PATHS = 500
"""Entries of one folder that are offered."""

_NEEDS_QUOTES = re.compile(r"[\s'\"\\]")
_OPEN_SPECIAL = re.compile(r"<\|[^|>\s]*$")
_STEM = re.compile(r".*[@=:]")
_MATCHED = "class:match"


class CommandCompleter(Completer):
    """Completes ``:commands``, their options and values. Chat text gets nothing."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return the completions of the word before the cursor. A plugin may raise whatever it does."""
        line = document.text_before_cursor.lstrip()
        if line.startswith("?"):
            return self._names(line[1:].lstrip(), ":help ")
        return list(self._complete(line)) if line.startswith(":") else []

    def _complete(self, line: str) -> Iterator[Completion]:
        complete, word, start = words.open_word(line[1:])
        typed = len(line) - 1 - start
        if not complete:
            yield from self._names(word, ":")
            return
        entry = find_entry(self._session.plugins.commands, complete[0])
        if entry is None:
            return
        if special := list(_special_tokens(entry.value, complete, word)):
            yield from special
            return
        value = word.partition("=")[2] if word.startswith("--") and "=" in word else word
        if value != word:
            typed = len(value)
        for item, fits in self._items(complete, word, value):
            yield from _completions(item, fits, value, typed)

    def _names(self, word: str, shown_before: str) -> list[Completion]:
        """Return the commands that ``word`` may mean; other names of one where no name begins so."""
        commands = [
            entry
            for entry in self._session.plugins.commands
            if "prompt" in entry.options["faces"] and not entry.value.hidden
        ]
        offers = {entry.name: entry.value.get_short_help_str(60) for entry in commands}
        if word:
            other = {alias: entry.name for entry in commands for alias in entry.options["aliases"]}
            offers.update({alias: f"the same as :{name}" for alias, name in other.items()})
        return [
            Completion(
                name,
                -len(word),
                display=[("", shown_before), *_highlighted(name, fits)],
                display_meta=offers[name],
            )
            for name, fits in ranked(word, offers)
        ]

    def _items(self, complete: list[str], word: str, value: str) -> list[tuple[CompletionItem, Match | None]]:
        """Return what click offers for ``word``, whose ``value`` follows an option's ``=``, ranked.

        click itself compares from the beginning: it is asked for all that may stand there.
        """
        stem = _stem(value)
        everything = self._ask(complete, word.removesuffix(value) + stem)
        cut = "" if stem == "-" else stem
        named = {str(item.value).removeprefix(cut): item for item in everything if item.type == "plain"}
        found: list[tuple[CompletionItem, Match | None]] = [
            (named[name], fits.moved(len(cut))) for name, fits in ranked(value.removeprefix(cut), named)
        ]
        found += [(item, None) for item in everything if item.type != "plain"]
        if found or stem == value:
            return found
        return [(item, None) for item in self._ask(complete, word)]

    def _ask(self, complete: list[str], word: str) -> list[CompletionItem]:
        group = prompt_group(self._session)
        return ShellComplete(group, {"obj": self._session}, "", "").get_completions(list(complete), word)


def _stem(value: str) -> str:
    """Return the beginning of ``value`` on which the names depend: a dash, ``RUN@``, ``KEY=``."""
    if value.startswith("-"):
        return "-"
    mark = _STEM.match(value)
    return mark[0] if mark else ""


def _special_tokens(command: click.Command, complete: list[str], word: str) -> Iterator[Completion]:
    """Yield the spellings for a ``<|`` in a text of ``command`` that may hold special tokens."""
    begun = _OPEN_SPECIAL.search(word)
    for name in complete[1:]:
        if isinstance(command, click.Group) and name in command.commands:
            command = command.commands[name]
    if begun is None or not any("--special" in param.opts for param in command.params):
        return
    group_of = {spelling: group for group, spellings in SPECIAL_GROUPS.items() for spelling in spellings}
    for spelling, fits in ranked(begun[0].removeprefix("<|"), [name[2:] for name in group_of]):
        whole = f"<|{spelling}"
        shown = _highlighted(whole, fits.moved(2))
        yield Completion(
            whole, -len(begun[0]), display=shown, display_meta=f"special token: {group_of[whole]}"
        )


def _completions(item: CompletionItem, fits: Match | None, word: str, typed: int) -> Iterator[Completion]:
    if item.type in ("file", "dir"):
        for path, about, match in _paths(word, only_folders=item.type == "dir", endings=item.endings or ()):
            name = path.rstrip("/").rpartition("/")[2] + "/" * path.endswith("/")
            yield Completion(_quoted(path), -typed, display=_highlighted(name, match), display_meta=about)
    else:
        value = str(item.value)
        yield Completion(
            _quoted(value), -typed, display=_highlighted(value, fits), display_meta=item.help or ""
        )


def _paths(word: str, *, only_folders: bool, endings: Sequence[str]) -> Iterator[tuple[str, str, Match]]:
    """Yield the paths that ``word`` may mean with a word about each, folders with a slash.

    Files have one of ``endings``, where there are any; hidden ones are offered when a dot is typed.
    """
    folder, named = look_up(word, only_folders=only_folders, endings=endings)
    for name, fits in ranked(word.rpartition("/")[2], named)[:MOST_PATHS]:
        yield f"{folder}{name}", "folder" if name.endswith("/") else _size(named[name]), fits


def _size(entry: os.DirEntry[str]) -> str:
    try:
        return human_bytes(entry.stat().st_size)
    except OSError:
        return ""


def _highlighted(name: str, fits: Match | None) -> StyleAndTextTuples:
    """Return ``name`` with the letters marked that were typed."""
    places = set(fits.places) if fits else set()
    return [(_MATCHED if at in places else "", letter) for at, letter in enumerate(name)]


def _quoted(value: str) -> str:
    """Return ``value`` as the prompt's line splitting wants it."""
    return "'" + value.replace("'", "'\"'\"'") + "'" if _NEEDS_QUOTES.search(value) else value
