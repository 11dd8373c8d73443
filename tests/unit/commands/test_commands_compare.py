"""``runs compare``, ``samples``, ``attach`` and ``detach``, with the test as the worker."""

from __future__ import annotations

import io
import signal
import threading

import pytest
from rich.console import Console

from nanoshell import setting_differences
from nanoshell.repl import toolbar
from nanoshell.repl.news import RunWatch
from nanoshell.session import Session
from nanoshell_commands.compare import Comparison, Result, worked
from nanoshell_commands.watch import Watch


@pytest.fixture
def session(bare_session: Session) -> Session:
    return bare_session


def two_runs(fake_run) -> None:
    """Make two runs that differ in a rate, of 4 and 6 steps; the second was changed on the way."""
    first = fake_run(total_steps=4, learning_rate=0.001, betas=[0.9, 0.95])
    for step in range(1, 5):
        first.step(step, 5.0 - step)
    first.log.write("eval", step=2, split="validation", val_loss=2.0, bits_per_byte=1.5, best=True)
    first.log.write("eval", step=4, split="validation", val_loss=2.25, bits_per_byte=1.75)
    first.end()
    second = fake_run(total_steps=6, learning_rate=0.0001, betas=[0.9, 0.95], optimizer="muon")
    for step in range(1, 7):
        second.step(step, 8.0 - step)
    second.log.write("control", id="1", action="set", ok=True, step=3, values={"batch_size": 8}, before={})
    second.end("stopped")


def test_compare_has_what_differs_and_what_came_of_it(nanoshell, fake_run) -> None:
    two_runs(fake_run)
    found = nanoshell("runs", "compare", "tiny-1", "tiny-2", "--json").json
    assert found["config"] == {
        "trainer.learning_rate": [0.001, 0.0001],
        "trainer.optimizer": [None, "muon"],
        "changed.batch_size": [None, 8],
    }
    first, second = found["runs"]
    assert (first["step"], first["common_step"], first["loss_at"], first["loss"]) == (4, 4, 1.0, 1.0)
    assert (second["step"], second["common_step"], second["loss_at"], second["loss"]) == (6, 4, 4.0, 2.0)
    assert (first["best_val_loss"], first["best_step"], first["val_loss"]) == (2.0, 2, 2.25)
    assert (first["bits_per_byte"], second["val_loss"], second["state"]) == (1.75, None, "stopped")


def test_compare_lines_up_without_a_terminal(nanoshell, fake_run) -> None:
    two_runs(fake_run)
    lines = nanoshell("runs", "compare", "tiny-2", "tiny-1").out.splitlines()
    assert lines[0].split() == ["tiny-2", "tiny-1"]
    column = lines[0].index("tiny-1")
    assert lines[1] == "trainer.learning_rate".ljust(lines[0].index("tiny-2")) + "0.0001   0.001"
    assert lines[1][column:] == "0.001"
    table = {line[: lines[0].index("tiny-2")].strip(): line.split()[-2:] for line in lines}
    assert table["loss at step 4"] == ["4", "1"]
    assert table["best of them"][-1] == "2"


def result(name: str, **fields) -> Result:
    empty = dict.fromkeys(Result.__dataclass_fields__)
    return Result(**{**empty, "name": name, "path": name, "state": "finished", "bytes": 1, **fields})


@pytest.mark.parametrize("count", [2, 3, 5])
def test_compare_keeps_to_80_columns(count: int) -> None:
    names = [f"a-run-with-a-rather-long-name-{number}" for number in range(count)]
    texts = [f"/data/of/{number}/in/a/very/deep/folder/that/never/ends" for number in range(count)]
    config = {"trainer.gradient_accumulation": list(range(count)), "source": texts}
    console = Console(file=io.StringIO(), width=80)
    console.print(Comparison([result(name, loss=1.5) for name in names], config))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 8  # names, two keys, a blank, names, state, loss, size: none is wrapped
    assert all(f"{number}" in lines[0] for number in range(count))  # the ends of names are kept


def test_compare_of_equal_configs_says_so(nanoshell, fake_run) -> None:
    for _ in range(2):
        fake_run(seed=1).end()
    assert "(their configs and data are the same)" in nanoshell("runs", "compare", "tiny-1", "tiny-2").out


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("tiny-1",), "there is one run"),
        (("tiny-1", "tiny-1"), "there is one run"),
        (("tiny-1", "x"), "unknown"),
    ],
)
def test_compare_wants_two_runs(nanoshell, fake_run, names, told: str) -> None:
    fake_run().end()
    said = nanoshell("runs", "compare", *names)
    assert said.code == 2
    assert told in said.err


