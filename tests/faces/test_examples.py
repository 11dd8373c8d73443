"""Every example of the help is typed; what it prints with ``--json`` fits the schema that is published."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from nanoshell.command.render import TerminalScreen
from nanoshell.command.script import run_line
from nanoshell.runs import process
from nanoshell.runs.directory import RunDirectory
from nanoshell.testing.shell import Shell
from tests.faces.examples import Example, ForkedWorker, all_examples, build_world, copy_world, enter

COMMANDS, DEFINITIONS, EXAMPLES = all_examples()

_DOCTOR = "it imports torch in a process of its own, and its own tests do without"
_PIP = "pip installs and removes packages: the test of `plugin new` does it in an environment of its own"
_SCREEN = "it needs a terminal of its own (tests/e2e/test_dashboard_terminal.py)"
NOT_RUN = {
    "dashboard": _SCREEN,
    "dashboard latest": _SCREEN,
    "dashboard nano-start-1 nano-start-2": _SCREEN,
    "dashboard runs --read-only": _SCREEN,
    "dashboard --ascii": _SCREEN,
    "dashboard --web --port 8123": "it serves until it is ended (tests/e2e/test_dashboard_web.py)",
    "plugin install ./nanoshell-haiku": _PIP,
    "plugin install --editable ./nanoshell-haiku": _PIP,
    "plugin uninstall haiku": _PIP,
    "plugin uninstall haiku --yes": _PIP,
    "plugin doctor": _DOCTOR,
    "plugin doctor --json": _DOCTOR,
}
"""Examples that no test types, with the reason."""

LIVE = ("run", "runs attach", "runs detach", "runs stop")
"""Commands whose examples need a run that is training: `test_examples_of_a_run_in_progress` types them."""

ONLY_JSON = ("train", "demo")
"""Commands that take seconds: their examples are typed once, with ``--json``."""

SMALL = "tokenizer train --kind char --data notes.txt --name small"
BEFORE = {
    "chat import talk.jsonl": ("export talk.jsonl",),
    "chat import talk.jsonl physics": ("export talk.jsonl",),
    "retry --back": ("retry",),
    "tokenizer rm notes-char": ("tokenizer train --kind char --data notes.txt",),
    "tokenizer show small": (SMALL,),
    "tokenizer rm small": (SMALL,),
}
"""Lines that must have been typed before an example makes sense."""


def begins(line: str, *paths: str) -> bool:
    return any(f"{line} ".startswith(f"{path} ") for path in paths)


def cases() -> list[Any]:
    found: dict[str, Example] = {}
    for example in EXAMPLES:
        if example.line not in NOT_RUN and not begins(example.line, *LIVE):
            lines = [example.as_json] if begins(example.line, *ONLY_JSON) else [example.line, example.as_json]
            found |= dict.fromkeys(lines, example)
    return [pytest.param(example, line, id=line) for line, example in found.items()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "world"
    folder.mkdir()
    import torch  # noqa: F401 - here once, and in the workers that are forked

    with pytest.MonkeyPatch.context() as patch:
        settle(patch, folder)
        build_world(folder)
    return folder


def settle(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make ``folder`` the current one and the home, with an editor that changes nothing."""
    patch.chdir(folder)
    patch.setenv("HOME", str(folder))
    patch.setenv("NANOSHELL_HOME", str(folder / "home"))
    patch.setenv("EDITOR", f"{shlex.quote(sys.executable)} -c pass")
    patch.delenv("VISUAL", raising=False)
    patch.setattr(process, "subprocess", SimpleNamespace(Popen=ForkedWorker, DEVNULL=subprocess.DEVNULL))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR"):
        patch.delenv(name, raising=False)


@pytest.fixture
def shell(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    copy_world(world, tmp_path / "world")
    settle(monkeypatch, tmp_path / "world")
    opened = enter()
    yield opened
    opened.close()


@pytest.mark.parametrize(("example", "line"), cases())
def test_an_example_can_be_typed(shell: Shell, example: Example, line: str) -> None:
    for before in BEFORE.get(example.line, ()):
        assert shell(f":{before}").code == 0
    said = shell(f":{line}")
    assert said.code == 0, said.err
    if line == example.as_json:
        check_output(example, said.out)


LIVE_ORDER = ("run", "run show", "run pause", "run resume", "runs attach", "runs detach", "run stop")
"""Paths of `LIVE` whose order matters; what comes between pausing and resuming stands in no order."""

STOPPED = {
    "run stop nano-start-1 --no-wait": "a run can be stopped once, and `run stop` waits for its end",
    "runs stop nano-start-1": "it is what `run stop` does, of a run that is named",
    "runs stop latest --no-wait": "it is what `run stop --no-wait` does, of a run that is named",
    "run extend --epochs 0.5": "a run that was extended by steps is as long as it needs to be",
}
"""Examples of `LIVE` that are not typed, with the reason."""


def test_examples_of_a_run_in_progress(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """One run serves them all: it is paused, so that it answers at once, and ends with ``run stop``."""
    copy_world(world, tmp_path / "world")
    settle(monkeypatch, tmp_path / "world")
    shutil.rmtree("runs")
    shell = enter(model=None)
    begun = shell(":train --config nano-start --data nano-start --set trainer.max_steps=100000 --background")
    assert begun.code == 0, begun.err
    run = shell.session.find_run("latest")
    request.addfinalizer(lambda: stop_worker(run))
    live = [example for example in EXAMPLES if begins(example.line, *LIVE) and example.line not in STOPPED]
    for example in sorted(live, key=place):
        for line in dict.fromkeys((example.line, example.as_json)):
            if example.command.path == "runs attach":  # elsewhere than at the prompt it waits for the end
                assert run_line(shell.session, f":{example.line}", TerminalScreen(prompt=True)).code == 0
                break
            shell.session.follow(run)
            said = shell(f":{line}")
            assert said.code == 0, said.err
            if line == example.as_json:
                check_output(example, said.out)
            if example.command.path == "run stop":
                break
    shell.close()


def stop_worker(run: RunDirectory) -> None:
    """Let no worker outlive its test."""
    if not run.status().ended and (worker := process.read_process(run)) is not None:
        os.kill(worker.pid, signal.SIGKILL)


def place(example: Example) -> float:
    path = example.command.path
    return LIVE_ORDER.index(path) if path in LIVE_ORDER else LIVE_ORDER.index("run resume") - 0.5


def check_output(example: Example, out: str) -> None:
    """Check that ``out`` is what the command says that it prints with ``--json``, and nothing else."""
    command = example.command
    schemas = [schema for schema in (command.document, command.lines) if schema is not None]
    if not schemas:
        assert out == ""
        return
    validator = jsonschema.Draft202012Validator({"anyOf": schemas, "$defs": DEFINITIONS})
    for line in out.splitlines() if command.lines is not None else [out]:
        validator.validate(json.loads(line))


def test_every_command_has_two_examples() -> None:
    few = {command.path: command.examples for command in COMMANDS if len(command.examples) < 2}
    assert few == {}


def test_what_is_not_typed_exists() -> None:
    assert NOT_RUN.keys() | BEFORE.keys() | STOPPED.keys() <= {example.line for example in EXAMPLES}
