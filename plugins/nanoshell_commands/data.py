"""``data``: which sources there are, choosing one, and looking inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nanoshell import SOURCE
from nanoshell_commands.layout import Rows, cell, human_bytes, pairs, turn

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import DataSource, Document, Screen, Session, SourceInfo, Tokenizer

EXAMPLES = ("data use nano-start", 'data info "notes/*.md"', "data head nano-start:chat -n 2")

_SHOWN_FILES = 8
_SHOWN_CHARACTERS = 600
_KEPT_CHARACTERS = 20_000
_BLOCK = 4096


@dataclass(frozen=True)
class SourceRow:
    """A kind of data source, or the source that is chosen."""

    name: str
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
def data(ctx: click.Context) -> Any:
    """Choose the data to learn from, and look inside."""
    return ctx.invoke(list_sources) if ctx.invoked_subcommand is None else None


@data.command("list")
@click.pass_obj
def list_sources(session: Session) -> Rows[SourceRow]:
    """List the kinds of data source, and which one is chosen."""
    chosen = session.data
    rows = [
        SourceRow(entry.name, entry.summary, entry.provider, chosen == entry.name)
        for entry in session.plugins.sources
    ]
    if chosen is not None and not any(row.chosen for row in rows):
        rows.append(SourceRow(chosen, "the chosen source", "", True))
    return Rows(
        rows,
        [
            ("", lambda row: "*" if row.chosen else ""),
            ("source", lambda row: row.name),
            ("what it is", lambda row: row.summary),
            ("plugin", lambda row: row.plugin),
        ],
        empty="no plugin brings a data source",
        footer="a path is a source too: a .bin, .txt, .md or .jsonl file, a folder or a glob of them",
    )


@data.command("use")
@click.argument("source", type=SOURCE)
@click.pass_obj
def use_source(session: Session, source: str) -> SourceDetails:
    """Choose SOURCE for what follows, and for the next start."""
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
    """Show the files, tokens and documents of SOURCE, or of the chosen one."""
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


class DocumentView:
    """The first documents of a source: messages under their roles, text as it is; in JSON one line each."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents

    def show(self, screen: Screen) -> None:
        for document in self._documents:
            screen.out.print(cell(document.origin, "dim"))
            if document.messages:
                for message in document.messages:
                    screen.out.print(turn(message.role, _cut(message.content)))
            else:
                screen.out.print(cell(_cut(document.text)))
            screen.out.print()

    def lines(self) -> Iterator[Any]:
        for document in self._documents:
            if document.messages:
                messages = [{"role": m.role, "content": m.content} for m in document.messages]
                yield {"origin": document.origin, "messages": messages}
            else:
                yield {"origin": document.origin, "text": document.text}

    def document(self) -> Any:
        return None


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " …"


def first_documents(source: DataSource, tokenizer: Tokenizer) -> Iterator[Document]:
    """Yield the documents of ``source``, whole: parts are joined, and the ids of a ``.bin`` read as text.

    Of a document of any size no more is kept than a reader will look at.
    """
    path = source.token_file()
    if path is not None:
        yield from _decoded_documents(path, tokenizer)
        return
    text = ""
    for document in source.documents():
        if document.messages:
            yield document
            continue
        if len(text) < _KEPT_CHARACTERS:
            text += tokenizer.decode(document.ids.tolist()) if document.ids is not None else document.text
        if not document.continues:
            yield replace(document, text=text, ids=None)
            text = ""
    if text:
        yield replace(document, text=text, ids=None)


def _decoded_documents(path: Path, tokenizer: Tokenizer) -> Iterator[Document]:
    from nanoshell import Document, open_tokens

    tokens = open_tokens(path, tokenizer)
    ids: list[int] = []
    for start in range(0, len(tokens), _BLOCK):
        for position, token_id in enumerate(tokens[start : start + _BLOCK].tolist(), start):
            if token_id == tokenizer.end_of_text:
                yield Document(text=tokenizer.decode(ids), origin=f"{path}, up to token {position:,}")
                ids = []
            elif len(ids) < _KEPT_CHARACTERS:
                ids.append(token_id)
    if ids:
        yield Document(text=tokenizer.decode(ids), origin=f"{path}, up to its end")


@data.command("head")
@click.argument("source", type=SOURCE, required=False)
@click.option(
    "-n", "--number", type=click.IntRange(min=1), default=5, show_default=True, help="How many documents."
)
@click.pass_obj
def head(session: Session, source: str | None, number: int) -> DocumentView:
    """Show the first documents of SOURCE, or of the chosen one."""
    from nanoshell import RemoteSource

    opened = session.open_source(source)
    if isinstance(opened, RemoteSource):
        opened.fetch(session.narrator)
    return DocumentView(list(islice(first_documents(opened, session.tokenizer), number)))
