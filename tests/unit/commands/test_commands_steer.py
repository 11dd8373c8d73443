"""``run``: a run is steered through its folder, with a thread of the test as the worker that answers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nanoshell.repl.completer import CommandCompleter
from nanoshell.runs.control import ControlInbox
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import follow
from nanoshell.session import Session
from nanoshell_commands import asking

Answers = dict[str, dict[str, Any]]

GOOD: Answers = {
    "pause": {"message": "paused"},
    "resume": {"message": "resumed"},
    "checkpoint": {"message": "saved", "path": "checkpoints/step-000005"},
    "snapshot": {"message": "saved", "path": "snapshots/step-000005"},
    "evaluate": {"split": "validation", "val_loss": 2.5, "perplexity": 12.18, "bits_per_byte": 1.25},
    "set": {"values": {"learning_rate": 1e-4}, "before": {"learning_rate": 1e-3}, "message": "set"},
    "extend": {"horizon": 60, "total_steps": 60, "message": "extended"},
    "sample": {"samples": 1, "message": "sampled"},
}


class Worker:
    """A thread that answers requests as `GOOD` says, or as it is told; ``asked`` is what came."""

    def __init__(self, fake: Any, **answers: dict[str, Any]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._fake = fake
        self._inbox = ControlInbox(fake.run)
        self._answers = GOOD | answers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended.wait(0.01):
            for request in self._inbox.poll():
                self.asked.append(request)
                self._answer(request)

    def _answer(self, request: dict[str, Any]) -> None:
        action, log = request["action"], self._fake.log
        if action == "sample":
            for index, prompt in enumerate(request.get("prompts", [""])):
                log.write("sample", step=5, index=index, prompt=prompt, text=" …", tokens=2, stop="length")
        if action == "stop":
            self._fake.end("stopped", "asked to stop")
        answer = self._answers.get(action, {})
        log.write("control", id=request["id"], action=action, step=5, **{"ok": True, **answer})

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def working(fake_run: Callable[..., Any]) -> Iterator[Callable[..., Worker]]:
    """Return a function that starts a worker of a new run (of the given name), with the given answers."""
    workers = []

    def start(name: str = "tiny", **answers: dict[str, Any]) -> Worker:
        fake = fake_run(name, learning_rate=0.001, batch_size=4)
        fake.step(5, 2.75)
        workers.append(Worker(fake, **answers))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


@pytest.fixture
def session(bare_session: Session) -> Session:
    return bare_session


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("pause", "tiny-1, step 5: paused; go on with: nanoshell run resume tiny-1\n"),
        ("resume tiny-1", "tiny-1, step 5: resumed\n"),
        ("checkpoint --run tiny-1", "tiny-1, step 5: saved in checkpoints/step-000005\n"),
        ("snapshot", "tiny-1, step 5: saved in snapshots/step-000005\n"),
        ("evaluate", "tiny-1, step 5: validation loss 2.500  perplexity 12.18  1.250 bits/byte\n"),
        ("eval", "tiny-1, step 5: validation loss 2.500  perplexity 12.18  1.250 bits/byte\n"),
        ("set learning_rate=1e-4", "tiny-1, step 5: learning_rate 0.0001 (was 0.001)\n"),
        ("extend --steps 50", "tiny-1, step 5: goes on to step 60\n"),
        ("sample Once", "tiny-1, step 5: 1 sample\nOnce …\n"),
    ],
)
def test_an_acknowledgement_is_one_clear_line(nanoshell, working, line: str, shown: str) -> None:
    working()
    said = nanoshell("run", *line.split())
    assert (said.code, said.out, said.err) == (0, shown, "")


def test_a_sample_that_no_prompt_was_given_for_says_why_it_follows_upon_nothing(nanoshell, working) -> None:
    working(sample={"samples": 1, "no_prompts": True, "message": "1 sample from nothing: no prompts"})
    said = nanoshell("run", "sample").out
    assert "from nothing: no prompts; give it one with: nanoshell run sample TEXT --run tiny-1" in said
    assert nanoshell("run", "sample", "--json").json["no_prompts"]


def test_requests_say_what_was_asked_for(nanoshell, working) -> None:
    worker = working(sample={"samples": 2})
    assert nanoshell("run", "set", "trainer.learning_rate=1e-4", "schedule=constant").code == 0
    assert nanoshell("run", "extend", "--epochs", "1.5").code == 0
    said = nanoshell("run", "sample", "one two", "three", "--tokens", "7", "--temperature", "0", "--json")
    set_, extend, sample = [
        {k: v for k, v in asked.items() if k not in ("id", "t")} for asked in worker.asked
    ]
    assert set_ == {"action": "set", "values": {"learning_rate": 1e-4, "schedule": "constant"}}
    assert extend == {"action": "extend", "epochs": 1.5}
    assert sample == {
        "action": "sample",
        "prompts": ["one two", "three"],
        "tokens": 7,
        "settings": {"temperature": 0.0},
    }
    assert [found["prompt"] for found in said.json["samples"]] == ["one two", "three"]


def test_json_is_the_answer_in_one_document(nanoshell, working) -> None:
    working()
    assert nanoshell("run", "set", "learning_rate=0.0001", "--json").json == {
        "run": "tiny-1",
        "action": "set",
        "step": 5,
        "message": "set",
        "values": {"learning_rate": 0.0001},
        "before": {"learning_rate": 0.001},
    }
    assert nanoshell("run", "--json").json["name"] == "tiny-1"


def test_what_the_worker_refuses_is_our_error_with_its_hint(nanoshell, working) -> None:
    working(set={"ok": False, "message": "batch_size must be at least 1", "hint": "try 1"})
    said = nanoshell("run", "set", "batch_size=0")
    assert said.code == 1
    assert said.err == "error: run tiny-1 could not set: batch_size must be at least 1\n  try 1\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("set", "learning_rat=1"), "did you mean 'learning_rate'?"),
        (("set", "optimizer=muon"), "'optimizer' cannot change while a run trains"),
        (("set", "log_interval=5"), "'log_interval' cannot change while a run trains"),
        (("set", "learning_rate"), "is not KEY=VALUE"),
        (("extend",), "say by how much"),
        (("extend", "--steps", "3", "--epochs", "1"), "say by how much"),
        (("puase",), "did you mean 'pause'?"),
        (("pause", "tiny-1", "--run", "tiny-1"), "named twice"),
        (("pause", "tinny-1"), "did you mean 'tiny-1'?"),
    ],
)
def test_what_is_wrong_is_said_before_the_run_is_asked(nanoshell, working, arguments, told: str) -> None:
    worker = working()
    said = nanoshell("run", *arguments)
    assert said.code == 2
    assert told in said.err
    assert not worker.asked


def test_a_run_without_a_worker_is_told_so(nanoshell, fake_run) -> None:
    for command in (("pause",), ("resume",), ("show",), (), ("set", "batch_size=8"), ("stop",)):
        said = nanoshell("run", *command)
        assert said.code == 2, command
        assert "no run is in progress" in said.err
        assert "those that have ended: nanoshell runs list" in said.err
    fake_run().end()
    said = nanoshell("run", "pause", "tiny-1")
    assert said.code == 1
    assert "not running: it is finished" in said.err
    assert "nanoshell train --resume tiny-1" in said.err


def test_a_worker_that_ends_before_it_answers_ends_the_waiting(nanoshell, fake_run) -> None:
    fake = fake_run()
    inbox = ControlInbox(fake.run)

    def end_when_asked() -> None:
        while not inbox.poll():
            pass
        fake.end("failed", "the disk is full")

    thread = threading.Thread(target=end_when_asked)
    thread.start()
    said = nanoshell("run", "checkpoint")
    thread.join()
    assert said.code == 1
    assert "ended before it answered: failed (the disk is full)" in said.err


def test_slow_answers_are_waited_for_and_ctrl_c_ends_the_waiting_alone(
    nanoshell, fake_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr("nanoshell.command.narrate.write_note", lambda text: notes.append(text) or press())
    notes: list[str] = []

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    fake = fake_run()
    inbox = ControlInbox(fake.run)
    said = nanoshell("run", "checkpoint")
    assert said.code == 130
    assert "after its current step" in notes[0]
    assert "no longer waiting for tiny-1, which does 'checkpoint' after its step all the same" in said.err
    assert [asked["action"] for asked in inbox.poll()] == ["checkpoint"]
    assert not fake.run.status().ended


def test_an_answer_that_never_comes_is_an_error(nanoshell, fake_run, monkeypatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.1)
    fake_run()
    said = nanoshell("run", "snapshot")
    assert said.code == 1
    assert "has not answered within" in said.err


def test_several_runs_must_be_told_apart_unless_one_is_followed(prompt, working, session: Session) -> None:
    first, second = working(), working()
    code, _, err = prompt(":run pause")
    assert code == 2
    assert "2 runs are in progress" in err
    assert "say which: tiny-2, tiny-1" in err
    assert prompt(":runs attach tiny-1")[0] == 0
    assert prompt(":run pause")[1].startswith("tiny-1, step 5: paused; go on with: :run resume tiny-1")
    assert prompt(":runs attach tiny-2")[0] == 0
    session.model_name = "tiny-2"
    assert prompt(":run resume")[1].startswith("tiny-2")
    session.model_name = "tiny-1"  # the run of the chosen model stands in the toolbar
    assert prompt(":run resume")[1].startswith("tiny-1")
    assert [asked["action"] for asked in first.asked] == ["pause", "resume"]
    assert [asked["action"] for asked in second.asked] == ["resume"]


def test_stop_waits_for_the_end(nanoshell, working) -> None:
    working()
    said = nanoshell("run", "stop", "--json")
    assert (said.code, said.json["state"], said.json["step"]) == (0, "stopped", 5)


def test_run_alone_shows_how_it_stands(nanoshell, working) -> None:
    working()
    assert nanoshell("run", "set", "learning_rate=1e-4").code == 0
    shown = nanoshell("run").out
    assert shown.startswith("run ")
    assert "5 of 10" in shown
    assert "step 5: learning_rate 0.0001 (was 0.001)" in shown
    assert "checkpoints" not in shown


def offers(session: Session, line: str) -> list[str]:
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    found = CommandCompleter(session).get_completions(Document(line), CompleteEvent())
    return [completion.text for completion in found]


def test_completion_offers_live_runs_first_and_the_settings(session, working, fake_run) -> None:
    working()
    fake_run().end()
    assert offers(session, ":run pause ") == ["tiny-1", "tiny-2"]
    assert offers(session, ":run set --run ") == ["tiny-1", "tiny-2"]
    assert offers(session, ":run set warm") == ["warmup_steps="]
    assert offers(session, ":run set a=1 learning_rate=") == ["learning_rate=0.001"]
    assert "optimizer=" not in offers(session, ":run set ")
    assert {"pause", "set", "extend"} <= set(offers(session, ":run "))


def test_extend_resumes_a_run_that_has_ended(nanoshell, tmp_path) -> None:
    model = (
        "{name: tiny, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32, max_seq_len: 32}"
    )
    (tmp_path / "tiny.yaml").write_text(
        f"model: {model}\ntrainer: {{batch_size: 2, max_steps: 9, softmax: sampled, sampled_negatives: 8}}\n"
    )
    command = ("train", "--config", "tiny.yaml", "--data", "nano-start:chat", "--max-steps", "3", "--json")
    assert nanoshell(*command).code == 0
    said = nanoshell("run", "extend", "tiny-1", "--steps", "2", "--json")
    assert said.code == 0, said.err
    assert "tiny-1 has ended: resuming it" in said.err
    assert said.json["total_steps"] == 5
    run = RunDirectory(tmp_path / "runs" / "tiny-1")
    events = list(follow(run))
    assert events[-1]["state"] == "finished"
    assert [event["step"] for event in events if event["type"] == "step"] == [1, 2, 3, 4, 5]
    assert nanoshell("runs", "show", "--json").json["changes"][0]["values"]["total_steps"] == 5
    assert nanoshell("run", "extend").code == 2  # by how much
    assert "no run is in progress" in nanoshell("run", "extend", "--steps", "1").err


def test_the_run_of_the_chosen_model_is_extended_where_none_is_in_progress(
    prompt, session, fake_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_run()
    fake.step(3)
    fake.end()
    assert prompt(":run")[0] == 2
    session.model_name = str(fake.run.path)
    assert "3 of 10" in prompt(":run")[1]
    asked = []

    def train(request) -> None:
        asked.append(request)
        fake.log.write("state", state="running")
        fake.log.write("control", ok=True, step=3, total_steps=10 + request.extend["steps"], **request.extend)

    monkeypatch.setattr(session, "train", train)
    code, out, _ = prompt(":run extend --steps 7")
    assert (code, out) == (0, "tiny-1, step 3: goes on to step 17\n")
    assert asked[0].resume == str(fake.run.path)
    assert asked[0].extend["action"] == "extend"


def test_what_everybody_types_for_a_key_is_known(nanoshell) -> None:
    assert "did you mean 'learning_rate'?" in nanoshell("run", "set", "lr=3").err
    assert "did you mean 'batch_size'?" in nanoshell("run", "set", "trainer.bs=3").err
