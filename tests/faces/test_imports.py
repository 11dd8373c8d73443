"""No face loads what it does not need: torch costs seconds, and help must cost a blink."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = ["torch", "numpy", "textual", "transformers", "huggingface_hub", "pydantic", "tiktoken"]
LATE = [*HEAVY, "rich", "prompt_toolkit", "sqlite3"]

PROMPT = """
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from nanoshell.repl.loop import run_prompt
from nanoshell.session import open_session
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
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
