"""The tokenizer of the seed family as an engine: cl100k_base with the extended special tokens, by splintr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import RegisterTokenizer

nanoshell_api = 1


@hookimpl
def register_tokenizers(register: RegisterTokenizer) -> None:
    """Register nothing yet."""
