"""``tokenize``: data sources turned into token files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell import SOURCE, human_bytes
from nanoshell_commands.inputs import chosen_tokenizer, tokenizer_option
from nanoshell_commands.layout import Rows

if TYPE_CHECKING:
    from nanoshell import Corpus, Session

EXAMPLES = (
    "tokenize notes.txt -o notes.bin",
    "tokenize nano-start -o corpus.bin --val-fraction 0.1",
)


@dataclass(frozen=True)
class TokenFile:
    """A written token file."""

    path: str
    tokens: int
    documents: int
    distinct_ids: int
    bytes: int
    sha256: str


@click.command()
@click.argument("sources", nargs=-1, required=True, type=SOURCE, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The .bin to write, or a folder for it, made where only itself is missing.",
)
@click.option("--special", is_flag=True, help="Read spellings like <|endoftext|> in text as special tokens.")
@tokenizer_option
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the documents to hold out, written to FILE.val.bin beside it.",
)
@click.pass_obj
def tokenize(
    session: Session,
    sources: tuple[str, ...],
    output: Path,
    special: bool,
    tokenizer: str | None,
    val_fraction: float,
) -> Rows[TokenFile]:
    """Turn data sources into a token file (.bin).

    Documents are separated by <|endoftext|>. The file holds unsigned 32-bit little-endian ids without a
    header; learn from it with: train --data FILE.bin

    One that was killed or interrupted goes on where it was when the same command is given again.
    """
    from nanoshell import tokenize as write

    corpora = write(
        [session.open_source(spec) for spec in sources],
        chosen_tokenizer(session, tokenizer),
        session.template,
        output,
        special=special,
        val_fraction=val_fraction,
        narrator=session.narrator,
    )
    return written(corpora)


def written(corpora: Iterable[Corpus]) -> Rows[TokenFile]:
    """Return what was written, one row for each file."""
    files = [
        TokenFile(
            path=str(corpus.path),
            tokens=corpus.num_tokens,
            documents=corpus.num_documents,
            distinct_ids=corpus.distinct_ids,
            bytes=corpus.num_tokens * 4,
            sha256=corpus.sha256,
        )
        for corpus in corpora
    ]
    return Rows(
        files,
        [
            ("file", lambda f: f.path),
            (">tokens", lambda f: f"{f.tokens:,}"),
            (">documents", lambda f: f"{f.documents:,}"),
            (">distinct ids", lambda f: f"{f.distinct_ids:,}"),
            (">size", lambda f: human_bytes(f.bytes)),
        ],
    )
