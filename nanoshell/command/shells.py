"""What answers bash, zsh and fish when Tab is pressed there: click for two of them, `Bash` for the third.

click's own words for bash lose names where files may stand, put names with spaces into the line as they are,
and know nothing of the letters at which bash breaks a word (``RUN@STEP``, ``nano-start:qa``, ``--data=x``).
Here bash hands over its line instead, and gets back what to put in the place of what it would replace.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from nanoshell.command.folder import look_up

PROGRAM = "nanoshell"

_WORD = re.compile(r"(?:\\.|'[^']*(?:'|$)|\"(?:\\.|[^\"\\])*(?:\"|\\?$)|[^\s\\'\"]|\\$)+")
_SPECIAL = re.compile(r"[^\w@%+=:,./~^-]")
_SPECIAL_IN_QUOTES = re.compile(r"[\\\"$`]")

_SCRIPT = """\
%(complete_func)s() {
    local IFS=$'\\n' kind value answer

    answer=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_TEXT="$2" COMP_WORDS="${COMP_WORDS[*]}" \\
        COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1")

    while IFS=',' read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
        esac
    done <<< "$answer"

    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/=:] ]]; then
        compopt -o nospace
    fi
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completion for bash 4.4 and later.

    ``COMP_LINE`` is the line up to the cursor, and ``COMP_TEXT`` the end of it that bash replaces. A script
    of an earlier version, which hands over neither, is answered as click does.
    """

    source_template = _SCRIPT

    def complete(self) -> str:
        """Return lines of ``plain,TEXT``; ``file,`` or ``dir,`` alone lets bash look for paths in its way."""
        line = os.environ.get("COMP_LINE")
        if line is None or "COMP_TEXT" not in os.environ:
            return super().complete()
        raw = _last_word(line)
        words = split_arg_string(line)
        word = words.pop() if raw else ""
        items = self.get_completions(words[1:], word)
        kept = raw.removesuffix(os.environ["COMP_TEXT"])
        if word.startswith("-") and "=" in word:
            word, kept = word.partition("=")[2], kept.partition("=")[2]
        found = [f"plain,{text}" for text in dict.fromkeys(_put_in(_values(items, word), kept))]
        return "\n".join(found or sorted({f"{item.type}," for item in items if item.type != "plain"}))


def answer_with_ours() -> None:
    """Let click take `Bash` for bash, in what it answers and in the script that it writes."""
    add_completion_class(Bash)


def completion_script(shell: str) -> str:
    """Return what makes ``shell`` (``bash``, ``zsh`` or ``fish``) ask the program at every Tab."""
    answer_with_ours()
    made = get_completion_class(shell)
    assert made is not None
    # Not source(): that starts a bash to look at its version, and the script may be for another machine.
    variable = f"_{PROGRAM.upper()}_COMPLETE"
    return made(click.Group(PROGRAM), {}, PROGRAM, variable).source_template % {
        "complete_func": f"_{PROGRAM}_completion",
        "complete_var": variable,
        "prog_name": PROGRAM,
    }


def _last_word(line: str) -> str:
    """Return the word that ``line`` ends with, quotes and all; '' after a space."""
    words = list(_WORD.finditer(line))
    return words[-1][0] if words and words[-1].end() == len(line) else ""


def _values(items: Sequence[CompletionItem], word: str) -> Iterator[str]:
    """Yield the names among ``items``, and the paths that may stand there."""
    for item in items:
        if item.type == "plain":
            yield str(item.value)
        else:
            folder, names = look_up(word, only_folders=item.type == "dir", endings=item.endings or ())
            begun = word.rpartition("/")[2]
            yield from (f"{folder}{name}" for name in names if name.startswith(begun))


def _put_in(values: Iterator[str], kept: str) -> Iterator[str]:
    """Yield ``values`` as they go on after ``kept``, what bash leaves of the word before the cursor."""
    quote = kept[-1:] if kept[-1:] in ("'", '"') else ""
    said = "".join(split_arg_string(kept))
    for value in values:
        rest = value.removeprefix(said)
        if "\n" in rest:
            continue
        if quote == '"':
            yield _SPECIAL_IN_QUOTES.sub(r"\\\g<0>", rest)
        else:
            yield rest.replace("'", "'\\''") if quote else _SPECIAL.sub(r"\\\g<0>", rest)
