"""A reply outlives its process: real ones, killed by a real signal in the middle of a reply."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoshell import paths
from nanoshell.chat.history import ConversationStore
from nanoshell.chat.template import Message
from nanoshell.errors import NanoshellError

SLOW = """
import time
from nanoshell import hookimpl

def stuck(value):
    count = []
    def step(logits, history):
        count.append(1)
        if len(count) > value:
            time.sleep(1000)
        return logits
    return step

def slow(value):
    def step(logits, history):
        time.sleep(value / 1000)
        return logits
    return step

@hookimpl
def register_samplers(register):
    register("stuck", stuck, order=99, default=0, neutral=0, summary="Answer no more after so many tokens")
    register("slow", slow, order=98, default=0, neutral=0, summary="Milliseconds for each token")
"""


@pytest.fixture
def started(tmp_path: Path, model: str) -> Iterator[object]:
    """Return a function that starts the program with arguments, its reply to be read from a pipe."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "slow.py").write_text(SLOW)
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(folder), "--model", model]
        process = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=tmp_path
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def kept() -> list[Message]:
    """Return the messages of the last conversation, as another process finds them."""
    store = ConversationStore(paths.data_dir() / "conversations.db")
    with contextlib.closing(store), contextlib.suppress(NanoshellError):
        last = store.last()
        return last.messages if last is not None else []
    return []


def wait_for_reply(process: subprocess.Popen[bytes], text: str) -> list[Message]:
    deadline = time.monotonic() + 60
    while not (found := kept()) or found[-1].content != text:
        assert process.poll() is None
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(300) == -signal.SIGKILL


def test_a_killed_reply_is_kept_as_interrupted_and_a_killed_retry_loses_nothing(started, nanoshell) -> None:
    """The process says eight tokens and then none: all eight are kept, though no ninth comes."""
    forced = ("--logit-bias", " Paris=100", "--sampler", "stuck=8")
    process = started("chat", "--message", "Where?", *forced)
    assert [message.interrupted for message in wait_for_reply(process, " Paris" * 8)] == [False, True]
    kill(process)

    shown = nanoshell("chat", "show", "--json").json
    assert [turn["content"] for turn in shown["messages"]] == ["Where?", " Paris" * 8]
    assert shown["messages"][1]["interrupted"]
    assert shown["messages"][1]["tokens"] == 8

    retried = ":retry --logit-bias ' Rome=100' --sampler stuck=3"
    process = started("-c", f":chat switch {shown['name']}", "-c", retried)
    wait_for_reply(process, " Rome" * 3)
    kill(process)
    question, reply = kept()
    assert (reply.content, reply.interrupted) == (" Rome" * 3, True)
    assert question.replaced == ((Message("user", "Where?"), Message("assistant", " Paris" * 8, True)),)
    back = nanoshell("-c", f":chat switch {shown['name']}", "-c", ":retry --back").out
    assert "Paris" in back.splitlines()[-1]


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_of_a_reply_killed_at_any_moment_a_quarter_of_a_second_is_lost_at_most(started) -> None:
    """What came out of the pipe 250 ms before the signal is kept, ten times over."""
    for _ in range(10):
        drawn = ("--sampler", "slow=15", "--logit-bias", " Paris=100", "--max-tokens", "40")
        process = started("chat", "--message", "Where?", *drawn)
        assert process.stdout is not None
        moments: list[tuple[float, int]] = []
        said = b""
        end = None
        while end is None or time.monotonic() < end:
            if select.select([process.stdout], [], [], 0.005)[0]:
                said += os.read(process.stdout.fileno(), 4096)
                moments.append((time.monotonic(), len(said)))
                end = end or time.monotonic() + random.uniform(0, 0.5)
        killed = time.monotonic()
        kill(process)
        due = max((size for moment, size in moments if moment <= killed - 0.25), default=0)
        reply = kept()[-1]
        assert reply.role == "assistant" or due == 0
        assert len(reply.content) >= due or said.endswith(b"\n")
