"""Write what docs/hooks.md and docs/testing.md take from the code: signatures, docstrings, rules.

Run it from a checkout after a change of a hook or of the kit: ``.venv/bin/python docs/reference.py``. What
stands between two marks of a page is written anew; the rest is by hand. A test fails where a page is stale.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nanoshell.testing
from nanoshell.plugin import hookspecs
from nanoshell.plugin.manager import HOOKS, NOTICES
from nanoshell.testing import fixtures
from nanoshell.version import API_VERSION

PAGES = {name: Path(__file__).parent / name for name in ("hooks.md", "testing.md")}
WIDTH = 110
CHECKS = {
    "register_commands": ("check_command", "commands", "RULES"),
    "register_sources": ("check_source", "sources", "RULES"),
    "register_backends": ("check_backend", "backends", "RULES"),
    "register_tokenizers": ("check_tokenizer", "tokenizers", "RULES"),
    "register_samplers": ("check_sampler", "samplers", "RULES"),
    "register_optimizers": ("check_optimizer", "optimizers", "RULES"),
    "register_mixers": ("check_mixer", "layers", "MIXER_RULES"),
    "feed-forwards": ("check_feed_forward", "layers", "FEED_FORWARD_RULES"),
    "register_chat_templates": ("check_chat_template", "templates", "RULES"),
    "register_exporters": ("check_exporter", "exporters", "RULES"),
    "register_panels": ("check_panel", "panels", "RULES"),
    "register_run_sections": ("check_run_section", "sections", "SECTION_RULES"),
}
"""The check of what each hook registers: function, module of the kit, and where its rules are."""

_BLOCK = re.compile(r"(<!-- from the code: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write the pages anew."""
    for path in PAGES.values():
        path.write_text(renewed(path.read_text("utf-8")), "utf-8")


def renewed(page: str) -> str:
    """Return ``page`` with all that comes from the code as the code has it now."""
    return _BLOCK.sub(lambda block: f"{block[1]}{generated(block[2]).strip()}\n{block[3]}", page)


def generated(subject: str) -> str:
    """Return what a page says of ``subject``: a hook, a check, or one of the lists."""
    match subject:
        case "hooks":
            return "\n".join(_hook_rows())
        case "fixtures":
            return "\n".join(_fixture_rows())
        case "version":
            return f"The interface has version {API_VERSION}."
    if subject in HOOKS:
        return hook(subject)
    return check(subject)


def hook(name: str) -> str:
    """Return the signature of the hook ``name`` and its docstrings."""
    spec = getattr(hookspecs.Hooks, name)
    if name in NOTICES:
        return f"{_signature(name, spec)}\n\n{_prose(spec)}"
    register = registering(name).__call__
    return f"{_signature('register', register)}\n\n{_prose(spec)}\n\n{_prose(register)}"


def registering(name: str) -> Any:
    """Return the protocol of the ``register`` that the hook ``name`` is handed."""
    annotation = inspect.signature(getattr(hookspecs.Hooks, name)).parameters["register"].annotation
    return getattr(hookspecs, annotation)


def check(name: str) -> str:
    """Return the signature of the contract test ``name``, its docstring and its rules."""
    function = getattr(nanoshell.testing, name)
    rules = "\n".join(f"| {rule} | {text} |" for rule, text in rules_of(name).items())
    return (
        f"{_signature(name, function)}\n\n{_prose(function)}\n\n| rule | what must hold |\n|---|---|\n{rules}"
    )


def rules_of(name: str) -> Mapping[str, str]:
    """Return the rules that the contract test ``name`` checks."""
    module, table = next((module, table) for check, module, table in CHECKS.values() if check == name)
    found: Mapping[str, str] = getattr(importlib.import_module(f"nanoshell.testing.{module}"), table)
    return found


def _hook_rows() -> Iterator[str]:
    yield from ("| hook | what it is for | its check |", "|---|---|---|")
    for name in HOOKS:
        first = _prose(getattr(hookspecs.Hooks, name)).partition("\n\n")[0].replace("\n", " ")
        tested = f"[`{CHECKS[name][0]}`](testing.md#{CHECKS[name][0]})" if name in CHECKS else ""
        yield f"| [`{name}`](#{name}) | {first} | {tested} |"


def _fixture_rows() -> Iterator[str]:
    yield from ("| fixture | what it is |", "|---|---|")
    for name, value in vars(fixtures).items():
        if name.startswith("nanoshell_"):
            yield f"| `{name}` | {_prose(value).replace(chr(10), ' ')} |"


def _signature(name: str, function: Callable[..., Any]) -> str:
    """Return ``function`` as it is called, in lines that fit a page."""
    parameters, star = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parameters.append("*")
            star = True
        parameters.append(_parameter(parameter))
    line = f"{name}({', '.join(parameters)})"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + ")"
    return f"```py\n{line}\n```"


def _parameter(parameter: inspect.Parameter) -> str:
    """Return ``parameter`` as it stands in the code; a default that is long as ``…``."""
    text = parameter.name
    if parameter.kind is parameter.VAR_KEYWORD:
        text = f"**{text}"
    if parameter.annotation is not parameter.empty:
        text += f": {parameter.annotation}"
    if parameter.default is not parameter.empty:
        default = repr(parameter.default).replace("'", '"')
        text += f" = {default if len(default) < 40 else '…'}"
    return text


def _prose(thing: Any) -> str:
    """Return the docstring of ``thing`` in Markdown, each paragraph filled."""
    text = inspect.cleandoc(thing.__doc__ or "").replace("``", "`")
    filled = (
        textwrap.fill(" ".join(part.split()), WIDTH + 18, break_on_hyphens=False, break_long_words=False)
        for part in text.split("\n\n")
    )
    return "\n\n".join(filled)


if __name__ == "__main__":
    main()
