"""``tokenizer``: small vocabularies made from one's own data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import click

from nanoshell import SOURCE, TOKENIZER, TRAINED_TOKENIZER, Choice
from nanoshell_commands.layout import Rows, Unbroken, from_here, pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import DataSource, Session, Tokenizer

EXAMPLES = (
    "tokenizer train --kind char --data notes.txt",
    "tokenizer train --kind bpe --vocab-size 1024 --data nano-start --name small",
    "tokenizer list",
    "tokenizer list --json",
    "tokenizer show small",
    "tokenizer show cl100k_base --json",
    "tokenizer rm small",
    "tokenizer rm notes-char",
)

_SHOWN_TOKENS = 24
_SAMPLE_CHARACTERS = 1 << 18


@dataclass(frozen=True)
class TokenizerRow:
    """A tokenizer that can be named; the vocabulary of a plugin's is None: it is not built for a list."""

    name: str
    kind: str
    vocab_size: int | None
    summary: str
    path: str | None
    chosen: bool


@dataclass(frozen=True)
class TokenizerDetails:
    """A tokenizer: what it is made of, and for a new one how many characters of its data a token holds."""

    name: str
    kind: str
    vocab_size: int
    special_tokens: dict[str, int]
    fingerprint: str
    source: str | None = None
    path: str | None = None
    characters: str | None = None
    longest_tokens: tuple[str, ...] | None = None
    characters_per_token: float | None = None

    def __rich__(self) -> RenderableType:
        size = f"{self.vocab_size:,}"
        specials = ", ".join(list(self.special_tokens)[:8])
        ratio = self.characters_per_token
        return pairs(
            [
                ("tokenizer", self.name),
                ("kind", self.kind),
                ("vocabulary", f"{size} ids, {len(self.special_tokens)} of them special ({specials})"),
                ("characters", repr(self.characters)[1:-1] if self.characters else None),
                ("longest tokens", Unbroken(map(repr, self.longest_tokens)) if self.longest_tokens else None),
                ("made from", self.source),
                ("characters per token", f"{ratio:.2f}" if ratio else None),
                ("file", from_here(self.path) if self.path else None),
            ]
        )


@dataclass(frozen=True)
class Removed:
    """A trained tokenizer that is gone."""

    removed: str
    path: str

    def __rich__(self) -> str:
        return f"removed tokenizer {self.removed}; models that were trained with it keep their copies"


@click.group(invoke_without_command=True)
@click.pass_context
def tokenizer(ctx: click.Context) -> Rows[TokenizerRow] | None:
    """Make small vocabularies from your own data.

    A model names its tokenizer in its config: model.tokenizer. It may be a trained one by its name, a file,
    or char or bpe:1024, which are made from the training data when the run starts.
    """
    return ctx.invoke(list_all) if ctx.invoked_subcommand is None else None


@tokenizer.command("train")
@click.option(
    "--kind",
    type=Choice({"char": "an id for each character", "bpe": "ids for frequent sequences of bytes"}),
    default="bpe",
    show_default=True,
    help="char: an id for each character. bpe: for frequent sequences of bytes.",
)
@click.option(
    "--vocab-size",
    type=click.IntRange(min=2),
    help="How many ids, special tokens included: only for bpe, 1024 by default.",
)
@click.option("--data", "source", type=SOURCE, help="The text to make it from; by default the chosen data.")
@click.option("--name", help="What to call it; by default the name of the data and the kind.")
@click.option("--special", is_flag=True, help="Read spellings like <|endoftext|> in text as special tokens.")
@click.option("--force", is_flag=True, help="Replace a trained tokenizer of that name.")
@click.pass_obj
def train(
    session: Session,
    kind: str,
    vocab_size: int | None,
    source: str | None,
    name: str | None,
    special: bool,
    force: bool,
) -> TokenizerDetails:
    """Make a tokenizer from data and keep it under a name.

    A small model deserves a small vocabulary: its table of embeddings has a row for each id. A char tokenizer
    knows the characters of its data alone; bpe takes any text.
    """
    from nanoshell import TokenizerRecipe, UsageError, train_tokenizer, typed

    if kind == "char" and vocab_size is not None:
        raise UsageError(
            "a char tokenizer has as many ids as its data has characters", hint="leave --vocab-size out"
        )
    recipe = TokenizerRecipe(kind, None if kind == "char" else vocab_size or 1024)
    opened = session.open_source(source)
    made = train_tokenizer(
        opened,
        recipe,
        name or _name_for(opened.spec, recipe.name),
        session.plugins.tokenizers,
        special=special,
        replace=force,
        narrator=session.narrator,
    )
    if recipe.vocab_size and made.vocab_size < recipe.vocab_size:
        session.narrator.note(f"{opened.spec} has pairs for {made.vocab_size:,} ids, no more")
    session.narrator.note(
        "use it: " + typed(f"train --set model.tokenizer={made.name} --set model.vocab_size=auto")
    )
    return _details(made, made.name, _characters_per_token(opened, made, special))


