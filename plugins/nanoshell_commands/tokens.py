"""``tokens``: how a text splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from typing import TYPE_CHECKING

import click

from nanoshell_commands.inputs import chosen_tokenizer, joined, tokenizer_option
from nanoshell_commands.layout import table, utf8

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.text import Text

    from nanoshell import Session

EXAMPLES = (
    'tokens "The capital of France is Paris."',
    'tokens --special "Hi<|endoftext|>"',
    'tokens --list "naïve 🙂"',
)

SPECIAL = "nano.special"
"""The style of special tokens."""

_STYLES = ("black on bright_cyan", "black on bright_yellow")
_VISIBLE = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
_VISIBLE_ASCII = {" ": "_", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


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
    _listed: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        if self._listed:
            yield self._list(console)
        else:
            yield from self._lines(console, options.max_width)
        yield Text(self._summary(), style="nano.quiet")

    def _lines(self, console: Console, max_width: int) -> Iterator[Text]:
        """Yield lines of pieces, each followed by a line of their ids."""
        from rich.text import Text

        above, beneath, width = Text(), Text(), 0
        for index, (token_id, data) in enumerate(zip(self.ids, self._pieces, strict=True)):
            label = visible(data, ascii_only=not utf8(console))
            cell = max(Text(label).cell_len, len(str(token_id)))
            if width and width + cell > max_width:
                yield above
                yield beneath
                above, beneath, width = Text(), Text(), 0
            above.append(label, style=SPECIAL if token_id in self._special else _STYLES[index % 2])
            above.append(" " * (cell + 1 - Text(label).cell_len))
            beneath.append(str(token_id).ljust(cell + 1), style="nano.quiet")
            width += cell + 1
            if data.endswith(b"\n"):
                width = max_width
        if self.ids:
            yield above
            yield beneath

    def _list(self, console: Console) -> RenderableType:
        """Return a line for each token."""
        starts = accumulate(map(len, self._pieces), initial=0)
        rows = [
            (place, visible(data, ascii_only=not utf8(console)), token_id, start, data.hex(" "))
            for place, token_id, data, start in zip(count(1), self.ids, self._pieces, starts, strict=False)
        ]
        return table([">", "token", ">id", ">at byte", "bytes"], rows)

    def _summary(self) -> str:
        num_bytes = sum(map(len, self._pieces))
        special = sum(i in self._special for i in self.ids)
        parts = [_counted(len(self.ids), "token"), _counted(len(self._text), "character")]
        parts.append(_counted(num_bytes, "byte"))
        if special:
            parts.append(f"{special} special")
        return ", ".join(parts)


def visible(piece: bytes, *, ascii_only: bool = False) -> str:
    """Return the bytes of one token for a screen: whitespace visible, parts of characters as ``<e2 82>``.

    With ``ascii_only`` whitespace is spelled ``_``, ``\\n``, ``\\t``, ``\\r``.
    """
    signs = _VISIBLE_ASCII if ascii_only else _VISIBLE
    shown = ""
    for run, whole in _characters(piece):
        if not whole:
            shown += f"<{run.hex(' ')}>"
            continue
        for character in run.decode("utf-8"):
            shown += signs.get(character) or (
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
@click.option("--list", "listed", is_flag=True, help="A line for each token, with its bytes.")
@tokenizer_option
@click.pass_obj
def tokens(
    session: Session, text: tuple[str, ...], special: bool, listed: bool, tokenizer: str | None
) -> Split:
    """Show how TEXT splits into tokens, with their ids.

    Several words are joined by a space; - reads standard input as it is. Spaces show as ·, line ends as ↵,
    the bytes of a character that is split over tokens as <e2 82>; special tokens have their own colour.
    """
    whole = joined(text)
    found = chosen_tokenizer(session, tokenizer)
    ids = found.encode_special(whole) if special else found.encode(whole)
    pieces = [found.token_bytes(token_id) for token_id in ids]
    told = [Piece(i, piece.decode("utf-8", "replace")) for i, piece in zip(ids, pieces, strict=True)]
    return Split(ids, told, whole, pieces, frozenset(found.special_tokens.values()), listed)
