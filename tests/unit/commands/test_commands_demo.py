"""``demo`` with a preset too small to learn anything: what it shows, says, keeps and finds again."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoshell.opening import open_session
from nanoshell_commands.demo import finished_demo
from nanoshell_commands.lesson import tasks

HOPELESS = """# three steps of one layer
model: {name: nano-start, hidden_size: 16, num_layers: 1, num_heads: 2, max_seq_len: 64}
trainer: {batch_size: 2, max_steps: 3, softmax: sampled, sampled_negatives: 64, learning_rate: 0.01}
"""


@pytest.fixture
def hopeless(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "nano-start.yaml").write_text(HOPELESS)


@pytest.mark.usefixtures("hopeless")
def test_a_demo_that_fails_to_learn_says_so_and_is_used_again(nanoshell, tmp_path: Path) -> None:
    said = nanoshell("demo")
    assert said.code == 0, said.err
    assert "loss, step by step" in said.out
    assert "3 steps" in said.out
    assert "The capital of France is" in said.out
    assert said.out.count("this differs from the data, which has:") == 4  # a completion, an answer, two turns
    assert "0 of 3 answers are as in the data" in said.out
    typed = said.out.partition("What you can type next:\n")[2].splitlines()
    assert len(typed) == 6
    assert all(line.startswith("  nanoshell ") for line in typed)

    again = nanoshell("demo", "--json")
    assert again.err == ""
    found = again.json
    assert (found["run"], found["trained"], found["steps"]) == ("demo-1", False, 3)
    assert [step for step, _ in found["losses"]] == [1, 2, 3]
    assert [answer["kind"] for answer in found["answers"]] == ["completion", "question", "chat"]
    assert not found["right"]
    assert len(found["answers"][2]["text"]) == 2
    assert found["answers"][0]["expected"] == ["Paris."]

    assert nanoshell("chat", "list", "--json").json == []  # the demo's conversations are not the user's
    assert len(nanoshell("runs", "list", "--json").json) == 1

    session = open_session(safe=True)
    assert finished_demo(session) is not None
    (tmp_path / "models" / "nano-start.yaml").write_text(HOPELESS.replace("_size: 16", "_size: 8"))
    assert finished_demo(session) is None  # a demo of another preset is not taken for this one
    (tmp_path / "models" / "nano-start.yaml").write_text(HOPELESS.replace("rate: 0.01", "rate: 0.02"))
    assert finished_demo(session) is None
    (tmp_path / "models" / "nano-start.yaml").write_text(HOPELESS)
    assert finished_demo(session) is not None


def test_the_tasks_stand_in_the_data_and_fit_the_model() -> None:
    session = open_session(safe=True)
    completion, question, chat = tasks(session, 64)
    texts = [document.text for document in session.open_source("nano-start:completions").documents()]
    (turn,) = completion.turns
    assert turn.prompt + turn.expected in texts
    pairs = [
        [(message.role, message.content) for message in document.messages]
        for part in ("qa", "chat")
        for document in session.open_source(f"nano-start:{part}").documents()
    ]
    (turn,) = question.turns
    assert [("user", turn.prompt), ("assistant", turn.expected)] in pairs
    first, second = chat.turns
    whole = [("system", chat.system)]
    for turn in (first, second):
        whole += [("user", turn.prompt), ("assistant", turn.expected)]
    assert whole in [pair[:5] for pair in pairs]
