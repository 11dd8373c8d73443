"""`completion`: files that real shells read, no change that nobody asked for, a Tab that costs little."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from nanoshell.runs.directory import create_run
from tests.faces.conftest import environment

Program = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home without anything in it."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR", "SHELL"):
        monkeypatch.delenv(name, raising=False)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


FILES = {
    "bash": ".local/share/bash-completion/completions/nanoshell",
    "zsh": ".local/share/nanoshell/completions/_nanoshell",
    "fish": ".config/fish/completions/nanoshell.fish",
}


@pytest.mark.parametrize("shell", FILES)
def test_it_is_written_once_and_taken_away_again(program: Program, home: Path, shell: str) -> None:
    first = json.loads(program("completion", "install", shell, "--json").out)
    assert first["files"] == [str(home / FILES[shell])]
    assert files(home) == {FILES[shell]: program("completion", "show", shell).out}
    again = json.loads(program("completion", "install", shell, "--json").out)
    assert again["files"] == []
    assert json.loads(program("completion", "uninstall", shell, "--json").out)["files"] == first["files"]
    assert files(home) == {}
    assert program("completion", "uninstall", shell).out == "nothing is installed\n"


def test_the_users_own_files_change_with_consent_alone(program: Program, home: Path) -> None:
    start = home / ".zshrc"
    start.write_text("alias n=nanoshell")
    asked = program("completion", "install", "zsh")
    assert f"add this line to {start}" in asked.out
    assert start.read_text() == "alias n=nanoshell"
    assert str(start) in program("completion", "install", "zsh", "--rc").out
    written = start.read_text()
    assert written.startswith("alias n=nanoshell\n")
    assert FILES["zsh"] in written
    assert program("completion", "install", "zsh", "--rc").out == "all is there already\n"
    assert start.read_text() == written
    program("completion", "uninstall", "zsh")
    assert start.read_text() == "alias n=nanoshell\n"


def test_the_shell_is_that_of_the_user(program: Program, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert json.loads(program("completion", "install", "--json").out)["shell"] == "fish"
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    refused = program("completion", "install")
    assert (refused.code, "'tcsh' is none of bash, zsh, fish" in refused.err) == (2, True)
    assert "did you mean 'fish'" in program("completion", "install", "fsh").err


@pytest.fixture
def spawn(home: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a shell in a terminal, with `nanoshell` on its path."""
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "nanoshell"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m nanoshell "$@"\n')
    wrapper.chmod(0o755)
    children = []

    def start(*command: str) -> Any:
        path = f"{wrapper.parent}:{environment()['PATH']}"
        env = environment(PATH=path, HOME=str(home), PS1="ready> ", INPUTRC="/dev/null")
        child = pexpect.spawn(
            command[0], [*command[1:]], env=env, encoding="utf-8", timeout=300, dimensions=(24, 100)
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_what_was_installed(program: Program, spawn: Any, home: Path) -> None:
    program("completion", "install", "bash")
    shell = spawn("bash", "--norc", "--noprofile", "-i")
    shell.expect_exact("ready> ")
    shell.sendline(f". {home / FILES['bash']}; PS1='next> '")
    shell.expect_exact("next> ")
    shell.send("nanoshell tokenizer tr\t")
    shell.expect_exact("train ")
    shell.send("\x15nanoshell train --max-st\t")
    shell.expect_exact("--max-steps ")


BASH_TABS = {
    "train --config nano-l": "train --config nano-llama ",
    "runs show demo": "runs show demo-1 ",
    "model load demo-1@2": "model load demo-1@20",
    "model load weig": "model load weights/",
    "--model=demo-1@200": "--model=demo-1@200 ",
    "data use nano-start:q": "data use nano-start:qa ",
    "data use no": "data use notes\\ of\\ mine.txt ",
    "data use 'no": "data use 'notes of mine.txt' ",
    "chat switch sk": "chat switch sky\\ talk ",
    "chat switch sky\\ t": "chat switch sky\\ talk ",
    'chat switch "sk': 'chat switch "sky talk" ',
    "sample --sampler top_k": "sample --sampler top_k=",
}
"""What is typed, and what stands there after Tab."""


@pytest.fixture
def work(program: Program, tmp_path: Path) -> Path:
    """A folder with a run, a model and files, some with spaces in their names as a conversation has."""
    work = tmp_path / "work"
    run = create_run(work / "runs", "demo", {})
    for step in (20, 200):
        folder = run.checkpoints_dir / f"step-{step:06}"
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_text("{}")
    (work / "weights").mkdir()
    for name in ("notes of mine.txt", "nobody.sh"):
        (work / name).touch()
    program("chat", "new", "sky talk")
    return work


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_puts_whole_names_into_the_line(program: Program, spawn: Any, home: Path, work: Path) -> None:
    """Names beside files, with spaces, in quotes, and with the letters at which bash breaks a word."""
    program("completion", "install", "bash")
    shell = spawn("bash", "--norc", "--noprofile", "-i")
    shell.expect_exact("ready> ")
    show_line = r"""bind -x '"\C-o": printf "<%s>\n" "$READLINE_LINE"'"""
    shell.sendline(f"cd '{work}'; . '{home / FILES['bash']}'; {show_line}; PS1='next> '")
    shell.expect_exact("next> ")
    for typed, becomes in BASH_TABS.items():
        shell.send(f"nanoshell {typed}\t\x0f")
        shell.expect(r"<(nanoshell [^>]*)>\r\n")
        assert shell.match[1] == f"nanoshell {becomes}", typed
        shell.send("\x15")


ZSH_TABS = {
    "tokenizer tr": "tokenizer train ",
    "--model=demo-1@200": "--model=demo-1@200 ",
    "train --config=notes": "train --config=notes\\ of\\ mine.txt ",
    "chat switch sky\\ t": "chat switch sky\\ talk ",
    "sample --sampler top_k": "sample --sampler top_k=",
}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_puts_whole_names_into_the_line(program: Program, spawn: Any, home: Path, work: Path) -> None:
    show_line = "show-line() { print -r -- \"<$LBUFFER>\" }; zle -N show-line; bindkey '^O' show-line"
    (home / ".zshrc").write_text(f"PROMPT='ready> '\ncd '{work}'\n{show_line}\n")
    program("completion", "install", "zsh", "--rc")
    shell = spawn("zsh", "-i")
    shell.expect_exact("ready> ")
    for typed, becomes in ZSH_TABS.items():
        shell.send(f"nanoshell {typed}\t\x0f")
        shell.expect(r"<(nanoshell [^>]*)>\r\n")
        assert shell.match[1] == f"nanoshell {becomes}", typed
        shell.send("\x15")


FISH_TABS = {
    "completion sh": ("show", "Print the completion script, to be put anywhere."),
    "--model=demo-1@20": ("--model=demo-1@20", ""),
    "train --config=notes": ("--config=notes of mine.txt", ""),
    "chat switch sky\\\\ t": ("sky talk", ""),
    "sample --sampler top_k": ("top_k=", "keep this many of the likeliest tokens, 0 all"),
}
"""What is typed, and the first of what fish offers, with a line about it, which is whole."""


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_offers_whole_names_and_whole_lines_about_them(
    program: Program, spawn: Any, work: Path, tmp_path: Path
) -> None:
    program("completion", "install", "fish")
    for typed, (name, about) in FISH_TABS.items():
        shell = spawn("fish", "-c", f"cd '{work}'; complete -C 'nanoshell {typed}'")
        shell.expect(pexpect.EOF)
        first = shell.before.splitlines()[0].split("\t")
        assert first[0] == name, typed
        assert about in first[1:] or not about, typed


HEAVY = (
    "torch",
    "numpy",
    "pydantic",
    "rich",
    "prompt_toolkit",
    "transformers",
    "huggingface_hub",
    "tiktoken",
)


def test_a_tab_loads_nothing_that_is_heavy() -> None:
    code = (
        "import sys\nfrom nanoshell.cli import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    for words in ("nanoshell tr", "nanoshell train --config na", "nanoshell runs sh"):
        env = environment(
            _NANOSHELL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1)
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300
        )
        assert done.stdout.startswith("plain,"), words
        assert done.stderr == "[]\n", words


@pytest.mark.parametrize("linked", [False, True])
def test_a_start_file_keeps_its_bytes_its_permissions_and_its_place(
    program: Program, home: Path, linked: bool
) -> None:
    """Ends of lines of Windows, bytes that are no text, a file for its owner alone, a link to it."""
    start = home / ".zshrc"
    file = home / "dotfiles" / "zshrc" if linked else start
    file.parent.mkdir(exist_ok=True)
    before = b"alias n=nanoshell\r\n# caf\xe9\r\n"
    file.write_bytes(before)
    file.chmod(0o640)
    if linked:
        start.symlink_to(file)
    assert program("completion", "install", "zsh", "--rc").code == 0
    assert file.read_bytes().startswith(before + b"# >>> nanoshell")
    assert (start.is_symlink(), file.stat().st_mode & 0o777) == (linked, 0o640)
    assert program("completion", "uninstall", "zsh").code == 0
    assert (file.read_bytes(), start.is_symlink()) == (before, linked)
