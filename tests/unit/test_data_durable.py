"""Token files that are written for long: whole or absent, and after a kill the next writer goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nanoshell.chat.template import RoleTemplate
from nanoshell.data import corpus as corpus_module, durable
from nanoshell.data.corpus import tokenize
from nanoshell.data.durable import TokenFiles
from nanoshell.data.encoding import Encoded
from nanoshell.data.tokens import check_tokens
from nanoshell.errors import DataError
from nanoshell.narrator import SilentNarrator
from nanoshell.plugin.manager import load_plugins
from nanoshell.tokenizer.bpe import cl100k_base

EOT = 100_257


def read(path: Path) -> list[int]:
    ids: list[int] = np.fromfile(path, "<u4").tolist()
    return ids


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_format_is_32_bit_little_endian_without_header(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with TokenFiles([path], EOT) as files:
        files.append([[9906, 1917]])
        files.append([np.array([EOT], dtype=np.int64)])
    assert path.read_bytes() == bytes.fromhex("b2260000 7d070000 a1870100")
    assert files.stats()[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert files.stats()[0] == check_tokens(path, cl100k_base())


@given(parts=st.lists(st.lists(st.integers(0, 2**20))))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]]) -> None:
    path = tmp_path_factory.mktemp("tokens") / "x.bin"
    with TokenFiles([path], EOT) as files:
        for part in parts:
            files.append([part])
    assert read(path) == [token for part in parts for token in part]


@pytest.mark.parametrize(("failure", "key"), [(KeyboardInterrupt, ""), (DataError("no"), "k")])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: BaseException, key: str
) -> None:
    path = tmp_path / "x.bin"
    np.array([1, 2, 3], "<u4").tofile(path)
    with pytest.raises((KeyboardInterrupt, DataError)), TokenFiles([path], EOT, key=key) as files:
        files.append([[4] * 1000], 1000)
        raise failure
    assert read(path) == [1, 2, 3]
    assert names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("token_id", [-1, 2**32])
def test_no_id_is_wrapped_around(tmp_path: Path, token_id: int) -> None:
    with pytest.raises(DataError, match="no token id"), TokenFiles([tmp_path / "x.bin"], EOT) as files:
        files.append([[1, token_id]])
    assert names(tmp_path) == []


# Going on. An interrupt keeps what is durable, as a kill does, so most of it needs no second process.


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where two files were interrupted within the fifth batch, before its second half is counted."""
    with pytest.raises(KeyboardInterrupt), TokenFiles(both(tmp_path), EOT, key="k") as files:
        for number in range(4):
            files.append([[number, EOT], [number]], 100)
        monkeypatch.setattr(files._counters[1], "add", interrupt)
        files.append([[4, EOT], [4]], 100)
    assert names(tmp_path) == [".a.bin.journal", ".a.bin.part", ".b.bin.part"]
    return tmp_path


def interrupt(_ids: object) -> None:
    raise KeyboardInterrupt


def both(folder: Path) -> list[Path]:
    return [folder / "a.bin", folder / "b.bin"]


def finish(folder: Path, key: str = "k") -> int:
    """Write what is missing of seven batches, and return how many had been there."""
    with TokenFiles(both(folder), EOT, key=key) as files:
        found = files.batches
        for number in range(found, 7):
            files.append([[number, EOT], [number]], 100)
    assert names(folder) == ["a.bin", "b.bin"]
    assert [read(path) for path in both(folder)] == [
        [token for number in range(7) for token in (number, EOT)],
        list(range(7)),
    ]
    assert files.stats() == [check_tokens(path, cl100k_base()) for path in both(folder)]
    return found


def test_the_next_writer_goes_on_from_what_is_durable(interrupted: Path) -> None:
    assert finish(interrupted) == 4


@pytest.mark.parametrize("step", [0.5, 3.0])
def test_a_kill_costs_two_seconds_at_most(tmp_path: Path, step: float) -> None:
    """By the clock or by the text, whichever says so first; a copy of the folder is what a kill leaves."""
    now = 0.0
    with TokenFiles(both(tmp_path), EOT, key="k", clock=lambda: now) as files:
        for number in range(6):
            now += step
            files.append([[number, EOT], [number]], 100)
        left = shutil.copytree(tmp_path, tmp_path / "left")
        monkey = pytest.MonkeyPatch()
        monkey.setattr(durable, "DURABLE_BYTES", 100)
        files.append([[6, EOT], [6]], 100)
        monkey.undo()
        later = shutil.copytree(tmp_path, tmp_path / "later", ignore=lambda *_: ["left"])
    assert finish(left) == (4 if step == 0.5 else 6)
    assert finish(later) == 7


