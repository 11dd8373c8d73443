"""A small world in which every example of the help can be typed, and what each needs beyond it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from nanoshell.cli import run
from nanoshell.command.spec import CommandSpec, describe
from nanoshell.opening import open_session
from nanoshell.testing import plugins_with
from nanoshell.testing.shell import Shell, open_shell

PRESET = """\
# A tiny model under the name of the first one
model: {name: nano-start, hidden_size: 16, num_layers: 1, num_heads: 2, max_seq_len: 64, tie_embeddings: true}
trainer:
  {max_steps: 6, batch_size: 2, seq_len: 16, softmax: sampled, sampled_negatives: 64, save_interval: 3,
   sample_interval: 3, sample_prompts: [The sun], sample_tokens: 4}
"""
CONVERSATION = [
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
]
CHATS = ("chat-1", "chat-2", "chat-3")
_IMMUTABLE = (".safetensors", ".bin", ".tiktoken")
"""Files that are replaced, never changed: copies of a world may share them."""


@dataclass(frozen=True)
class Example:
    """A line of the help, without the face's prefix, and the command that it is an example of."""

    line: str
    command: CommandSpec

    @property
    def as_json(self) -> str:
        """The line with ``--json``: of a raw command behind its name, where it is no text."""
        if "--json" in self.line.split():
            return self.line
        name, _, rest = self.line.partition(" ")
        return f"{name} --json {rest}".rstrip() if self.command.raw else f"{self.line} --json"


def all_examples() -> tuple[list[CommandSpec], dict[str, object], list[Example]]:
    """Return every command with the JSON Schemas that they share, and every example once."""
    session = open_session(plugins=plugins_with(), history=False)
    sheet = describe(session)
    by_line: dict[str, Example] = {}
    for command in sheet.commands:
        for line in command.examples:
            known = by_line.get(line)
            if known is None or len(known.command.path) < len(command.path):
                by_line[line] = Example(line, command)
    return sheet.commands, dict(sheet.definitions), list(by_line.values())


def build_world(folder: Path) -> None:
    """Fill ``folder``, the current one and the home, with texts, a preset, a run and its copy, and chats."""
    _write_texts(folder)
    shell = open_shell()
    said = shell(":train --config nano-start --data nano-start --max-steps 3")
    assert said.code == 0, said.err
    shutil.copytree("runs/nano-start-1", "runs/nano-start-2")
    for name in CHATS:
        conversation = shell.session.conversation.__class__(name=name)
        for message in CONVERSATION:
            conversation.add(message["role"], message["content"])
        shell.session.store.save(conversation)
    shell.close()


def _write_texts(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "nano-start.yaml").write_text(PRESET)
    (folder / "notes").mkdir()
    for name in ("notes/one.md", "notes/two.md", "notes.txt", "your-notes.txt"):
        lines = [f"In {name} line {number} says that birds sing and water freezes." for number in range(40)]
        (folder / name).write_text("\n\n".join(lines) + "\n")
    messages = json.dumps({"messages": CONVERSATION})
    (folder / "corpus.jsonl").write_text(f"{messages}\n" * 12)


def copy_world(world: Path, target: Path) -> None:
    """Copy a world; what is never changed in place is shared."""

    def copy(source: str, destination: str) -> str:
        if source.endswith(_IMMUTABLE):
            os.link(source, destination)
            return destination
        return shutil.copy2(source, destination)

    shutil.copytree(world, target, copy_function=copy)


class ForkedWorker:
    """What `subprocess.Popen` is for the worker of a run: a child with torch loaded, which saves seconds."""

    def __init__(self, command: list[str], stdout: int, **_options: object) -> None:
        arguments = command[command.index("nanoshell") + 1 :]
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.setsid()
                os.dup2(stdout, 2)
                os.closerange(3, 256)  # a lock that we hold is held by whoever has the file open
                with os.fdopen(2, "w", closefd=False) as log:
                    sys.stdout = sys.stderr = log
                    code = run(arguments)
            finally:
                os._exit(code)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def enter(model: str | None = "latest") -> Shell:
    """Return a scripted session in the current world: a model, data and a conversation are chosen."""
    shell = open_shell(model=model, data="nano-start")
    shell.session.conversation = shell.session.store.load(CHATS[-1])
    shell.session.settings.override("max_tokens", "8")
    return shell
