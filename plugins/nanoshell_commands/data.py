"""``data``: which sources there are, choosing one, and looking inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import click

from nanoshell import SOURCE, human_bytes
from nanoshell_commands.inputs import chosen_tokenizer, tokenizer_option
from nanoshell_commands.layout import Rows, pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Session, SourceInfo
    from nanoshell_commands.datastats import DataStatistics
    from nanoshell_commands.documents import DocumentView

EXAMPLES = (
    "data",
    "data --json",
    "data list",
    "data list --json",
    "data use nano-start",
    'data use "notes/*.md"',
    "data info nano-start:qa",
    "data info notes.txt",
    "data stats nano-start",
    "data stats notes.txt --json",
    "data head nano-start:chat -n 2",
    "data head nano-start -n 1 --tokens",
)

_SHOWN_FILES = 8


@dataclass(frozen=True)
class SourceRow:
    """A kind of data source and how it is spelled, or the source that is chosen."""

    name: str
    spelling: str
    summary: str
    plugin: str
    chosen: bool


@dataclass(frozen=True)
class SourceDetails:
    """What a source holds; the figures after ``bytes`` are None where its tokens were not asked for."""

    source: str
    kind: str
    summary: str
    files: tuple[str, ...]
    bytes: int | None
    tokens: int | None = None
    documents: int | None = None
    distinct_ids: int | None = None
    corpus: str | None = None
    notes: tuple[str, ...] = ()

    def __rich__(self) -> RenderableType:
        shown = list(self.files[:_SHOWN_FILES])
        if len(self.files) > _SHOWN_FILES:
            shown.append(f"… and {len(self.files) - _SHOWN_FILES:,} more")
        return pairs(
            [
                ("source", self.source),
                ("kind", f"{self.kind}: {self.summary}" if self.summary else self.kind),
                ("files", "\n".join(shown) if shown else None),
                ("size", human_bytes(self.bytes) if self.bytes is not None else None),
                ("tokens", f"{self.tokens:,}" if self.tokens is not None else None),
                ("documents", f"{self.documents:,}" if self.documents is not None else None),
                ("distinct ids", f"{self.distinct_ids:,}" if self.distinct_ids is not None else None),
                ("corpus", self.corpus),
                ("note", "\n".join(self.notes) or None),
            ]
        )


@click.group(invoke_without_command=True)
@click.pass_context
def data(ctx: click.Context) -> Rows[SourceRow] | None:
    """Choose the data to learn from, and look inside."""
    return ctx.invoke(list_sources) if ctx.invoked_subcommand is None else None


@data.command("list")
@click.pass_obj
def list_sources(session: Session) -> Rows[SourceRow]:
    """List the data sources, and how they are spelled.

    Words in capitals stand for what you write: hf:OWNER/NAME becomes hf:karpathy/tiny_shakespeare. What
    stands in brackets may be left out. The chosen one has a star.
    """
    from nanoshell import typed

    chosen = session.data
    rows = [
        SourceRow(
            entry.name,
            entry.options.get("spelling", entry.name),
            entry.summary,
            entry.provider,
            chosen == entry.name,
        )
        for entry in session.plugins.sources
    ]
    if chosen is not None and not any(row.chosen for row in rows):
        rows.append(SourceRow(chosen, chosen, "the chosen source", "", True))
    return Rows(
        rows,
        [
            ("", lambda row: "*" if row.chosen else ""),
            ("source", lambda row: row.spelling),
            ("what it is", lambda row: row.summary),
        ],
        empty="no plugin brings a data source",
        footer=f"choose one: {typed('data use nano-start')}; look inside: {typed('data head')}, "
        f"{typed('data stats')}",
    )


@data.command("use")
@click.argument("source", type=SOURCE)
@click.pass_obj
def use_source(session: Session, source: str) -> SourceDetails:
    """Choose what to learn from, also for the next start."""
    info = session.use_data(source).info()
    return _details(info)


def _details(info: SourceInfo) -> SourceDetails:
    return SourceDetails(info.spec, info.kind, info.summary, info.files, info.num_bytes, notes=info.notes)


@data.command("info")
@click.argument("source", type=SOURCE, required=False)
@click.option(
    "--tokens/--no-tokens",
    default=True,
    show_default=True,
    help="Tokenize the source where that has not been done, to count.",
)
@click.option("--special", is_flag=True, help="Read spellings like <|endoftext|> in text as special tokens.")
@click.pass_obj
def source_info(session: Session, source: str | None, tokens: bool, special: bool) -> SourceDetails:
    """Show files, size, tokens and documents.

    Without SOURCE it is the chosen one.
    """
    opened = session.open_source(source)
    if not tokens:
        return _details(opened.info())
    corpus = session.prepare_corpus(source, special=special)
    return replace(
        _details(opened.info()),  # asked again: a remote source knows its files once they are here
        tokens=corpus.num_tokens,
        documents=corpus.num_documents,
        distinct_ids=corpus.distinct_ids,
        corpus=str(corpus.path),
    )


@data.command("stats")
@click.argument("source", type=SOURCE, required=False)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many of the commonest tokens.",
)
@click.option("--special", is_flag=True, help="Read spellings like <|endoftext|> in text as special tokens.")
@tokenizer_option
@click.pass_obj
def stats(
    session: Session, source: str | None, top: int, special: bool, tokenizer: str | None
) -> DataStatistics:
    """Count documents, tokens, lengths and roles.

    SOURCE is tokenized where that has not been done; without it, it is the chosen one. A document ends at
    <|endoftext|>, and so does each turn of the assistant: a conversation of three replies counts as three.
    """
    from nanoshell import prepare_corpus
    from nanoshell_commands.datastats import statistics_of

    chosen = chosen_tokenizer(session, tokenizer)
    opened = session.open_source(source)
    corpus = prepare_corpus(opened, chosen, session.template, special=special, narrator=session.narrator)
    return statistics_of(session, corpus, chosen, top)


@data.command("head")
@click.argument("source", type=SOURCE, required=False)
@click.option(
    "-n", "--number", type=click.IntRange(min=1), default=5, show_default=True, help="How many documents."
)
@click.option("--tokens", is_flag=True, help="Show the tokens that a model reads, with their ids.")
@click.option("--special", is_flag=True, help="With --tokens, read spellings like <|endoftext|> as such.")
@tokenizer_option
@click.pass_obj
def head(
    session: Session, source: str | None, number: int, tokens: bool, special: bool, tokenizer: str | None
) -> DocumentView:
    """Show the first documents, as text or as tokens.

    Without SOURCE it is the chosen one. Messages stand under their roles; special tokens in a .bin have their
    own colour. Of long documents it is the beginning, with --json up to 20,000 characters.
    """
    from nanoshell import RemoteSource
    from nanoshell_commands.documents import DocumentView, Splitter, first_documents

    opened = session.open_source(source)
    if isinstance(opened, RemoteSource):
        opened.fetch(session.narrator)
    chosen = chosen_tokenizer(session, tokenizer)
    found = list(islice(first_documents(opened, chosen), number))
    split = Splitter(chosen, session.template, special=special) if tokens else None
    return DocumentView(found, chosen, split)
