"""How the compiled step comes to be on disk and into a model, and what is in its way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nanoshell.generation import builder, compiled, native
from nanoshell.generation.compiled import NO_COMPILER, CompiledStep
from nanoshell.generation.engine import Engine, GenerationRequest
from nanoshell.model.transformer import Transformer
from nanoshell.plugin.manager import Plugins
from nanoshell.runs.process import process_start
from nanoshell.tokenizer.base import Tokenizer

Build = Callable[..., Transformer]
Start = Callable[[str], Engine]


@pytest.fixture
def start(build: Build, tokenizer: Tokenizer, plugins: Plugins) -> Start:
    """Return a function that makes an engine in a mode of compiling."""
    return lambda mode: Engine(build(), tokenizer, plugins.samplers, compile=mode)


def greedy(engine: Engine) -> list[int]:
    request = GenerationRequest([65, 66, 67], 12, {"temperature": 0})
    return [token.id for token in engine.generate(request)]


def kept() -> set[str]:
    """Return the endings of what lies in the folder."""
    folder = native.library_folder()
    return {path.name.rpartition(".")[2] for path in folder.iterdir()} if folder.exists() else set()


def test_it_is_swapped_in_behind_the_stream(
    start: Start, compiler: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler('cp "$LIBRARY" "$OUT"')
    monkeypatch.setattr(compiled, "WORTHWHILE_SECONDS", 0.0)
    plain, engine = greedy(start("off")), start("auto")
    stream = engine.generate(GenerationRequest([65, 66, 67], 12, {"temperature": 0}))
    ids = [next(stream).id for _ in range(2)]
    assert engine.compiled._build is not None
    assert (engine.compiled.in_use, engine.compiled.reason) == (False, "the compiler is at work")
    engine.compiled._build.wait()
    ids += [token.id for token in stream]
    assert engine.compiled.ready
    assert (engine.compiled.in_use, engine.compiled.reason) == (True, "")
    assert ids == plain
    assert start("auto").compiled.ready  # it is kept for the next time


def test_on_waits_for_the_compiler(start: Start, compiler: Callable[[str], None]) -> None:
    compiler('sleep 0.3; cp "$LIBRARY" "$OUT"')
    plain, engine = greedy(start("off")), start("on")
    assert not engine.compiled.ready
    assert greedy(engine) == plain
    assert engine.compiled.in_use


def test_auto_waits_until_decoding_has_taken_a_while(
    build: Build, compiler: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler('cp "$LIBRARY" "$OUT"')
    started: list[int] = []
    monkeypatch.setattr(native, "start_build", lambda: started.append(1))
    step = CompiledStep(build())
    step.count(compiled.WORTHWHILE_SECONDS / 2)
    assert not started
    for _ in range(3):
        step.count(compiled.WORTHWHILE_SECONDS)
    assert len(started) == 1
    CompiledStep(build(), "off").count(99)
    CompiledStep(build().double(), "on").count(99)
    assert len(started) == 1


def test_a_build_goes_on_when_its_process_has_ended(compiler: Callable[[str], None], tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    gate = os.open(go, os.O_RDWR)
    compiler(f'read line < {go}; cp "$LIBRARY" "$OUT"')
    asked = "from nanoshell.generation import native; native.start_build()"
    subprocess.run([sys.executable, "-c", asked], check=True)
    assert native.built_file() is None
    os.write(gate, b"now\n")
    build = native.start_build()  # waits for the other, and has nothing to do then
    assert build is not None
    build.wait()
    os.close(gate)
    assert native.load() is not None


def test_one_at_a_time_builds_and_what_killed_ones_left_is_removed(
    compiler: Callable[[str], None], tmp_path: Path
) -> None:
    compiler(f'mkdir {tmp_path}/busy || exit 1; echo >> {tmp_path}/times; sleep 0.2; cp "$LIBRARY" "$OUT"')
    folder, machine = native.library_folder(), native.library_stem().rpartition("-")[0]
    (folder / "build-left").mkdir(parents=True)
    (folder / "build-left" / "cc.s").touch()
    others = [folder / f"{machine}-earlier-0.so", folder / "decode-another-machine-0.so"]
    for path in others:
        path.touch()
    builds = [native.start_build() for _ in range(3)]
    for build in builds:
        assert build is not None
        build.wait()
        assert build.finished()
    assert (tmp_path / "times").read_text() == "\n"
    assert native.load() is not None
    assert [path.exists() for path in (*others, folder / "build-left")] == [False, True, False]


def test_the_files_of_the_compiler_are_cleaned(compiler: Callable[[str], None], tmp_path: Path) -> None:
    compiler(f'echo "$TMPDIR" > {tmp_path}/where; touch "$TMPDIR/cc.s"; cp "$LIBRARY" "$OUT"')
    build = native.start_build()
    assert build is not None
    build.wait()
    where = Path((tmp_path / "where").read_text().strip())
    assert where.parent == native.library_folder()
    assert not where.exists()
    assert kept() == {"so", "lock"}


def test_a_compiler_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "child"

    class Hanging(subprocess.Popen[bytes]):
        """The time is up when the compiler has begun, and not before."""

        def wait(self, timeout: float | None = None) -> int:
            while timeout is not None and not (told.exists() and told.read_text().endswith("\n")):
                time.sleep(0.01)
            return super().wait(timeout)

    monkeypatch.setattr(builder, "BUILD_SECONDS", 0.1)
    monkeypatch.setattr(builder.subprocess, "Popen", Hanging)
    script = tmp_path / "compiler"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {told}\nwait\n")
    script.chmod(0o755)
    assert not builder.build(tmp_path, "decode-a-b", "none.cpp", [str(script)])
    child = int(told.read_text())
    deadline = time.monotonic() + 60
    while process_start(child) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "ended after" in (tmp_path / builder.LOG).read_text()
    assert builder.kept_library(tmp_path, "decode-a-b") is None


@pytest.mark.parametrize(
    "script", ["echo why >&2; exit 1", "kill -9 $$", ': > "$OUT"', 'echo rubbish > "$OUT"', "exit 0"]
)
def test_a_failing_compiler_disturbs_nobody(
    script: str, start: Start, compiler: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    compiler(script)
    plain, engine = greedy(start("off")), start("on")
    assert greedy(engine) == plain
    assert not engine.compiled.ready
    assert "the C++ compiler failed" in engine.compiled.reason
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert kept() <= {"lock", "log"}
    if "why" in script:
        assert (native.library_folder() / builder.LOG).read_text() == "why\n"


def test_without_a_compiler_decoding_is_eager(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = start("on")
    assert len(greedy(engine)) == 12
    assert not engine.compiled.can_build
    assert engine.compiled.reason == NO_COMPILER


def test_without_a_place_to_keep_it_decoding_is_eager(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NANOSHELL_HOME", str(tmp_path / "file"))
    engine = start("on")
    assert len(greedy(engine)) == 12
    assert not engine.compiled.ready
    assert engine.compiled.reason


def test_it_tells_why_a_model_is_not_compiled(build: Build) -> None:
    reasons = {
        "off": CompiledStep(build(), "off").reason,
        "float16": CompiledStep(build().half()).reason,
        "meta": CompiledStep(build().to("meta")).reason,
    }
    assert reasons["off"] == "it is turned off"
    assert reasons["float16"] == "it is for float32 and bfloat16, and the model computes in float16"
    assert reasons["meta"] == "it is for the processor, and the model computes on meta"


def test_a_folder_that_others_can_write_to_is_not_used(start: Start, installed: Path) -> None:
    """Who can put a library there would be in our process."""
    installed.parent.chmod(0o777)
    engine = start("on")
    assert not engine.compiled.build()
    assert "cannot be used" in engine.compiled.reason
    assert installed.exists()
    installed.parent.chmod(0o700)
    assert start("auto").compiled.ready


@pytest.mark.parametrize("content", ["empty", "text", "half", "another library"])
def test_a_broken_library_is_removed(content: str, build: Build, installed: Path) -> None:
    if content == "another library":
        import _ctypes

        other = Path(str(_ctypes.__file__))
        installed.unlink()
        installed = installed.with_name(builder._name(native.library_stem(), other))
        installed.write_bytes(other.read_bytes())
    else:
        whole = installed.read_bytes()
        installed.write_bytes({"empty": b"", "text": b"rubbish", "half": whole[: len(whole) // 4]}[content])
    assert not CompiledStep(build()).ready
    assert not installed.exists()


def test_a_library_that_was_cut_off_kills_no_process(installed: Path) -> None:
    """The loader maps the file before it reads it: what is missing is a SIGBUS."""
    installed.write_bytes(installed.read_bytes()[:20_000])
    asked = "from nanoshell.generation import native; print(native.load())"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "None\n")
    assert not installed.exists()


def test_a_library_that_miscounts_is_removed(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.Kernels, "works", lambda self: False)
    assert native.load() is None
    assert not installed.exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_dtypes_stay_eager(dtype: torch.dtype, build: Build, installed: Path) -> None:
    assert not CompiledStep(build().to(dtype)).ready
