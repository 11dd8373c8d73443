"""The data that nanoshell reads by itself: the embedded dataset, files and folders, the Hugging Face Hub.

The tokenizer and the chat template that go with them are registered here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import (
        DataSource,
        RegisterChatTemplate,
        RegisterSource,
        RegisterTokenizer,
    )

nanoshell_api = 1


def open_embedded(rest: str) -> DataSource:
    """Return the dataset that comes with nanoshell, or the part of it named ``rest``."""
    from nanoshell_data.embedded import open_embedded as open_source

    return open_source(rest)


def open_path(rest: str) -> DataSource:
    """Return the file, folder or glob ``rest``."""
    from nanoshell_data.files import open_path as open_source

    return open_source(rest)


def open_hub(rest: str) -> DataSource:
    """Return the dataset repository ``rest`` of the Hugging Face Hub, or the file in it."""
    from nanoshell_data.hub import open_hub as open_source

    return open_source(rest)


@hookimpl
def register_sources(register: RegisterSource) -> None:
    register(
        "nano-start",
        open_embedded,
        summary="built in; PART is completions, qa or chat",
        spelling="nano-start[:PART]",
        parts={
            "completions": "texts to continue",
            "qa": "questions with their answers",
            "chat": "conversations of several turns",
            "combined": "all three, as without a part",
        },
    )
    register("file", open_path, summary="a .bin, .txt, .md, .jsonl file, a folder, a glob", spelling="PATH")
    register(
        "hf", open_hub, summary="a dataset on the Hugging Face Hub", spelling="hf:OWNER/NAME[@REV][/FILE]"
    )


@hookimpl
def register_tokenizers(register: RegisterTokenizer) -> None:
    from nanoshell import cl100k_base

    register("cl100k_base", cl100k_base, summary="GPT-4's vocabulary with nanoshell's 59 special tokens")


@hookimpl
def register_chat_templates(register: RegisterChatTemplate) -> None:
    from nanoshell import RoleTemplate

    register("roles", RoleTemplate, summary="a role token, then the text; a reply ends with <|endoftext|>")
