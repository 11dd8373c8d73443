"""Corpora: tokenized once, found again, made anew when anything changed, and never half there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nanoshell.chat.template import RoleTemplate
from nanoshell.data.corpus import Corpus, prepare_corpus, tokenize
from nanoshell.data.source import DataSource, Document, SourceInfo
from nanoshell.errors import DataError, StorageError, UsageError
from nanoshell.narrator import Advance, SilentNarrator
from nanoshell.tokenizer.bpe import cl100k_base

EOT = 100_257


class Words:
    """A source in memory that counts how often it is read."""

    spec = "words"

    def __init__(self, *texts: str, notes: tuple[str, ...] = (), fail_after: int | None = None) -> None:
        self.texts = texts
        self.notes = notes
        self.fail_after = fail_after
        self.read = 0

    def info(self) -> SourceInfo:
        size = sum(len(text.encode()) for text in self.texts)
        return SourceInfo("words", "memory", "words", ("words",), size, self.notes)

    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()

    def token_file(self) -> Path | None:
        return None

    def documents(self) -> Iterator[Document]:
        self.read += 1
        for number, text in enumerate(self.texts):
            if number == self.fail_after:
                raise KeyboardInterrupt
            yield Document(text=text, origin=f"words:{number}")


class Tokens(Words):
    """A source that is a token file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def fingerprint(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def token_file(self) -> Path | None:
        return self.path


class Listener(SilentNarrator):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: dict[str, list[int | None]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        counts: list[int | None] = [0, total]
        self.done[label] = counts

        def advance(amount: int) -> None:
            counts[0] = (counts[0] or 0) + amount

        yield advance


def prepare(source: DataSource, cache: Path, **options: bool) -> Corpus:
    return prepare_corpus(source, cl100k_base(), RoleTemplate(), cache_dir=cache, **options)


def read(path: Path) -> list[int]:
    ids: list[int] = np.fromfile(path, "<u4").tolist()
    return ids


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_corpus_holds_the_documents_and_tells_about_them(tmp_path: Path) -> None:
    corpus = prepare(Words("The cat.", "The dog."), tmp_path)
    expected = [*cl100k_base().encode("The cat."), EOT, *cl100k_base().encode("The dog."), EOT]
    assert read(corpus.path) == expected
    assert corpus == Corpus(
        path=corpus.path,
        spec="words",
        num_tokens=len(expected),
        num_documents=2,
        distinct_ids=len(set(expected)),
        sha256=hashlib.sha256(corpus.path.read_bytes()).hexdigest(),
        tokenizer="cl100k_base",
        special=False,
    )


def test_it_is_tokenized_once(tmp_path: Path) -> None:
    source = Words("The cat.")
    first = prepare(source, tmp_path)
    assert prepare(source, tmp_path) == first
    assert source.read == 1


def test_what_is_kept_is_private(tmp_path: Path) -> None:
    corpus = prepare(Words("The cat."), tmp_path)
    for path in corpus.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(corpus.path.parent.stat().st_mode) == 0o700


def test_it_is_made_anew_when_anything_that_decides_ids_changes(tmp_path: Path) -> None:
    class Other(RoleTemplate):
        name = "other"

    class Relabelled:
        fingerprint = "another vocabulary"

        def __getattr__(self, name: str) -> object:
            return getattr(cl100k_base(), name)

    source = Words("The <|user|> cat.")
    paths = {
        prepare(source, tmp_path).path,
        prepare(source, tmp_path, special=True).path,
        prepare(Words("Another text."), tmp_path).path,
        prepare_corpus(source, cl100k_base(), Other(), cache_dir=tmp_path).path,
        prepare_corpus(source, Relabelled(), RoleTemplate(), cache_dir=tmp_path).path,  # type: ignore[arg-type]
    }
    assert len(paths) == 5


@pytest.mark.parametrize(
    "damage", ["cut", "flip", "no record", "broken record", "newer record", "odd record"]
)
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    source = Words("The cat sat on the mat.")
    corpus = prepare(source, tmp_path)
    whole = corpus.path.read_bytes()
    record = corpus.path.with_suffix(".json")
    if damage == "cut":
        corpus.path.write_bytes(whole[:-4])
    elif damage == "flip":
        corpus.path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    elif damage == "no record":
        record.unlink()
    else:
        replaced = {
            "broken record": record.read_text()[:-5],
            "newer record": record.read_text().replace('"format": 1', '"format": 2'),
            "odd record": "[1, 2]",
        }
        record.write_text(replaced[damage])
    assert prepare(source, tmp_path) == corpus
    assert corpus.path.read_bytes() == whole
    assert source.read == 2


def test_a_bin_is_used_where_it_stands_and_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.bin"
    np.array([1, 2, EOT], "<u4").tofile(path)
    corpus = prepare(Tokens(path), tmp_path / "cache")
    assert (corpus.path, corpus.num_tokens, corpus.num_documents) == (path, 3, 1)
    monkeypatch.setattr("nanoshell.data.corpus.check_tokens", None)
    assert prepare(Tokens(path), tmp_path / "cache") == corpus
    assert everything(tmp_path / "cache") == [f"corpora/{next((tmp_path / 'cache/corpora').iterdir()).name}"]


def test_a_bad_bin_is_refused_every_time(tmp_path: Path) -> None:
    path = tmp_path / "mine.bin"
    np.array([1, 100_256], "<u4").tofile(path)
    for _ in range(2):
        with pytest.raises(DataError, match="id 100,256 at position 1"):
            prepare(Tokens(path), tmp_path / "cache")


def test_a_source_without_text_is_told(tmp_path: Path) -> None:
    for source in (Words(), Words("", "")):
        with pytest.raises(DataError, match="words holds no text"):
            prepare(source, tmp_path)
    assert everything(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(Words("a", "b", fail_after=1), tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        tokenize([Words("a", "b", fail_after=1)], cl100k_base(), RoleTemplate(), tmp_path / "out.bin")
    assert everything(tmp_path) == []


def test_notes_and_progress_in_bytes(tmp_path: Path) -> None:
    listener = Listener()
    source = Words("naïve ", "text" * 10, notes=("some files are left out",))
    prepare_corpus(source, cl100k_base(), RoleTemplate(), cache_dir=tmp_path, narrator=listener)
    assert listener.notes == ["some files are left out"]
    assert listener.done == {"tokenizing words": [47, 47]}


def test_tokenize_writes_sources_one_after_the_other(tmp_path: Path) -> None:
    np.array([5, EOT], "<u4").tofile(tmp_path / "mine.bin")
    sources = [Words("The cat."), Tokens(tmp_path / "mine.bin"), Words("The dog.")]
    (corpus,) = tokenize(sources, cl100k_base(), RoleTemplate(), tmp_path / "out.bin")
    encode = cl100k_base().encode
    assert read(tmp_path / "out.bin") == [*encode("The cat."), EOT, 5, EOT, *encode("The dog."), EOT]
    assert corpus.num_documents == 3
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) & 0o044, "the user's own file is no secret"


def test_tokenize_to_a_folder(tmp_path: Path) -> None:
    tokenize([Words("a")], cl100k_base(), RoleTemplate(), tmp_path / "new")
    assert everything(tmp_path) == ["new/tokens.bin"]


@pytest.mark.parametrize(
    ("output", "names"),
    [("out.bin", ["out.bin", "out.val.bin"]), ("folder", ["folder/train.bin", "folder/val.bin"])],
)
def test_tokenize_holds_documents_out(tmp_path: Path, output: str, names: list[str]) -> None:
    texts = [f"Document {number}." for number in range(400)]
    found = tokenize(
        [Words(*texts)], cl100k_base(), RoleTemplate(), tmp_path / output, val_fraction=0.1, workers=3
    )
    assert everything(tmp_path) == names
    train, held_out = (read(tmp_path / name) for name in names)
    documents = [
        cl100k_base().decode(ids).removesuffix("<|endoftext|>")
        for side in (train, held_out)
        for ids in np.split(np.array(side), np.flatnonzero(np.array(side) == EOT) + 1)[:-1]
    ]
    assert sorted(documents) == sorted(texts)
    assert 20 <= found[1].num_documents <= 60
    assert [corpus.num_documents for corpus in found] == [train.count(EOT), held_out.count(EOT)]
    again = tokenize(
        [Words(*texts)], cl100k_base(), RoleTemplate(), tmp_path / output, val_fraction=0.1, workers=1
    )
    assert again == found


def test_too_few_documents_to_hold_any_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few to hold out") as caught:
        tokenize(
            [Words("one")], cl100k_base(), RoleTemplate(), tmp_path / "o.bin", val_fraction=0.1, workers=1
        )
    assert "trainer.val_fraction" in caught.value.hint
    assert everything(tmp_path) == []


@pytest.mark.parametrize(("count", "said"), [(1, "1 document is"), (2, "2 documents are")])
def test_no_share_divides_one_document(tmp_path: Path, count: int, said: str) -> None:
    with pytest.raises(DataError, match=f"{said} too few to hold out") as caught:
        tokenize(
            [Words(*["x"] * count)], cl100k_base(), RoleTemplate(), tmp_path / "o.bin", val_fraction=0.001
        )
    assert ("another share" in caught.value.hint) == (count > 1)


@pytest.mark.parametrize("output", ["none/out.bin", "none/folder"])
def test_no_folder_is_made_above_the_output(tmp_path: Path, output: str) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        tokenize([Words("a")], cl100k_base(), RoleTemplate(), tmp_path / output)
    assert everything(tmp_path) == []


def test_a_text_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"a\.txt is a text file; -o takes a \.bin or a folder"):
        tokenize([Words("a")], cl100k_base(), RoleTemplate(), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        tokenize([Words("a")], cl100k_base(), RoleTemplate(), tmp_path / "file" / "out.bin")


def test_a_source_that_cannot_be_read_is_no_failed_write(tmp_path: Path) -> None:
    class Broken(Words):
        def documents(self) -> Iterator[Document]:
            raise PermissionError(13, "Permission denied")
            yield

    with pytest.raises(DataError, match="cannot read words: Permission denied"):
        prepare(Broken("x"), tmp_path)


def test_what_a_killed_process_left_in_the_cache_is_swept_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "corpora"
    folder.mkdir()
    old, new = folder / ".a.bin.x1.part", folder / ".a.bin.x2.part"
    for part in (old, new):
        part.write_bytes(b"1234")
    os.utime(old, (0, 0))
    prepare(Words("text"), tmp_path)
    assert not old.exists()
    assert new.exists()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A real process whose files may not grow: the write itself fails."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from nanoshell.data.durable import TokenFiles
        from nanoshell.errors import StorageError

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            with TokenFiles([Path(sys.argv[1])], 0) as files:
                for _ in range(1000):
                    files.append([[7] * 1000])
        except StorageError as error:
            print(error.message)
        """
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out.bin")], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith(f"cannot write {tmp_path / 'out.bin'}")
    assert everything(tmp_path) == []


def test_an_interrupted_process_keeps_what_is_whole(tmp_path: Path) -> None:
    """Ctrl-C in a real process, in the middle of tokenizing with threads: no file, but where to go on."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from nanoshell.chat.template import RoleTemplate
        from nanoshell.data.corpus import tokenize
        from nanoshell.data.source import Document, SourceInfo
        from nanoshell.tokenizer.bpe import cl100k_base

        class Endless:
            spec = "endless"
            def info(self): return SourceInfo("endless", "x", "x", (), None)
            def fingerprint(self): return "x"
            def token_file(self): return None
            def documents(self):
                for number in range(10**9):
                    if number == 2000:
                        print("going", flush=True)
                    yield Document(text="word " * 1000)

        tokenize([Endless()], cl100k_base(), RoleTemplate(), Path(sys.argv[1]), workers=2)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out.bin")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert everything(tmp_path) == [".out.bin.journal", ".out.bin.part"]
    journal = json.loads((tmp_path / ".out.bin.journal").read_text())
    assert journal["batches"] > 0
    # The interrupt may come between the writing of a batch and its being counted: what the journal vouches
    # for is the beginning of the part, and what came after is cut off by the next writer.
    part = (tmp_path / ".out.bin.part").read_bytes()
    assert 0 < journal["sizes"][0] <= len(part)
    assert journal["sha256"] == [hashlib.sha256(part[: journal["sizes"][0]]).hexdigest()]


def test_documents_of_the_corpus_and_of_the_template_agree(tmp_path: Path) -> None:
    import nanoshell_data

    factory: Callable[[str], DataSource] = nanoshell_data.open_embedded
    source = factory("chat")
    expected = [
        token
        for document in source.documents()
        for token in RoleTemplate().encode(document.messages, cl100k_base())
    ]
    corpus = prepare(source, tmp_path)
    assert read(corpus.path) == expected
    assert replace(corpus, path=Path()).spec == "nano-start:chat"
