"""``attention``: which tokens a layer of attention looks back at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nanoshell_commands.heat import Label, cut, encoded, labels, percent, text_options
from nanoshell_commands.inputs import prompt_text
from nanoshell_commands.layout import utf8
from nanoshell_commands.sampling import chosen_model

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from nanoshell import Session

EXAMPLES = (
    'attention "The capital of France is Paris."',
    'attention --head 0 "Birds sing. Why do birds sing?"',
    'attention "Water freezes at" --json',
)

_SHARES = (0.03, 0.08, 0.2, 0.4)
_SHADES = "·░▒▓█"
_ASCII_SHADES = ".:=*#"
_CELL = 2
_LABEL = 14
_STRONGEST = 24
"""Columns of the place that a row looks at most, where there is room for it."""
_MOST_ROWS = 64


@dataclass(frozen=True)
class AttentionMap:
    """How much each token looks at each in ``layer``: row i of ``weights`` (tokens, tokens) sums to 1.

    ``head`` is None where it is the mean over all ``num_heads``; layers and heads are counted from 0. The
    grid on the screen holds as many tokens as fit, from the first on, which never see those that follow.
    """

    model: str
    layer: int
    head: int | None
    num_heads: int
    layers: list[int]
    ids: list[int]
    tokens: list[str]
    weights: list[list[float]]
    _labels: Sequence[Label]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        head = f"mean of {self.num_heads} heads" if self.head is None else f"head {self.head}"
        yield Text(f"layer {self.layer}, {head}", style="nano.heading")
        room = options.max_width - _LABEL - len(str(len(self.ids))) - 2
        count = max(1, min(len(self.ids), room // _CELL, _MOST_ROWS))
        with_strongest = room - count * _CELL >= _STRONGEST
        yield self._header(count, with_strongest)
        shades = _SHADES if utf8(console) else _ASCII_SHADES
        for row in range(count):
            yield self._row(row, count, shades, console, with_strongest)
        yield self._legend(shades)
        if count < len(self.ids):
            yield Text(
                f"the first {count} of {len(self.ids):,} tokens, which do not see the others; "
                "a wider terminal shows more, --json all",
                style="nano.quiet",
            )

    def _header(self, count: int, with_strongest: bool) -> Text:
        from rich.text import Text

        digits = len(str(len(self.ids)))
        every = 1 if count <= _CELL * 5 else 5  # numbers of two digits need a gap
        numbers = "".join(f"{index:<{_CELL * every}}" for index in range(0, count, every))
        numbers = f"{numbers[: count * _CELL]:<{count * _CELL}}"
        most = "  looks most at" if with_strongest else ""
        return Text(" " * (digits + 1 + _LABEL) + numbers + most, style="nano.quiet")

    def _row(self, row: int, count: int, shades: str, console: Console, with_strongest: bool) -> Text:
        from rich.text import Text

        digits = len(str(len(self.ids)))
        line = Text(f"{row:>{digits}} ", style="nano.quiet")
        label = self._labels[row].on(console)
        label.truncate(_LABEL - 1, overflow=cut(console), pad=True)
        line.append_text(Text(label.plain, style=label.style or "default")).append(" ")
        weights = self.weights[row][: row + 1]
        for weight in weights:
            line.append(
                shades[_shade(weight)] * _CELL, style="nano.accent" if _shade(weight) else "nano.quiet"
            )
        if with_strongest:
            best = max(range(len(weights)), key=weights.__getitem__)
            line.append(" " * ((count - row - 1) * _CELL + 2))
            line.append(f"{best} ", style="nano.quiet")
            target = self._labels[best].on(console)
            target.truncate(_LABEL, overflow=cut(console))
            line.append_text(target).append(f" {percent(weights[best])}", style="nano.quiet")
        return line

    def _legend(self, shades: str) -> Text:
        from rich.text import Text

        legend = Text("a row looks at columns: ", style="nano.quiet")
        for shade, name in zip(
            shades, [f"<{_SHARES[0]:.0%}", *(f"{share:.0%}+" for share in _SHARES)], strict=True
        ):
            legend.append(shade * _CELL, style="nano.accent")
            legend.append(f" {name}  ", style="nano.quiet")
        legend.rstrip()
        return legend


def _shade(weight: float) -> int:
    return sum(weight >= share for share in _SHARES)


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option(
    "--layer",
    type=int,
    metavar="N",
    help="A layer, counted from 0.",
    show_default="the last with attention",
)
@click.option(
    "--head", type=int, metavar="M", help="A head, counted from 0.", show_default="the mean over heads"
)
@text_options
@click.pass_obj
def attention(
    session: Session,
    /,
    text: tuple[str, ...],
    layer: int | None,
    head: int | None,
    model: str | None,
    special: bool,
    no_bos: bool,
) -> AttentionMap:
    """Show which tokens of TEXT look at which.

    Each row is a token, and its shades say how much of each earlier token, and of itself, goes into what this
    layer adds to it; a row sums to 1. Several words are joined by a space; - reads standard input.
    """
    from nanoshell import UsageError, attending_layers, attention_layer, attention_map

    loaded = chosen_model(session, model)
    engine = loaded.engine
    index = attention_layer(engine.model, layer)
    ids = encoded(engine.tokenizer, prompt_text(text), special=special, no_bos=no_bos)
    if not ids:
        raise UsageError("the text has no token", hint="give more of it, or leave out --no-bos")
    if len(ids) > engine.max_positions:
        session.narrator.note(f"the model sees the first {engine.max_positions:,} of {len(ids):,} tokens")
        del ids[engine.max_positions :]
    maps = attention_map(engine.model, ids, index)
    heads = len(maps)
    if head is not None and not 0 <= head < heads:
        raise UsageError(
            f"there is no head {head} in layer {index}", hint=f"its heads are counted from 0 to {heads - 1}"
        )
    weights = maps.mean(0) if head is None else maps[head]
    shown = labels(ids, engine.tokenizer)
    return AttentionMap(
        model=loaded.label,
        layer=index,
        head=head,
        num_heads=heads,
        layers=attending_layers(engine.model),
        ids=ids,
        tokens=[label.text for label in shown],
        weights=[[round(weight, 6) for weight in row] for row in weights.tolist()],
        _labels=shown,
    )
