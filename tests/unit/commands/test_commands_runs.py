"""``runs``, and waiting for a run, with the test as the worker."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from nanoshell.errors import Interrupted, RunError
from nanoshell.opening import open_session
from nanoshell.runs.control import ControlInbox
from nanoshell.runs.directory import RunDirectory, RunStatus
from nanoshell.session import Session
from nanoshell_commands.demo import losses
from nanoshell_commands.progress import STEP_FIELDS
from nanoshell_commands.watch import Watch


class FakeScreen:
    """A screen that is read by the test."""

    def __init__(self, *, live: bool = False, prompt: bool = False) -> None:
        self.live = live
        self.prompt = prompt
        self.out = Console(file=io.StringIO(), width=100)
        self.err = Console(file=io.StringIO(), width=100, force_terminal=live)
        self.notes: list[str] = []

    def write(self, text: str, style: str = "") -> None:
        self.out.file.write(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def shown(self) -> str:
        return self.out.file.getvalue()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return open_session(safe=True)


def test_lines_are_the_steps_with_their_fields_and_nothing_else(session, fake_run) -> None:
    fake = fake_run()
    fake.step(1, 11.5)
    fake.log.write("eval", step=1, val_loss=11.0)
    fake.step(2, float("nan"))
    fake.end()
    first, second = Watch(session, fake.run).lines()
    assert tuple(first) == STEP_FIELDS
    assert first["loss"] == 11.5
    assert second == {**second, "loss": None, "not_finite": {"loss": "nan"}}
    assert fake.run.name not in dict(session.runs_in_progress())


def test_lines_come_at_the_interval_of_the_config_and_at_the_end(session, fake_run) -> None:
    fake = fake_run(total_steps=8, log_interval=3)
    for step in range(1, 9):
        fake.step(step)
    fake.end()
    assert [line["step"] for line in Watch(session, fake.run).lines()] == [3, 6, 8]


def test_a_resumed_run_tells_only_its_new_steps(session, fake_run) -> None:
    fake = fake_run()
    fake.step(1)
    events = fake.run.events_path.read_text().splitlines()
    old = [json.dumps({**json.loads(line), "t": json.loads(line)["t"] - 100}) for line in events]
    fake.run.events_path.write_text("\n".join(old) + "\n")
    since = json.loads(events[0])["t"] - 1
    fake.log.write("resume", from_step=1)
    fake.step(2)
    fake.end()
    assert [line["step"] for line in Watch(session, fake.run, since=since).lines()] == [2]


def test_plain_lines_name_the_first_step_and_the_last(session, fake_run) -> None:
    fake = fake_run(total_steps=30)
    for number in range(1, 31):
        fake.step(number, 5.0 / number)
    fake.end()
    screen = FakeScreen()
    Watch(session, fake.run).show(screen)
    assert screen.notes[0].startswith("step 1/30  loss 5")
    assert screen.notes[-1].startswith("step 30/30")
    assert len(screen.notes) < 30
    assert "tiny-1 finished: 30 steps" in screen.shown


def test_a_terminal_gets_a_bar_with_loss_and_speed(session, fake_run) -> None:
    fake = fake_run(total_steps=2)
    fake.step(1)
    fake.step(2, 0.125)
    fake.end()
    screen = FakeScreen(live=True)
    Watch(session, fake.run).show(screen)
    drawn = screen.err.file.getvalue()
    assert "2/2" in drawn
    assert "loss 0.125" in drawn
    assert "2.0k tokens/s" in drawn
    assert "tiny-1 finished" in screen.shown


def test_the_prompt_does_not_wait(session, fake_run) -> None:
    fake = fake_run()
    screen = FakeScreen(prompt=True)
    Watch(session, fake.run).show(screen)  # its worker never ends: waiting would hang
    assert "in the background" in screen.notes[0]


def test_an_unexpected_failure_fails_the_command_with_its_reason_and_the_end_of_the_log(
    session, fake_run
) -> None:
    fake = fake_run()
    fake.step(1)
    fake.run.log_path.write_text("loading\nout of ideas\n")
    fake.log.write("state", state="failed", reason="ValueError: no idea", hint="look", unexpected=True)
    screen = FakeScreen()
    with pytest.raises(RunError, match="tiny-1 failed: ValueError: no idea") as caught:
        Watch(session, fake.run).show(screen)
    assert "runs log tiny-1" in caught.value.hint
    assert "out of ideas" in screen.notes[-1]


def test_a_crash_says_its_last_words_once_and_how_to_go_on(session, fake_run, monkeypatch) -> None:
    fake = fake_run()
    fake.step(1)
    fake.run.log_path.write_text("loading\nended by SIGKILL\n")
    reason = "process 7 is gone; its last words: ended by SIGKILL"
    monkeypatch.setattr(RunDirectory, "latest_checkpoint", lambda run: run.path / "step-000001")
    monkeypatch.setattr(RunDirectory, "status", lambda run: RunStatus("crashed", reason=reason))
    monkeypatch.setattr(Watch, "_events", lambda watch: iter(()))
    screen = FakeScreen()
    with pytest.raises(RunError) as caught:
        Watch(session, fake.run).show(screen)
    assert caught.value.message == "run tiny-1 crashed: process 7 is gone"
    assert "ended by SIGKILL" in screen.notes[-1]
    assert "train --resume tiny-1" in caught.value.hint


@pytest.mark.parametrize("live", [False, True])
def test_a_failure_that_explains_itself_is_told_once(session, fake_run, live: bool) -> None:
    fake = fake_run()
    fake.step(1)
    fake.run.log_path.write_text("error: the disk is full\n")
    fake.log.write("alert", kind="odd", message="something else", step=1)
    fake.log.write("alert", kind="storage", message="the disk is full", step=1)
    fake.log.write("heartbeat")
    fake.log.write("state", state="failed", reason="the disk is full", hint="make room")
    screen = FakeScreen(live=live)
    with pytest.raises(RunError, match="tiny-1 failed: the disk is full") as caught:
        Watch(session, fake.run).show(screen)
    assert caught.value.hint.startswith("make room")
    said = "\n".join([*screen.notes, screen.err.file.getvalue()])
    assert "alert: something else" in said
    assert "disk is full" not in said


def test_a_run_whose_worker_is_gone_fails_the_command(session, fake_run) -> None:
    fake = fake_run(alive=False)
    fake.step(1)
    worker = {"host": os.uname().nodename, "pid": 2**22 + 5, "start": 1.0}
    fake.run.process_path.write_text(json.dumps(worker))
    lines = Watch(session, fake.run).lines()
    assert next(lines)["step"] == 1
    with pytest.raises(RunError, match="crashed"):
        next(lines)


def _worker_that_obeys(fake, inbox: ControlInbox, ended: threading.Event) -> None:
    while not ended.wait(0.01):
        if any(asked["action"] == "stop" for asked in inbox.poll()):
            fake.end("stopped", "asked to")
            return


def test_ctrl_c_asks_the_run_to_save_and_stop_and_waits_for_it(session, fake_run) -> None:
    fake = fake_run()
    fake.step(1)
    ended = threading.Event()
    worker = threading.Thread(target=_worker_that_obeys, args=(fake, ControlInbox(fake.run), ended))
    before = signal.getsignal(signal.SIGINT)
    lines: Iterator[dict[str, object]] = Watch(session, fake.run).lines()
    assert next(lines)["step"] == 1
    worker.start()
    try:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="saved and stopped at step 1") as caught:
            list(lines)
    finally:
        ended.set()
        worker.join()
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_ctrl_c_leaves_the_run_in_the_background(session, fake_run) -> None:
    fake = fake_run()
    fake.step(1)
    screen = FakeScreen()
    presses: list[str] = []

    def press(text: str) -> None:
        presses.append(text)
        signal.raise_signal(signal.SIGINT)

    screen.note = press
    fake.log.write("eval", step=1, val_loss=1.0)  # a second line, and with it the second press
    with pytest.raises(Interrupted, match="tiny-1 saves and stops by itself"):
        Watch(session, fake.run).show(screen)
    assert len(presses) == 2
    assert not fake.run.status().ended


def test_an_interrupt_that_is_no_ctrl_c_asks_the_run_to_stop_as_it_says(session, fake_run) -> None:
    fake = fake_run()
    fake.step(1)
    screen = FakeScreen()

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    screen.note = interrupt
    with pytest.raises(Interrupted, match="tiny-1 saves and stops by itself"):
        Watch(session, fake.run).show(screen)
    assert '"stop"' in fake.run.control_path.read_text()


def test_the_list_tells_state_step_loss_and_size(nanoshell, fake_run) -> None:
    first, second = fake_run(), fake_run()
    first.step(3, 2.5)
    first.end()
    second.step(1)
    rows = nanoshell("runs", "--json").json
    assert [row["name"] for row in rows] == ["tiny-2", "tiny-1"]
    assert rows[1] == {**rows[1], "state": "finished", "step": 3, "total_steps": 10, "loss": 2.5}
    assert rows[1]["bytes"] > 0
    assert "3/10" in nanoshell("runs", "list").out


def test_another_folder_of_runs_can_be_named(nanoshell, fake_run, tmp_path: Path) -> None:
    fake_run().end()
    assert nanoshell("runs", "list", "--runs-dir", "runs", "--json").json[0]["name"] == "tiny-1"
    assert nanoshell("runs", "list", "--runs-dir", "elsewhere", "--json").json == []


def test_show_and_log(nanoshell, fake_run) -> None:
    fake = fake_run()
    fake.step(2)
    fake.end()
    fake.run.log_path.write_text("one\ntwo\nthree\n")
    shown = nanoshell("runs", "show", "tiny", "--json").json
    assert (shown["name"], shown["step"], shown["record"]["source"]) == ("tiny-1", 2, "nano-start")
    assert nanoshell("runs", "show").out.startswith("run ")
    log = nanoshell("runs", "log", "tiny-1", "-n", "2")
    told, ended, *printed = log.out.splitlines()
    assert (told[8:], ended[8:]) == ("  step 2  loss 1.000", "  step 2  finished")
    assert printed == ["two", "three"]
    assert "worker.log" in log.err
    events = nanoshell("runs", "log", "tiny-1", "--json").lines
    assert [event.get("type", event.get("text")) for event in events] == [
        *("state", "step", "state"),
        *("one", "two", "three"),
    ]
    events = nanoshell("runs", "log", "--follow", "--json").lines
    assert events == []


def test_an_empty_log_shows_how_the_run_went(nanoshell, fake_run) -> None:
    fake = fake_run(batch_size=7)
    for step in (1, 2, 3):
        fake.step(step)
    fake.end()
    said = nanoshell("runs", "log", "tiny-1")
    assert [line[10:] for line in said.out.splitlines()] == [
        "running",
        "step 3  loss 1.000",
        "step 3  finished",
    ]
    assert [event["type"] for event in nanoshell("runs", "log", "tiny-1", "--json").lines] == [
        "state",
        "step",
        "state",
    ]
    assert "batch_size 7" in nanoshell("runs", "show").out


def test_rm_takes_whole_names_only(nanoshell, fake_run) -> None:
    fake = fake_run()
    fake.end()
    for part in ("tiny", "t", "tiny-"):
        assert nanoshell("runs", "rm", part, "--yes").code == 2
    assert fake.run.path.is_dir()


def test_the_losses_of_a_demo_are_of_the_course_that_was_kept(fake_run) -> None:
    fake = fake_run()
    for step in (1, 2, 3):
        fake.step(step)
    fake.log.write("resume", from_step=1)
    fake.step(2, loss=0.5)
    assert losses(fake.run) == [(1, 1.0), (2, 0.5)]


def test_rm_asks_and_obeys(nanoshell, fake_run) -> None:
    fake = fake_run()
    fake.end()
    (fake.run.process_path).unlink()
    said = nanoshell("runs", "rm", "tiny-1", stdin=b"n\n")
    assert (said.code, "nothing was done: the answer was no" in said.err) == (1, True)
    assert "interrupted" not in said.err
    assert fake.run.path.is_dir()
    said = nanoshell("runs", "rm", "tiny-1", "--yes", "--json")
    assert said.code == 0
    assert said.json[0]["run"] == "tiny-1"
    assert not fake.run.path.exists()


def test_a_run_in_progress_is_not_removed(nanoshell, fake_run) -> None:
    finished, running = fake_run(), fake_run()
    finished.end()
    said = nanoshell("runs", "rm", "tiny-1", "tiny-2", "--yes")
    assert said.code == 1
    assert "runs stop tiny-2" in said.err
    assert running.run.record_path.exists()
    assert finished.run.record_path.exists()


def test_prune_keeps_the_newest_checkpoint(nanoshell, fake_run) -> None:
    fake = fake_run()
    for step in (100, 200):
        folder = fake.run.checkpoints_dir / f"step-{step:06}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
    fake.end()
    fake.run.process_path.unlink()
    would = nanoshell("runs", "prune", "--dry-run", "--json").json
    assert [(row["run"], row["kind"], row["bytes"]) for row in would] == [("tiny-1", "checkpoint", 1000)]
    assert nanoshell("runs", "prune", stdin=b"n\n").code != 0
    assert len(fake.run.checkpoints()) == 2
    assert nanoshell("runs", "prune", "--yes").code == 0
    assert [kept.step for kept in fake.run.checkpoints()] == [200]
    assert nanoshell("runs", "prune", "--yes").code == 0


def test_an_unknown_run_names_the_nearest(nanoshell, fake_run) -> None:
    fake_run("shakespeare").end()
    said = nanoshell("runs", "show", "shakespear-1")
    assert said.code == 2
    assert "shakespeare-1" in said.err


def test_the_load_of_experts_is_shown_shortly(nanoshell, fake_run) -> None:
    fake = fake_run()
    record = fake.run.record() | {"model": {"name": "tiny", "num_experts": 4}}
    fake.run.record_path.write_text(yaml.safe_dump(record))
    assert nanoshell("runs", "show", "tiny-1", "--json").json["expert_load"] is None
    fake.log.write("step", step=1, loss=2.0, expert_load={"1": [0.1234, 0.25, 0.2, 0.4266]})
    load = {"1": [0.2, 0.25, 0.25, 0.3], "3": [0.25, 0.25, 0.25, 0.25]}
    fake.log.write("step", step=2, loss=2.0, expert_load=load)
    fake.end()
    shown = nanoshell("runs", "show", "tiny-1")
    assert "layer 1: 20.0% to 30.0% of its load (even: 25.0%)\n" in shown.out
    assert "layer 3: 25.0% to 25.0% of its load" in shown.out
    assert nanoshell("runs", "show", "tiny-1", "--json").json["expert_load"] == load
    log = nanoshell("runs", "log", "tiny-1").out
    assert "load of experts by layer 1: 0.20 to 0.30, 3: 0.25 to 0.25" in log


def test_the_log_tells_what_a_resume_forced_and_a_sample_on_one_line(nanoshell, fake_run) -> None:
    fake = fake_run()
    forced = [{"what": "trainer.seed", "before": 1, "now": 2}]
    fake.log.write("resume", from_step=4, checkpoint="c", forced=forced, begun_anew=["data position"])
    fake.log.write("sample", step=5, index=0, prompt="One\n", text="two\nthree")
    fake.log.write("checkpoint", step=5, path="x/step-000005", bytes=2_000_000, seconds=0.1)
    fake.end("failed", "no room")
    assert [line[10:] for line in nanoshell("runs", "log").out.splitlines()] == [
        "running",
        "resumed from step 4; forced: trainer.seed 1 -> 2; begun anew: data position",
        "step 5  sample: One two three",
        "step 5  saved step-000005 (2.0 MB)",
        "step 5  failed: no room",
    ]


def test_a_sample_that_ended_at_once_says_so(nanoshell, fake_run) -> None:
    fake = fake_run()
    fake.log.write("sample", step=5, index=0, prompt="", text="", tokens=0)
    fake.end()
    assert nanoshell("runs", "samples").out.splitlines() == ["step 5", "(ended at once)"]


def test_a_folder_with_an_odd_name_is_one_row_of_the_list(fake_run, nanoshell) -> None:
    fake = fake_run()
    fake.end()
    odd = fake.run.path.with_name("a\nb\x1b]0;x\x07")
    fake.run.path.rename(odd)
    listed = nanoshell("runs", "list")
    assert "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}]0;x" in listed.out
    assert not set("\x1b\x07") & set(listed.out)
    assert nanoshell("runs", "list", "--json").json[0]["name"] == odd.name
