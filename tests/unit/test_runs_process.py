"""Workers as real processes: the lock, who lives, how a worker is started, killed, asked and collected.

The worker here is a stand-in: a package named ``nanoshell`` that comes first on the path, whose ``__main__``
writes a run in the way the real worker does, without a model.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import nanoshell
from nanoshell.errors import RunError
from nanoshell.runs.control import request, wait_for
from nanoshell.runs.directory import RunDirectory, create_run, remove_run
from nanoshell.runs.events import EventLog, follow, read_events
from nanoshell.runs.process import (
    hold_lock,
    process_start,
    read_process,
    start_worker,
    worker_alive,
    write_process,
)
from nanoshell.runs.pruning import prune
from nanoshell.spelling import spelled_with

WORKER = """
import signal, sys, time
from pathlib import Path
from nanoshell.runs.control import ControlInbox
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import hold_lock, write_process

print("arguments:", *sys.argv[1:])
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append("signal"))
run = RunDirectory(Path(sys.argv[-1]))
with hold_lock(run):
    write_process(run)
    inbox, log = ControlInbox(run), EventLog(run.events_path)
    log.write("state", state="running", total_steps=100)
    with log.beating(0.05):
        step = 0
        while not stop:
            step += 1
            log.write("step", step=step, loss=1 / step)
            for asked in inbox.poll():
                log.write("control", id=asked["id"], action=asked["action"], ok=True, message="done")
                if asked["action"] == "stop":
                    stop.append("asked")
                if asked["action"] == "die":
                    raise SystemExit("Killed by a bad idea")
            time.sleep(0.005)
        log.write("state", state="stopped", reason=stop[0])
