"""``model``: the presets, loading a model, and where its parameters are."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from nanoshell import MODEL, PRESET_OR_MODEL, human_bytes, human_count
from nanoshell_commands.costs import Costs, Plan, costs, plan_of, plan_of_model
from nanoshell_commands.exporting_model import EXAMPLES as EXPORT_EXAMPLES, export_model
from nanoshell_commands.inputs import dtype_option
from nanoshell_commands.layout import Rows, from_here, pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import LoadedModel, ModelConfig, ModelLocation, ParameterSplit, Session

EXAMPLES = (
    "model list",
    "model list --json",
    "model load latest",
    "model load latest --dtype bfloat16",
    "model info nano-start",
    "model info nano --batch-size 16",
    *EXPORT_EXAMPLES,
)

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class PresetRow:
    """A preset: its shape in a line; ``parameters`` is None where a plugin's kind of layer must be asked."""

    name: str
    summary: str
    parameters: int | None
    path: str
    problem: str = ""


@dataclass(frozen=True)
class Parameters:
    """How many parameters each part has; None where a plugin's kind of layer must be asked."""

    embedding: int | None
    mixers: int | None
    feed_forwards: int | None
    norms: int | None
    head: int | None
    total: int | None


@dataclass(frozen=True)
class ModelDetails:
    """A model: what it is called, its shape, where its parameters are; ``bytes`` of its weights on disk.

    ``layers`` says of which kinds each is: mixer and feed-forward. ``costs`` are estimates. ``dtype`` is that
    of a loaded model, and ``compiled`` whether it decodes by the compiled step; ``not_compiled`` is why it
    does not, and ``memory_bytes`` what its weights take in memory.
    """

    name: str
    kind: str
    path: str
    step: int | None
    parameters: Parameters
    bytes: int | None
    config: Annotated[dict[str, Any], "the keys of the model's config"]
    layers: list[str]
    costs: Costs
    dtype: str | None = None
    compiled: bool | None = None
    not_compiled: str | None = None
    memory_bytes: int | None = None
    _head_tied: bool = False
    _vocabulary_note: str = ""
    _device: str | None = None

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        shape = self.config
        about = pairs(
            [
                (self.kind, self.name),
                ("folder" if self.kind != "preset" else "file", from_here(self.path)),
                ("step", f"{self.step:,}" if self.step is not None else None),
                (
                    "shape",
                    f"{shape.get('num_layers')} layers of width {shape.get('hidden_size')}{self._heads()}",
                ),
                ("layers", _by_kind(self.layers)),
                ("positions", f"{shape.get('max_seq_len'):,}"),
                ("vocabulary", f"{self._vocabulary_note} {shape.get('vocab_size'):,}".lstrip()),
                ("weights", f"{human_bytes(self.bytes)} on disk" if self.bytes is not None else None),
                ("device", self._device),
                (
                    "computes in",
                    f"{self.dtype}, its weights take {human_bytes(self.memory_bytes)} of memory"
                    if self.dtype
                    else None,
                ),
                ("compiled", self._compiled()),
            ]
        )
        return Group(about, "", self._split(), "", self.costs)

    def _compiled(self) -> str | None:
        if self.compiled is None:
            return None
        return "yes" if self.compiled else f"no: {self.not_compiled}"

    def _heads(self) -> str:
        """Return the heads of attention, where there is some."""
        heads, shared = self.config.get("num_heads"), self.config.get("kv_heads")
        mixers = {layer.partition(" ")[0] for layer in self.layers}
        if not mixers & {"attention", "mla"}:
            return ""
        few = (
            f" ({shared} for keys and values)"
            if shared not in (None, heads) and "attention" in mixers
            else ""
        )
        return f", {heads} heads{few}"

    def _split(self) -> RenderableType:
        from rich.table import Table

        parts = self.parameters
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="nano.heading")
        grid.add_column(justify="right")
        grid.add_column(justify="right", style="nano.quiet")
        named = [
            ("embedding", parts.embedding),
            ("mixers", parts.mixers),
            ("feed-forward", parts.feed_forwards),
            ("norms", parts.norms),
            ("head", parts.head),
        ]
        for name, amount in named:
            share = f"{amount / parts.total:.1%}" if amount is not None and parts.total else ""
            tied = "tied to the embedding" if name == "head" and self._head_tied else share
            grid.add_row(name, "?" if amount is None else f"{amount:,}", tied)
        grid.add_row("parameters", "?" if parts.total is None else f"{parts.total:,}", "")
        return grid


