"""Small models on small data, with a tokenizer of 32 ids that comes as a plugin file, as a stranger's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import Event, read_events
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.training import launch
from nanoshell.training.config import RunConfig
from nanoshell.training.launch import TrainRequest, start_run
from nanoshell.training.numerics import Numerics
from nanoshell.training.trainer import StepResult, Trainer, build_trainer

VOCABULARY = 32
END_OF_TEXT = 31

LETTERS = '''
"""A tokenizer of letters and an optimizer with momentum, for tests."""

from nanoshell import hookimpl


class Letters:
    name = "letters"
    vocab_size = 32
    special_tokens = {"<|endoftext|>": 31}
    end_of_text = 31
    unused_ids = frozenset({30})
    fingerprint = "letters-1"

    def encode(self, text):
        return [ord(letter) % 30 for letter in text]

    encode_special = encode

    def decode(self, ids):
        return "".join(chr(97 + token) for token in ids)

    def token_bytes(self, token_id):
        return bytes([97 + token_id])


class Speakers(Letters):
    name = "speakers"
    special_tokens = {"<|endoftext|>": 31, "<|system|>": 27, "<|user|>": 28, "<|assistant|>": 29}


def momentum(model, trainer):
    import torch

    return torch.optim.SGD(model.parameters(), lr=trainer.learning_rate, momentum=0.9)


def noisy(model, trainer):
    """Momentum at a rate that the generators of Python and numpy shake, as a stranger's might."""
    import random

    import numpy as np

    optimizer = momentum(model, trainer)
    step = optimizer.step

    def shaken(*given):
        for group in optimizer.param_groups:
            group["lr"] *= 1 + 0.1 * random.gauss(0, 1) + 0.1 * np.random.standard_normal()
        return step(*given)

    optimizer.step = shaken
    return optimizer


@hookimpl
def register_tokenizers(register):
    register("letters", Letters)
    register("speakers", Speakers)


@hookimpl
def register_optimizers(register):
    register("sgd", momentum)
    register("noisy", noisy)
'''


@dataclass
class Lab:
    """Makes corpora, configs, trainers and runs."""

    folder: Path
    plugins: Plugins
    tokenizer: Tokenizer = field(init=False)

    def __post_init__(self) -> None:
        self.tokenizer = self.plugins.tokenizers.get("letters")()

    @property
    def runs_dir(self) -> Path:
        return self.folder / "runs"

    def corpus(self, tokens: int = 400, ids: int = 20, seed: int = 0) -> Path:
        """Write a ``.bin`` of documents of 12 tokens, of the first ``ids`` ids."""
        drawn = np.random.default_rng(seed).integers(ids, size=tokens).astype("<u4")
        drawn[11::12] = END_OF_TEXT
        path = self.folder / f"corpus-{tokens}-{ids}-{seed}.bin"
        drawn.tofile(path)
        return path

    def config(self, **keys: Any) -> RunConfig:
        """Return a config of two narrow layers; ``keys`` are the trainer's, or ``model_KEY``."""
        model = {
            "name": "small",
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 2,
            "vocab_size": VOCABULARY,
            "max_seq_len": 8,
            "tokenizer": "letters",
        }
        trainer = {"batch_size": 4, "learning_rate": 1e-2, "max_steps": 12, "device": "cpu"}
        model |= {key.removeprefix("model_"): value for key, value in keys.items() if key[:6] == "model_"}
        trainer |= {key: value for key, value in keys.items() if key[:6] != "model_"}
        return RunConfig.from_dict({"model": model, "trainer": trainer}, "test")

    def trainer(
        self, config: RunConfig, corpus: Path, *, softmax: str = "full", dtype: str = "float32"
    ) -> Trainer:
        return build_trainer(
            config,
            self.plugins,
            self.plugins.tokenizers.get(config.model.tokenizer)(),
            corpus,
            numerics=Numerics("cpu", dtype, softmax, 1),
            device=torch.device("cpu"),
            horizon=config.horizon(100),
        )

    def save(self, trainer: Trainer, name: str = "saved") -> Path:
        """Save ``trainer`` into a new folder and return it."""
        path = self.folder / name
        path.mkdir()
        trainer.save(path, self.tokenizer, "sha")
        return path

    def request(self, config: RunConfig | None, source: Path | str | None, **options: Any) -> TrainRequest:
        return TrainRequest(config, str(source) if source else None, self.runs_dir, **options)

    def launch(self, request: TrainRequest) -> RunDirectory:
        """Start a run with a real worker process."""
        return start_run(request, self.plugins)

    def prepare(self, request: TrainRequest) -> RunDirectory:
        """Make everything that `start_run` makes, and start no worker."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "start_worker", lambda run, arguments, **options: 0)
            return start_run(request, self.plugins)

    @staticmethod
    def weights(trainer: Trainer) -> dict[str, Tensor]:
        """Return copies of all weights, the full vocabulary's included."""
        with trainer.full_vocabulary():
            return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}

    @staticmethod
    def same_bits(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
        """Return whether two sets of tensors are equal to the last bit."""
        return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)

    @staticmethod
    def states(trainer: Trainer) -> dict[str, Tensor]:
        """Return all tensors of the optimizer's state."""
        found = {}
        for index, values in trainer.optimizer.state_dict()["state"].items():
            found |= {f"{index}.{key}": value for key, value in values.items() if isinstance(value, Tensor)}
        return found

    @staticmethod
    def facts(result: StepResult) -> dict[str, Any]:
        """Return all that an update tells but the time that it took."""
        return {**dataclasses.asdict(result), "seconds": None}

    def resumed(self, config: RunConfig, corpus: Path | None = None) -> Trainer:
        """Return a trainer after 11 updates that was saved and restored after 6, having told the same bits.

        Its results, weights and optimizer are compared with those of one that never stopped.
        """
        softmax = config.trainer.softmax.replace("auto", "full")
        dtype = config.trainer.dtype.replace("auto", "float32")

        def build() -> Trainer:
            return self.trainer(config, corpus or self.corpus(ids=14), softmax=softmax, dtype=dtype)

        straight = build()
        results = [straight.update() for _ in range(11)]
        stopped = build()
        for _ in range(6):
            stopped.update()
        saved = self.save(stopped)
        torch.rand(7)  # whatever else happens in the process
        resumed = build()
        resumed.restore(saved)
        assert resumed.step == 6
        again = [resumed.update() for _ in range(5)]
        assert list(map(self.facts, again)) == list(map(self.facts, results[6:]))
        assert self.same_bits(self.weights(resumed), self.weights(straight))
        assert self.same_bits(self.states(resumed), self.states(straight))
        return resumed

    @staticmethod
    def events(run: RunDirectory, kind: str) -> list[Event]:
        """Return the events of one type, in order."""
        return [event for event in read_events(run.events_path)[0] if event["type"] == kind]

    def losses(self, run: RunDirectory) -> dict[int, tuple[float, float]]:
        """Return loss and norm of the gradient of each step that ``run`` has told."""
        return {event["step"]: (event["loss"], event["grad_norm"]) for event in self.events(run, "step")}


@pytest.fixture(scope="session")
def plugins_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "letters.py").write_text(LETTERS)
    return folder


@pytest.fixture(scope="session")
def plugins(plugins_dir: Path) -> Plugins:
    return load_plugins(plugins_dir=plugins_dir, only=["letters"], strict=True)


@pytest.fixture
def lab(tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The workshop. One thread: small models gain nothing from two, and other tests run beside."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Lab(tmp_path, plugins)
    torch.set_num_threads(before)
