"""The demo as a newcomer meets it: the real preset, the real data, a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_demo_trains_and_its_three_answers_are_right(tmp_path: Path) -> None:
    def program(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nanoshell", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    demo = json.loads(program("demo", "--json"))
    assert demo["trained"]
    assert [(answer["kind"], answer["right"]) for answer in demo["answers"]] == [
        ("completion", True),
        ("question", True),
        ("chat", True),
    ]
    losses = [loss for _, loss in demo["losses"]]
    assert losses[0] > 11
    assert sum(losses[-20:]) / 20 < 0.5

    asked = ("--max-tokens", "20", "--temperature", "0")
    said = program("generate", "--model", "latest", "--prompt", "The capital of France is", *asked)
    assert said == " Paris.\n"

    shown = program("demo")
    assert "using demo-1" not in shown  # narration is not data
    assert "3 of 3 answers are as in the data" in shown