@tokenizer.command("list")
@click.pass_obj
def list_all(session: Session) -> Rows[TokenizerRow]:
    """List the tokenizers that can be named."""
    from nanoshell import list_tokenizers, typed

    chosen = session.settings.text("tokenizer")
    return Rows(
        [
            TokenizerRow(
                info.name,
                info.kind,
                info.vocab_size,
                info.summary,
                str(info.path) if info.path else None,
                info.name == chosen,
            )
            for info in list_tokenizers(session.plugins.tokenizers)
        ],
        [
            ("", lambda row: "*" if row.chosen else ""),
            ("tokenizer", lambda row: row.name),
            ("kind", lambda row: row.kind),
            (">ids", lambda row: "" if row.vocab_size is None else f"{row.vocab_size:,}"),
            ("what it is", lambda row: row.summary),
        ],
        footer="char and bpe:1024 are made from the data of a run; * is that of commands such as "
        + typed("tokens"),
    )


@tokenizer.command("show")
@click.argument("name", type=TOKENIZER, required=False)
@click.pass_obj
def show(session: Session, name: str | None) -> TokenizerDetails:
    """Show what a tokenizer is made of.

    NAME is one that can be named (see: tokenizer list), a file, or the folder of a model or run that carries
    its tokenizer; by default it is that of the settings.
    """
    from nanoshell import find_tokenizer

    name = name or session.settings.text("tokenizer")
    return _details(find_tokenizer(name, session.plugins.tokenizers), name)


@tokenizer.command("rm")
@click.argument("name", type=TRAINED_TOKENIZER)
def remove(name: str) -> Removed:
    """Remove a trained tokenizer.

    Models that were trained with it keep their copies.
    """
    from nanoshell import remove_trained

    return Removed(name, str(remove_trained(name)))


def _name_for(spec: str, kind: str) -> str:
    """Return a name for a tokenizer of ``kind`` made from ``spec``, such as ``notes-char``."""
    last = spec.rstrip("/").rpartition("/")[2]
    stem = re.sub(r"\.\w+$", "", last)
    words = re.findall(r"[\w+.]+", stem, re.ASCII)
    return "-".join([*words, kind.replace(":", "")]).lstrip(".+")


def _details(found: Tokenizer, name: str, ratio: float | None = None) -> TokenizerDetails:
    """Return what ``found`` is, which ``name`` led to; a trained one has a file and a source."""
    from nanoshell import PortableTokenizer, source_of, trained_path

    content = found.to_dict() if isinstance(found, PortableTokenizer) else {"kind": "plugin"}
    path = trained_path(name)
    ours = content["kind"] != "plugin" and found.name == name
    return TokenizerDetails(
        name=found.name,
        kind=content["kind"],
        vocab_size=found.vocab_size,
        special_tokens=dict(found.special_tokens),
        fingerprint=found.fingerprint,
        source=source_of(path) if ours else None,
        path=str(path) if ours else None,
        characters=content.get("characters"),
        longest_tokens=None if "characters" in content else _longest(found),
        characters_per_token=ratio,
    )


def _longest(found: Tokenizer) -> tuple[str, ...]:
    """Return the longest ordinary tokens that hold a letter and whole characters, longest first."""
    barred = {*found.unused_ids, *found.special_tokens.values()}
    ordinary = (token_id for token_id in range(found.vocab_size) if token_id not in barred)
    pieces = map(found.token_bytes, ordinary)
    texts = (piece.decode("utf-8", "replace") for piece in sorted(pieces, key=len, reverse=True))
    worded = (text for text in texts if "\ufffd" not in text and any(map(str.isalpha, text)))
    return tuple(islice(worded, _SHOWN_TOKENS))


def _characters_per_token(source: DataSource, made: Tokenizer, special: bool) -> float | None:
    """Return how many characters a token holds in the beginning of ``source``."""
    characters = tokens = 0
    for document in source.documents():
        encode = made.encode_special if special or document.special else made.encode
        for text in [message.content for message in document.messages] or [document.text]:
            part = text[:_SAMPLE_CHARACTERS]
            characters += len(part)
            tokens += len((made.encode if document.messages else encode)(part))
        if characters >= _SAMPLE_CHARACTERS:
            break
    return characters / tokens if tokens else None
