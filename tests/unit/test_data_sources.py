"""Data sources by name: files, folders, globs, the embedded dataset, and every input that cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from nanoshell.chat.template import Message
from nanoshell.data.source import DataSource, Document, open_source
from nanoshell.errors import UnknownNameError
from nanoshell.plugin.registry import Registry
from nanoshell.tokenizer.bpe import cl100k_base

from .datafiles import EOT, Open, ids_of, put, put_ids, texts

# Files


@pytest.mark.parametrize("name", ["notes.txt", "notes.md", "NOTES.TXT"])
def test_a_text_file_is_one_document(open_: Open, name: str) -> None:
    put(name, "One.\r\n\r\nTwo, naïve.\n")
    source = open_(name)
    assert source.spec == name
    assert texts(source) == ["One.\r\n\r\nTwo, naïve.\n"], "line endings are kept"
    assert source.info().num_bytes == 21
    assert source.token_file() is None


def test_a_byte_order_mark_is_dropped(open_: Open) -> None:
    put("a.txt", b"\xef\xbb\xbfHi")
    put("a.jsonl", b'\xef\xbb\xbf{"text": "Hi"}\n')
    assert texts(open_("a.txt")) == texts(open_("a.jsonl")) == ["Hi"]


@given(text=st.text(max_size=60), part=st.integers(1, 7))
def test_a_text_is_read_in_parts_without_change(
    tmp_path_factory: pytest.TempPathFactory, text: str, part: int
) -> None:
    from nanoshell.data import reading

    path = tmp_path_factory.mktemp("text") / "x.txt"
    path.write_bytes(text.encode())
    before, reading._PART_BYTES = reading._PART_BYTES, part
    try:
        documents = list(reading.read_text(path, "x.txt"))
    finally:
        reading._PART_BYTES = before
    assert "".join(document.text for document in documents) == text.removeprefix("\ufeff")
    assert [document.continues for document in documents] == [True] * (len(documents) - 1) + [False] * bool(
        documents
    )


def test_a_large_text_streams_and_encodes_as_a_whole(open_: Open, here: Path) -> None:
    text = "".join(f"Line {number}, with some words — and more.\n" for number in range(60_000))
    put("large.txt", text)
    documents = list(open_("large.txt").documents())
    assert len(documents) > 2
    assert max(len(document.text) for document in documents) <= 1 << 20
    assert ids_of(open_("large.txt"), here) == [*cl100k_base().encode(text), EOT]


def test_the_four_shapes_and_their_synonyms(open_: Open) -> None:
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    shared = [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]
    records = [
        {"text": "T", "source": "somewhere"},
        {"prompt": "P ", "completion": "C"},
        {"question": "Q", "answer": "A"},
        {"messages": [*turns, {"role": "assistant", "content": "A"}]},
        {"text": None, "content": "T"},
        {"prompt": "P ", "response": "C"},
        {"instruction": "Q", "output": "A", "text": "rendered"},
        {"instruction": "Q", "input": "I", "output": "A"},
        {"conversations": shared},
    ]
    put("a.jsonl", "\n\n".join(json.dumps(record) for record in records))
    user, reply = Message("user", "U"), Message("assistant", "A")
    question = (Message("user", "Q"), reply)
    assert [(document.text, document.messages) for document in open_("a.jsonl").documents()] == [
        ("T", ()),
        ("P C", ()),
        ("", question),
        ("", (Message("system", "S"), user, reply)),
        ("T", ()),
        ("P C", ()),
        ("", question),
        ("", (Message("user", "Q\n\nI"), reply)),
        ("", (user, reply)),
    ]
    assert next(iter(open_("a.jsonl").documents())).origin == "a.jsonl:1"


def test_a_bin_is_its_own_token_file(open_: Open) -> None:
    path = put_ids("a.bin", 1, 2, EOT)
    source = open_("a.bin")
    assert source.token_file() == Path("a.bin")
    assert source.token_file().resolve() == path.resolve()  # type: ignore[union-attr]
    (document,) = source.documents()
    assert document.ids is not None
    assert document.ids.tolist() == [1, 2, EOT]


# Folders and globs


def test_a_folder_is_read_with_its_folders_in_order(open_: Open) -> None:
    for name in ("d/b.txt", "d/a.md", "d/sub/c.txt", "d/.hidden.txt", "d/.git/x.txt", "d/pic.png"):
        put(name, name)
    source = open_("d")
    assert texts(source) == ["d/a.md", "d/b.txt", "d/sub/c.txt"]
    assert source.info().files == ("d/a.md", "d/b.txt", "d/sub/c.txt")
    assert "3 files" in source.info().summary


def test_a_glob(open_: Open) -> None:
    for name in ("d/b.txt", "d/a.md", "d/sub/c.txt"):
        put(name, name)
    assert texts(open_("d/*.txt")) == ["d/b.txt"]
    assert texts(open_("d/**/*.txt")) == ["d/b.txt", "d/sub/c.txt"]
    assert texts(open_(str(Path("d/*").resolve())))[0] == "d/a.md"


def test_a_name_with_the_marks_of_a_glob_is_a_name_first(open_: Open) -> None:
    put("a[1].txt", "found")
    assert texts(open_("a[1].txt")) == ["found"]


def test_text_goes_before_tokens_in_a_folder(open_: Open) -> None:
    put("d/a.txt", "a")
    put_ids("d/a.bin", 1)
    source = open_("d")
    assert texts(source) == ["a"]
    (note,) = source.info().notes
    assert "the text is read" in note
    assert "d/a.bin" in note


def test_several_bins_are_read_one_after_the_other(open_: Open, here: Path) -> None:
    put_ids("d/0.bin", 1, 2)
    put_ids("d/1.bin", 3, EOT)
    source = open_("d")
    assert source.token_file() is None
    assert ids_of(source, here / "cache") == [1, 2, 3, EOT]
    assert "one after the other" in source.info().notes[0]


def test_a_merged_bin_stands_for_the_others(open_: Open) -> None:
    for name in ("combined", "qa", "chat"):
        put_ids(f"d/{name}.bin", 1)
    source = open_("d")
    assert source.token_file() == Path("d/combined.bin")
    assert "not d/chat.bin, d/qa.bin" in source.info().notes[0]


def test_a_loop_of_links_ends(open_: Open) -> None:
    put("d/a.txt", "a")
    Path("d/loop").symlink_to(Path("d").resolve())
    Path("d/broken.txt").symlink_to("nowhere")
    assert texts(open_("d")) == ["a"]


# Fingerprints


def test_the_fingerprint_follows_the_contents(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    put("d/a.txt", "one")
    first = open_("d").fingerprint()
    Path("d").rename("e")
    assert open_("e").fingerprint() == first, "moving changes nothing"
    before = Path("e/a.txt").stat()
    put("e/a.txt", "two")
    os.utime("e/a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert open_("e").fingerprint() != first, "the same size and time are not the same text"
    second = open_("e").fingerprint()
    put("e/b.txt", "")
    assert open_("e").fingerprint() != second


def test_the_fingerprint_of_large_files_follows_their_times(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell_data.files._HASHED_BYTES", 2)
    put("a.txt", "one")
    first = open_("a.txt").fingerprint()
    assert open_("a.txt").fingerprint() == first
    os.utime("a.txt", ns=(1, 1))
    assert open_("a.txt").fingerprint() != first


# The embedded dataset


def test_the_embedded_dataset_and_its_parts(open_: Open, here: Path) -> None:
    parts = {part: list(open_(f"nano-start:{part}").documents()) for part in ("completions", "qa", "chat")}
    everything = [*parts["completions"], *parts["qa"], *parts["chat"]]
    assert list(open_("nano-start").documents()) == everything
    assert list(open_("nano-start:combined").documents()) == everything
    assert all(document.text for document in parts["completions"])
    assert all(len(document.messages) == 2 for document in parts["qa"])
    assert all(document.messages[0].role == "system" for document in parts["chat"])
    assert open_("nano-start:qa").spec == "nano-start:qa"


def test_a_registered_name_goes_before_a_file(open_: Open) -> None:
    put("nano-start/a.txt", "mine")
    assert open_("nano-start").info().kind == "embedded"
    assert texts(open_("./nano-start")) == ["mine"]
    explicit = open_("file:nano-start")
    assert texts(explicit) == texts(open_(explicit.spec)) == ["mine"], "its spec leads back to it"


def test_a_source_of_a_stranger(here: Path) -> None:
    """A source is what fulfils the contract, and its rest is handed over as it was typed."""

    class Stranger:
        def __init__(self, rest: str) -> None:
            self.spec = f"poems:{rest}"

        def documents(self) -> list[Document]:
            return [Document(text=self.spec)]

    registry: Registry[Callable[[str], DataSource]] = Registry("data source")
    registry.add("poems", Stranger, provider="stranger")  # type: ignore[arg-type]
    assert open_source("poems:by/me: all", registry).spec == "poems:by/me: all"
    with pytest.raises(UnknownNameError, match="did you mean 'poems'"):
        open_source("poem", registry)


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    script = (
        "import sys, nanoshell_data; from nanoshell_data import register_sources\n"
        "register_sources(lambda *a, **k: None)\n"
        "nanoshell_data.register_tokenizers(lambda *a, **k: None)\n"
        "nanoshell_data.register_chat_templates(lambda *a, **k: None)\n"
        "heavy = {'numpy', 'torch', 'tiktoken', 'huggingface_hub', 'pydantic', 'rich', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
