"""What the prompt says when it starts: what it can do, or where the last session left off."""

from __future__ import annotations

from pathlib import Path

from nanoshell.command.render import counted
from nanoshell.errors import NanoshellError
from nanoshell.last import last_state
from nanoshell.session import Session
from nanoshell.version import __version__

PROMPT = "nanoshell> "

FIRST_WORDS = f"""\
nanoshell {__version__}: train a small language model, look inside it, and talk to it.
  :demo            trains one on built-in texts and shows what it learnt
  :data use FILE   takes text of your own; then :train
  :tokens TEXT     shows how a text splits into tokens
  :help            lists every command, Tab completes; :quit or Ctrl-D leaves"""


def greeting(session: Session) -> list[str]:
    """Take up the last model, data and conversation, and return the lines to say.

    Nothing is loaded: only names are looked up. What a command line has chosen stays chosen.
    """
    chosen = session.model_name is not None
    lost = [] if chosen else _take_up(session)
    if session.model_name is None:
        return [*FIRST_WORDS.splitlines(), *lost]
    parts = [f"model {Path(session.model_name).name}"]
    if session.data:
        parts.append(f"data {session.data}")
    if talk := _take_up_conversation(session):
        parts.append(talk)
    first = f"nanoshell {__version__} · :help lists the commands"
    if talk:
        first += " · :chat new starts a new conversation"
    return [first, f"{'using' if chosen else 'last used:'} {', '.join(parts)}", *lost]


def _take_up(session: Session) -> list[str]:
    """Choose the last session's model and data where they exist; return what to say of the rest."""
    if not session.history:
        return []
    state = last_state()
    lost = {}
    if isinstance(model := state.get("model"), str):
        session.model_name = _last_model(session)
        if session.model_name is None:
            lost["model"] = f"the last model is gone: {model}"
    data = state.get("data")
    if data is not None and session.data == data and not _data_exists(session, data):
        session.data = None
        lost["data"] = f"the last data is gone: {data}"
    if lost:
        session.forget(*lost)
    return list(lost.values())


def _last_model(session: Session) -> str | None:
    """Return the last session's model where it is still there; a run that still trains is followed."""
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.locate import last_model

    reference = last_model()
    if reference is not None:
        run = RunDirectory(Path(reference))
        if run.record_path.is_file() and not run.status().ended:
            session.follow(run)
    return reference


def _data_exists(session: Session, spec: str) -> bool:
    named = spec.partition(":")[0] in session.plugins.sources
    return named or any(mark in spec for mark in "*?[") or Path(spec).expanduser().exists()


def _take_up_conversation(session: Session) -> str:
    """Make the last conversation the current one, and return a few words about it."""
    try:
        last = session.take_up_conversation()
    except NanoshellError:
        return ""  # the first turn of chat will say what is wrong with the history
    if last is None:
        return ""  # or the command that led here has chosen one
    return f"conversation {last.name} ({counted(len(last.messages), 'message')})"
