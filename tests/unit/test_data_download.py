"""Files from a server on this machine that is slow, breaks off, lies, moves and refuses."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.data import download as downloads, transfer
from nanoshell.data.download import checked_url, download, find_download, offline_reason, probe
from nanoshell.errors import DataError, NetworkError, StorageError
from nanoshell.paths import cache_dir

from .fileserver import SHA256, TEXT, Counting, Handler, Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as made:
        yield made


def kept() -> list[str]:
    """The names in the folder of downloads."""
    folder = cache_dir() / "downloads"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_file_is_fetched_once(server: Server) -> None:
    narrator = Counting()
    server.answer = lambda handler: handler.send(TEXT, Content_Type="text/plain; charset=utf-8")
    found = download([server.url()], label="notes", narrator=narrator)
    assert found.path.read_bytes() == TEXT
    assert (found.sha256, found.served_sha256, found.num_bytes) == (SHA256, SHA256, len(TEXT))
    assert found.content_type == "text/plain; charset=utf-8"
    assert abs(found.fetched - time.time()) < 60
    assert narrator.bars == [("fetching notes", len(TEXT))]
    assert narrator.done == len(TEXT)
    assert download([server.url()], narrator=narrator) == found == find_download(server.url())
    assert len(server.asked) == 1
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700


def test_what_breaks_off_goes_on_where_it_was(server: Server) -> None:
    server.answer = lambda handler: handler.send_part(TEXT, cut=100_000)
    found = download([server.url()], sha256=SHA256)
    assert found.path.read_bytes() == TEXT
    starts = [asked for _, asked in server.asked]
    assert starts[0] is None
    assert starts[1:] == [f"bytes={start}-" for start in range(100_000, len(TEXT), 100_000)]


def test_a_server_without_parts_is_asked_anew_for_all(server: Server) -> None:
    cuts = iter([70_000, 200_000, None])
    server.answer = lambda handler: handler.send(TEXT, cut=next(cuts))
    assert download([server.url()], sha256=SHA256).path.read_bytes() == TEXT
    assert [asked for _, asked in server.asked] == [None] * 3


def test_a_file_that_changed_meanwhile_begins_anew(server: Server) -> None:
    def answer(handler: Handler) -> None:
        if len(server.asked) == 1:
            handler.send(b"old" * 50_000, cut=90_000, ETag='"0"')
        else:
            handler.send(TEXT, ETag='"1"')

    server.answer = answer
    assert download([server.url()]).path.read_bytes() == TEXT
    assert [asked for _, asked in server.asked] == [None, "bytes=90000-"]


@pytest.mark.parametrize("status", [206, 416])
def test_a_wrong_part_is_not_taken(server: Server, status: int) -> None:
    def answer(handler: Handler) -> None:
        if handler.headers.get("Range"):
            handler.send(TEXT[5:], status=status, ETag='"1"', Content_Range=f"bytes 5-{len(TEXT) - 1}/9")
        else:
            handler.send(TEXT, cut=90_000 if len(server.asked) == 1 else None, ETag='"1"')

    server.answer = answer
    assert download([server.url()]).path.read_bytes() == TEXT


def test_an_answer_without_length_is_read_to_its_end(server: Server) -> None:
    server.answer = lambda handler: handler.send(TEXT, length=-1)
    narrator = Counting()
    assert download([server.url()], narrator=narrator).path.read_bytes() == TEXT
    assert narrator.bars[0][1] is None


@pytest.mark.parametrize("claimed", [1, 5000])
def test_a_length_that_is_too_long_leaves_nothing(server: Server, claimed: int) -> None:
    server.answer = lambda handler: handler.send(TEXT, length=len(TEXT) + claimed)
    with pytest.raises(NetworkError, match="broke off after"):
        download([server.url()])
    assert kept() == []
    assert len(server.asked) == downloads.ATTEMPTS


def test_a_length_that_is_too_short_is_found_by_the_hash(server: Server) -> None:
    server.answer = lambda handler: handler.send(TEXT, length=1000)
    with pytest.raises(DataError, match="not the file that was meant"):
        download([server.url()], sha256=SHA256)
    assert kept() == []


def test_a_silent_server_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)

    def answer(handler: Handler) -> None:
        handler.send(TEXT, cut=70_000, length=len(TEXT))
        done.wait(60)

    server.answer = answer
    try:
        with pytest.raises(NetworkError, match=r"nothing has come for 0\.05 s"):
            download([server.url()])
    finally:
        done.set()
    assert kept() == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(server: Server, status: int) -> None:
    server.answer = lambda handler: handler.send(TEXT, status=status if len(server.asked) < 3 else 200)
    assert download([server.url()]).sha256 == SHA256
    assert len(server.asked) == 3


@pytest.mark.parametrize("ask", [download, probe])
@pytest.mark.parametrize(
    ("status", "hint"), [(404, "check the address"), (403, "not public"), (410, "check")]
)
def test_what_is_not_there_is_not_asked_for_again(
    server: Server, ask: Callable[[list[str]], object], status: int, hint: str
) -> None:
    server.answer = lambda handler: handler.send(b"no", status=status)
    with pytest.raises(DataError, match=f"the server answers {status}") as caught:
        ask([server.url()])
    assert hint in caught.value.hint
    assert len(server.asked) == 1
    assert kept() == []


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.001)
    with Server() as gone:
        url = gone.url()
    with pytest.raises(NetworkError, match="takes no connection") as caught:
        download([url])
    assert "check the network" in caught.value.hint


def test_a_redirect_is_followed_and_the_first_address_is_the_name(server: Server) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/notes.txt":
            handler.send(b"", status=302, Location="/moved/there.txt")
        else:
            handler.send(TEXT)

    server.answer = answer
    assert download([server.url()]).url == server.url()
    assert find_download(server.url()) is not None


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "javascript:x"])
def test_a_redirect_to_elsewhere_is_refused(server: Server, target: str) -> None:
    server.answer = lambda handler: handler.send(b"", status=301, Location=target)
    with pytest.raises(DataError):
        download([server.url()])
    assert kept() == []


def test_a_redirect_in_a_ring_ends(server: Server) -> None:
    server.answer = lambda handler: handler.send(b"", status=302, Location="/notes.txt")
    with pytest.raises(DataError):
        download([server.url()])


# Compressed files


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    size=st.integers(1, 50),
    padding=st.integers(0, 3),
)
def test_compressed_bytes_are_kept_plain_however_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], size: int, padding: int
) -> None:
    served = b"".join(gzip.compress(part) for part in parts) + bytes(padding)
    path = tmp_path_factory.mktemp("gzip") / "x"
    with path.open("wb") as file:
        received = transfer.Received(file, 1 << 20, "there")
        for start in range(0, len(served), size):
            received.add(served[start : start + size])
        hashes = received.finish()
    assert path.read_bytes() == b"".join(parts)
    assert hashes == tuple(hashlib.sha256(data).hexdigest() for data in (served, b"".join(parts)))


def test_a_compressed_file_goes_on_too_and_is_pinned_as_served(server: Server) -> None:
    served = gzip.compress(os.urandom(50_000) + TEXT)
    server.answer = lambda handler: handler.send_part(served, cut=30_000)
    found = download([server.url("/notes.txt.gz")], sha256=hashlib.sha256(served).hexdigest())
    assert found.path.read_bytes() == gzip.decompress(served)
    assert found.path.suffix == ".txt"
    assert found.num_bytes == 50_000 + len(TEXT)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda data: data[:500] + b"\xff" * 40 + data[540:]],
    ids=["cut", "hit"],
)
def test_damaged_compressed_bytes_are_refused(server: Server, damage: Callable[[bytes], bytes]) -> None:
    served = damage(gzip.compress(os.urandom(4000)))
    server.answer = lambda handler: handler.send(served)
    with pytest.raises(DataError, match="damaged"):
        download([server.url()])
    assert kept() == []


def test_another_compression_is_refused(server: Server) -> None:
    server.answer = lambda handler: handler.send(zlib.compress(TEXT), Content_Encoding="br")
    with pytest.raises(DataError, match="compressed by br"):
        download([server.url()])


@pytest.mark.parametrize("length", [None, -1])
def test_what_is_too_large_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", 100_000)
    served = gzip.compress(TEXT * 20) if length is None else TEXT
    server.answer = lambda handler: handler.send(served, length=length)
    with pytest.raises(DataError, match="is larger than"):
        download([server.url()])
    assert kept() == []


# The cache


def test_a_pin_that_fits_and_one_that_does_not(server: Server) -> None:
    download([server.url()], sha256=SHA256)
    server.answer = lambda handler: handler.send(b"other")
    with pytest.raises(DataError, match=hashlib.sha256(b"other").hexdigest()):
        download([server.url()], sha256="0" * 64)
    kept_still = find_download(server.url(), sha256=SHA256)
    assert kept_still is not None
    assert kept_still.path.read_bytes() == TEXT


@pytest.mark.parametrize("damage", ["cut", "gone", "record", "newer"])
def test_a_damaged_copy_is_fetched_again(server: Server, damage: str) -> None:
    found = download([server.url()])
    record = found.path.with_suffix(".json")
    if damage == "cut":
        found.path.write_bytes(TEXT[:10])
    elif damage == "gone":
        found.path.unlink()
    else:
        record.write_text(
            "{" if damage == "record" else record.read_text().replace('"format": 1', '"format": 2')
        )
    assert find_download(server.url()) is None
    assert download([server.url()]).path.read_bytes() == TEXT


def test_a_pinned_copy_with_a_flipped_byte_is_fetched_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = download([server.url()], sha256=SHA256)
    before = found.path.stat()
    assert find_download(server.url(), sha256=SHA256) == found
    data = bytearray(TEXT)
    data[len(data) // 2] ^= 1
    found.path.write_bytes(data)
    os.utime(found.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_download(server.url(), sha256=SHA256) is None
    with monkeypatch.context() as patch:
        patch.setenv("NANOSHELL_OFFLINE", "1")
        with pytest.raises(NetworkError, match="NANOSHELL_OFFLINE is set"):
            download([server.url()], sha256=SHA256)
    assert download([server.url()], sha256=SHA256).path.read_bytes() == TEXT
    assert find_download(server.url(), sha256=SHA256) is not None


def test_a_pinned_copy_that_was_compressed_is_known_again(server: Server) -> None:
    served = gzip.compress(TEXT)
    server.answer = lambda handler: handler.send(served)
    pin = hashlib.sha256(served).hexdigest()
    found = download([server.url("/notes.txt.gz")], sha256=pin)
    assert find_download(server.url("/notes.txt.gz"), sha256=pin) == found


def test_mirrors_stand_in(server: Server) -> None:
    server.answer = lambda handler: handler.send(TEXT, status=200 if "third" in handler.path else 404)
    with Server() as gone:
        away = gone.url("/away.txt")
    urls = [away, server.url("/second.txt"), server.url("/third.txt")]
    assert download(urls).url == away
    assert find_download(away) is not None
    with pytest.raises(DataError, match="404"):
        download([away + "x", server.url("/second.txt")])


def test_without_a_network_the_copy_serves(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    download([server.url()])
    monkeypatch.setenv("NANOSHELL_OFFLINE", "1")
    assert download([server.url()]).sha256 == SHA256
    for ask in (download, probe):
        with pytest.raises(NetworkError, match="NANOSHELL_OFFLINE is set") as caught:
            ask([server.url("/other.txt")])
        assert "unset NANOSHELL_OFFLINE" in caught.value.hint
    assert len(server.asked) == 1


def test_which_variable_forbids(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offline_reason("HF_HUB_OFFLINE") == ""
    monkeypatch.setenv("HF_HUB_OFFLINE", "YES")
    assert (offline_reason(), offline_reason("HF_HUB_OFFLINE")) == ("", "HF_HUB_OFFLINE is set")
    monkeypatch.setenv("NANOSHELL_OFFLINE", "0")
    assert offline_reason() == ""


def test_a_full_disk_is_told_as_that(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.Received, "_keep", full)
    with pytest.raises(StorageError, match="the disk is full"):
        download([server.url()])
    assert kept() == []
    assert len(server.asked) == 1, "it is not taken for a broken connection"


def test_ctrl_c_leaves_nothing(server: Server) -> None:
    class Interrupting(Counting):
        @contextmanager
        def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
            def advance(amount: int) -> None:
                raise KeyboardInterrupt

            yield advance

    with pytest.raises(KeyboardInterrupt):
        download([server.url()], narrator=Interrupting())
    assert kept() == []


def test_two_that_fetch_at_once_end_with_one_whole_file(server: Server) -> None:
    gate = threading.Barrier(4)
    found: list[Path] = []

    def fetch() -> None:
        gate.wait()
        found.append(download([server.url()]).path)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == found[:1] * 4
    assert found[0].read_bytes() == TEXT
    assert len(kept()) == 2


# Addresses


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://example.org", "https://example.org/"),
        (
            "HTTP://Example.org:8080/a%20b/ü.txt?q=ä&x=1",
            "http://example.org:8080/a%20b/%C3%BC.txt?q=%C3%A4&x=1",
        ),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
    ],
)
def test_addresses_are_written_in_ascii(text: str, url: str) -> None:
    assert checked_url(text) == url
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "notes.txt",
        "file:///etc/passwd",
        "ftp://x/y",
        "https://",
        "https:///x",
        "https://a b/",
        "https://x/\n",
        "https://x/\x1b[2J",
        "https://x/\x85",
        "https://me:secret@x/",
        "http://x:99999/",
        "http://[::1/",
        "data:,x",
    ],
)
def test_what_is_no_public_address_is_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        checked_url(text)
    assert caught.value.hint
    assert "secret" not in caught.value.message
    assert caught.value.message.isprintable()
