"""No face loads what it does not need: torch costs seconds, and help must cost a blink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["torch", "numpy", "textual", "transformers", "huggingface_hub", "pydantic", "tiktoken"]
LATE = [*HEAVY, "rich", "prompt_toolkit", "sqlite3"]

PROMPT = """
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from nanoshell.repl.loop import run_prompt
from nanoshell.opening import open_session
with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
    pipe.send_text(":help\\rhello\\r:he\\t\\x03\\x04")
    run_prompt(open_session())
"""

FACES = {
    "help": ("from nanoshell.cli import run; run(['--help'])", LATE),
    "version": ("from nanoshell.cli import run; run(['--version'])", [*LATE, "pluggy"]),
    "help of train": ("from nanoshell.cli import run; run(['train', '--help'])", LATE),
    "script": ("from nanoshell.cli import run; run(['-c', ':help', '-c', ':set'])", HEAVY),
    "prompt": (PROMPT, HEAVY),
    "public API": ("import nanoshell", [*LATE, "click", "pluggy"]),
}


@pytest.mark.parametrize("face", FACES)
def test_a_face_imports_nothing_that_it_does_not_need(face: str) -> None:
    code, unwanted = FACES[face]
    check = f"import sys, json; print('\\n' + json.dumps([m for m in {unwanted} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"],
        capture_output=True,
        text=True,
        env={**os.environ, "TERM": "xterm"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_every_module_can_be_imported() -> None:
    """What one Python lets pass at the top of a module, another may refuse."""
    code = """
import importlib, importlib.util, pathlib, pkgutil
ours = sorted(path.name for path in pathlib.Path("plugins").iterdir() if path.is_dir())
roots = ["nanoshell", *filter(importlib.util.find_spec, ours)]
for root in roots:
    for module in pkgutil.walk_packages(importlib.import_module(root).__path__, f"{root}."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:  # of an extra that is not installed
                if (error.name or "").partition(".")[0] in roots:
                    raise
"""
    top = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=top, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
