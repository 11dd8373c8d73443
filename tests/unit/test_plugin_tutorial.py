"""The tutorial of docs/plugins.md, carried out as it stands: its files are written and its commands run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text("utf-8")
TUTORIAL = GUIDE.partition("<!-- tutorial -->")[2].partition("<!-- end of the tutorial -->")[0]
BLOCKS = re.findall(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
SKIPPED = "…"
"""In the output of a command: any text, also of many lines where it stands alone."""


@dataclass(frozen=True)
class Command:
    """A command of a console block, and what it prints on stdout and stderr."""

    line: str
    output: str


def commands(block: str) -> Iterator[Command]:
    for part in block.split("$ ")[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, output)


def agrees(written: str, found: str) -> bool:
    """Whether ``found`` is what is ``written``, except where that skips."""
    pattern = "".join(
        r"(.*\n)*?" if line == f"{SKIPPED}\n" else ".*".join(map(re.escape, line.split(SKIPPED)))
        for line in written.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, found) is not None


def test_the_tutorial_works_as_it_stands(tmp_path: Path, own_home: Path) -> None:
    programs = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PYTEST_ADDOPTS": "-p no:cacheprovider -W ignore::pytest.PytestAssertRewriteWarning",
    }
    ran = 0
    for language, file, text in BLOCKS:
        if language == "python":
            path = tmp_path / file
            path.parent.mkdir(exist_ok=True)
            before = f"{path.read_text('utf-8')}\n\n" if path.exists() else ""
            path.write_text(before + text, "utf-8")
            continue
        assert language == "console"
        for command in commands(text):
            done = subprocess.run(
                ["bash", "-c", command.line],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
            )
            assert agrees(command.output.rstrip("\n") + "\n", done.stdout), f"{command.line}\n{done.stdout}"
            ran += 1
    assert ran >= 12


def test_what_is_skipped_and_what_is_not() -> None:
    assert agrees("a\n…\nz\n", "a\nb\nc\nz\n")
    assert agrees("a\n…\nz\n", "a\nz\n")
    assert agrees("4 passed in …\n", "4 passed in 3.2s\n")
    assert not agrees("a\n…\nz\n", "a\nb\n")
    assert not agrees("a\n", "a\nb\n")
    assert not agrees("a.c\n", "abc\n")
