"""The filter of runs: what its conditions mean, what is wrong with one, the examples of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoshell.dashboard.panels.filter import (
    completed,
    config_values,
    fulfils,
    parse_filter,
    whole_terms,
)
from nanoshell.errors import UsageError
from nanoshell.training.keys import config_keys

KEYS = frozenset(config_keys())
VALUES = {
    "name": "nano-3",
    "state": "finished",
    "loss": 1.5,
    "val_loss": 1.75,
    "best": None,
    "step": 2000,
    "trainer.learning_rate": 0.003,
    "trainer.shuffle": "windows",
    "trainer.keep_best": True,
    "trainer.betas": [0.9, 0.95],
    "model.hidden_size": 64,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("lr>1e-3 val_loss<2 name~nano state=finished", True),
        ("lr>1e-3 val_loss<1", False),
        ("learning_rate=0.003", True),
        ("trainer.learning_rate<=3e-3", True),
        ("hidden_size=64 model.hidden_size>=64", True),
        ("hidden_size!=64", False),
        ("step>=2k", True),
        ("step<2k", False),
        ("nano", True),
        ("name!~^tiny", True),
        ("name~^ano", False),
        ("STATE==Finished", True),
        ("keep_best=yes shuffle=windows", True),
        ("keep_best=false", False),
        ("best<9", False),
        ("best>0", False),
        ("best=none", True),
        ("best!=3", True),
        ('betas="0.9, 0.95"', True),
        ("loss=nan", False),
        ("loss<inf", True),
        ("loss > 1", True),
        ("loss> 1 val_loss <2", True),
        ("loss > 1 and val_loss<2 AND nano", True),
        ("step >= 2k lr = 0.003", True),
        ("nano loss > 2", False),
        ("name ~ 'no|na' && loss !=1", True),
    ],
)
def test_conditions_hold_of_what_they_say(text: str, holds: bool) -> None:
    assert fulfils(VALUES, parse_filter(text, KEYS)) is holds


def test_a_loss_that_is_no_number_is_found_and_is_below_nothing() -> None:
    values = {"loss": float("nan")}
    assert fulfils(values, parse_filter("loss=nan", KEYS))
    assert not fulfils(values, parse_filter("loss<1e9", KEYS))
    assert not fulfils(values, parse_filter("loss>0", KEYS))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("los<2", "did you mean 'loss'?"),
        ("hiden_size=3", "did you mean 'hidden_size'?"),
        ("state=runing", "did you mean 'running'?"),
        ("loss<two", "'two' is no number"),
        ("loss<", "lacks a value"),
        ("<2", "lacks a name"),
        ("name~[", "no regular expression"),
        ("loss <", "lacks a value"),
        ("> 1", "lacks a name"),
        ("loss > 1 or step > 5", "'or' is not known here"),
        ("not nano", "'not' is not known here"),
        ('name="a', "a quotation mark is missing"),
    ],
)
def test_a_wrong_condition_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_filter(text, KEYS)
    assert said in raised.value.message


@pytest.mark.parametrize(
    "begun", ["lo", "loss", "loss >", "loss>", "hid", "learning_rate", "state=run", "> 2"]
)
def test_what_is_being_typed_does_not_count_before_it_is_whole(begun: str) -> None:
    assert whole_terms(begun, KEYS) == ()
    assert whole_terms(f"nano step>5 {begun}", KEYS) == parse_filter("nano step>5", KEYS)


@pytest.mark.parametrize("whole", ["loss > 2", "nano loss>2", "state=running", "busy"])
def test_what_is_whole_counts_while_it_is_typed(whole: str) -> None:
    assert whole_terms(whole, KEYS) == parse_filter(whole, KEYS)


def test_the_keys_of_a_record_are_dotted_also_within_mappings() -> None:
    record = {"source": "a.txt", "model": {"layer_options": {"kernel": 3}}, "trainer": None}
    found = config_values(record)
    assert found["model.layer_options.kernel"] == 3
    assert found["source"] == "a.txt"


FILTERED = {
    "lr>1e-3 val_loss<2": {"good", "rival"},
    "state=running name~nano": {"nano-busy"},
    "model.num_layers>=4 nano": {"nano-deep"},
    "tokens/s<10k data~notes": {"noted"},
}
"""The examples of the page, and which of `COURSES` each lets through."""

COURSES: dict[str, dict[str, object]] = {
    "good": {"trainer.learning_rate": 3e-3, "val_loss": 1.5, "tokens/s": 90_000.0},
    "rival": {"trainer.learning_rate": 2e-3, "val_loss": 1.9},
    "at-the-edge": {"trainer.learning_rate": 1e-3, "val_loss": 1.5},
    "no-evaluation": {"trainer.learning_rate": 3e-3, "val_loss": None},
    "nano-busy": {"state": "running", "model.num_layers": 2},
    "nano-deep": {"state": "paused", "model.num_layers": 4},
    "deep": {"state": "running", "model.num_layers": 8},
    "noted": {"tokens/s": 9_999.0, "source": "my/notes.txt"},
    "fast": {"tokens/s": 10_000.0, "source": "my/notes.txt"},
}


def test_the_examples_of_the_page_let_through_what_they_say() -> None:
    page = (Path(__file__).parents[3] / "docs/dashboard.md").read_text("utf-8")
    block = page.partition("## Filtering runs")[2].partition("```text\n")[2].partition("```")[0]
    examples = [line.partition("  ")[0] for line in block.splitlines()]
    assert examples == list(FILTERED)
    for text, expected in FILTERED.items():
        terms = parse_filter(text, KEYS)
        through = {name for name, values in COURSES.items() if fulfils({"name": name, **values}, terms)}
        assert through == expected, text
    for short in ("lr", "bs", "wd"):  # which the page says are there
        assert parse_filter(f"{short}=1", KEYS)


@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        ("", ""),
        ("val", "val_loss"),
        ("lr>1e-3 gra", "lr>1e-3 grad_norm"),
        ("hidd", "hidden_size"),
        ("model.hidd", "model.hidden_size"),
        ("state=f", "state=finished"),
        ("state!=cr", "state!=crashed"),
        ("loss ", ""),
        ("loss<2", ""),
        ("zzz", ""),
    ],
)
def test_the_last_word_of_a_filter_is_completed(typed: str, whole: str) -> None:
    assert completed(typed, KEYS) == whole