def test_a_slow_disk_is_not_asked_all_the_time(tmp_path: Path) -> None:
    now, writes = 0.0, []

    def clock() -> float:
        nonlocal now
        now += 1  # each look at the clock: a write of the journal takes a second
        return now

    with TokenFiles([tmp_path / "x.bin"], EOT, key="k", clock=clock) as files:
        for number in range(40):
            files.append([[number]], 1)
            writes.append(files._journaled.batches)
    assert 2 <= len(set(writes)) <= 6


def test_an_interrupt_tells_what_is_kept(tmp_path: Path) -> None:
    from nanoshell.data.source import open_source

    notes: list[str] = []

    class Stops(SilentNarrator):
        def note(self, text: str) -> None:
            notes.append(text)

        @contextlib.contextmanager
        def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
            yield interrupt

    source = tmp_path / "notes.txt"
    source.write_text("one two three")
    opened = open_source(str(source), load_plugins(safe=True).sources)
    with pytest.raises(KeyboardInterrupt):
        tokenize([opened], cl100k_base(), RoleTemplate(), tmp_path / "out.bin", narrator=Stops())
    assert notes == ["4 tokens are kept: the same command goes on where this one stopped"]
    assert (tmp_path / ".out.bin.journal").exists()


def test_other_work_starts_anew(interrupted: Path) -> None:
    assert finish(interrupted, key="other") == 0


@pytest.mark.parametrize("name", [".a.bin.part", ".b.bin.part", ".a.bin.journal"])
@pytest.mark.parametrize("damage", ["gone", "short", "changed"])
def test_what_is_damaged_starts_anew(interrupted: Path, name: str, damage: str) -> None:
    path = interrupted / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        path.write_bytes(content[:7])
    else:
        content[3] ^= 1
        path.write_bytes(content)
    assert finish(interrupted) == 0


def test_a_journal_of_a_newer_format_starts_anew(interrupted: Path) -> None:
    path = interrupted / ".a.bin.journal"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    assert finish(interrupted) == 0


def test_an_error_later_leaves_nothing(interrupted: Path) -> None:
    with pytest.raises(DataError), TokenFiles(both(interrupted), EOT, key="k") as files:
        assert files.batches == 4
        raise DataError("no")
    assert names(interrupted) == []


def test_a_second_writer_works_beside_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "DURABLE_BYTES", 1)
    path = tmp_path / "x.bin"
    with TokenFiles([path], EOT, key="k") as first:
        first.append([[1]], 1)
        with TokenFiles([path], EOT, key="k") as second:
            assert second.batches == 0
            second.append([[1]], 1)
            second.append([[2]], 1)
        assert read(path) == [1, 2]
        first.append([[2]], 1)
    assert read(path) == [1, 2]
    assert names(tmp_path) == ["x.bin"]


# A real process, and SIGKILL.

CHILD = """
import os, signal, sys
from pathlib import Path
from nanoshell.chat.template import RoleTemplate
from nanoshell.data import durable
from nanoshell.data.corpus import tokenize
from nanoshell.data.source import open_source
from nanoshell.narrator import SilentNarrator
from nanoshell.plugin.manager import load_plugins
from nanoshell.tokenizer.files import read_tokenizer

import contextlib

source, tokenizer, output, stop_after, workers = sys.argv[1:]
durable.DURABLE_BYTES = 1 << 20

class Stops(SilentNarrator):
    @contextlib.contextmanager
    def progress(self, label, total, unit=""):
        done = [0]
        def advance(amount):
            done[0] += amount
            if done[0] >= int(stop_after):
                os.kill(os.getpid(), signal.SIGKILL)
        yield advance

opened = open_source(source, load_plugins(safe=True).sources)
tokenize([opened], read_tokenizer(Path(tokenizer)), RoleTemplate(), Path(output), val_fraction=0.1,
         workers=int(workers), narrator=Stops())
"""


def lines(path: Path, count: int) -> Path:
    """Write documents of very different lengths, about 350 characters each."""
    chance = random.Random(5)
    with path.open("w") as file:
        for _ in range(count):
            words = " ".join(
                chance.choices(["the", "sea", "Romeo", "é", "北京", "1597", "\n\n"], k=chance.randrange(200))
            )
            file.write(json.dumps({"text": words or "x"}) + "\n")
    return path