def test_differences_keep_the_order_of_keys_and_show_what_is_missing() -> None:
    assert setting_differences([{"b": 1, "a": [1]}, {"a": [1], "c": 0, "b": 2}, {"b": 1, "a": [1]}]) == {
        "b": [1, 2, 1],
        "c": [None, 0, None],
    }


def test_what_follows_from_another_setting_is_told_where_it_does_not() -> None:
    same, other = {"trainer.max_steps": 9, "horizon": 9}, {"trainer.max_steps": 5, "horizon": 5}
    assert list(setting_differences([same, other])) == ["trainer.max_steps"]
    by_epochs = {"trainer.max_steps": None, "horizon": 5}
    assert list(setting_differences([same, by_epochs])) == ["trainer.max_steps", "horizon"]


def test_the_time_of_a_resumed_run_is_that_of_its_workers() -> None:
    events = [
        {"t": 100.0, "state": "starting"},
        {"t": 130.0, "state": "stopped"},
        {"t": 1000.0, "state": "starting"},
        {"t": 1004.0, "type": "eval"},
    ]
    assert worked(events, 1010.0) == 40.0
    assert worked([], None) is None


def test_samples_are_listed_by_step(nanoshell, fake_run) -> None:
    fake = fake_run()
    assert "has taken no samples" in nanoshell("runs", "samples").out
    for step in (2, 4):
        for index, text in enumerate((" one\n  two", " three")):
            fake.log.write(
                "sample", step=step, index=index, prompt=f"P{step}", text=text, tokens=3, stop="length"
            )
    fake.log.write("resume", from_step=2)  # what was written above step 2 is void
    assert [row["step"] for row in nanoshell("runs", "samples", "tiny-1", "--json").json] == [2, 2]
    assert nanoshell("runs", "samples").out == "step 2\nP2 one\n  two\nP2 three\n"
    assert nanoshell("runs", "samples", "-n", "1", "--json").json[0]["text"] == " three"
    assert nanoshell("runs", "samples", "--step", "4", "--json").json == []


def test_show_tells_evaluations_the_best_alerts_and_changes(nanoshell, fake_run) -> None:
    two_runs(fake_run)
    fake = fake_run()
    fake.log.write("eval", step=2, split="validation", val_loss=2.0, perplexity=7.4, bits_per_byte=1.5)
    fake.log.write("eval", step=4, split="validation", val_loss=2.5, perplexity=12.0, bits_per_byte=1.9)
    fake.log.write("alert", kind="overfitting", message="validation rises", hint="stop", step=4)
    for step in (2, 4):
        (fake.run.checkpoints_dir / f"step-{step:06}").mkdir(parents=True)
    (fake.run.checkpoints_dir / "best").write_text("step-000002\n")
    shown = nanoshell("runs", "show", "tiny-3").out
    assert "2.5 at step 4, perplexity 12, 1.9 bits/byte" in shown
    assert "2 at step 2, perplexity 7.4, 1.5 bits/byte" in shown
    assert "step 4: overfitting: validation rises" in shown
    assert "step 2  0 B  best\n" in shown
    details = nanoshell("runs", "show", "tiny-3", "--json").json
    assert details["best"]["step"] == 2
    assert [kept["best"] for kept in details["checkpoints"]] == [True, False]
    changed = nanoshell("runs", "show", "tiny-2", "--json").json["changes"]
    assert changed == [{"step": 3, "text": "batch_size 8", "values": {"batch_size": 8}}]


def told(watch: RunWatch) -> list[str]:
    return [line.text for line in watch.poll(now=True)]


def test_attach_at_the_prompt_tells_alerts_changes_and_the_end_above_it(prompt, session, fake_run) -> None:
    fake = fake_run()
    fake.log.write("alert", kind="old", message="before anybody looked", step=1, t=1.0)
    watch = RunWatch(session)
    code, _, err = prompt(":runs attach")
    assert code == 0
    assert "following tiny-1, running; :runs detach tiny-1 ends that" in err
    assert "it is the model now" in err
    fake.step(3)
    fake.log.write("eval", step=3, val_loss=1.0)
    fake.log.write("sample", step=3, index=0, prompt="", text="babble", tokens=1, stop="length")
    fake.log.write("alert", kind="plateau", message="the loss stands still", step=3, t=1.0)
    fake.log.write("control", id="9", action="set", ok=True, step=3, values={"batch_size": 2}, before={})
    assert told(watch) == [
        "run tiny-1: alert: the loss stands still",
        "run tiny-1: step 3  set batch_size 2",
    ]
    assert toolbar.text(session, watch, 80).startswith(" tiny-1 3/10 loss 1.000")
    fake.end()
    assert [line.partition(":")[0] for line in told(watch)] == ["run tiny-1 finished"]
    assert watch.active == []


