"""``tokens``: how a text splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nanoshell_commands.inputs import chosen_tokenizer, joined, tokenizer_option

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from nanoshell import Session

EXAMPLES = ('tokens "The capital of France is Paris."', 'tokens --special "Hi<|endoftext|>"')

_STYLES = ("black on bright_cyan", "black on bright_yellow")
_SPECIAL_STYLE = "bold white on magenta"
_VISIBLE = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}


@dataclass(frozen=True)
class Piece:
    """One token: its id and its text; the bytes of a character that is split over tokens show as U+FFFD."""

    id: int
    text: str


@dataclass(frozen=True)
class Split:
    """How a text splits: the ids, and each with its text. On a screen each piece has its id beneath."""

    ids: list[int]
    tokens: list[Piece]
    _text: str
    _pieces: list[bytes]
    _special: frozenset[int]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        above, beneath, width = Text(), Text(), 0
        for index, (token_id, piece) in enumerate(zip(self.ids, self._pieces, strict=True)):
            label = visible(piece)
            cell = max(Text(label).cell_len, len(str(token_id)))
            if width and width + cell > options.max_width:
                yield above
                yield beneath
                above, beneath, width = Text(), Text(), 0
            style = _SPECIAL_STYLE if token_id in self._special else _STYLES[index % 2]
            above.append(label, style=style)
            above.append(" " * (cell + 1 - Text(label).cell_len))
            beneath.append(str(token_id).ljust(cell + 1), style="dim")
            width += cell + 1
            if piece.endswith(b"\n"):
                width = options.max_width
        if self.ids:
            yield above
            yield beneath
        yield Text(self._summary(), style="dim")

    def _summary(self) -> str:
        num_bytes = sum(map(len, self._pieces))
        special = sum(i in self._special for i in self.ids)
        parts = [_counted(len(self.ids), "token"), _counted(len(self._text), "character")]
        parts.append(_counted(num_bytes, "byte"))
        if special:
            parts.append(f"{special} special")
        return ", ".join(parts)


def visible(piece: bytes) -> str:
    """Return the bytes of one token for a screen: whitespace visible, parts of characters as ``<e2 82>``."""
    shown = ""
    for run, whole in _characters(piece):
        if not whole:
            shown += f"<{run.hex(' ')}>"
            continue
        for character in run.decode("utf-8"):
            shown += _VISIBLE.get(character) or (
                character if character.isprintable() else f"<{character.encode('utf-8').hex(' ')}>"
            )
    return shown


def _characters(piece: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the stretches of ``piece`` that are whole characters (True) or parts of one (False)."""
    while piece:
        try:
            piece.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start:
                yield piece[: error.start], True
            yield piece[error.start : error.end], False
            piece = piece[error.end :]
        else:
            yield piece, True
            return


def _counted(amount: int, noun: str) -> str:
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--special", is_flag=True, help="Read spellings like <|endoftext|> as special tokens.")
@tokenizer_option
@click.pass_obj
def tokens(session: Session, text: tuple[str, ...], special: bool, tokenizer: str | None) -> Split:
    """Show how TEXT splits into tokens, with their ids.

    Several words are joined by a space; - reads standard input as it is. Spaces show as ·, line ends as ↵,
    the bytes of a character that is split over tokens as <e2 82>; special tokens have their own colour.
    """
    whole = joined(text)
    found = chosen_tokenizer(session, tokenizer)
    ids = found.encode_special(whole) if special else found.encode(whole)
    pieces = [found.token_bytes(token_id) for token_id in ids]
    return Split(
        ids,
        [Piece(i, piece.decode("utf-8", "replace")) for i, piece in zip(ids, pieces, strict=True)],
        whole,
        pieces,
        frozenset(found.special_tokens.values()),
    )
