"""A conversation as a script: its system turn, its messages, and what each reply was drawn with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoshell import Conversation, Message, Origin, Session

_PLAIN = re.compile(r"[\w./:@%+,=-]+", re.ASCII)
_FENCE = '"""'


def script_of(session: Session, conversation: Conversation) -> tuple[str, int]:
    """Return the lines that say ``conversation`` again, and how many messages they cannot.

    Replies are the same with the same model: each line names the seed and all that differs from the defaults,
    and leaves the settings of whoever runs it aside. What was not sampled here stands there as a comment.
    Raises `DataError` for a message that a script cannot hold.
    """
    lines = [
        f"# {_on_one_line(conversation.name)}: to say this again,",
        "# nanoshell --model MODEL -f THIS-FILE, with the model that is named below.",
        ":chat new --no-system",
    ]
    messages = list(conversation.messages)
    if messages and messages[0].role == "system":
        lines.append(f":system {_raw(messages.pop(0).content)}")
    left_out, model = 0, ""
    defaults = {entry.name: float(entry.options["default"]) for entry in session.plugins.samplers}
    defaults["max_tokens"] = default_max_tokens(session)
    for message, reply in _exchanges(messages):
        if reply is None or reply.origin is None:
            left_out += 1 if reply is None else 2
            lines += _comment(message, reply)
            continue
        if reply.origin.model != model:
            model = reply.origin.model
            lines.append(f"# replies of {_on_one_line(model)}")
        lines.append(f":chat {_options(reply, reply.origin, defaults)}--message {quoted(message.content)}")
    return "\n".join(lines) + "\n", left_out


def quoted(text: str) -> str:
    r"""Return ``text`` as one word of a script, which its reader takes for ``text`` again.

    Raises `DataError` for what no quotes hold: a line break behind three quotes, or a carriage return before
    one.
    """
    from nanoshell import DataError

    if "\n" not in text:
        if _PLAIN.fullmatch(text) and not text.startswith("-"):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    head, quotes, tail = text.partition(_FENCE)
    rest = quotes + tail
    if "\n" in rest or "\r\n" in text or text.endswith("\r"):
        raise DataError(
            f"a script cannot hold a message with a line break behind {_FENCE}, or with a carriage return",
            hint="export the conversation as .jsonl or .md",
        )
    return f"{_FENCE}\n{head}\n{_FENCE}" + (quoted(rest) if rest else "")


def _raw(text: str) -> str:
    """Return ``text`` as the rest of a line that is taken as it is."""
    from nanoshell import DataError, is_open_block

    plain = "\n" not in text and text == text.strip() and not text.startswith(("-", _FENCE))
    if plain and not is_open_block(f":system {text}"):
        return text
    if _FENCE in text or "\r" in text:
        raise DataError(
            f"a script cannot hold a system turn with a carriage return, or where {_FENCE} opens a block",
            hint="export the conversation as .jsonl or .md",
        )
    return f"{_FENCE}\n{text}\n{_FENCE}"


def _on_one_line(name: str) -> str:
    """Return ``name`` so that a comment with it stays one, whatever line breaks it has."""
    return " ".join(name.split())


def _exchanges(messages: list[Message]) -> Iterator[tuple[Message, Message | None]]:
    """Yield each question with the reply behind it, and alone what is neither."""
    rest = list(messages)
    while rest:
        message = rest.pop(0)
        answered = message.role == "user" and rest and rest[0].role == "assistant"
        yield message, rest.pop(0) if answered else None


def _comment(message: Message, reply: Message | None) -> Iterator[str]:
    yield "# not sampled here:" if message.role != "user" or reply is not None else "# without a reply:"
    for one in (message, reply):
        if one is not None:
            yield from (f"#   {line}" for line in f"{one.role}: {one.content}".splitlines())


def default_max_tokens(session: Session) -> int:
    """Return how long a reply may be where nobody has set it."""
    return int(str(next(setting.default for setting in session.settings if setting.name == "max_tokens")))


def _options(reply: Message, origin: Origin, defaults: Mapping[str, float]) -> str:
    """Return the options of ``chat`` under which the reply was drawn, a space behind them.

    A reply that was interrupted is cut at its length.
    """
    words = [f"--no-settings --seed {origin.seed}"]
    longest = max(1, origin.tokens) if reply.interrupted else origin.max_tokens
    if longest != defaults["max_tokens"]:
        words.append(f"--max-tokens {longest}")
    words += [
        f"--sampler {name}={value:.15g}"
        for name, value in origin.sampling.items()
        if value != defaults.get(name)
    ]
    words += [f"--stop {quoted(text)}" for text in origin.stop]
    words += [f"--logit-bias {token}={value:.15g}" for token, value in origin.logit_bias.items()]
    return " ".join(words) + " "