def test_attach_with_all_tells_evaluations_and_samples(prompt, session, fake_run) -> None:
    fake = fake_run()
    prompt(":runs attach tiny-1 --all")
    fake.log.write("eval", step=3, val_loss=1.0, perplexity=2.718, best=True)
    fake.log.write("sample", step=3, index=0, prompt="Once", text=" upon\na time" + "." * 300, tokens=1)
    first, second = told(RunWatch(session))
    assert first == "run tiny-1: step 3  validation loss 1.000 (best)  perplexity 2.718"
    assert second.startswith("run tiny-1: step 3  sample: Once upon a time...")
    assert second.endswith("…")
    assert len(second) < 280


def test_what_this_session_asked_for_is_no_news(session, fake_run) -> None:
    fake = fake_run()
    session.follow(fake.run)
    mine = session.ask_run(fake.run, "pause")
    fake.log.write("control", id=mine, action="pause", ok=True, step=1, message="paused")
    fake.log.write("control", id="other", action="resume", ok=True, step=1, message="resumed")
    assert told(RunWatch(session)) == ["run tiny-1: step 1  resumed"]


def test_an_alert_that_the_end_repeats_is_told_once(session, fake_run) -> None:
    fake = fake_run()
    session.follow(fake.run)
    watch = RunWatch(session)
    fake.log.write("alert", kind="divergence", message="training diverged at step 3", step=3)
    assert told(watch) == []  # the end may be on its way
    fake.log.write("state", state="failed", reason="training diverged at step 3")
    assert told(watch) == [
        "run tiny-1 failed: training diverged at step 3 (:runs log tiny-1)",
    ]


def test_detach_lets_the_run_go_on(prompt, session, fake_run) -> None:
    fake = fake_run()
    assert prompt(":runs detach")[0] == 1
    prompt(":runs attach")
    code, out, _ = prompt(":runs detach")
    assert code == 0
    assert out == "tiny-1 trains on; follow it again with: :runs attach tiny-1\n"
    assert not session.runs_in_progress()
    assert not fake.run.status().ended
    assert "does not follow tiny-1" in prompt(":runs detach tiny-1")[2]


def test_attach_of_a_run_that_has_ended(nanoshell, fake_run) -> None:
    fake_run().end()
    said = nanoshell("runs", "attach", "tiny-1")
    assert said.code == 1
    assert "has ended: it is finished" in said.err
    assert "nanoshell runs show tiny-1" in said.err


def test_attach_on_the_command_line_tells_what_happens_until_the_end(
    nanoshell, fake_run, monkeypatch
) -> None:
    fake = fake_run()
    fake.step(1)
    told = threading.Event()

    def note(text: str) -> None:
        notes.append(text)
        if text == "alert: flat":
            told.set()

    def work() -> None:
        while not told.wait(0.02):
            fake.step(2)
            fake.log.write("alert", kind="plateau", message="flat", step=2)
        fake.end()

    notes: list[str] = []
    monkeypatch.setattr("nanoshell.command.render.write_note", note)
    thread = threading.Thread(target=work)
    thread.start()
    said = nanoshell("runs", "attach")
    thread.join()
    assert said.code == 0
    assert notes[0].startswith("attached to tiny-1; Ctrl-C detaches, nanoshell run stop tiny-1 ends it")
    assert not any("step 1/" in text for text in notes)
    assert "tiny-1 finished" in said.out


def test_ctrl_c_detaches_and_asks_for_nothing(nanoshell, fake_run, monkeypatch) -> None:
    fake = fake_run()
    pressed = threading.Event()

    def press(text: str) -> None:
        if text.startswith("step"):
            pressed.set()
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        while not pressed.wait(0.02):
            fake.step(2)

    monkeypatch.setattr("nanoshell.command.render.write_note", press)
    thread = threading.Thread(target=work)
    thread.start()
    said = nanoshell("runs", "attach")
    thread.join()
    assert said.code == 130
    assert "detached from tiny-1, which trains on" in said.err
    assert not fake.run.control_path.exists()
    assert not fake.run.status().ended


def test_json_has_all_events_where_all_are_asked_for(session, fake_run) -> None:
    fake = fake_run(log_interval=2)
    for step in (1, 2):
        fake.step(step)
    fake.log.write("eval", step=2, val_loss=1.0)
    fake.log.write("heartbeat")
    fake.end()
    lines = list(Watch(session, fake.run, everything=True).lines())
    assert [line.get("type", "-") for line in lines] == ["state", "-", "eval", "state"]
    assert lines[1] == next(Watch(session, fake.run).lines())
