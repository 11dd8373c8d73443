"""The dashboard in a browser: a page, behind it a dashboard that only reads, and nothing for other sites."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nanoshell.runs.control import read_lines
from nanoshell.testing import FakeRun

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("textual_serve")

PATIENCE_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[FakeRun]:
    with FakeRun(tmp_path / "runs") as made:
        made.step(30)
        yield made


@pytest.fixture
def port(tmp_path: Path, nanoshell_home: Path, run: FakeRun) -> Iterator[int]:
    """The port of a server in a process of its own, which ends in good order when it is told to."""

    def serve(number: int) -> tuple[subprocess.Popen[str], str]:
        words = ["dashboard", "--web", "--port", str(number), "fake-1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "nanoshell", *words],
            cwd=tmp_path,
            env={**os.environ, "NANOSHELL_HOME": str(nanoshell_home)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        return process, process.stderr.readline()

    for _attempt in range(5):  # a port that was free may be taken a moment later
        number = free_port()
        process, said = serve(number)
        if "cannot listen" not in said:
            break
        process.communicate()
    try:
        assert f"http://127.0.0.1:{number} and only reads" in said
        yield number
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


class Page:
    """What the script of a page does: it sends keys, and draws what it is sent."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.seen = ""

    async def press(self, keys: str) -> None:
        for key in keys:
            await self._socket.send_json(["stdin", key])

    async def wait_for(self, *words: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not all(word in self.seen for word in words):
            assert time.monotonic() < end, self.seen
            with contextlib.suppress(asyncio.TimeoutError):
                message = await self._socket.receive(timeout=0.5)
                self.seen += message.data.decode() if isinstance(message.data, bytes) else ""


def test_a_page_shows_the_run_and_asks_nothing_of_it(port: int, run: FakeRun) -> None:
    async def browse() -> str:
        address = f"127.0.0.1:{port}"
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://{address}/") as page:
                assert page.status == 200
                text = await page.text()
                assert f"ws://{address}/ws" in text
                assert "https:" not in text  # nothing is asked of other machines
                assert text.count("<title>nanoshell dashboard</title>") == 1
            async with client.ws_connect(f"ws://{address}/ws?width=80&height=24") as socket:
                page = Page(socket)
                await page.wait_for("fake-1", "Quit")
                await page.press("PSyRCEGX{}")
                await page.press("\x10")
                await page.wait_for("hat is to be done?", "Zoom")  # the palette has what can be looked at
                await page.press(":trai")
                await page.wait_for("No matches found")
                return str(page.seen)

    seen = asyncio.run(browse())
    for word in ("Chat", "Pause", "Stop and save", "Train longer", ":train"):
        assert word not in seen
    path = run.run.control_path
    assert not path.exists() or not list(read_lines(path, 0))


def test_a_closed_page_ends_its_dashboard_and_no_other(port: int) -> None:
    def dashboards() -> set[int]:
        here = {child.pid: child for child in psutil.Process().children(recursive=True)}
        found = set()
        for pid, child in here.items():
            with contextlib.suppress(psutil.Error):
                if "--read-only" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.add(pid)
        return found

    async def browse() -> None:
        address = f"ws://127.0.0.1:{port}/ws?width=80&height=24"
        async with aiohttp.ClientSession() as client, client.ws_connect(address) as kept:
            page = Page(kept)
            await page.wait_for("fake-1", "Quit")
            first = dashboards()
            assert len(first) == 1
            async with client.ws_connect(address) as closed:
                await Page(closed).wait_for("fake-1", "Quit")
                assert len(dashboards()) == 2
            end = time.monotonic() + PATIENCE_SECONDS
            while dashboards() != first:
                assert time.monotonic() < end, "it goes on"
                await asyncio.sleep(0.05)
            await page.press("?")
            await page.wait_for("Crosshair to the next point")

    asyncio.run(browse())


@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}])
@pytest.mark.parametrize("place", ["/", "/ws"])
def test_pages_of_other_sites_are_refused(port: int, headers: dict[str, str], place: str) -> None:
    async def ask() -> int:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{port}{place}", headers=headers) as answer,
        ):
            return int(answer.status)

    assert asyncio.run(ask()) == 403


def test_what_is_wrong_is_said_before_anything_is_served(
    tmp_path: Path, nanoshell_home: Path, run: FakeRun
) -> None:
    def say(*words: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "nanoshell", "dashboard", *words],
            cwd=tmp_path,
            env={**os.environ, "NANOSHELL_HOME": str(nanoshell_home), **env},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        return done.returncode, done.stderr

    assert say("--port", "8123") == (2, "error: --port goes with --web alone\n")
    code, said = say("--web", "--no-mouse")
    assert code == 2
    assert "--no-mouse goes with a terminal alone" in said
    code, said = say("--web", "moon")
    assert code == 2
    assert "moon" in said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = say("--web", "--port", str(taken.getsockname()[1]))
        assert code == 1
        assert "cannot listen at 127.0.0.1:" in said
        free = int(said.partition("--port ")[2].split()[0])
        assert taken.getsockname()[1] < free <= taken.getsockname()[1] + 20
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "textual_serve.py").write_text("raise ImportError('gone', name='textual_serve')\n")
    code, said = say("--web", PYTHONPATH=str(hidden))
    assert code == 1
    assert "pip install 'nanoshell[web]'" in said
