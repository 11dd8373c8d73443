"""Which keys a config can have, for completion: read from the text of the modules that define them.

Loading them would load pydantic, which the prompt must not wait for at a press of Tab.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_BLOCKS = {
    "trainer": (_PACKAGE / "training" / "config.py", "TrainerConfig"),
    "model": (_PACKAGE / "model" / "config.py", "ModelConfig"),
}

_FIRST_CLAUSE = re.compile(r"[.;:] |\.$")

_KINDS = {
    "Kinds": "a name, or one for each layer",
    "DtypeName": "auto, float32, bfloat16, float16",
    "Share": "from 0 to 1",
    "Fraction": "from 0 to 1",
    "Positive": "a number above 0",
    "PositiveNumber": "a number above 0",
    "Number": "a number",
    "Count": "a whole number, 1 or more",
    "Natural": "a whole number",
    "dict": "options by name",
    "Mapping": "options by name",
    "int": "a whole number",
    "float": "a number",
    "str": "a name",
}
"""What a key takes, in words, by a name in its annotation."""

_FLAG: Mapping[str, str] = {"true": "yes", "false": "no"}

_VALUES: Mapping[str, Mapping[str, str]] = {
    "shuffle": {
        "windows": "each epoch takes the windows in a new order",
        "documents": "each epoch puts the documents in a new order, too",
    },
    "schedule": {
        "auto": "what suits the optimizer",
        "constant": "the same at every step",
        "linear": "falls in a straight line",
        "cosine": "falls along a half wave",
        "trapezoid": "stays, and falls at the end (decay_ratio)",
    },
    "loss_on": {"all": "every token counts", "assistant": "only the tokens of the assistant's turns count"},
    "softmax": {
        "auto": "sampled where that pays, else full",
        "full": "over all ids: the loss is exact",
        "sampled": "over the ids of the data and a draw of others",
    },
    "target_device": {"gpu": "the fastest device that is there", "cpu": "the processor"},
    "mla_rope_query": {"hidden": "made of the hidden state", "latent": "made of the query's latent"},
    "router_score": {"softmax": "experts compete for a token", "sigmoid": "each expert is scored alone"},
}
"""A line about each of the values that a key can have. Where there is none, that of the key stands there."""

Choices = dict[str, tuple[str, ...]]
"""Keys, each with the values that it can have where they can be listed, else with none."""


@functools.cache
def config_keys() -> Choices:
    """Return the dotted keys of a config (``trainer.schedule``), the trainer's first."""
    return {f"{block}.{key}": values for block in _BLOCKS for key, values in _fields(*_BLOCKS[block]).items()}


@functools.cache
def key_summaries() -> dict[str, str]:
    """Return one line about each of `config_keys`: what it is or takes, and its default."""
    return {
        f"{block}.{key}": summary
        for block, (path, name) in _BLOCKS.items()
        for key, summary in _summaries(path, name)
    }


def value_summaries(key: str) -> dict[str, str]:
    """Return the values that the dotted ``key`` can have, with a line about each.

    None where they cannot be listed, or where no config has such a key.
    """
    told = _VALUES.get(key.rpartition(".")[2], _FLAG)
    return {value: told.get(value) or key_summaries()[key] for value in config_keys().get(key, ())}


def _fields(path: Path, name: str) -> Choices:
    body = ast.parse(path.read_text("utf-8")).body
    named = {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return {key: _choices(node.annotation, named) for key, node, _ in _declared(body, name)}


def _summaries(path: Path, name: str) -> Iterator[tuple[str, str]]:
    choices = _fields(path, name)
    for key, node, text in _declared(ast.parse(path.read_text("utf-8")).body, name):
        first = _FIRST_CLAUSE.split(" ".join(text.replace("``", "").split()), maxsplit=1)[0]
        what = first or ", ".join(choices[key]) or _kind(node.annotation)
        default = node.value.value if isinstance(node.value, ast.Constant) else None
        written = str(default).lower() if isinstance(default, bool) else str(default)
        given = "" if default in (None, "") else f"default {written}"
        yield key, "; ".join(filter(None, (what[:1].lower() + what[1:], given)))


def _declared(body: Sequence[ast.stmt], name: str) -> Iterator[tuple[str, ast.AnnAssign, str]]:
    """Yield the fields of the class ``name``, each with the text below it, '' where there is none."""
    (block,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == name)
    for node, below in zip(block.body, [*block.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        match below:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.target.id, node, text
            case _:
                yield node.target.id, node, ""


def _kind(annotation: ast.expr) -> str:
    """Return in words what an annotation takes."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return next((words for name, words in _KINDS.items() if name in names), "a value")


def _choices(annotation: ast.expr, named: dict[str, ast.expr]) -> tuple[str, ...]:
    """Return the values of an annotation: of a ``Literal``, of a flag, of a name for one of them."""
    match annotation:
        case ast.Name(id="Flag"):
            return ("true", "false")
        case ast.Name(id=name) if name in named:
            return _choices(named[name], named)
        case ast.BinOp(left=left):
            return _choices(left, named)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)):
            return tuple(str(value.value) for value in values if isinstance(value, ast.Constant))
    return ()
