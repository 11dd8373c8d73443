"""The loader of a run: its tokens, cut and masked as its config says. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell.data.loader import TokenLoader
from nanoshell.data.tokens import open_tokens
from nanoshell.data.turns import Turns

if TYPE_CHECKING:
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.config import RunConfig


def open_loader(config: RunConfig, corpus: Path, tokenizer: Tokenizer) -> TokenLoader:
    """Return the loader of the token file ``corpus``, before its first batch.

    Raises `DataError` where the file is unreadable, too short for one window, or without a target that
    ``trainer.loss_on`` lets count.
    """
    trainer = config.trainer
    tokens = open_tokens(corpus, tokenizer)
    return TokenLoader(
        tokens,
        seq_len=config.seq_len,
        batch_size=trainer.batch_size,
        seed=trainer.seed,
        val_fraction=trainer.val_fraction,
        end_of_text=tokenizer.end_of_text,
        shuffle=trainer.shuffle,
        turns=Turns(tokens, tokenizer) if trainer.loss_on == "assistant" else None,
    )