"""


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for ``condition``; a generous limit only keeps a broken program from hanging the tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def run(runs_dir: Path) -> Iterator[RunDirectory]:
    run = create_run(runs_dir, "demo", {})
    yield run
    process = read_process(run)
    if process and process.pid != os.getpid() and worker_alive(run):
        os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``python -m nanoshell`` run `WORKER`, with the real rooms behind it."""
    package = tmp_path / "stand-in" / "nanoshell"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"__path__.append({str(Path(nanoshell.__file__).parent)!r})\n")
    (package / "__main__.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


@pytest.fixture
def writer(run: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of ``run`` and has said that it is running."""
    program = (
        "import sys; from pathlib import Path\n"
        "from nanoshell.runs.directory import RunDirectory\n"
        "from nanoshell.runs.events import EventLog\n"
        "from nanoshell.runs.process import hold_lock, write_process\n"
        "run = RunDirectory(Path(sys.argv[1]))\n"
        "with hold_lock(run):\n"
        "    write_process(run)\n"
        "    EventLog(run.events_path).write('state', state='running')\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_two_writers_are_refused_and_the_other_is_named(
    run: RunDirectory, writer: subprocess.Popen[str]
) -> None:
    with (
        pytest.raises(RunError, match=rf"'demo-1' is being written by process {writer.pid} on "),
        hold_lock(run),
    ):
        pass
    with pytest.raises(RunError, match="is being written"):
        start_worker(run)
    with pytest.raises(RunError, match="is being written"):
        remove_run(run)
    assert prune(run.path.parent, empty=True) == []
    assert run.path.is_dir()


def test_a_worker_that_said_its_last_is_waited_for(
    run: RunDirectory, writer: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its final state and the end of its process, whoever comes next need not try twice."""
    monkeypatch.setattr("nanoshell.runs.process._LOCK_PATIENCE_SECONDS", 60.0)
    assert writer.stdin is not None
    EventLog(run.events_path).write("state", state="finished")
    threading.Timer(0.1, writer.stdin.close).start()
    with hold_lock(run):
        assert run.status().state == "finished"


def test_kill_9_of_the_writer_frees_the_lock_and_shows_as_a_crash(
    run: RunDirectory, writer: subprocess.Popen[str]
) -> None:
    run.log_path.write_text("step 7\nTraceback\nMemoryError: no more\n\n")
    assert run.status().state == "running"
    assert worker_alive(run) is True
    writer.kill()
    # Not collected yet: a zombie still has its number and its start time, but it does nothing any more.
    until(lambda: psutil.Process(writer.pid).status() == psutil.STATUS_ZOMBIE)
    assert worker_alive(run) is False
    status = run.status()
    assert status.state == "crashed"
    assert status.ended
    assert str(writer.pid) in status.reason
    assert status.reason.endswith("MemoryError: no more")
    assert run.log_tail(2) == "Traceback\nMemoryError: no more"
    with hold_lock(run):
        write_process(run)
        assert run.status().state == "starting"
    with pytest.raises(RunError, match="it is crashed"):
        writer.wait()
        run.process_path.unlink()
        request(run, "stop")


def test_a_later_process_of_the_same_number_is_not_taken_for_the_worker(run: RunDirectory) -> None:
    write_process(run)
    assert worker_alive(run) is True
    assert run.status().state == "starting"
    record = json.loads(run.process_path.read_text())
    record["start"] -= 10
    run.process_path.write_text(json.dumps(record))
    assert worker_alive(run) is False
    assert run.status().state == "crashed"


def test_the_start_of_a_process_is_the_one_that_psutil_knows() -> None:
    """Two processes started at different times differ as much by our measure as by psutil's."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mine, its = process_start(os.getpid()), process_start(child.pid)
    assert mine is not None
    assert its is not None
    expected = psutil.Process(child.pid).create_time() - psutil.Process().create_time()
    assert its - mine == pytest.approx(expected, abs=0.05)
    child.communicate(b"\n")
    assert process_start(child.pid) is None


def test_a_run_of_another_host_is_not_judged_by_our_process_table(run: RunDirectory) -> None:
    log = EventLog(run.events_path)
    run.process_path.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid(), "start": 1.0}))
    log.write("state", state="running")
    assert worker_alive(run) is None
    assert run.status().state == "running"
    with (
        pytest.raises(RunError, match=r"being written by process .* on elsewhere") as caught,
        spelled_with(":"),
    ):
        start_worker(run)
    assert f"end it: :runs stop {run.name}" in caught.value.hint
    with pytest.raises(RunError, match="another host"):
        remove_run(run)


def test_a_damaged_process_file_is_no_traceback(run: RunDirectory) -> None:
    for text in ("", "[]", '{"pid": 1}', '{"host": "x", "pid": "many", "start": 0}'):
        run.process_path.write_text(text)
        assert read_process(run) is None
        assert worker_alive(run) is False


@pytest.mark.usefixtures("stand_in")
def test_a_worker_is_started_in_a_session_of_its_own_and_collected(run: RunDirectory) -> None:
    pid = start_worker(run, ["--safe"])
    process = read_process(run)
    assert process is not None
    assert (process.pid, process.host) == (pid, socket.gethostname())
    until(lambda: run.status().state == "running")
    assert os.getsid(pid) == pid != os.getsid(0)
    assert stat.S_IMODE(run.log_path.stat().st_mode) == 0o600
    assert run.log_tail() == f"arguments: --safe train --run {run.path}"
    os.kill(pid, signal.SIGTERM)
    assert [event["reason"] for event in follow(run) if event.get("state") == "stopped"] == ["signal"]
    until(lambda: not psutil.pid_exists(pid))  # collected: not even a zombie is left
    assert run.status().state == "stopped"


@pytest.mark.usefixtures("stand_in")
def test_a_request_is_answered_also_when_it_is_made_before_the_worker_reads(run: RunDirectory) -> None:
    run.control_path.write_text('{"id": "old", "t": 1, "action": "die"}\n')
    start_worker(run)
    asked = request(run, "pause")  # the worker is still importing
    answer = wait_for(run, asked, timeout=300)
    assert answer is not None
    assert (answer["action"], answer["ok"], answer["message"]) == ("pause", True, "done")
    wait_for(run, request(run, "stop"), timeout=300)
    list(follow(run))
    assert "old" not in {event.get("id") for event in read_events(run.events_path)[0]}
    with pytest.raises(RunError, match=r"is not running: it is stopped \(asked\)") as caught:
        request(run, "stop")
    assert "train --resume demo-1" in caught.value.hint


@pytest.mark.usefixtures("stand_in")
def test_a_worker_that_dies_is_seen_by_all_who_watch(run: RunDirectory) -> None:
    start_worker(run)
    answer = wait_for(run, request(run, "die"), timeout=300)
    assert answer is not None
    last = list(follow(run))[-1]
    assert last["state"] == run.status().state == "crashed"
    assert last["reason"].endswith("its last words: Killed by a bad idea")
    assert wait_for(run, "never answered", timeout=300) is None  # at once: nobody is there to answer


@pytest.mark.usefixtures("stand_in")
def test_the_log_tells_which_signal_ended_a_worker(run: RunDirectory) -> None:
    pid = start_worker(run)
    until(lambda: run.status().state == "running")
    os.kill(pid, signal.SIGKILL)
    until(lambda: "was ended by SIGKILL (the system does so when memory runs out)" in run.status().reason)
    assert run.status().state == "crashed"


@pytest.mark.usefixtures("stand_in")
def test_a_second_worker_continues_where_the_first_ended(run: RunDirectory) -> None:
    for _ in range(2):
        start_worker(run)
        until(lambda: run.status().state == "running")
        request(run, "stop")
        until(lambda: run.status().state == "stopped")
        until(lambda: worker_alive(run) is False)
    states = [event["state"] for event in read_events(run.events_path)[0] if event["type"] == "state"]
    assert states == ["running", "stopped"] * 2
    assert remove_run(run) > 0
    assert not run.path.exists()


@pytest.mark.usefixtures("stand_in")
def test_of_many_who_start_a_worker_at_once_one_succeeds(run: RunDirectory) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from nanoshell.runs.directory import RunDirectory\n"
        "from nanoshell.runs.process import start_worker\n"
        "from nanoshell.errors import RunError\n"
        "try: print(start_worker(RunDirectory(Path(sys.argv[1]))))\n"
        "except RunError: print('refused')\n"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", program, str(run.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [starter.communicate()[0].strip() for starter in starters]
    assert said.count("refused") == 3
    # The worker outlives the program that started it.
    until(lambda: run.status().state == "running")
    assert [str(run.status().pid)] == [text for text in said if text != "refused"]
    os.kill(int(str(run.status().pid)), signal.SIGTERM)
    list(follow(run))


def test_a_worker_that_cannot_start_leaves_its_words(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "nanoshell"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("")
    (broken / "__main__.py").write_text("raise ImportError('torch is not here')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    start_worker(run)
    until(lambda: run.status().state == "crashed")
    assert run.status().reason.endswith("ImportError: torch is not here")
    assert [event["state"] for event in follow(run)] == ["crashed"]


@pytest.mark.usefixtures("stand_in")
def test_a_file_named_like_a_library_in_the_current_folder_is_not_run(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    start_worker(run)
    answer = wait_for(run, request(run, "stop"), timeout=300)
    assert answer is not None
    assert "hijacked" not in run.log_tail()
