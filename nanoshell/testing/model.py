"""A tiny model, really trained: what the tests of whatever loads, samples or chats work with."""

from __future__ import annotations

from pathlib import Path

from nanoshell.testing.dataset import LINES, TURNS, write_dataset

STEPS = 100
_KEYS = {
    "name": "tiny",
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "kv_heads": 2,
    "max_seq_len": 128,
    "tie_embeddings": True,
}
_TRAINER = {"batch_size": 4, "seq_len": 24, "learning_rate": 0.02, "warmup_steps": 5, "shuffle": "documents"}


def train_model(folder: Path, *, steps: int = STEPS) -> Path:
    """Train a model of two layers on the conversations of the tiny dataset and return its directory.

    It lies in ``folder``, has weights, config and a tokenizer of its own (byte pairs with role tokens), takes
    some seconds, and answers the questions of the dataset. Equal calls give equal models.
    """
    import torch

    from nanoshell.chat.template import RoleTemplate
    from nanoshell.data.corpus import prepare_corpus
    from nanoshell.data.source import open_source
    from nanoshell.testing.loading import plugins_with
    from nanoshell.tokenizer.making import train_bpe
    from nanoshell.training.config import RunConfig
    from nanoshell.training.numerics import Numerics
    from nanoshell.training.trainer import build_trainer

    plugins = plugins_with()
    tokenizer = train_bpe("tiny", [*LINES, *(part for turn in TURNS for part in turn)], 320)
    source = open_source(str(write_dataset(folder).messages), plugins.sources)
    corpus = prepare_corpus(source, tokenizer, RoleTemplate())
    keys = {**_KEYS, "tokenizer": tokenizer.name, "vocab_size": tokenizer.vocab_size}
    config = RunConfig.from_dict({"model": keys, "trainer": {**_TRAINER, "max_steps": steps}}, "tiny")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # equal sums on every machine, and for so little work the fastest
    try:
        trainer = build_trainer(
            config,
            plugins,
            tokenizer,
            corpus.path,
            numerics=Numerics("cpu", "float32", "full", 1),
            device=torch.device("cpu"),
            horizon=steps,
        )
        for _ in range(steps):
            trainer.update()
    finally:
        torch.set_num_threads(threads)
    model = folder / "tiny-model"
    model.mkdir()
    trainer.save_weights(model, tokenizer)
    return model
