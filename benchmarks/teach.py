"""What presets learn of the embedded dataset: trained as `train` trains them, judged as a newcomer would.

    python benchmarks/teach.py [PRESET …] [--threads 2] [--set KEY=VALUE] [--seeds 1]

Each answer of the dataset is asked for: the last third of a statement's words after the others, the answer to
a question, each reply of a chat after the turns before it. It is recited where the likeliest token is right
everywhere, the end included. Times depend on the machine; the ratios between presets travel.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from nanoshell import Message, load_config, open_source
from nanoshell.chat.conversation import fit
from nanoshell.chat.template import ChatTemplate
from nanoshell.data.corpus import prepare_corpus
from nanoshell.data.tokens import open_tokens
from nanoshell.model.transformer import Transformer
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.training.config import RunConfig
from nanoshell.training.numerics import Numerics, choose_softmax
from nanoshell.training.trainer import build_trainer

SOURCE = "nano-start"
PARTS = {"statements": "completions", "questions": "qa", "chats": "chat"}


@dataclass(frozen=True)
class Question:
    """A prompt and the right ids after it, the end of text included."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Report:
    """How a preset did: shares recited, exact loss, optimizer steps, seconds of training, parameters."""

    name: str
    parameters: int
    steps: int
    seconds: float
    loss: float
    recited: dict[str, float]


def questions(part: str, plugins: Plugins, tokenizer: Tokenizer, positions: int) -> Iterator[Question]:
    """Yield what is asked of a part of the dataset, as the prompt and chat would put it."""
    template: ChatTemplate = plugins.chat_templates.get("roles")()
    for document in open_source(f"{SOURCE}:{part}", plugins.sources).documents():
        if document.messages:
            for at, message in enumerate(document.messages):
                if message.role == "assistant":
                    yield _reply(document.messages[:at], message, template, tokenizer, positions)
            continue
        words = document.text.split(" ")
        asked = " ".join(words[: max(1, len(words) * 2 // 3)])
        prompt = [tokenizer.end_of_text, *tokenizer.encode(asked)]
        yield Question(prompt, [*tokenizer.encode(document.text[len(asked) :]), tokenizer.end_of_text])


def _reply(
    before: tuple[Message, ...],
    message: Message,
    template: ChatTemplate,
    tokenizer: Tokenizer,
    positions: int,
) -> Question:
    answer = tokenizer.encode(message.content)
    prompt = fit(before, template, tokenizer, positions, len(answer)).ids
    return Question(prompt, answer)


def recites(model: Transformer, question: Question, stops: frozenset[int], forbidden: torch.Tensor) -> bool:
    """Return whether greedy decoding would give the answer, and then end."""
    ids = torch.tensor([question.prompt + question.answer])[:, : model.config.max_seq_len]
    logits = model.logits(model.hidden(ids)[0, len(question.prompt) - 1 :])
    logits[:, forbidden] = -torch.inf
    said = logits.argmax(-1).tolist()
    end = len(question.answer)
    if question.answer[-1] in stops:
        return bool(said[:end] == question.answer)
    return bool(said[:end] == question.answer and said[end : end + 1] and said[end] in stops)


def teach(config: RunConfig, plugins: Plugins, threads: int) -> Report:
    """Train ``config`` on the embedded dataset and ask for all of it."""
    tokenizer: Tokenizer = plugins.tokenizers.get(config.model.tokenizer)()
    template: ChatTemplate = plugins.chat_templates.get("roles")()
    corpus = prepare_corpus(open_source(SOURCE, plugins.sources), tokenizer, template)
    trainer = config.trainer
    windows = (len(open_tokens(corpus.path, tokenizer)) - 1) // config.seq_len
    horizon = config.horizon(windows)
    softmax = choose_softmax(
        trainer.softmax, config.model.vocab_size, corpus.distinct_ids, trainer.sampled_negatives
    )
    torch.set_num_threads(threads)
    taught = build_trainer(
        config, plugins, tokenizer, corpus.path,
        numerics=Numerics("cpu", "float32", softmax, threads), device=torch.device("cpu"), horizon=horizon,
    )  # fmt: skip
    taught.update()  # what is loaded and laid out once is not timed
    began = time.perf_counter()
    for _ in range(horizon - 1):
        taught.update()
    seconds = time.perf_counter() - began
    evaluation = taught.evaluate()
    stops = template.stop_ids(tokenizer)
    special = set(tokenizer.special_tokens.values()) - stops
    forbidden = torch.tensor(sorted(tokenizer.unused_ids | special))
    model = taught.model.eval()
    recited = {}
    with taught.full_vocabulary(), torch.no_grad():
        for name, part in PARTS.items():
            asked = list(questions(part, plugins, tokenizer, config.model.max_seq_len))
            recited[name] = sum(recites(model, one, stops, forbidden) for one in asked) / len(asked)
        total = model.parameter_split().total or 0
    return Report(config.model.name, total, horizon, seconds, evaluation.loss if evaluation else 0.0, recited)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("presets", nargs="*", default=["nano-start", "nano-start-transformer"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=1, help="train with so many seeds, one after the other")
    arguments = parser.parse_args()
    changes = dict(pair.split("=", 1) for pair in arguments.set)
    overrides = {key: yaml.safe_load(value) for key, value in changes.items()}
    plugins = load_plugins(safe=True)
    print(f"preset                  parameters  steps  seconds  ms/step   loss  {'  '.join(PARTS)}")
    for preset in arguments.presets:
        for seed in range(arguments.seeds):
            config = load_config(preset, {**overrides, "trainer.seed": 1337 + seed})
            report = teach(config, plugins, arguments.threads)
            shares = "  ".join(f"{share:>{len(name)}.0%}" for name, share in report.recited.items())
            pace = report.seconds / report.steps * 1000
            print(
                f"{Path(preset).stem:22} {report.parameters / 1e6:10.1f}M {report.steps:6} "
                f"{report.seconds:8.1f} {pace:8.0f} {report.loss:6.3f}  {shares}",
                flush=True,
            )


if __name__ == "__main__":
    main()
