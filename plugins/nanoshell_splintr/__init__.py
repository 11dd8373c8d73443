"""The tokenizer of the seed family as an engine: ``cl100k_base`` with its 59 special tokens, by splintr.

The ids are those of nanoshell's own ``cl100k_base``, text for text, and come several times sooner::

    pip install 'nanoshell[splintr]'
    nanoshell tokenize book.txt --tokenizer splintr -o book.bin
    nanoshell set tokenizer splintr

Since the ids are the same, so is the identity: name and fingerprint are those of ``cl100k_base``. A corpus
that one has made serves the other, and a model that was trained with either loads where splintr is absent.

This package is also an example of a plugin around a library that may be missing: nothing of it is imported
before the tokenizer is asked for, and then its absence is an error that says what to install.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import RegisterTokenizer, Tokenizer

nanoshell_api = 1


def open_splintr() -> Tokenizer:
    """Return the tokenizer, made once in a process. Raises `TokenizerError` where splintr is missing."""
    from nanoshell_splintr.engine import splintr_tokenizer

    return splintr_tokenizer()


@hookimpl
def register_tokenizers(register: RegisterTokenizer) -> None:
    """Register ``splintr``."""
    register("splintr", open_splintr, summary="cl100k_base by splintr: the same ids, sooner")
