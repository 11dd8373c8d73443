"""What the commands that look inside a model share: bars, heat lines, tables of tokens, and which text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from nanoshell import MODEL
from nanoshell_commands.inputs import dtype_option, runs_dir_option
from nanoshell_commands.layout import utf8
from nanoshell_commands.tokens import SPECIAL, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

    from nanoshell import Tokenizer

Command = TypeVar("Command", bound=Callable[..., Any])

LEVELS = (0.5, 0.1, 0.01, 0.001)
"""The least probability of heat 0 to 3; what is less likely has heat 4."""

_LEGEND = ("50% and more", "10%", "1%", "0.1%", "less")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_WIDEST_BAR = 32
_GAP = 2
_WIDEST_LABEL = 20


@dataclass(frozen=True)
class Label:
    """A token as it is drawn: its id, its bytes, and whether it is a special one."""

    id: int
    data: bytes
    special: bool

    @property
    def text(self) -> str:
        """The text; bytes that are no whole character become U+FFFD."""
        return self.data.decode("utf-8", "replace")

    def on(self, console: Console) -> Text:
        """Return it for ``console``, with its whitespace visible, and a special one in its own style."""
        from rich.text import Text

        return Text(visible(self.data, ascii_only=not utf8(console)), style=SPECIAL if self.special else "")

    def short(self, console: Console) -> Text:
        """Return what `on` does, cut to the width of a column."""
        label = self.on(console)
        label.truncate(_WIDEST_LABEL, overflow=cut(console))
        return label


def labels(ids: Iterable[int], tokenizer: Tokenizer) -> list[Label]:
    """Return ``ids`` as they are drawn. An id without a token has no bytes."""
    special = frozenset(tokenizer.special_tokens.values())
    known = range(tokenizer.vocab_size)
    return [
        Label(
            token,
            tokenizer.token_bytes(token) if token in known and token not in tokenizer.unused_ids else b"",
            token in special,
        )
        for token in ids
    ]


def heat(probability: float) -> int:
    """Return 0 (expected) to 4 (surprising) for a token of this probability."""
    return sum(probability < level for level in LEVELS)


def percent(share: float) -> str:
    """Return a share in as many digits as tell something, ``98.4%`` or ``0.003%``."""
    if share == 0:
        return "0%"
    if share >= 0.001:
        return f"{share:.1%}"
    return f"{share:.3%}" if share >= 0.00001 else "<0.001%"


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of ``share`` (0 to 1) of ``width`` columns, to an eighth of one; ``#`` without Unicode."""
    if ascii_only:
        return "#" * round(share * width)
    whole, rest = divmod(round(share * width * 8), 8)
    return ("█" * whole + _EIGHTHS[rest]).rstrip()


def cut(console: Console) -> Literal["ellipsis", "crop"]:
    """Return how a text that is too long ends: by …, where ``console`` can show that."""
    return "ellipsis" if utf8(console) else "crop"


def has_colour(console: Console) -> bool:
    """Return whether ``console`` shows colours, so that a heat line says something."""
    return console.color_system is not None and not console.no_color


@dataclass(frozen=True)
class HeatLine:
    """A text whose tokens are coloured by their probability; one of None was given, and is quiet."""

    tokens: Sequence[tuple[Label, float | None]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        line = Text(overflow="fold")
        for label, probability in self.tokens:
            style = "nano.quiet" if probability is None else f"nano.heat{heat(probability)}"
            given = label.special and probability is None
            line.append(label.on(console).plain, style=SPECIAL if given else style)
            if label.data.endswith(b"\n"):
                line.append("\n")
        line.rstrip()
        yield line
        legend = Text("probability  ", style="nano.quiet")
        for level, name in enumerate(_LEGEND):
            legend.append("■ " if utf8(console) else "# ", style=f"nano.heat{level}")
            legend.append(name + "  ", style="nano.quiet")
        legend.rstrip()
        yield legend


Cell = str | float | Callable[["Console"], "Text"]
"""What stands in a `Chart`: text, the share that a bar shows (0 to 1), or what makes a text for a console."""


@dataclass(frozen=True)
class Chart:
    """Rows of cells under headings; the column with an empty heading holds bars.

    A heading that begins with ``>`` is a column of figures. Without bars the last column is cut to what fits.
    ``styles`` are those of the bars, row by row.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    styles: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        flexible = self.headings.index("") if "" in self.headings else len(self.headings) - 1
        texts = [[None if isinstance(c, float) else _drawn(c, console) for c in row] for row in self.rows]
        widths = [
            max([len(heading.lstrip(">")), *(cell.cell_len for row in texts if (cell := row[index]))])
            for index, heading in enumerate(self.headings)
            if index != flexible
        ]
        room = max(4, options.max_width - sum(widths) - _GAP * len(widths))
        table = _empty(self.headings)
        for index, (row, drawn) in enumerate(zip(self.rows, texts, strict=True)):
            style = self.styles[index] if self.styles else "nano.accent"
            if (last := drawn[flexible]) is not None:
                last.truncate(room, overflow=cut(console))
            table.add_row(
                *(
                    text if text is not None else _bar(cell, min(room, _WIDEST_BAR), console, style)
                    for cell, text in zip(row, drawn, strict=True)
                )
            )
        yield table


def _empty(headings: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="")
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(
            Text(heading.removeprefix(">"), style="nano.quiet"),
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def _bar(share: Cell, width: int, console: Console, style: str) -> Text:
    from rich.text import Text

    full = share if isinstance(share, float) else 0.0
    return Text(bar(full, width, ascii_only=not utf8(console)), style)


def _drawn(cell: Cell, console: Console) -> Text:
    from rich.text import Text

    return cell(console) if callable(cell) else Text(str(cell))


def heated(probability: float) -> Cell:
    """Return a cell that tells ``probability`` in its heat."""

    def drawn(console: Console) -> Text:
        from rich.text import Text

        return Text(percent(probability), style=f"nano.heat{heat(probability)}")

    return drawn


def perplexity(loss: float) -> float:
    """Return exp(``loss``), infinite where that is beyond a float."""
    return math.exp(loss) if loss < 700 else math.inf


def model_options(command: Command) -> Command:
    """Add ``--model``, ``--dtype`` and ``--runs-dir`` to ``command``, which looks at a model."""
    option = click.option(
        "--model",
        type=MODEL,
        help="A run, RUN@STEP, a model directory, or latest.",
        show_default="the chosen one",
    )
    return option(dtype_option(runs_dir_option(command)))


def text_options(command: Command) -> Command:
    """Add `model_options`, ``--special`` and ``--no-bos`` to ``command``, which shows a model a text."""
    special = click.option(
        "--special", is_flag=True, help="Read spellings like <|user|> in TEXT as special tokens."
    )
    bare = click.option("--no-bos", is_flag=True, help="Do not begin with the token that starts a document.")
    return special(bare(model_options(command)))


def encoded(tokenizer: Tokenizer, text: str, *, special: bool, no_bos: bool) -> list[int]:
    """Return the ids of ``text``, behind ``<|endoftext|>`` unless ``no_bos``: as a model sees a document."""
    ids = tokenizer.encode_special(text) if special else tokenizer.encode(text)
    return ids if no_bos else [tokenizer.end_of_text, *ids]
