"""All that is known of one run: what `runs show` and `run` say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from nanoshell import Change, human_bytes, human_count, human_seconds, human_time
from nanoshell_commands.layout import figure, pairs
from nanoshell_commands.progress import Event
from nanoshell_commands.sections import Section, read_sections

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import RunDirectory, Session

_MODEL_KEYS = ("name", "hidden_size", "num_layers", "num_heads", "max_seq_len", "vocab_size")
_TRAINER_KEYS = (
    "num_epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "schedule",
    "optimizer",
    "softmax",
    "seed",
)


@dataclass(frozen=True)
class CheckpointRow:
    """A complete checkpoint: the step it was taken after, its bytes, and whether it is the best."""

    step: int
    path: str
    bytes: int
    best: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The figures of one evaluation; ``split`` says of what."""

    step: int | None
    split: str | None
    loss: float | None
    perplexity: float | None
    bits_per_byte: float | None


@dataclass(frozen=True)
class RunDetails:
    """All that is known of a run; what is not known (yet) is None, times are seconds since the epoch.

    ``sections`` holds what plugins have to say of it, by the names of their sections.
    """

    name: str
    path: str
    state: str
    reason: str
    step: int | None
    total_steps: int | None
    epoch: float | None
    loss: float | None
    val_loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    tokens_per_second: float | None
    eta_seconds: float | None
    started: float | None
    updated: float | None
    pid: int | None
    host: str | None
    bytes: int
    checkpoints: list[CheckpointRow]
    record: Annotated[dict[str, Any], "run.yaml: the config, and where all of it came from"]
    expert_load: dict[str, list[float]] | None = None
    evaluation: Evaluation | None = None
    best: Evaluation | None = None
    alert: Event | None = None
    changes: Sequence[Change] = ()
    sections: Mapping[str, Section] = field(default_factory=dict)

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        return Group(self._figures(), *self.sections.values())

    def _figures(self) -> RenderableType:
        process = f"{self.pid} on {self.host}" if self.pid is not None else None
        kept = [
            f"step {kept.step:,}  {human_bytes(kept.bytes)}" + ("  best" if kept.best else "")
            for kept in self.checkpoints
        ]
        return pairs(
            [
                ("run", self.name),
                ("folder", f"{self.path} ({human_bytes(self.bytes)})"),
                *self.standing(),
                ("gradient norm", _maybe(self.grad_norm, 3)),
                ("experts", _loads(self.expert_load)),
                ("started", human_time(self.started) or None),
                ("last sign", human_time(self.updated) or None),
                ("process", process),
                ("checkpoints", "\n".join(kept) or "none"),
                ("model", _keys(self.record.get("model"), _MODEL_KEYS)),
                ("training", _keys(self.record.get("trainer"), _TRAINER_KEYS)),
            ]
        )

    def standing(self) -> list[tuple[str, str | None]]:
        """Return what changes while the run trains, as names and values."""
        step = f"{self.step:,}" if self.step is not None else None
        if step and self.total_steps:
            step += f" of {self.total_steps:,}"
        return [
            ("state", f"{self.state}: {self.reason}" if self.reason else self.state),
            ("data", self.record.get("source") or self.record.get("data")),
            ("step", step),
            ("epoch", _maybe(self.epoch, 3)),
            ("loss", _maybe(self.loss)),
            (
                "validation" if self.evaluation and self.evaluation.split == "validation" else "exact loss",
                _evaluated(self.evaluation),
            ),
            ("best", _evaluated(self.best) if self.best != self.evaluation else None),
            ("learning rate", _maybe(self.learning_rate, 3)),
            ("speed", self._speed()),
            ("ETA", human_seconds(self.eta_seconds) if self.eta_seconds is not None else None),
            ("changes", "\n".join(f"step {made.step or 0:,}: {made.text}" for made in self.changes) or None),
            ("last alert", _alerted(self.alert)),
        ]

    def _speed(self) -> str | None:
        """Return tokens a second, and the arithmetic that they amount to where that is known."""
        if not self.tokens_per_second:
            return None
        giga = (training_flops(self.record) or 0) * self.tokens_per_second / 1e9
        work = f"{giga / 1000:,.1f} TFLOP/s" if giga >= 1000 else f"{giga:,.1f} GFLOP/s" if giga else ""
        return ", ".join(part for part in (f"{human_count(self.tokens_per_second)} tokens/s", work) if part)


@dataclass(frozen=True)
class RunBrief(RunDetails):
    """The same, shown without what does not change while the run trains."""

    def __rich__(self) -> RenderableType:
        return pairs([("run", self.name), *self.standing()])


def whole_details(session: Session, run: RunDirectory) -> RunDetails:
    """Return all that is known of ``run``, by plugins too. Raises as `details` does."""
    return replace(details(run), sections=read_sections(session, run))


