"""``model export``: the model in the format of another program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell import MODEL, NameType, human_bytes
from nanoshell_commands.layout import Rows, from_here, pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Session

EXAMPLES = ("model export", "model export transformers my-model --model latest")


@dataclass(frozen=True)
class FormatRow:
    """A format to which models can be exported, and the plugin that brings it."""

    name: str
    summary: str
    provider: str


@dataclass(frozen=True)
class ExportedModel:
    """A model that was written to ``path`` in another ``format``: its files and their ``bytes`` in all."""

    name: str
    format: str
    path: str
    files: list[str]
    bytes: int

    def __rich__(self) -> RenderableType:
        return pairs(
            [
                ("model", self.name),
                ("format", self.format),
                ("written to", from_here(self.path)),
                ("files", ", ".join(self.files)),
                ("size", human_bytes(self.bytes)),
            ]
        )


def _formats(session: Session, _incomplete: str) -> Iterator[tuple[str, str]]:
    yield from ((entry.name, entry.summary) for entry in session.plugins.exporters)


@click.command("export")
@click.argument("format_name", metavar="[FORMAT]", type=NameType("format", _formats), required=False)
@click.argument("target", metavar="[TARGET]", type=click.Path(path_type=Path), required=False)
@click.option("--model", "reference", type=MODEL, help="The model to export.", show_default="the chosen one")
@click.pass_obj
def export_model(
    session: Session, format_name: str | None, target: Path | None, reference: str | None
) -> Rows[FormatRow] | ExportedModel:
    """Write a model in the format of another program.

    TARGET is a file or folder that does not exist yet. Without FORMAT the formats are listed; plugins bring
    them.
    """
    from nanoshell import UsageError

    if format_name is None:
        return _listed(session)
    write = session.plugins.exporters.get(format_name)
    if target is None:
        raise UsageError(
            "where to write the model is missing", hint=f"try: model export {format_name} my-model"
        )
    path = target.expanduser()
    if path.exists():
        raise UsageError(f"{path} exists", hint="choose another name, or remove it first")
    chosen = reference or session.model_name
    if chosen is None:
        raise UsageError("no model is chosen", hint="name one: --model latest")
    found = session.locate_model(chosen)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(found.path, path)
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    return ExportedModel(
        name=found.label,
        format=format_name,
        path=str(path),
        files=[str(part.relative_to(path)) if part != path else part.name for part in files],
        bytes=sum(part.stat().st_size for part in files),
    )


def _listed(session: Session) -> Rows[FormatRow]:
    rows = [FormatRow(entry.name, entry.summary, entry.provider) for entry in session.plugins.exporters]
    return Rows(
        rows,
        [
            ("format", lambda row: row.name),
            ("what it is", lambda row: row.summary),
            ("plugin", lambda row: row.provider),
        ],
        empty="no plugin brings a format",
    )
