"""Every input of a data source that cannot be used is refused in words that say what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nanoshell.errors import UnknownNameError

from .datafiles import Open, ids_of, put, refusal


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("shakespear.txt", ["no such file", "did you mean 'shakespeare.txt'"]),
        ("dada/x.txt", ["there is no dada", "did you mean 'data'"]),
        ("nano-strat", ["unknown data source or file", "did you mean 'nano-start'"]),
        ("shakespeare", ["did you mean 'shakespeare.txt'"]),
        ("nano-start:qas", ["unknown part of nano-start", "did you mean 'qa'"]),
        ("hg:owner/name", ["unknown data source", "nano-start, hf"]),
        ("https://example.org/a.txt", ["unknown data source or file 'https'"]),
        ("*.text", ["no file matches *.text", ".jsonl"]),
        ("table.csv", ["suffix .csv are not read", ".jsonl"]),
        ("LICENSE", ["without a suffix are not read"]),
        ("*.csv", ["holds no text", "1 with .csv"]),
        ("empty", ["empty holds no text: it is empty"]),
        ("pictures", ["holds no text", "2 with .png", ".txt"]),
        ("file:", ["no file is named"]),
        ("short.bin", ["7 bytes, no multiple of 4"]),
        ("none.bin", ["is empty"]),
        ("x" * 5000, ["unknown data source"]),
        ("~nobody-here/x.txt", ["cannot read"]),
        ("pipe", ["no file and no folder"]),
    ],
)
def test_a_spec_that_leads_nowhere(open_: Open, spec: str, words: list[str]) -> None:
    for name in ("shakespeare.txt", "table.csv", "LICENSE", "pictures/a.png", "pictures/b.png", "data/a.txt"):
        put(name)
    put("short.bin", b"1234567")
    put("none.bin", b"")
    Path("empty").mkdir()
    os.mkfifo("pipe")
    told = refusal(lambda: open_(spec))
    for word in words:
        assert word in told


def test_unknown_names_are_usage_errors(open_: Open) -> None:
    for spec in ("nano-strat", "nano-start:x"):
        with pytest.raises(UnknownNameError):
            open_(spec)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "a"', ["a.jsonl:3: broken JSON", "column 13"]),
        (b"not json", ["a.jsonl:3: broken JSON"]),
        (b"[" * 100_000, ["a.jsonl:3: broken JSON", "nested too deeply"]),
        (b"1" * 5000, ["a.jsonl:3: broken JSON"]),
        (b"42", ["a.jsonl:3: a number, where an object belongs", '{"text":']),
        (b"{}", ["a.jsonl:3: unknown shape, with no keys", '"messages"']),
        (b'{"title": "x", "body": "y"}', ["a.jsonl:3: unknown shape, with the keys 'title', 'body'"]),
        (b'{"question": "x"}', ["unknown shape", "'question'", '"question"']),
        (b'{"text": ["a"]}', ["a.jsonl:3: 'text' is a list, not text"]),
        (b'{"prompt": "a", "completion": 5}', ["'completion' is a number, not text"]),
        (b'{"messages": []}', ["'messages' is an empty list"]),
        (b'{"messages": {"role": "user"}}', ["'messages' is an object"]),
        (b'{"messages": ["hi"]}', ["a.jsonl:3, message 1: text, where role and content belong"]),
        (b'{"messages": [{"role": "user"}]}', ["message 1: role or content is missing", "'role'"]),
        (b'{"messages": [{"role": "usr", "content": "x"}]}', ["unknown role 'usr'", "did you mean 'user'"]),
        (b'{"messages": [{"role": "user", "content": [1]}]}', ["the content is a list, not text"]),
        (b'{"text": "\xff"}', ["a.jsonl:3 is not UTF-8", "byte 0xff at offset 25", "iconv"]),
    ],
)
def test_a_bad_line_is_named(open_: Open, here: Path, line: bytes, words: list[str]) -> None:
    put("a.jsonl", b'{"text": "a"}\n\n' + line + b'\n{"text": "b"}\n')
    told = refusal(lambda: ids_of(open_("a.jsonl"), here / "cache"))
    for word in words:
        assert word in told
    assert not [path for path in here.rglob("*") if path.suffix in (".bin", ".part")]


def test_one_json_document_over_many_lines_is_recognised(open_: Open) -> None:
    put("a.jsonl", '[\n  {"text": "a"}\n]\n')
    assert "jq" in refusal(lambda: list(open_("a.jsonl").documents()))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"abc\xe9def", ["a.txt is not UTF-8 text: byte 0xe9 at offset 3", "LATIN1"]),
        (b"a" * ((1 << 20) - 1) + b"\xc3\xa9" + b"\xff", ["byte 0xff at offset 1,048,577"]),
        (b"a" * ((1 << 20) - 1) + b"\xc3", ["byte 0xc3 at offset 1,048,575"]),
        ("hé".encode("utf-16"), ["UTF-16"]),
        (b"\x7fELF\0\0\xff", ["no text at all"]),
    ],
)
def test_text_that_is_no_utf_8(open_: Open, content: bytes, words: list[str]) -> None:
    put("a.txt", content)
    told = refusal(lambda: list(open_("a.txt").documents()))
    for word in words:
        assert word in told


def test_a_folder_of_empty_files_holds_no_text(open_: Open, here: Path) -> None:
    put("d/a.txt", "")
    put("d/b.jsonl", "\n\n")
    assert "d holds no text" in refusal(lambda: ids_of(open_("d"), here / "cache"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(open_: Open) -> None:
    put("a.txt").chmod(0)
    put("d/a.txt")
    Path("d").chmod(0)
    try:
        assert "cannot read a.txt: Permission denied" in refusal(lambda: open_("a.txt"))
        assert "cannot read d: Permission denied" in refusal(lambda: open_("d"))
    finally:
        Path("d").chmod(0o700)


def test_a_failing_disk_is_told_as_unreadable(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.txt")
    source = open_("a.txt")
    Path("a.txt").unlink()
    assert "cannot read a.txt" in refusal(lambda: list(source.documents()))
    assert "cannot read a.txt" in refusal(source.fingerprint)
