"""A dashboard behind a page ends when the page is gone, whatever it is about to write."""

from __future__ import annotations

import asyncio
import shlex
import sys

import pytest

from nanoshell.dashboard import serving

app_service = pytest.importorskip("textual_serve.app_service")
downloads = pytest.importorskip("textual_serve.download_manager")

WRITING = """
import os, sys, threading
def listen():
    if b"quit" in os.read(0, 1000):
        asked.set()
asked = threading.Event()
threading.Thread(target=listen, daemon=True).start()
os.write(1, b"__GANGLION__\\n")
while not asked.is_set():
    os.write(1, b"D" + (100_000).to_bytes(4, "big") + b"x" * 100_000)
"""
"""Writes without a pause, and looks whether it is to end when that has been read."""

DEAF = WRITING.replace("not asked.is_set()", "True")


@pytest.mark.parametrize("page", ["gone", "taking nothing"])
@pytest.mark.parametrize(("script", "code"), [(WRITING, 0), (DEAF, -9)])
def test_a_dashboard_whose_page_is_gone_ends(
    page: str, script: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HAND_ON_SECONDS", 0.05)
    if script is DEAF:
        monkeypatch.setattr(serving, "END_SECONDS", 0.5)
    else:
        monkeypatch.setattr(serving, "END_SECONDS", 60.0)

    async def serve() -> int:
        tried = asyncio.Event()

        async def take(_data: object = None) -> None:
            tried.set()
            if page == "gone":
                raise ConnectionResetError
            await asyncio.Event().wait()

        service = app_service.AppService(
            f"exec {shlex.join([sys.executable, '-c', script])}",
            write_bytes=take,
            write_str=take,
            close=take,
            download_manager=downloads.DownloadManager(),
        )
        await service.start(80, 24)
        await tried.wait()
        await serving._end(service)
        await service.stop()  # as the library does then
        while await service._process.stdout.read(1 << 16):
            pass
        return int(await service._process.wait())

    assert asyncio.run(serve()) == code
