"""What answers bash, zsh and fish when Tab is pressed there, and the scripts by which they ask.

click's own words for bash lose names where files may stand, put names with spaces into the line as they are,
and know nothing of the letters at which bash breaks a word (``RUN@STEP``, ``nano-start:qa``, ``--data=x``).
Here bash hands over its line instead, and gets back what to put in the place of what it would replace. Those
for zsh and fish lose the option of ``--data=x``; in zsh a space follows ``top_k=``, in fish a line about a
name ends at its first comma.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from nanoshell.command.folder import look_up

PROGRAM = "nanoshell"

_WORD = re.compile(r"(?:\\.|'[^']*(?:'|$)|\"(?:\\.|[^\"\\])*(?:\"|\\?$)|[^\s\\'\"]|\\$)+")
_SPECIAL = re.compile(r"[^\w@%+=:,./~^-]")
_SPECIAL_IN_QUOTES = re.compile(r"[\\\"$`]")

_BASH = """\
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

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local kind value about
    local -a answer whole open told told_open
    (( ! $+commands[%(prog_name)s] )) && return 1

    answer=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
        %(complete_var)s=zsh_complete %(prog_name)s)}")
    [[ $PREFIX == -*=* ]] && compset -P 1 '*='

    for kind value about in ${answer}; do
        case $kind in
            plain)
                if [[ $about != _ ]]; then
                    [[ $value == *[/=:] ]] && told_open+=("$value:$about") || told+=("$value:$about")
                else
                    [[ $value == *[/=:] ]] && open+=("$value") || whole+=("$value")
                fi ;;
            dir) _path_files -/ ;;
            file) _path_files -f ;;
        esac
    done

    (( $#told )) && _describe -V names told
    (( $#told_open )) && _describe -V unfinished told_open -S ''
    (( $#whole )) && compadd -V names -a whole
    (( $#open )) && compadd -V unfinished -S '' -a open
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    set -l option (string match --regex -- '^-[^=]*=' (commandline -ct))

    for line in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
            COMP_CWORD=(commandline -ct) %(prog_name)s)
        set -l answer (string split --max 1 "," -- $line)

        switch $answer[1]
            case dir
                printf '%%s\\n' "$option"(__fish_complete_directories $answer[2])
            case file
                printf '%%s\\n' "$option"(__fish_complete_path $answer[2])
            case plain
                printf '%%s\\n' "$option$answer[2]"
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class Bash(BashComplete):
    """Completion for bash 4.4 and later.

    ``COMP_LINE`` is the line up to the cursor, and ``COMP_TEXT`` the end of it that bash replaces. A script
    of an earlier version, which hands over neither, is answered as click does.
    """

    source_template = _BASH

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


class Zsh(ZshComplete):
    """Completion for zsh: three lines for each name, the last of which is a line about it or ``_``."""

    source_template = _ZSH

    def format_completion(self, item: CompletionItem) -> str:
        """Return the lines of ``item``. Where one is about it, zsh takes a colon for its beginning."""
        about, value = _one_line(item.help), _one_line(item.value)
        return "\n".join((item.type, value.replace(":", "\\:") if about else value, about or "_"))


class Fish(FishComplete):
    """Completion for fish: ``plain,NAME``, and after a tab a line about it."""

    source_template = _FISH

    def format_completion(self, item: CompletionItem) -> str:
        """Return the line of ``item``."""
        about = _one_line(item.help)
        return f"{item.type},{_one_line(item.value)}" + (f"\t{about}" if about else "")


def answer_with_ours() -> None:
    """Let click take these for its own, in what it answers and in the scripts that it writes."""
    for ours in (Bash, Zsh, Fish):
        add_completion_class(ours)


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


def _one_line(text: object) -> str:
    """Return ``text`` without what a shell would take for the end of a line or a column; '' for None."""
    return re.sub(r"\s*[\n\r\t]\s*", " ", str(text)) if text is not None else ""


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