def _by_kind(layers: Sequence[str]) -> str:
    """Return which layers are of which kind: ``mamba2 0-2, 4-6 · mla + moe 3, 7``."""
    kinds: dict[str, list[list[int]]] = {}
    for index, kind in enumerate(layers):
        runs = kinds.setdefault(kind, [])
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    if len(kinds) == 1:
        return next(iter(kinds))
    return " · ".join(
        f"{kind} {', '.join(f'{run[0]}-{run[-1]}' if len(run) > 1 else f'{run[0]}' for run in runs)}"
        for kind, runs in kinds.items()
    )


def counted(session: Session, config: ModelConfig) -> ParameterSplit:
    """Return the parameters of each part: by formula, or from the layers themselves where there is none."""
    from nanoshell import ConfigError, parameter_split

    split = parameter_split(config)
    if split.total is None:
        from nanoshell import count_parameters  # loads torch, which the formula does without

        with contextlib.suppress(ConfigError):  # no plugin brings a kind of layer: the rest is shown
            split = count_parameters(config, session.plugins.mixers)
    return split


class _Models(click.Group):
    """The commands of models, whose ``info`` is ``show`` for others."""

    lists_all = True

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "show" and not ctx.resilient_parsing:
            from nanoshell import UnknownNameError, typed

            raise UnknownNameError(
                "there is no 'model show'; did you mean 'info'?", hint=f"type: {typed('model info MODEL')}"
            )
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Models, invoke_without_command=True)
@click.pass_context
def model(ctx: click.Context) -> Rows[PresetRow] | None:
    """List presets, load a model, tell what it costs."""
    return ctx.invoke(list_all) if ctx.invoked_subcommand is None else None


@model.command("list")
@click.pass_obj
def list_all(session: Session) -> Rows[PresetRow]:
    """List the presets, which train --config takes by name."""
    from nanoshell import (
        NanoshellError,
        expected_vocabulary,
        list_presets,
        load_config,
        model_name,
        parameter_split,
        typed,
    )

    rows = []
    for preset in list_presets():
        parameters, problem = None, ""
        try:
            config, _ = expected_vocabulary(load_config(preset.path).model, session.plugins.tokenizers)
            parameters = parameter_split(config).total
        except NanoshellError as error:
            problem = error.message
        rows.append(PresetRow(preset.name, preset.summary, parameters, str(preset.path), problem))
    chosen = f"; the chosen model: {model_name(session.model_name)}" if session.model_name else ""
    return Rows(
        rows,
        [
            ("preset", lambda row: row.name),
            (">parameters", lambda row: human_count(row.parameters)),
            ("what it is", lambda row: row.problem or row.summary),
        ],
        empty="there are no presets",
        footer=f"train one with: {typed('train --config NAME')}{chosen}",
    )


model.add_command(export_model)


@model.command("load")
@click.argument("model", type=MODEL, default="latest")
@dtype_option
@click.pass_obj
def load(session: Session, model: str) -> ModelDetails:
    """Load MODEL, and choose it for what follows.

    It is a run, RUN@STEP, a model directory, or latest.
    """
    return _loaded(session, session.use_model(model))


def _loaded(session: Session, found: LoadedModel, batch_size: int | None = None) -> ModelDetails:
    weight = found.engine.model.embed_tokens.weight
    plan = plan_of_model(found.config, session.locate_model(str(found.path)))
    split = counted(session, found.config)
    return _details(
        found.label,
        "model",
        found.path,
        found.config,
        split,
        costs(found.config, split, _of_size(plan, batch_size), weight.itemsize),
        step=found.step,
        device=str(found.engine.device),
        dtype=str(weight.dtype).removeprefix("torch."),
        memory_bytes=sum(weight.nbytes for weight in found.engine.model.parameters()),
        compiled=found.engine.compiled.ready,
        not_compiled=found.engine.compiled.reason or None,
    )


