"""What ``auto`` becomes, that a run says and keeps it, and that going on with it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from nanoshell.errors import ConfigError
from nanoshell.narrator import SilentNarrator
from nanoshell.training import automatic, launch
from nanoshell.training.automatic import MUON_TOKENS, MUON_WIDTH, as_chosen, choose_optimizer, resolve
from nanoshell.training.config import TrainerConfig
from nanoshell.training.launch import start_run
from nanoshell.training.muon import Muon
from nanoshell.training.record import read_record


@pytest.mark.parametrize(
    ("width", "keys", "wanted"),
    [
        (MUON_WIDTH, {"batch_size": 48}, "muon"),
        (MUON_WIDTH, {"batch_size": 47}, "adamw"),
        (MUON_WIDTH, {"batch_size": 12, "gradient_accumulation": 4}, "muon"),
        (MUON_WIDTH, {"batch_size": 48, "seq_len": 7}, "adamw"),
        (MUON_WIDTH - 4, {"batch_size": 1000}, "adamw"),
    ],
)
def test_muon_is_for_wide_models_and_large_steps(
    lab: Any, width: int, keys: dict[str, int], wanted: str
) -> None:
    config = lab.config(model_hidden_size=width, optimizer="auto", **keys)
    assert choose_optimizer(config.trainer, config.model) == wanted
    tokens = config.tokens_per_step
    assert wanted == ("muon" if width >= MUON_WIDTH and tokens >= MUON_TOKENS * width else "adamw")
    named = lab.config(model_hidden_size=width, optimizer="sgd", **keys)
    assert resolve(named) == (named, [])


def test_what_a_run_chose_it_keeps(lab: Any) -> None:
    asked = lab.config(optimizer="auto", schedule="auto")
    chosen, told = resolve(asked)
    assert (chosen.trainer.optimizer, chosen.trainer.schedule) == ("adamw", "trapezoid")
    assert told == ["optimizer: adamw", "schedule: trapezoid"]
    another = lab.config(optimizer="muon", schedule="linear")
    assert as_chosen(asked, another) == another
    assert as_chosen(another, chosen) == another


def test_a_run_records_the_choice_and_goes_on_with_it(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []

    class Listener(SilentNarrator):
        def note(self, text: str) -> None:
            notes.append(text)

    def prepare(resume: str | None = None, **keys: Any) -> TrainerConfig:
        config = lab.config(**{**asked, **keys})
        request = lab.request(config, lab.corpus(tokens=3000), resume=resume)
        return read_record(start_run(request, lab.plugins, Listener())).config.trainer

    monkeypatch.setattr(launch, "start_worker", lambda run, arguments, **options: 0)
    asked = {"optimizer": "auto", "schedule": "auto", "model_hidden_size": 64, "batch_size": 48}
    first = prepare()
    assert (first.optimizer, first.schedule) == ("muon", "trapezoid")
    assert notes[0] == "auto: optimizer: muon, schedule: trapezoid"
    assert prepare(resume="latest") == first
    monkeypatch.setattr(automatic, "MUON_WIDTH", 1000)  # as another version may choose
    assert prepare(resume="latest") == first
    with pytest.raises(ConfigError, match=r"trainer\.optimizer"):
        prepare(resume="latest", optimizer="adamw")


def test_a_trainer_of_auto_is_one_of_what_it_becomes(lab: Any) -> None:
    config = lab.config(optimizer="auto", schedule="auto", model_hidden_size=64, batch_size=48)
    trainer = lab.trainer(config, lab.corpus())
    assert isinstance(trainer.optimizer, Muon)
    assert trainer.config.trainer.optimizer == "muon"
    assert trainer.schedule.kind == "trapezoid"
