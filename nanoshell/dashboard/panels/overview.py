"""The panel that tells what the run in focus was given, where it comes from, and what it has kept."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.aside import Aside
from nanoshell.dashboard.panels.exporting import copy_from
from nanoshell.dashboard.panels.facts import RunFacts, read_facts
from nanoshell.dashboard.panels.lines import Line, TextLines, span, wrapped
from nanoshell.dashboard.panels.runtable import standing
from nanoshell.dashboard.panels.sections import section_lines
from nanoshell.dashboard.panels.words import count, figure
from nanoshell.runs.comparing import setting_text
from nanoshell.wording import human_bytes

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Course, Snapshot

READ_SECONDS = 5.0
"""The folder of the run is looked at so often, and after every checkpoint."""

_COLUMN = 38
_GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "model": {
        "Size": (
            "name",
            "hidden_size",
            "num_layers",
            "intermediate_size",
            "vocab_size",
            "max_seq_len",
            "tie_",
            "dtype",
            "tokenizer",
            "norm_weight",
            "rms_norm",
            "zero_init",
            "dropout",
            "activation",
        ),
        "Attention": (
            "num_heads",
            "kv_",
            "num_kv",
            "head_dim",
            "qk_",
            "rope",
            "mla",
            "q_latent",
            "attention",
        ),
        "Experts": ("num_experts", "expert", "router", "moe", "shared_"),
        "Mamba": ("mamba",),
    },
    "trainer": {
        "Course": ("max_steps", "num_epochs", "batch_size", "gradient_acc", "seq_len", "shuffle", "seed"),
        "Update": (
            "optimizer",
            "learning_rate",
            "schedule",
            "warmup",
            "decay",
            "min_lr",
            "betas",
            "epsilon",
            "weight_decay",
            "max_grad_norm",
            "load_balance",
            "router_bias",
        ),
        "Loss": ("loss_on", "softmax", "sampled_neg"),
        "Evaluating and keeping": ("val_", "eval_", "save_", "max_checkpoints", "keep_", "log_", "sample_"),
        "Computing": ("device", "target_device", "dtype", "compile", "gradient_check", "distributed"),
    },
}
"""Where the keys of a config are shown, by how they begin; the rest is shown last."""

_REST = "More"


class OverviewPanel(Panel):
    """Config, data, parameters, origin and checkpoints of the run in focus, and what plugins say of it."""

    panel_id = "overview"
    title = "Overview"
    place = "run"
    about = (
        "What the run in focus was given: its config in groups (bright: other than the default), its "
        "data, how many parameters each part of the model has, what it was made with, its checkpoints "
        "with their sizes, and what plugins say of it. Settings that were changed while it trained are in "
        "Log (events) and in the comparison of Runs."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("copy", "Copy the run's folder", ("y",), "Overview"),
        Action("scroll_by(-1)", "Up", ("up", "k"), "Overview"),
        Action("scroll_by(1)", "Down", ("down", "j"), "Overview"),
        Action("scroll_by(-8)", "Further up", ("pageup",), "Overview"),
        Action("scroll_by(8)", "Further down", ("pagedown",), "Overview"),
        Action("scroll_by(-100000)", "To the beginning", ("home",), "Overview"),
        Action("scroll_by(100000)", "To the end", ("end",), "Overview"),
    )
    DEFAULT_CSS = "OverviewPanel { layout: vertical; }"

    def __init__(self) -> None:
        super().__init__()
        self._course: Course | None = None
        self._facts: RunFacts | None = None
        self._sections: list[Line] = []
        self._saved = -1
        self._read_at = 0.0
        self._aside: Aside[tuple[RunFacts, list[Line]]] = Aside(self, self._take, self._fail)

    def compose(self) -> ComposeResult:
        yield TextLines(id="overview-lines")

    def on_mount(self) -> None:
        self.every(READ_SECONDS, self._look_again)

    @property
    def _lines(self) -> TextLines:
        return self.query_one("#overview-lines", TextLines)

    def update(self, snapshot: Snapshot) -> None:
        """Show the run that has the focus; its folder is read where it has another checkpoint."""
        before, self._course = self._course, snapshot.focused
        if self._course is None:
            self._lines.show([span("no run is shown", "quiet")])
            return
        saved = sum(mark.kind in ("checkpoint", "resume") for mark in self._course.marks)
        if before is None or before.run != self._course.run or saved != self._saved:
            self._saved = saved
            self._read()
        self._draw()

    def _look_again(self) -> None:
        if time.monotonic() - self._read_at >= READ_SECONDS:
            self._read()

    def _read(self) -> None:
        if self._course is None:
            return
        self._read_at = time.monotonic()
        run, before, width = self._course.run, self._facts, self._width
        sections = self.desk.run_sections
        self._aside.ask(lambda: (read_facts(run, before), section_lines(run, sections, width)))

    def _take(self, found: tuple[RunFacts, list[Line]]) -> None:
        self._facts, self._sections = found
        self._draw()

    def _fail(self, error: Exception) -> None:
        self.desk.tell(f"cannot read the run: {error}", severity="warning")

    @property
    def _width(self) -> int:
        return max(24, self.size.width - 1)

    def on_resize(self) -> None:
        self._read()
        self._draw()

    def _draw(self) -> None:
        course, facts = self._course, self._facts
        if course is None or not self.is_mounted:
            return
        lines = [standing(course.run.name, course.status, course.problem)]
        if facts is None or facts.run != course.run:
            lines.append(span("reading …", "quiet"))
        else:
            lines += [*fact_lines(facts, self._width), *self._sections]
        self._lines.show(wrapped(lines, self._width, 2))

    def action_copy(self) -> None:
        """Copy the folder of the run."""
        copy_from(self, str(self._course.run.path.resolve()) if self._course else "", "the run's folder")

    def action_scroll_by(self, by: int) -> None:
        """Scroll by so many lines."""
        self._lines.move(by)


def fact_lines(facts: RunFacts, width: int) -> list[Line]:
    """Return what is known of a run, part by part."""
    if facts.problem:
        return [span(facts.problem, "error")]
    record = facts.record
    return [
        *_part("Data", _data(record), width),
        *_part("Parameters", _parameters(facts), width),
        *_config(facts, "model", width),
        *_config(facts, "trainer", width),
        *_part("Machine", _machine(facts), width),
        *_part("Origin", _origin(record), width),
        *_checkpoints(facts),
    ]


Item = tuple[str, str, str]
"""A name, its value, and the role of the value."""


def _part(title: str, items: Iterable[Item], width: int) -> list[Line]:
    found = [item for item in items if item[1]]
    return [span(title, "heading"), *packed(found, width)] if found else []


def packed(items: Sequence[Item], width: int) -> list[Line]:
    """Return ``items`` in as many columns as ``width`` has room for; a long one takes several of them."""
    columns = max(1, width // _COLUMN)
    room = width // columns
    names = min(room - 10, max((cell_len(name) for name, _, _ in items), default=0))
    lines: list[Line] = []
    line: list[tuple[str, str]] = []
    used = 0
    for name, value, role in items:
        head = "  " + name.ljust(names) + " "
        wanted = min(columns, -(-(cell_len(head) + cell_len(value) + 1) // room))
        if used and used + wanted > columns:
            lines.append(tuple(line))
            line, used = [], 0
        line += [(head, "quiet"), (value, role), (" " * (wanted * room - cell_len(head + value)), "")]
        used += wanted
    return [*lines, tuple(line)] if line else lines


def _data(record: Mapping[str, Any]) -> list[Item]:
    corpus = _mapping(record.get("corpus"))
    held_back = _mapping(record.get("trainer")).get("val_fraction")
    return [
        ("source", str(record.get("source") or ""), "bright"),
        ("tokens", _counted(corpus.get("num_tokens")), ""),
        ("documents", _counted(corpus.get("num_documents")), ""),
        ("distinct tokens", _counted(corpus.get("distinct_ids")), ""),
        ("tokenizer", str(corpus.get("tokenizer") or ""), ""),
        ("held back", f"{held_back:.1%}" if isinstance(held_back, float) and held_back else "", ""),
        ("chat template", str(record.get("chat_template") or ""), ""),
        ("token file", str(corpus.get("path") or ""), ""),
    ]


def _parameters(facts: RunFacts) -> list[Item]:
    split = facts.split
    if split is None:
        return []
    if split.total is None:
        total = "not known: a plugin brings some of its layers"
    else:
        total = f"{split.total:,} ({figure(split.total, 3)})"
    parts = (
        ("embedding", split.embedding),
        ("mixers", split.mixers),
        ("feed-forwards", split.feed_forwards),
        ("norms", split.norms),
        ("head", split.head),
    )
    tied = _mapping(facts.record.get("model")).get("tie_embeddings")
    items = [("in all", total, "bright")]
    for name, number in parts:
        share = f" ({_share(number / split.total)})" if split.total and number else ""
        shown = (
            "tied to the embedding" if name == "head" and tied and not number else _counted(number) + share
        )
        items.append((name, shown, ""))
    return items


def _share(part: float) -> str:
    return f"{part:.1%}" if part >= 0.0005 else "<0.1%"


def _config(facts: RunFacts, section: str, width: int) -> list[Line]:
    values = _mapping(facts.record.get(section))
    groups: dict[str, list[Item]] = {group: [] for group in (*_GROUPS[section], _REST)}
    for key, value in values.items():
        role = "bright" if f"{section}.{key}" in facts.given else ""
        groups[_group(section, key)].append((key, setting_text(value), role))
    heading = {"model": "Model", "trainer": "Training"}[section]
    return [
        line for group, items in groups.items() for line in _part(f"{heading}: {group.lower()}", items, width)
    ]


def _group(section: str, key: str) -> str:
    """Return the group in which ``key`` is shown: that of the longest beginning that fits."""
    fitting = [
        (len(begin), group)
        for group, begins in _GROUPS[section].items()
        for begin in begins
        if key.startswith(begin)
    ]
    return max(fitting)[1] if fitting else _REST


def _machine(facts: RunFacts) -> list[Item]:
    said = facts.machine
    compiled = said.get("compiled")
    return [
        ("device", str(said.get("device_name") or said.get("device") or ""), ""),
        ("dtype", str(said.get("dtype") or ""), ""),
        ("threads", _counted(said.get("threads")), ""),
        ("processes", _counted(said.get("processes")), ""),
        ("tokens a step", _counted(said.get("tokens_per_step")), ""),
        ("compiled", "" if compiled is None else setting_text(compiled), ""),
        ("softmax", str(facts.record.get("softmax") or ""), ""),
    ]


def _origin(record: Mapping[str, Any]) -> list[Item]:
    made = _mapping(record.get("provenance"))
    versions = _mapping(made.get("versions"))
    machine = _mapping(made.get("machine"))
    plugins = [each.get("name") for each in made.get("plugins") or () if isinstance(each, Mapping)]
    argv = made.get("argv")
    resumes = made.get("resumes") or ()
    return [
        ("created", str(record.get("created") or "")[:19].replace("T", " ") + " UTC", ""),
        ("seed", _counted(record.get("seed")).replace(",", ""), ""),
        ("schedule to", _counted(record.get("horizon")), ""),
        ("stops at", _counted(record.get("stop_at")), ""),
        ("git", str(made.get("git_revision") or "")[:12] or "no repository", ""),
        ("host", str(machine.get("host") or ""), ""),
        ("resumed", f"{len(resumes)} times" if resumes else "", ""),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()), ""),
        ("command", shlex.join(map(str, argv)) if isinstance(argv, list) else "", ""),
        ("plugins", ", ".join(map(str, plugins)), ""),
        ("began from", str(record.get("initial_checkpoint") or ""), ""),
    ]


def _checkpoints(facts: RunFacts) -> list[Line]:
    beside = f"  snapshots {human_bytes(facts.snapshots)}" if facts.snapshots else ""
    lines: list[Line] = [
        (("Checkpoints", "heading"), (f"  {human_bytes(facts.num_bytes)} on the disk{beside}", "quiet"))
    ]
    for kept in reversed(facts.checkpoints):
        words = [word for word, path in (("newest", facts.latest), ("best", facts.best)) if path == kept.path]
        step = f"  step {count(kept.step)}"
        lines.append(
            ((step.ljust(18), ""), (f"{human_bytes(kept.num_bytes):>9}  ", ""), (", ".join(words), "good"))
        )
    if not facts.checkpoints:
        lines.append(span("  none yet", "quiet"))
    return lines


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _counted(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ""
