"""``completion``: what Tab offers in bash, zsh and fish, written where those look for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell import Choice
from nanoshell_commands.inputs import attended

if TYPE_CHECKING:
    from rich.console import RenderableType

EXAMPLES = (
    "completion install bash",
    "completion install fish --json",
    "completion show zsh",
    "completion show bash --json",
    "completion uninstall bash",
    "completion uninstall zsh --json",
)

PROGRAM = "nanoshell"
SHELLS = {
    "bash": "needs the package bash-completion, or a line in ~/.bashrc",
    "zsh": "needs a line in ~/.zshrc",
    "fish": "finds it by itself",
}
_BEGIN, _END = "# >>> nanoshell completion >>>", "# <<< nanoshell completion <<<"
_LOADERS = (
    "/usr/share/bash-completion/bash_completion",
    "/etc/bash_completion",
    "/usr/local/etc/profile.d/bash_completion.sh",
    "/opt/homebrew/etc/profile.d/bash_completion.sh",
)
"""What loads the completions of a user's folder in bash, by where it usually is."""


@dataclass(frozen=True)
class Installed:
    """What was done for a shell: the ``files`` that were changed, and ``next``, what is left for the user."""

    shell: str
    action: str
    files: list[str]
    next: str

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        lines = [f"{self.action} {file}" for file in self.files]
        if not lines:
            lines = ["nothing is installed" if self.action == "removed" else "all is there already"]
        return Text("\n".join([*lines, *([self.next] if self.next else [])]))


def _shell(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    """Return the shell that is named, else the user's. Raises `UsageError` where that is another."""
    if value:
        return value
    from nanoshell import UsageError

    named = Path(os.environ.get("SHELL", "")).name
    if named not in SHELLS:
        what = (
            f"'{named}' is none of {', '.join(SHELLS)}" if named else "SHELL does not say which shell you use"
        )
        raise UsageError(what, hint="name one, for example: completion install bash")
    return named


def _shell_argument(command: Callable[..., object]) -> Callable[..., object]:
    return click.argument(
        "shell", type=Choice(SHELLS), required=False, callback=_shell, metavar=f"[{'|'.join(SHELLS)}]"
    )(command)


@click.group("completion")
def completion() -> None:
    """Install what Tab offers in bash, zsh and fish."""


@completion.command("install")
@_shell_argument
@click.option("--rc", is_flag=True, help="Add what is needed to ~/.bashrc or ~/.zshrc, without asking.")
def install(shell: str, rc: bool) -> Installed:
    """Write the completion where the shell looks for it.

    By default for the shell that SHELL names. zsh looks only where it is told to, and bash needs the package
    bash-completion for it: there a line in ~/.zshrc or ~/.bashrc is needed, which is written with your
    consent alone.
    """
    from nanoshell import completion_script

    changed = [file for file in [_file(shell)] if _write(file, completion_script(shell))]
    line, start = _start_line(shell), _start_file(shell)
    if line is None or start is None:
        return Installed(
            shell, "wrote", list(map(str, changed)), "it works in the shells that you open from now on"
        )
    if _has(start, line):
        return Installed(shell, "wrote", list(map(str, changed)), "")
    if rc or (attended() and _consents(start, line)):
        _write(start, _with_block(_read(start), line))
        told = "it works in the shells that you open from now on"
        return Installed(shell, "wrote", [*map(str, changed), str(start)], told)
    return Installed(
        shell, "wrote", list(map(str, changed)), f"add this line to {start} (--rc does it):\n  {line}"
    )


@completion.command("show")
@_shell_argument
def show(shell: str) -> str:
    """Print the completion script, to be put anywhere."""
    from nanoshell import completion_script

    return completion_script(shell)


@completion.command("uninstall")
@_shell_argument
def uninstall(shell: str) -> Installed:
    """Remove what install wrote."""
    removed = []
    file, start = _file(shell), _start_file(shell)
    if file.exists():
        file.unlink()
        removed.append(str(file))
    if start is not None and _BEGIN in (text := _read(start)):
        _write(start, _without_block(text))
        removed.append(str(start))
    return Installed(shell, "removed", removed, "")


def _file(shell: str) -> Path:
    """Return where the user's completions of ``shell`` are."""
    data = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    if shell == "bash":
        folder = os.environ.get("BASH_COMPLETION_USER_DIR")
        base = Path(folder.partition(":")[0]) if folder else data / "bash-completion"
        return base / "completions" / PROGRAM
    if shell == "fish":
        base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        return base / "fish" / "completions" / f"{PROGRAM}.fish"
    return data / PROGRAM / "completions" / f"_{PROGRAM}"


def _start_file(shell: str) -> Path | None:
    if shell == "zsh":
        return Path(os.environ.get("ZDOTDIR") or "~").expanduser() / ".zshrc"
    return Path("~/.bashrc").expanduser() if shell == "bash" else None


def _start_line(shell: str) -> str | None:
    """Return the line that the shell's start needs, None where it finds the file by itself."""
    file = _file(shell)
    if shell == "zsh":
        return f'autoload -Uz compinit; whence compdef > /dev/null || compinit -i; source "{file}"'
    if shell == "bash" and not any(map(os.path.exists, _LOADERS)):
        return f'[ -f "{file}" ] && . "{file}"'
    return None


def _consents(start: Path, line: str) -> bool:
    click.echo(f"{start} needs this line:\n  {line}", err=True)
    return click.confirm("Add it?", default=False, err=True)


def _read(file: Path) -> str:
    """Return what ``file`` holds, so that `_write` gives back the same bytes: its ends of lines, too."""
    return file.read_bytes().decode("utf-8", "surrogateescape") if file.exists() else ""


def _has(file: Path, line: str) -> bool:
    return line in _read(file)


def _write(file: Path, text: str) -> bool:
    """Make ``text`` what ``file`` holds, and return whether it was not. Raises `StorageError`."""
    from nanoshell import atomic_write

    with contextlib.suppress(OSError):
        if file.exists() and _read(file) == text:
            return False
    with atomic_write(file.resolve()) as whole:  # where it is a link, what that leads to
        whole.write(text.encode("utf-8", "surrogateescape"))
    return True


def _with_block(text: str, line: str) -> str:
    """Return ``text`` with ``line`` at its end, between marks by which it is found again."""
    kept = _without_block(text)
    gap = "\n" if kept and not kept.endswith("\n") else ""
    return f"{kept}{gap}{_BEGIN}\n{line}\n{_END}\n"


def _without_block(text: str) -> str:
    before, begun, rest = text.partition(f"{_BEGIN}\n")
    _, ended, after = rest.partition(f"{_END}\n")
    return before + after if begun and ended else text
