"""What a source holds, in figures: what `data stats` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanoshell import CorpusStatistics, human_bytes
from nanoshell_commands.heat import bar, labels, percent
from nanoshell_commands.layout import figure, pairs, table, utf8

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from nanoshell import Corpus, Session, Tokenizer

_SIDE_BY_SIDE = 104
"""Columns from which on the tables of lengths and of tokens stand beside each other."""
_BAR = 24


@dataclass(frozen=True)
class DataStatistics(CorpusStatistics):
    """What a source holds, in tokens of ``tokenizer``, and the file ``corpus`` in which they are."""

    source: str
    tokenizer: str
    corpus: str
    _tokenizer: Tokenizer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield pairs(self._figures())
        ascii_only = not utf8(console)
        tables = [self._lengths(ascii_only), self._commonest(console)]
        if self.roles:
            tables.insert(0, self._roles())
        if options.max_width >= _SIDE_BY_SIDE:
            from rich.columns import Columns

            yield ""
            yield Columns(tables, padding=(0, 4))
            return
        for shown in tables:
            yield ""
            yield shown

    def _figures(self) -> list[tuple[str, str | None]]:
        lengths = self.lengths
        median = f", median {figure(lengths.median)}" if lengths.median is not None else ""
        per_token = None
        if self.bytes_per_token is not None and self.characters_per_token is not None:
            per_token = f"{self.characters_per_token:.2f} characters, {self.bytes_per_token:.2f} bytes"
        special = f", {self.special_tokens:,} of them special" if self.special_tokens else ""
        return [
            ("source", self.source),
            ("tokenizer", self.tokenizer),
            ("tokens", f"{self.tokens:,}{special}"),
            ("text", f"{self.characters:,} characters, {human_bytes(self.text_bytes)}"),
            ("a token is", per_token),
            (
                "vocabulary",
                f"{self.distinct_ids:,} of {self.vocabulary:,} used "
                f"({percent(self.distinct_ids / max(self.vocabulary, 1))})",
            ),
            ("documents", f"{self.documents:,}"),
            (
                "their tokens",
                f"{lengths.shortest:,} to {lengths.longest:,}{median}, mean {figure(lengths.mean)}"
                if self.documents > 1
                else f"{lengths.longest:,}",
            ),
        ]

    def _roles(self) -> RenderableType:
        total = max(self.tokens, 1)
        rows = [
            (each.role, f"{each.messages:,}", f"{each.tokens:,}", percent(each.tokens / total))
            for each in self.roles
        ]
        return table(["role", ">messages", ">tokens", ">of all"], rows)

    def _lengths(self, ascii_only: bool) -> RenderableType:
        bins = self.lengths.histogram
        most = max((each.documents for each in bins), default=1)
        rows = [
            (
                f"{each.first:,}" if each.first == each.last else f"{each.first:,}–{each.last:,}",
                f"{each.documents:,}",
                bar(each.documents / most, _BAR, ascii_only=ascii_only)
                or ("." if each.documents and ascii_only else "▏" if each.documents else ""),
            )
            for each in bins
        ]
        if ascii_only:
            rows = [(span.replace("–", "-"), *others) for span, *others in rows]  # type: ignore[misc]
        return table([">tokens", ">documents", ""], rows)

    def _commonest(self, console: Console) -> RenderableType:
        from nanoshell import new_table

        drawn = labels([each.id for each in self.commonest], self._tokenizer)
        shown = new_table(rule=True)
        shown.add_column("commonest")
        for heading in ("id", "times", "share"):
            shown.add_column(heading, justify="right")
        for label, each in zip(drawn, self.commonest, strict=True):
            shown.add_row(label.short(console), f"{each.id}", f"{each.count:,}", percent(each.share))
        return shown


def statistics_of(session: Session, corpus: Corpus, tokenizer: Tokenizer, top: int) -> DataStatistics:
    """Return what ``corpus`` holds, with its ``top`` commonest tokens. Raises `DataError`."""
    from nanoshell import corpus_statistics

    size = corpus.num_tokens * 4
    with session.narrator.progress(f"counting {corpus.spec}", size, "B") as advance:
        found = corpus_statistics(corpus.path, tokenizer, top=top, progress=advance)
    return DataStatistics(
        **vars(found),
        source=corpus.spec,
        tokenizer=tokenizer.name,
        corpus=str(corpus.path),
        _tokenizer=tokenizer,
    )
