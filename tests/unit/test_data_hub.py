"""The source ``hf``: the real client of the Hub against a small hub on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from nanoshell.chat.template import Message, RoleTemplate
from nanoshell.data.corpus import prepare_corpus
from nanoshell.data.source import DataSource, RemoteSource, open_source
from nanoshell.errors import DataError, NanoshellError, NetworkError, StorageError
from nanoshell.narrator import Advance
from nanoshell.plugin.registry import Registry
from nanoshell.tokenizer.bpe import cl100k_base
from nanoshell_data.client import Client

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IDS = np.arange(600, dtype="<u4")
BIN = {"README.md": b"# A card\n", "combined.bin": IDS.tobytes(), "qa.bin": IDS[:100].tobytes()}
TEXT = {
    "README.md": b"# A card\n",
    "qa.jsonl": b'{"question": "Q?", "answer": "A."}\n',
    "completions.jsonl": b'{"text": "Snow is white."}\n{"prompt": "Two and ", "completion": "two."}\n',
}
ELSEWHERE = {"data/train.parquet": b"PAR1", ".gitattributes": b""}
REPOSITORIES = {
    "fs90/nano-start-data-bin": BIN,
    "fs90/nano-start-data": TEXT,
    "else/where": ELSEWHERE,
}


class Hub(ThreadingHTTPServer):
    """A hub that knows `REPOSITORIES` and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files_fetched(self) -> list[str]:
        return [path.rsplit("/", 1)[1] for verb, path in self.asked if verb == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        if self.server.status != 200:
            self._answer(self.server.status, b"{}")
            return
        for name, files in REPOSITORIES.items():
            if path.startswith(f"/api/datasets/{name}/revision/"):
                self._tell(name, files, path.rsplit("/", 1)[1])
                return
            if path.startswith(f"/datasets/{name}/resolve/{COMMIT}/"):
                self._send(files[path.split(f"/{COMMIT}/", 1)[1]])
                return
        self._answer(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _tell(self, name: str, files: dict[str, bytes], revision: str) -> None:
        if revision not in ("main", "v1", COMMIT):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": file, "size": len(content)} for file, content in files.items()]
        self._answer(200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode())

    def _send(self, content: bytes) -> None:
        etag = hashlib.sha256(content).hexdigest()
        self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


class Listener:
    """A narrator that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bytes: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        self.bytes[label], self.totals[label] = 0, total

        def advance(amount: int) -> None:
            self.bytes[label] += amount

        yield advance


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def sources() -> Registry[Callable[[str], DataSource]]:
    import nanoshell_data

    registry: Registry[Callable[[str], DataSource]] = Registry("data source")
    nanoshell_data.register_sources(
        lambda name, factory, **about: registry.add(name, factory, provider="data", **about)
    )
    return registry


Sources = Registry[Callable[[str], DataSource]]


def gone(hub: Hub) -> None:
    """Let the hub refuse connections from now on, as a machine without a network would see it."""
    hub.shutdown()
    hub.server_close()


def test_one_bin_file_becomes_a_corpus_with_progress_in_bytes(
    hub: Hub, sources: Sources, tmp_path: Path, own_home: Path
) -> None:
    listener = Listener()
    source = open_source("hf:fs90/nano-start-data-bin/combined.bin", sources)
    corpus = prepare_corpus(source, cl100k_base(), RoleTemplate(), cache_dir=tmp_path, narrator=listener)
    assert corpus.path.read_bytes() == IDS.tobytes()
    assert corpus.path.is_relative_to(own_home / "huggingface" / "hub")
    assert corpus.num_tokens == 600
    label = "fetching hf:fs90/nano-start-data-bin/combined.bin"
    assert listener.bytes[label] == listener.totals[label] == 2400
    assert hub.files_fetched() == ["combined.bin"]


def test_a_repository_of_text_is_read_whole_without_its_card(hub: Hub, sources: Sources) -> None:
    source = open_source("hf:fs90/nano-start-data", sources)
    assert source.info().files == ("completions.jsonl", "qa.jsonl")
    documents = list(source.documents())
    assert [document.text for document in documents] == ["Snow is white.", "Two and two.", ""]
    assert documents[2].messages == (Message("user", "Q?"), Message("assistant", "A."))
    assert documents[2].origin == "fs90/nano-start-data/qa.jsonl:1"


def test_a_repository_of_bins_is_read_through_its_merged_file(hub: Hub, sources: Sources) -> None:
    info = open_source("hf:fs90/nano-start-data-bin", sources).info()
    assert info.files == ("combined.bin",)
    assert "qa.bin" in info.notes[0]


@pytest.mark.parametrize("rest", ["fs90/nano-start-data@v1/*.jsonl", f"fs90/nano-start-data@{COMMIT}"])
def test_revisions_and_globs(hub: Hub, sources: Sources, rest: str) -> None:
    assert open_source(f"hf:{rest}", sources).info().files == ("completions.jsonl", "qa.jsonl")


def test_the_corpus_is_found_again_and_nothing_is_fetched_twice(
    hub: Hub, sources: Sources, tmp_path: Path
) -> None:
    first, second = (
        prepare_corpus(
            open_source("hf:fs90/nano-start-data", sources), cl100k_base(), RoleTemplate(), cache_dir=tmp_path
        )
        for _ in range(2)
    )
    assert first == second
    assert sorted(hub.files_fetched()) == ["completions.jsonl", "qa.jsonl"]


def test_what_was_fetched_is_used_when_the_hub_is_gone(hub: Hub, sources: Sources) -> None:
    before = list(open_source("hf:fs90/nano-start-data", sources).documents())
    gone(hub)
    source = open_source("hf:fs90/nano-start-data", sources)
    assert list(source.documents()) == before
    (note,) = source.info().notes
    assert "cannot be reached" in note
    assert "from the cache" in note


def test_offline_by_wish_asks_nobody(hub: Hub, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    list(open_source("hf:fs90/nano-start-data", sources).documents())
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = open_source("hf:fs90/nano-start-data", sources)
    assert len(list(source.documents())) == 3
    assert "HF_HUB_OFFLINE" in source.info().notes[0]
    assert hub.asked == []


def test_files_that_another_program_fetched_are_used_offline(
    hub: Hub, sources: Sources, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    monkeypatch.setitem(REPOSITORIES, "fs90/other", BIN)
    cache = own_home / "huggingface" / "hub"
    path = Path(
        hf_hub_download(
            "fs90/other",
            "qa.bin",
            repo_type="dataset",
            revision=COMMIT,
            endpoint=hub.url,
            cache_dir=cache,
        )
    )
    refs = cache / "datasets--fs90--other" / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(COMMIT)
    gone(hub)
    source = open_source("hf:fs90/other/qa.bin", sources)
    assert source.token_file() == path


def test_a_file_that_was_never_fetched_is_said_to_be_missing(hub: Hub, sources: Sources) -> None:
    list(open_source("hf:fs90/nano-start-data/qa.jsonl", sources).documents())
    gone(hub)
    source = open_source("hf:fs90/nano-start-data", sources)
    with pytest.raises(NetworkError, match="cannot be fetched") as caught:
        list(source.documents())
    assert "completions.jsonl" in caught.value.hint


def test_without_network_and_cache_one_error_says_what_there_is(
    hub: Hub, sources: Sources, own_home: Path
) -> None:
    gone(hub)
    with pytest.raises(NetworkError) as caught:
        open_source("hf:fs90/nano-start-data", sources)
    assert hub.url in caught.value.message
    assert str(own_home / "huggingface" / "hub") in caught.value.hint
    assert "nano-start" in caught.value.hint


def test_a_hub_in_trouble_is_no_traceback(hub: Hub, sources: Sources) -> None:
    hub.status = 503
    with pytest.raises(NetworkError, match="503"):
        open_source("hf:fs90/nano-start-data", sources)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hf:fs90/no-such-data", ["no dataset repository 'fs90/no-such-data'", "HF_TOKEN"]),
        ("hf:fs90/nano-start-data/qa.json", ["holds no file 'qa.json'", "did you mean 'qa.jsonl'"]),
        ("hf:fs90/nano-start-data/sub/*.txt", ["holds no file 'sub/*.txt'", "completions.jsonl"]),
        ("hf:fs90/nano-start-data@v9", ["no revision 'v9'"]),
        ("hf:else/where", ["holds no text", "1 with .parquet"]),
        ("hf:else/where/data/train.parquet", [".parquet are not read", ".jsonl"]),
        ("hf:alone", ["names no dataset repository", "hf:owner/name"]),
        ("hf:", ["names no dataset repository"]),
        ("hf:../../etc", ["names no dataset repository"]),
    ],
)
def test_what_is_not_there_is_said_with_what_to_do(
    hub: Hub, sources: Sources, spec: str, words: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        open_source(spec, sources)
    for word in words:
        assert word in f"{caught.value.message} | {caught.value.hint}"


def test_a_cache_that_cannot_be_written_is_a_storage_error(
    hub: Hub, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(blocked))
    source = open_source("hf:fs90/nano-start-data", sources)
    with pytest.raises(StorageError, match="cannot write to the cache"):
        list(source.documents())


def test_the_source_says_that_it_must_be_fetched(hub: Hub, sources: Sources) -> None:
    assert isinstance(open_source("hf:fs90/nano-start-data", sources), RemoteSource)
    assert not isinstance(open_source("nano-start", sources), RemoteSource)


def test_every_failure_is_ours(hub: Hub, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "not a url")
    with pytest.raises(NanoshellError):
        open_source("hf:fs90/nano-start-data", sources)


def test_a_password_in_the_endpoint_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@127.0.0.1:9")
    client = Client()
    assert client.endpoint == "http://me:secret@127.0.0.1:9"
    assert client.shown_endpoint == "http://127.0.0.1:9"
