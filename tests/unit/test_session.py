"""What the faces share: what is remembered and kept, and for whose eyes."""

from __future__ import annotations

import stat
import weakref
from pathlib import Path
from typing import Any

import pytest

from nanoshell import paths
from nanoshell.errors import CheckpointError, DeviceError, UsageError
from nanoshell.last import last_state
from nanoshell.model.config import ModelConfig
from nanoshell.opening import open_session
from nanoshell.runs.directory import create_run
from nanoshell.session import Session
from nanoshell.settings import Settings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory: 1 layer, 16 channels, random weights."""
    from nanoshell.model.transformer import build_model
    from nanoshell.model.weights import save_model
    from nanoshell.plugin.manager import load_plugins

    plugins = load_plugins(only=[])
    config = ModelConfig(hidden_size=16, num_layers=1, num_heads=2, max_seq_len=48, tie_embeddings=True)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, build_model(config, plugins.mixers, seed=1), plugins.tokenizers.get("cl100k_base")())
    return folder


@pytest.fixture
def session(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session with that model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    opened = open_session(safe=True)
    opened.model_name = str(model)
    return opened


def test_chosen_data_and_model_are_there_at_the_next_start(session: Session, model: Path) -> None:
    session.use_data("nano-start:qa")
    assert open_session(safe=True).data == "nano-start:qa"
    other = open_session(safe=True)
    other.data = None
    other.use_model(str(model))
    assert last_state()["data"] == "nano-start:qa"
    assert last_state()["model"] == str(model)
    session.forget("data")
    assert open_session(safe=True).data is None


def test_a_run_without_weights_gives_the_model_before_it_back(
    session: Session, model: Path, tmp_path: Path
) -> None:
    before = session.model_name
    for number, kept in ((1, False), (2, True)):
        run = create_run(tmp_path / "runs", "tiny", {})
        session.following.add(run, before=before)
        session.model_name = str(run.path)
        session.remember()
        if kept:
            checkpoint = run.checkpoints_dir / "step-000001"
            checkpoint.mkdir(parents=True)
            for name in ("config.json", "model.safetensors"):
                (checkpoint / name).write_text("{}")
        told = session.run_ended(run, "failed")
        expected = "" if kept else f"tiny-{number} has no weights: the model is {model.name} again"
        assert (told, session.model_name) == (expected, str(run.path) if kept else before)
        assert last_state()["model"] == session.model_name


def test_a_run_without_weights_and_none_before_leaves_no_model(session: Session, tmp_path: Path) -> None:
    run = create_run(tmp_path / "runs", "tiny", {})
    session.follow(run)
    session.model_name = str(run.path)
    session.remember()
    assert session.run_ended(run, "crashed") == "tiny-1 has no weights: no model is chosen now"
    assert (session.model_name, last_state().get("model")) == (None, None)


def test_without_history_nothing_is_remembered(session: Session) -> None:
    session.use_data("nano-start")
    quiet = open_session(safe=True, history=False)
    assert quiet.data is None
    quiet.use_data("nano-start:chat")
    assert last_state()["data"] == "nano-start"


def test_two_shells_do_not_undo_each_others_settings() -> None:
    path = paths.config_dir() / "settings.toml"
    first, second = Settings(path), Settings(path)
    first.set("max_tokens", "7")
    second.set("device", "cpu")
    assert (Settings(path).get("max_tokens"), Settings(path).get("device")) == (7, "cpu")
    second.unset("max_tokens")
    assert (Settings(path).get("max_tokens"), Settings(path).get("device")) == (200, "cpu")


def test_what_is_kept_of_a_user_is_for_that_user_alone(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOSHELL_HOME", str(tmp_path / "new" / "home"))
    again = open_session(safe=True)
    again.settings.set("max_tokens", "7")
    again.use_data("nano-start")
    again.prepare_corpus()
    folders = [tmp_path / "new" / "home", paths.config_dir(), paths.data_dir(), paths.cache_dir()]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 4


def test_no_tokens_are_not_the_settings_tokens(session: Session) -> None:
    session.settings.override("max_tokens", "3")
    assert [len(list(session.generate("Hi", max_tokens=count))) for count in (0, 2, None)] == [0, 2, 3]


def test_a_refused_message_leaves_nothing_in_the_conversation(session: Session) -> None:
    with pytest.raises(UsageError, match="temperature"):
        session.reply("Hello", sampling={"temperature": -1.0})
    assert session.conversation.messages == []
    assert session.store.list() == []


def test_an_interrupted_reply_is_kept_as_far_as_it_came(session: Session) -> None:
    reply = session.reply("Hello", seed=1)
    tokens = iter(reply)
    first = next(tokens)
    reply.generation.interrupt()
    text = "".join([first.text, *(token.text for token in tokens)])
    kept = session.store.load(session.conversation.name).messages
    assert [message.role for message in kept] == ["user", "assistant"]
    assert (kept[1].content, kept[1].interrupted) == (text, True)


def test_a_removed_run_is_no_longer_the_chosen_model(session: Session, runs_dir: Path) -> None:
    kept, removed = create_run(runs_dir, "tiny", {}), create_run(runs_dir, "tiny", {})
    for name in (str(removed.path), removed.name, f"{removed.name}@20"):
        session.model_name = name
        session.remember()
        session.run_removed(kept)
        assert session.model_name == name
        session.run_removed(removed)
        assert session.model_name is None
        assert "model" not in last_state()


def test_another_device_means_another_model_in_memory(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.model()
    assert session.model() is first
    import torch

    monkeypatch.setattr(type(session.backend()), "device", lambda self: torch.device("cpu", 0))
    assert session.model() is not first


@pytest.mark.parametrize("name", ["dtype", "compile"])
def test_the_old_model_is_gone_before_another_is_loaded(
    session: Session, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanoshell.model import weights

    list(session.generate("Hi", max_tokens=2))
    old = weakref.ref(session.model().engine.model)
    alive: list[object] = []
    real = weights.load_model

    def load_model(*given: Any, **options: Any) -> Any:
        alive.append(old())
        return real(*given, **options)

    monkeypatch.setattr(weights, "load_model", load_model)
    session.settings.override(name, {"dtype": "bfloat16", "compile": "off"}[name])
    session.model()
    assert alive == [None]


def test_a_session_goes_on_after_a_model_that_does_not_load(session: Session, tmp_path: Path) -> None:
    before = session.generate("Hi", max_tokens=3, seed=1)
    list(before)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError):
        session.use_model(str(tmp_path / "broken"))
    after = session.generate("Hi", max_tokens=3, seed=1)
    list(after)
    assert after.ids == before.ids


def test_a_dtype_that_the_device_has_not_costs_no_model(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.model()
    monkeypatch.setattr(type(session.backend()), "supports_dtype", lambda self, dtype: False)
    session.settings.override("dtype", "float16")
    with pytest.raises(DeviceError, match="cannot compute in float16"):
        session.model()
    session.settings.override("dtype", "auto")
    assert session.model() is first