def _of_size(plan: Plan, batch_size: int | None) -> Plan:
    return plan if batch_size is None else replace(plan, batch_size=batch_size)


@model.command("info")
@click.argument("model", type=PRESET_OR_MODEL, required=False)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Estimate the memory of training for so many windows at once.",
    show_default="as it is trained",
)
@click.pass_obj
def info(session: Session, model: str | None, batch_size: int | None) -> ModelDetails:
    """Show a model's shape, parameters, memory and cost.

    MODEL is a preset, a YAML file, a run, RUN@STEP or a model directory; by default the chosen model. Memory
    and operations are estimates by formula, and what they assume is said below them.
    """
    if model is None:
        return _loaded(session, session.model(), batch_size)
    preset = _preset(session, model, batch_size)
    if preset is not None:
        return preset
    found = _locate(session, model)
    from nanoshell import read_config  # loads torch: not before there is a model to read

    config = read_config(found.path)
    split = counted(session, config)
    plan = _of_size(plan_of_model(config, found), batch_size)
    told = costs(config, split, plan, _itemsize(found.path, split))
    return _details(found.label, "model", found.path, config, split, told, step=found.step)


def _itemsize(path: Path, split: ParameterSplit) -> int:
    """Return how many bytes a number of the weights in ``path`` takes, by the size of their file."""
    weights = path / _WEIGHTS
    if not weights.is_file() or not split.total:
        return 4
    return 2 if weights.stat().st_size < 3 * split.total else 4


def _locate(session: Session, reference: str) -> ModelLocation:
    """Return the model directory that ``reference`` names. An unknown one may have been meant as a preset."""
    from nanoshell import RunError, UnknownNameError, list_presets, list_runs, unknown_name

    try:
        return session.locate_model(reference)
    except (RunError, UnknownNameError):
        runs = [run.name for run in list_runs(session.runs_dir)]
        if reference.partition("@")[0] in (*runs, "latest") or Path(reference).expanduser().exists():
            raise
        presets = [preset.name for preset in list_presets()]
        raise unknown_name("preset or run", reference, [*presets, *runs]) from None


def _preset(session: Session, reference: str, batch_size: int | None) -> ModelDetails | None:
    """Return the preset or YAML file that ``reference`` names, or None where it names none."""
    from nanoshell import choose_optimizer, expected_vocabulary, list_presets, load_config

    paths = {preset.name: preset.path for preset in list_presets()}
    path = paths.get(reference)
    if path is None and reference.endswith((".yaml", ".yml")):
        path = Path(reference).expanduser()
    if path is None:
        return None
    whole = load_config(path)
    config, note = expected_vocabulary(whole.model, session.plugins.tokenizers)
    split = counted(session, config)
    plan = replace(plan_of(config, whole.to_dict()), optimizer=choose_optimizer(whole.trainer, whole.model))
    told = costs(config, split, _of_size(plan, batch_size))
    return _details(path.stem, "preset", path, config, split, told, vocabulary_note=note)


def _parameters(split: ParameterSplit) -> Parameters:
    return Parameters(
        embedding=split.embedding,
        mixers=split.mixers,
        feed_forwards=split.feed_forwards,
        norms=split.norms,
        head=split.head,
        total=split.total,
    )


def _details(
    name: str,
    kind: str,
    path: Path,
    config: ModelConfig,
    split: ParameterSplit,
    told: Costs,
    *,
    step: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    compiled: bool | None = None,
    not_compiled: str | None = None,
    memory_bytes: int | None = None,
    vocabulary_note: str = "",
) -> ModelDetails:
    weights = path / _WEIGHTS
    return ModelDetails(
        name=name,
        kind=kind,
        path=str(path),
        step=step,
        parameters=_parameters(split),
        bytes=weights.stat().st_size if weights.is_file() else None,
        config=config.to_dict(),
        layers=[mixer if part == "none" else f"{mixer} + {part}" for mixer, part in config.layer_kinds],
        costs=told,
        dtype=dtype,
        compiled=compiled,
        not_compiled=not_compiled,
        memory_bytes=memory_bytes,
        _head_tied=config.tie_embeddings,
        _vocabulary_note=vocabulary_note,
        _device=device,
    )