def test_a_killed_process_is_gone_on_with_byte_for_byte(tmp_path: Path) -> None:
    from nanoshell.data.source import open_source
    from nanoshell.data.vocabulary import make_tokenizer
    from nanoshell.tokenizer.files import write_tokenizer
    from nanoshell.tokenizer.store import TokenizerRecipe

    source = lines(tmp_path / "source.jsonl", 16_000)
    opened = open_source(str(source), load_plugins(safe=True).sources)
    tokenizer = make_tokenizer([opened], TokenizerRecipe("char"), "char")
    write_tokenizer(tmp_path / "char.json", tokenizer)
    whole = tokenize([opened], tokenizer, RoleTemplate(), tmp_path / "whole.bin", val_fraction=0.1)

    output = tmp_path / "out" / "out.bin"
    output.parent.mkdir()
    for stop_after, workers in ((2_500_000, 2), (4_100_000, 1)):
        process = subprocess.run(
            [
                sys.executable,
                "-c",
                CHILD,
                str(source),
                str(tmp_path / "char.json"),
                str(output),
                str(stop_after),
                str(workers),
            ],
            check=False,
        )
        assert process.returncode == -signal.SIGKILL
        assert not output.exists()

    encoded: list[Encoded] = []
    notes: list[str] = []

    class Listener(SilentNarrator):
        def note(self, text: str) -> None:
            notes.append(text)

    with pytest.MonkeyPatch.context() as patch:
        real = corpus_module.encode_all

        def spy(*arguments: object, **options: object) -> Iterator[Encoded]:
            for result in real(*arguments, **options):  # type: ignore[arg-type]
                encoded.append(result)
                yield result

        patch.setattr(corpus_module, "encode_all", spy)
        again = tokenize([opened], tokenizer, RoleTemplate(), output, val_fraction=0.1, narrator=Listener())
    assert [part.sha256 for part in again] == [part.sha256 for part in whole]
    for name in ("{}.bin", "{}.val.bin"):
        assert (output.parent / name.format("out")).read_bytes() == (
            tmp_path / name.format("whole")
        ).read_bytes()
    assert names(output.parent) == ["out.bin", "out.val.bin"]
    assert notes == [note for note in notes if note.startswith("going on where")]
    assert len(notes) == 1
    left = sum(result.num_bytes for result in encoded if len(result.train) == 0)
    assert 3_000_000 < left < 4_200_000, "all but the last megabyte of the second process was durable"


def test_a_changed_source_starts_anew(tmp_path: Path) -> None:
    from nanoshell.data.source import open_source

    source, output = tmp_path / "notes.txt", tmp_path / "out.bin"
    sources = load_plugins(safe=True).sources
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "DURABLE_BYTES", 1)
        patch.setattr(TokenFiles, "_finish", lambda self: os.kill(os.getpid(), signal.SIGINT))
        source.write_text("one two three")
        with pytest.raises(KeyboardInterrupt):
            tokenize([open_source(str(source), sources)], cl100k_base(), RoleTemplate(), output)
    assert (tmp_path / ".out.bin.journal").exists()
    source.write_text("four five six")
    tokenize([open_source(str(source), sources)], cl100k_base(), RoleTemplate(), output)
    assert cl100k_base().decode(read(output)) == "four five six<|endoftext|>"


MEASURE = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from nanoshell.chat.template import RoleTemplate
    from nanoshell.data.corpus import tokenize
    from nanoshell.data.source import open_source
    from nanoshell.plugin.manager import load_plugins
    from nanoshell.tokenizer.files import read_tokenizer

    opened = open_source(sys.argv[1], load_plugins(safe=True).sources)
    tokenize([opened], read_tokenizer(Path(sys.argv[2])), RoleTemplate(), Path(sys.argv[3]), workers=2)
    # ru_maxrss would count what the parent held.
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
    """
)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's peak from /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    from nanoshell.tokenizer.files import write_tokenizer
    from nanoshell.tokenizer.making import make_char

    block = "To be, or not to be, that is the question.\n" * 24_000
    write_tokenizer(tmp_path / "char.json", make_char("char", [block]))
    peaks = []
    for repeats in (12, 72):
        source = tmp_path / f"{repeats}.txt"
        with source.open("w") as file:
            for _ in range(repeats):
                file.write(block)
        answer = subprocess.run(
            [
                sys.executable,
                "-c",
                MEASURE,
                str(source),
                str(tmp_path / "char.json"),
                str(tmp_path / "o.bin"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(answer.stdout) * 1024)
        source.unlink()
    assert peaks[1] - peaks[0] < 16 << 20, "62 MB more text, and 250 MB more tokens"
    assert peaks[1] < 300 << 20
