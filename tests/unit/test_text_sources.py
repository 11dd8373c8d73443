"""The plugin nanoshell_text: its sources against a server on this machine, and against the real ones."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nanoshell_text
import nanoshell_text.gutenberg
import nanoshell_text.places
from nanoshell import DataError, DataSource, NanoshellError, NetworkError, open_source
from nanoshell.testing import check_source, plugins_with

from .fileserver import SHA256, TEXT, Counting, Handler, Server, serving

BOOK = """The Project Gutenberg eBook of A Test\r
\r
This eBook is for the use of anyone anywhere.\r
\r
*** START OF {0} PROJECT GUTENBERG EBOOK A TEST,\r
OR WHAT HAPPENED ***\r
\r
Produced by Nobody\r
\r
CHAPTER I.\r
\r
It began — *** with stars *** — one day.\r
\r
*** END OF {0} PROJECT GUTENBERG EBOOK A TEST ***\r
\r
Updated editions will replace the previous one.\r
"""
LONG = "A line of a book.\n" * 30


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("nanoshell.data.download.PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as made:
        monkeypatch.setenv("GUTENBERG_MIRROR", made.url("/mirror/"))
        yield made


def open_(spec: str) -> DataSource:
    return open_source(spec, plugins_with().sources)


def whole(source: DataSource) -> str:
    return "".join(document.text for document in source.documents())


def test_a_text_by_its_address(server: Server) -> None:
    source = open_(f"url:{server.url()}")
    assert source.info().num_bytes == len(TEXT), "the server tells the size before it is fetched"
    assert [path for path, _ in server.asked] == ["/notes.txt"]
    assert whole(source).encode() == TEXT
    again = open_(source.spec)
    assert len(server.asked) == 2, "opening again asks nobody"
    assert again.fingerprint() == source.fingerprint()
    assert "fetched on 20" in again.info().summary
    assert Path(again.info().files[1]).read_bytes() == TEXT
    assert next(again.documents()).origin == "notes.txt"


def test_lines_and_ids_by_their_suffix(server: Server) -> None:
    bodies = {
        "/talk.jsonl.gz": gzip.compress(b'{"question": "Who?", "answer": "I."}\n{"text": "x"}\n'),
        "/ids.bin?v=1": bytes([1, 0, 0, 0, 0x57 + 0x32, 0x87, 1, 0]),
    }
    server.answer = lambda handler: handler.send(bodies[handler.path])
    talk = list(open_(f"url:{server.url('/talk.jsonl.gz')}").documents())
    assert [message.role for message in talk[0].messages] == ["user", "assistant"]
    assert talk[1].text == "x"
    path = open_(f"url:{server.url('/ids.bin?v=1')}").token_file()
    assert path is not None
    assert path.read_bytes() == bodies["/ids.bin?v=1"]


def test_a_pinned_address(server: Server) -> None:
    source = open_(f"url:{server.url()}#sha256={SHA256.upper()}")
    assert source.spec.endswith(f"#sha256={SHA256}")
    assert whole(source).encode() == TEXT
    wrong = open_(f"url:{server.url()}#sha256={'0' * 64}")
    with pytest.raises(DataError, match="not the file that was meant"):
        whole(wrong)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("", "an address without https:// in front"),
        ("notes.txt", "an address without https:// in front"),
        ("ftp://example.org/x", "ftp: addresses are not read"),
        ("https://example.org/#chapter", "'#chapter' pins nothing"),
        ("https://example.org/#sha256=12", "'#sha256=12' pins nothing"),
        ("https://example.org/\x1b[2J", "control character"),
    ],
)
def test_what_is_no_address_is_refused_without_asking(rest: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        open_(f"url:{rest}")
    assert words in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_an_address_alone_is_told_how_to_be_written() -> None:
    with pytest.raises(NanoshellError) as caught:
        open_("https://example.org/a.txt")
    assert caught.value.hint == "write url: in front of an address: url:https://example.org/a.txt"


def test_opening_checks_that_it_is_there(server: Server) -> None:
    server.answer = lambda handler: handler.send(b"", status=404)
    with pytest.raises(DataError, match="404"):
        open_(f"url:{server.url()}")
    with Server() as gone:
        away = gone.url()
    with pytest.raises(NetworkError) as caught:
        open_(f"url:{away}")
    assert "nano-start" in caught.value.hint


def test_odd_names_are_harmless(server: Server) -> None:
    source = open_(f"url:{server.url('/a%1b%5b2J%0a%2e%2e/%1b%5b2J.txt')}")
    assert whole(source).encode() == TEXT
    assert next(source.documents()).origin.isprintable()


def test_a_page_is_called_a_page_and_other_bytes_are_not_text(server: Server) -> None:
    server.answer = lambda handler: handler.send(b"<html>\xff", Content_Type="text/html; charset=utf-8")
    source = open_(f"url:{server.url('/page')}")
    assert "its tags are text" in source.info().notes[0]
    with pytest.raises(DataError, match="page is not UTF-8 text"):
        whole(source)


# Tiny Shakespeare


def test_shakespeare_is_pinned(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nanoshell_text.places, "SHAKESPEARE_URLS", (server.url("/1"), server.url("/2")))
    source = open_("tiny-shakespeare")
    assert source.info().num_bytes == 1_115_394
    assert server.asked == [], "it is known before anybody is asked"
    with pytest.raises(DataError, match="86c4e6aa9db7c042"):
        whole(source)
    with pytest.raises(DataError, match="has no part 'act1'"):
        open_("tiny-shakespeare:act1")


def test_shakespeare_from_the_mirror(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nanoshell_text.places, "SHAKESPEARE_URLS", (server.url("/1"), server.url("/2")))
    monkeypatch.setattr(nanoshell_text.places, "SHAKESPEARE_SHA256", SHA256)
    server.answer = lambda handler: handler.send(b"moved" if handler.path == "/1" else TEXT)
    narrator = Counting()
    source = open_("tiny-shakespeare")
    source.fetch(narrator)  # type: ignore[attr-defined]
    assert whole(source).encode() == TEXT
    assert [label for label, _ in narrator.bars] == ["fetching tiny-shakespeare"] * 2


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSHELL_OFFLINE", "1")
    source = open_("tiny-shakespeare")
    with pytest.raises(NetworkError, match="is not in the cache, and NANOSHELL_OFFLINE is set"):
        whole(source)
    with pytest.raises(NetworkError, match="NANOSHELL_OFFLINE is set"):
        open_("gutenberg:11")


# Books


@pytest.mark.parametrize("word", ["THE", "THIS"])
def test_a_book_without_header_and_licence(server: Server, word: str) -> None:
    server.answer = lambda handler: handler.send(b"\xef\xbb\xbf" + BOOK.format(word).encode())
    source = open_("gutenberg:0011")
    assert source.spec == "gutenberg:11"
    assert whole(source) == "Produced by Nobody\n\nCHAPTER I.\n\nIt began — *** with stars *** — one day.\n"
    assert server.asked[-1][0] == "/mirror/cache/epub/11/pg11.txt"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No markers at all.\n", "No markers at all.\n"),
        (
            "Header\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\nThe text.\n\n\n"
            "End of Project Gutenberg's Etext of A Test\n",
            "The text.\n",
        ),
        ("x\n***START OF THE PROJECT GUTENBERG EBOOK A***\n\nOnly a start.", "Only a start.\n"),
        ("The text.\n*** END OF THE PROJECT GUTENBERG EBOOK A ***\nlicence", "The text.\n"),
        ("*** start of the project gutenberg ebook a ***\nThe text.\n", "The text.\n"),
        (
            "Header\n*** START OF THIS PROJECT GUTENBERG EBOOK A ***\nThe text.\n"
            "*** END OF THIS PROJECT GUTENBERG EBOOK A ***\nSmall print\n"
            "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n",
            "The text.\n",
        ),
        (
            "The text.\nEnd of Project Gutenberg's A\n"
            "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n",
            "The text.\n",
        ),
        (
            "*** START OF THIS PROJECT GUTENBERG EBOOK A ***\nSmall print\n"
            "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\nThe text.\n"
            "End of the Project Gutenberg EBook of A\n*** END OF THIS PROJECT GUTENBERG EBOOK A ***\n",
            "The text.\n",
        ),
        (
            f"*** START OF THE PROJECT GUTENBERG EBOOK A\n{LONG}*** with stars ***\nThe end.\n",
            f"*** START OF THE PROJECT GUTENBERG EBOOK A\n{LONG}*** with stars ***\nThe end.\n",
        ),
    ],
    ids=[
        "none",
        "small print in front",
        "start alone",
        "end alone",
        "lower case",
        "small print behind",
        "small print behind an older end",
        "start before small print",
        "a start that nothing closes",
    ],
)
def test_markers_of_other_times(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "book.txt"
    path.write_text(text)
    assert nanoshell_text.gutenberg.text_of_book(path, "book") == expected


@pytest.mark.parametrize(
    "text",
    ["*** START OF THE PROJECT GUTENBERG EBOOK A ***\n \n", "", "\nEnd of Project Gutenberg's A\nlicence\n"],
)
def test_a_book_with_nothing_between_its_markers_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "book.txt"
    path.write_text(text)
    with pytest.raises(DataError, match="book 7 has no text between the markers"):
        nanoshell_text.gutenberg.text_of_book(path, "book 7")


def test_a_book_in_its_older_place(server: Server) -> None:
    def answer(handler: Handler) -> None:
        handler.send(b"The text.", status=200 if handler.path == "/mirror/files/7/7-0.txt" else 404)

    server.answer = answer
    assert whole(open_("gutenberg:7")) == "The text.\n"


def test_no_such_book(server: Server) -> None:
    server.answer = lambda handler: handler.send(b"", status=404)
    with pytest.raises(DataError, match="404"):
        open_("gutenberg:999999")


@pytest.mark.parametrize("rest", ["", "alice", "-1", "0", "1.5", "99999999", "١١", "11/../12"])
def test_what_is_no_number_of_a_book(rest: str) -> None:
    with pytest.raises(DataError, match="number") as caught:
        open_(f"gutenberg:{rest}")
    assert "gutenberg.org/ebooks/11" in caught.value.hint


def test_a_book_that_is_no_utf8(server: Server) -> None:
    server.answer = lambda handler: handler.send("Café".encode("latin-1"))
    with pytest.raises(DataError, match="byte 0xe9 at offset 3"):
        whole(open_("gutenberg:5"))


# All of them


@pytest.mark.parametrize("spec", ["url", "gutenberg:11"])
def test_the_corpus_is_made_and_found_again(server: Server, spec: str, tmp_path: Path) -> None:
    from nanoshell import RoleTemplate, cl100k_base, prepare_corpus

    name = f"url:{server.url()}" if spec == "url" else spec
    made = prepare_corpus(open_(name), cl100k_base(), RoleTemplate(), cache_dir=tmp_path)
    asked = len(server.asked)
    found = prepare_corpus(open_(name), cl100k_base(), RoleTemplate(), cache_dir=tmp_path)
    assert found == made
    assert len(server.asked) == asked


def test_the_contract_of_a_source(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nanoshell_text.places, "SHAKESPEARE_URLS", (server.url(),))
    monkeypatch.setattr(nanoshell_text.places, "SHAKESPEARE_SHA256", SHA256)
    check_source(nanoshell_text.open_shakespeare, refuses=["act1"])
    check_source(nanoshell_text.open_url, server.url("/other.txt"), refuses=["", "x.txt", "ftp://x/y"])
    check_source(nanoshell_text.open_gutenberg, "11", refuses=["", "alice", "0"])


def test_registering_loads_nothing() -> None:
    program = (
        "import sys; from nanoshell.testing import plugins_with; p = plugins_with()\n"
        "assert {'tiny-shakespeare', 'url', 'gutenberg'} <= set(p.sources.names())\n"
        "assert not {'nanoshell_text.source', 'urllib.request', 'http.client', 'ssl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.campaign
@pytest.mark.parametrize("spec", ["tiny-shakespeare", "gutenberg:11", "gutenberg:1342"])
def test_the_real_network(spec: str) -> None:
    try:
        text = whole(open_(spec))
    except NetworkError as error:
        pytest.skip(error.message)
    assert "project gutenberg" not in text.lower()[:2000]
    if spec == "tiny-shakespeare":
        assert hashlib.sha256(text.encode()).hexdigest() == nanoshell_text.places.SHAKESPEARE_SHA256