def details(run: RunDirectory, kind: type[RunDetails] = RunDetails) -> RunDetails:
    """Return all that is known of ``run`` as a ``kind``. Raises `RunError` where its record is damaged."""
    from nanoshell import effective_events, rare_events, run_changes

    status, record = run.status(), run.record()
    events = effective_events(rare_events(run.events_path))
    evaluations = [event for event in events if event.get("type") == "eval"]
    best = best_evaluation(events)
    best_path = run.best_checkpoint()
    return kind(
        name=run.name,
        path=str(run.path),
        state=status.state,
        reason=status.reason,
        step=status.step,
        total_steps=status.total_steps,
        epoch=status.epoch,
        loss=status.loss,
        val_loss=status.val_loss,
        learning_rate=status.learning_rate,
        grad_norm=status.grad_norm,
        tokens_per_second=status.tokens_per_second,
        eta_seconds=status.eta_seconds,
        started=run.created() or status.started,
        updated=status.updated,
        pid=status.pid,
        host=status.host,
        bytes=run.size_bytes(),
        checkpoints=[
            CheckpointRow(kept.step, str(kept.path), kept.num_bytes, kept.path == best_path)
            for kept in run.checkpoints()
        ],
        record=record,
        expert_load=_expert_load(run, record),
        evaluation=evaluation(evaluations[-1]) if evaluations else None,
        best=evaluation(best) if best else None,
        alert=next((event for event in reversed(events) if event.get("type") == "alert"), None),
        changes=run_changes(events),
    )


def evaluation(event: Event) -> Evaluation:
    """Return the figures of an ``eval`` event."""
    return Evaluation(
        step=event.get("step"),
        split=event.get("split") or ("validation" if "val_loss" in event else None),
        loss=event.get("val_loss", event.get("loss")),
        perplexity=event.get("perplexity"),
        bits_per_byte=event.get("bits_per_byte"),
    )


def best_evaluation(events: Sequence[Event]) -> Event | None:
    """Return the event of the lowest validation loss that counts, None where nothing was held back."""
    from nanoshell import comparable_evaluations

    return min(comparable_evaluations(events), key=lambda event: float(event["val_loss"]), default=None)


def _evaluated(found: Evaluation | None) -> str | None:
    if found is None:
        return None
    parts = [figure(found.loss) or "nan"]
    if found.step is not None:
        parts[0] += f" at step {found.step:,}"
    if found.perplexity is not None:
        parts.append(f"perplexity {figure(found.perplexity)}")
    if found.bits_per_byte is not None:
        parts.append(f"{figure(found.bits_per_byte)} bits/byte")
    return ", ".join(parts)


def _alerted(event: Event | None) -> str | None:
    if event is None:
        return None
    where = f"step {event['step']:,}: " if isinstance(event.get("step"), int) else ""
    kind, message = (str(event.get(name) or "") for name in ("kind", "message"))
    if kind == "divergence":  # its message says so, and the step
        return message or kind
    return where + ": ".join(part for part in (kind, message) if part)


def _keys(section: Any, keys: tuple[str, ...]) -> str | None:
    """Return the ``keys`` of a section of the configuration that are there, on one line."""
    found = section if isinstance(section, dict) else {}
    values = {key: found[key] for key in keys if key in found}
    shown = (f"{key} {figure(value) if isinstance(value, float) else value}" for key, value in values.items())
    return ", ".join(shown) or None


def _loads(load: dict[str, list[float]] | None) -> str | None:
    """Return a line for each layer with experts: the least and the most that one of them is used."""
    return (
        "\n".join(
            f"layer {layer}: {min(shares):.1%} to {max(shares):.1%} of its load (even: {1 / len(shares):.1%})"
            for layer, shares in (load or {}).items()
            if shares
        )
        or None
    )


def _expert_load(run: RunDirectory, record: dict[str, Any]) -> dict[str, list[float]] | None:
    """Return the shares of each layer's experts in the newest step, None for a model without experts."""
    from nanoshell import effective_events, read_events

    model = record.get("model")
    if not isinstance(model, dict) or not model.get("num_experts"):
        return None
    steps = (event for event in reversed(effective_events(read_events(run.events_path)[0])))
    return next((event["expert_load"] for event in steps if event.get("expert_load")), None)


def _maybe(value: float | None, digits: int = 4) -> str | None:
    return None if value is None else figure(value, digits)


def training_flops(record: Mapping[str, Any]) -> int | None:
    """Return the operations that a run with ``record`` makes for each token, None where they are unknown."""
    from nanoshell import ModelConfig, NanoshellError, flops_per_token

    try:
        model = ModelConfig.from_dict(record["model"], "run.yaml")
        trainer, rows = record["trainer"], None
        if record.get("softmax") == "sampled":
            used = int(record["corpus"]["distinct_ids"]) + int(trainer["sampled_negatives"])
            rows = min(used, model.vocab_size)
        found: int | None = flops_per_token(model, trainer.get("seq_len") or model.max_seq_len, rows)
    except (NanoshellError, KeyError, TypeError, ValueError):
        return None
    return found
