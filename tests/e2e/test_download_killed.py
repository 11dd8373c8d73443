"""A process that is killed while it fetches leaves nothing that anybody would take for the file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from nanoshell import download, find_download
from nanoshell.paths import cache_dir
from tests.unit.fileserver import SHA256, TEXT, Handler, serving


def test_a_killed_download_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    begun, done = threading.Event(), threading.Event()

    def answer(handler: Handler) -> None:
        if begun.is_set():
            handler.send(TEXT)
            return
        handler.send(TEXT, cut=200_000, length=len(TEXT))
        begun.set()
        done.wait(60)

    with serving() as server:
        server.answer = answer
        program = f"from nanoshell import download; download([{server.url()!r}])"
        process = subprocess.Popen([sys.executable, "-c", program], env=os.environ)
        folder = cache_dir() / "downloads"
        while not any(path.stat().st_size for path in folder.glob(".*.part")):  # pytest's timeout ends it
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        done.set()
        assert find_download(server.url()) is None
        assert all(path.name.startswith(".") for path in folder.iterdir())
        for path in folder.iterdir():
            os.utime(path, (0, 0))
        assert download([server.url()], sha256=SHA256).path.read_bytes() == TEXT
        assert len(list(folder.iterdir())) == 2, "what was left half-written is swept away a day later"
