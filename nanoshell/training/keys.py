"""Which keys a config can have, for completion: read from the text of the modules that define them.

Loading them would load pydantic, which the prompt must not wait for at a press of Tab.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_BLOCKS = {
    "trainer": (_PACKAGE / "training" / "config.py", "TrainerConfig"),
    "model": (_PACKAGE / "model" / "config.py", "ModelConfig"),
}

Choices = dict[str, tuple[str, ...]]
"""Keys, each with the values that it can have where they can be listed, else with none."""


@functools.cache
def config_keys() -> Choices:
    """Return the dotted keys of a config (``trainer.schedule``), the trainer's first."""
    return {f"{block}.{key}": values for block in _BLOCKS for key, values in _fields(*_BLOCKS[block]).items()}


def _fields(path: Path, name: str) -> Choices:
    body = ast.parse(path.read_text("utf-8")).body
    named = {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return {
        node.target.id: _choices(node.annotation, named)
        for block in body
        if isinstance(block, ast.ClassDef) and block.name == name
        for node in block.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


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
