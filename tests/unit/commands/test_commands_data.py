"""`data`: its list, the figures and the first documents of a source, on a screen and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from nanoshell import Session
from nanoshell.testing import check_command

from .conftest import Program

TALK = [
    {"messages": [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello <|user|>."}]},
    {"text": "A text. " * 5000},
]


@pytest.fixture
def talk(tmp_path: Path) -> str:
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in TALK))
    return "talk.jsonl"


def test_the_list_says_how_sources_are_spelled(nanoshell: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row["name"]: row for row in nanoshell("data", "list", "--json").json}
    assert rows["hf"]["spelling"] == "hf:OWNER/NAME[@REV][/FILE]"
    assert rows["gutenberg"] | {"summary": ""} == {
        "name": "gutenberg",
        "spelling": "gutenberg:ID",
        "summary": "",
        "plugin": "text",
        "chosen": False,
    }
    monkeypatch.setenv("COLUMNS", "80")
    shown = nanoshell("data").out
    for row in rows.values():
        assert row["spelling"] in shown
        assert row["summary"] in shown, "nothing is cut or folded at 80 columns"


def test_completion_offers_what_is_complete_or_goes_on(bare_session: Session) -> None:
    from nanoshell import SOURCE

    context = click.Context(click.Command("x"), obj=bare_session)
    found = SOURCE.shell_complete(context, click.Argument(["source"]), "")
    names = [item.value for item in found if item.type == "plain"]
    assert names == ["nano-start", "hf:", "tiny-shakespeare", "url:", "gutenberg:"]
    assert all(item.help for item in found if item.type == "plain")


def test_stats(nanoshell: Program) -> None:
    found = nanoshell("data", "stats", "nano-start", "--top", "3", "--json").json
    info = nanoshell("data", "info", "nano-start", "--json").json
    assert [found[key] for key in ("tokens", "documents", "distinct_ids")] == [
        info[key] for key in ("tokens", "documents", "distinct_ids")
    ]
    assert [each["text"] for each in found["commonest"]] == [".", "<|endoftext|>", "<|user|>"]
    assert found["bytes_per_token"] == pytest.approx(4.1008, abs=1e-4)
    assert {role["role"]: role["messages"] for role in found["roles"]} == {
        "system": 35,
        "user": 217,
        "assistant": 217,
    }
    assert not [key for key in found if key.startswith("_")]


@pytest.mark.parametrize("columns", ["80", "200"])
def test_stats_on_a_screen(nanoshell: Program, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = nanoshell("data", "stats", "nano-start")
    assert said.code == 0
    for words in ("1,724 of 100,315 used (1.7%)", "5 to 33, median 14", "16–31", "·is", "assistant"):
        assert words in said.out
    assert max(map(len, said.out.splitlines())) <= int(columns)


def test_stats_with_another_tokenizer_and_with_specials(nanoshell: Program, tmp_path: Path) -> None:
    Path("abc.txt").write_text("abc<|endoftext|>cba")
    assert nanoshell("tokenizer", "train", "--kind", "char", "--data", "abc.txt", "--name", "abc").code == 0
    found = nanoshell("data", "stats", "abc.txt", "--tokenizer", "abc", "--json").json
    assert (found["tokenizer"], found["characters_per_token"], found["documents"]) == ("abc", 1.0, 1)
    found = nanoshell("data", "stats", "abc.txt", "--special", "--json").json
    assert found["documents"] == 2


def test_head_of_text_and_messages(nanoshell: Program, talk: str) -> None:
    shown = nanoshell("data", "head", talk)
    assert "user: Hi!\nassistant: Hello <|user|>.\n" in shown.out
    assert shown.out.rstrip().endswith(" …")
    lines = nanoshell("data", "head", talk, "--json").lines
    assert lines[0]["messages"] == TALK[0]["messages"]
    assert (lines[0]["text"], lines[0]["cut"]) == (None, False)
    assert (len(lines[1]["text"]), lines[1]["cut"]) == (20_000, True)
    assert len(nanoshell("data", "head", talk, "-n", "1", "--json").lines) == 1


def test_head_as_tokens_is_what_a_corpus_holds(nanoshell: Program, talk: str) -> None:
    lines = nanoshell("data", "head", talk, "--tokens", "--json").lines
    assert nanoshell("tokenize", talk, "-o", "talk.bin").code == 0
    ids = np.fromfile("talk.bin", "<u4").tolist()
    assert ids[: len(lines[0]["ids"])] == lines[0]["ids"]
    assert lines[0]["tokens"] == [
        "<|user|>",
        "Hi",
        "!",
        "<|assistant|>",
        "Hello",
        " <|",
        "user",
        "|",
        ">.",
        "<|endoftext|>",
    ]
    assert lines[1]["ids"][-1] != 100_257, "the document goes on"
    read = nanoshell("data", "head", "talk.bin", "--tokens", "--json").lines
    assert read[0]["ids"] == lines[0]["ids"]
    shown = nanoshell("data", "head", talk, "--tokens", "-n", "1").out
    assert "100278" in shown
    assert "10 tokens" in shown


def test_head_of_token_files_shows_specials_and_joins_parts(
    nanoshell: Program, talk: str, tmp_path: Path
) -> None:
    nanoshell("tokenize", talk, "-o", "talk.bin")
    lines = nanoshell("data", "head", "talk.bin", "--json").lines
    assert lines[0]["text"] == "<|user|>Hi!<|assistant|>Hello <|user|>."
    assert lines[1]["cut"] is False
    assert lines[1]["text"] == TALK[1]["text"]


def test_special_tokens_have_their_own_style(talk: str) -> None:
    from nanoshell import Document
    from nanoshell.tokenizer.bpe import cl100k_base
    from nanoshell_commands.documents import DocumentView, Whole, _styled

    tokenizer = cl100k_base()
    ids = [*tokenizer.encode("as text: <|user|>"), 100278, *tokenizer.encode("Hi")]
    view = DocumentView([], tokenizer, None)
    shown = _styled(view._parts(Whole(Document(), tuple(ids))), cut=False)
    assert shown.plain == "as text: <|user|><|user|>Hi"
    assert [(span.start, span.end, str(span.style)) for span in shown.spans] == [(17, 25, "nano.special")]


def test_the_contract_of_a_command(nanoshell_session: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for name in ("notes/one.md", "notes.txt"):
        (tmp_path / name).write_text("Birds sing, and water freezes.\n")
    check_command(nanoshell_session(), "data")


def test_a_source_that_cannot_be_opened(nanoshell: Program) -> None:
    for command in ("stats", "head", "info"):
        said = nanoshell("data", command, "nano-strat")
        assert said.code == 2
        assert "did you mean 'nano-start'" in said.err
        assert nanoshell("data", command).code == 2, "no data is chosen"
