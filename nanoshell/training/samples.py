"""Samples of a model while it is trained, in the process that trains it, which they must not disturb."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanoshell.chat.template import role_ids
from nanoshell.errors import ConfigError, NanoshellError
from nanoshell.generation.request import GenerationRequest, check_request, setting_values

if TYPE_CHECKING:
    from nanoshell.generation.engine import Engine
    from nanoshell.plugin.registry import Registry
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.config import RunConfig
    from nanoshell.training.trainer import Trainer

_PURPOSE = 4


@dataclass(frozen=True)
class SampleRequest:
    """A text after each of ``prompts``, of at most ``tokens``, with ``settings`` of samplers."""

    prompts: Sequence[str]
    tokens: int
    settings: Mapping[str, float]


@dataclass(frozen=True)
class Sample:
    """What came after ``prompt``, the ``index``-th: ``text`` of ``tokens`` tokens.

    ``stop`` says why it ended: ``length``, ``context``, ``interrupted``, or the token that ended it.
    """

    index: int
    prompt: str
    text: str
    tokens: int
    stop: str


def configured(config: RunConfig) -> SampleRequest:
    """Return what ``config`` asks for; one text from nothing where it names no prompts."""
    trainer = config.trainer
    return SampleRequest(trainer.sample_prompts or ("",), trainer.sample_tokens, trainer.sample_settings)


def check_samples(
    request: SampleRequest, config: RunConfig, tokenizer: Tokenizer, samplers: Registry[Any]
) -> None:
    """Raise `ConfigError` where ``request`` cannot be sampled by a model of ``config``.

    Such are a setting that no sampler has, a value out of range, a prompt longer than the model can see.
    """
    try:
        setting_values(request.settings, samplers)
        for prompt in request.prompts:
            wanted = _generation(request, prompt, tokenizer, seed=0)
            size = min(config.model.vocab_size, tokenizer.vocab_size)
            check_request(wanted, config.model.max_seq_len, size)
    except NanoshellError as error:
        raise ConfigError(f"it cannot sample: {error.message}", hint=error.hint) from error


class SampleTaker:
    """Samples from the model of ``trainer``. What generates is loaded with the first sample, not before."""

    def __init__(self, trainer: Trainer, tokenizer: Tokenizer, samplers: Registry[Any]) -> None:
        self._trainer = trainer
        self._tokenizer = tokenizer
        self._samplers = samplers
        self._engine: Engine | None = None

    def take(self, request: SampleRequest, interrupted: Callable[[], bool]) -> Iterator[Sample]:
        """Yield a sample for each prompt; none after the one in which ``interrupted`` became true.

        A sample follows from the seed of the run, the step and its index, so that it can be repeated. Random
        states, the mode and the matrices of the model are afterwards what they were. Raises `NanoshellError`,
        also where a plugin's sampler fails otherwise: that must not end the training.
        """
        from nanoshell.training.state import random_preserved

        model = self._trainer.model
        device = model.embed_tokens.weight.device
        for index, prompt in enumerate(request.prompts):
            # Prompt by prompt: whoever takes the samples writes them, and must find the trainer as it was.
            with random_preserved(device), self._trainer.full_vocabulary():
                try:
                    sample = self._sample(request, index, prompt, interrupted)
                except NanoshellError:
                    raise
                except Exception as error:
                    raise NanoshellError(
                        f"sampling failed: {type(error).__name__}: {error}",
                        hint="is a sampler of a plugin at fault? see sample_settings",
                    ) from error
                finally:
                    model.train()
            yield sample
            if sample.stop == "interrupted":
                return

    def _sample(
        self, request: SampleRequest, index: int, prompt: str, interrupted: Callable[[], bool]
    ) -> Sample:
        engine = self._prepared_engine()
        wanted = _generation(request, prompt, self._tokenizer, self._seed(index))
        generation = engine.generate(wanted)
        for _ in generation:
            if interrupted():
                generation.interrupt()
        stop = generation.stop_reason or generation.finish_reason
        return Sample(index, prompt, generation.text, len(generation.ids), stop)

    def _prepared_engine(self) -> Engine:
        from nanoshell.generation.engine import Engine

        model = self._trainer.model
        if self._engine is None:
            device = model.embed_tokens.weight.device
            self._engine = Engine(
                model, self._tokenizer, self._samplers, device=device, compile="off", lay_out=False
            )
        model.eval()
        self._engine.forget()
        return self._engine

    def _seed(self, index: int) -> int:
        import numpy as np

        parts = [self._trainer.config.trainer.seed, _PURPOSE, self._trainer.step, index]
        return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _generation(request: SampleRequest, prompt: str, tokenizer: Tokenizer, seed: int) -> GenerationRequest:
    return GenerationRequest(
        prompt=[tokenizer.end_of_text, *tokenizer.encode(prompt)],
        max_tokens=request.tokens,
        sampling=request.settings,
        seed=seed,
        stop_ids=role_ids(tokenizer) | {tokenizer.end_of_text},
    )
