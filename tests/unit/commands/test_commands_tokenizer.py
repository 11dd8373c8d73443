"""``tokenizer``: making small vocabularies, finding them by name, and models that carry theirs."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from nanoshell import paths
from nanoshell.errors import RunError
from nanoshell.theme import rich_styles
from nanoshell.tokenizer.files import read_tokenizer
from nanoshell_commands.tokenizer import TokenizerDetails

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n" * 40
TINY = """
model:
  name: tiny
  hidden_size: 16
  num_layers: 1
  num_heads: 2
  max_seq_len: 16
  tokenizer: TOKENIZER
trainer:
  batch_size: 2
  max_steps: 2
  val_fraction: 0
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text, a preset for each kind of name, and a home of its own."""
    monkeypatch.setenv("NANOSHELL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "play.txt").write_text(TEXT)
    for name, tokenizer in (("char", "char"), ("bpe", "bpe:280"), ("mine", "mine")):
        (tmp_path / f"{name}.yaml").write_text(TINY.replace("TOKENIZER", tokenizer))
    return tmp_path


def test_characters_are_made_and_listed_and_removed(nanoshell, home: Path) -> None:
    made = nanoshell("tokenizer", "train", "--kind", "char", "--data", "play.txt", "--json")
    assert made.code == 0
    assert made.json["name"] == "play-char"
    assert made.json["characters"] == "".join(sorted(set(TEXT)))
    assert made.json["vocab_size"] == len(set(TEXT)) + 4
    assert made.json["characters_per_token"] == 1
    assert made.json["source"] == "./play.txt" or made.json["source"] == "play.txt"
    path = paths.data_dir() / "tokenizers" / "play-char.json"
    assert made.json["path"] == str(path)
    assert path.stat().st_mode & 0o077 == 0
    assert "model.tokenizer=play-char" in made.err

    rows = {row["name"]: row for row in nanoshell("tokenizer", "--json").json}
    assert rows["cl100k_base"]["chosen"]
    assert (rows["play-char"]["kind"], rows["play-char"]["vocab_size"]) == ("char", len(set(TEXT)) + 4)
    shown = nanoshell("tokenizer", "show", "play-char", "--json").json
    assert shown == {**made.json, "characters_per_token": None}
    assert "<|endoftext|>" in nanoshell("tokenizer", "show", "play-char").out

    again = nanoshell("tokenizer", "train", "--kind", "char", "--data", "play.txt")
    assert again.code == 2
    assert "--force" in again.err
    assert nanoshell("tokenizer", "train", "--kind", "char", "--data", "play.txt", "--force").code == 0
    assert nanoshell("tokenizer", "rm", "play-char", "--json").json["path"] == str(path)
    missing = nanoshell("tokenizer", "rm", "play-char")
    assert missing.code == 2
    assert not path.exists()


def test_byte_pairs_have_the_size_that_was_asked_for(nanoshell, home: Path) -> None:
    made = nanoshell(
        "tokenizer", "train", "--vocab-size", "280", "--data", "play.txt", "--name", "mine", "--json"
    )
    assert made.json["vocab_size"] == 280
    assert made.json["characters_per_token"] > 1.3
    assert " speak" in made.json["longest_tokens"] or "peak" in "".join(made.json["longest_tokens"])
    few = nanoshell("tokenizer", "train", "--vocab-size", "5000", "--data", "play.txt", "--name", "few")
    assert few.code == 0
    assert "no more" in few.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "char", "--vocab-size", "80"), "as many ids as its data has characters"),
        (("--vocab-size", "100"), "too small"),
        (("--name", "cl100k_base"), "already names another"),
        (("--name", "char"), "already names another"),
        (("--name", "../x"), "cannot be a tokenizer's name"),
        (("--kind", "chars"), "chars"),
    ],
)
def test_what_cannot_be_made(nanoshell, home: Path, arguments: tuple[str, ...], message: str) -> None:
    said = nanoshell("tokenizer", "train", "--data", "play.txt", *arguments)
    assert said.code in (1, 2)
    assert message in said.err
    assert not (paths.data_dir() / "tokenizers").exists()


@pytest.mark.parametrize("width", [40, 60, 100])
def test_no_line_ends_within_a_token(width: int) -> None:
    from rich.console import Console
    from rich.theme import Theme

    tokens = (" Citizen", " proceed any", "\n\nAll:", " it's", " further") * 4
    theme = Theme(rich_styles("terminal"))
    console = Console(width=width, record=True, file=io.StringIO(), theme=theme, force_terminal=True)
    console.print(TokenizerDetails("t", "bpe", 300, {}, "x", longest_tokens=tokens))
    _, _, listed = console.export_text().partition("longest tokens")
    lines = [line.strip() for line in listed.splitlines()]
    assert len(lines) > 1
    assert "  ".join(lines) == "  ".join(map(repr, tokens))


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_nothing_makes_no_tokenizer(nanoshell, home: Path, kind: str) -> None:
    (home / "empty.txt").write_text("")
    said = nanoshell("tokenizer", "train", "--kind", kind, "--data", "empty.txt")
    assert said.code == 1
    assert "there is no text to make a tokenizer from" in said.err
    assert "empty.txt is empty" in said.err
    assert not (paths.data_dir() / "tokenizers").exists()


def test_ids_make_no_tokenizer(nanoshell, home: Path) -> None:
    (home / "x.bin").write_bytes(struct.pack("<2I", 5, 100257))
    said = nanoshell("tokenizer", "train", "--data", "x.bin")
    assert said.code == 1
    assert "holds token ids" in said.err


def test_tokenize_and_tokens_use_the_one_that_is_named(nanoshell, home: Path) -> None:
    assert nanoshell("tokenizer", "train", "--kind", "char", "--data", "play.txt", "--name", "mine").code == 0
    ids = [sorted(set(TEXT)).index(character) for character in "Speak"]
    assert nanoshell("tokens", "Speak", "--tokenizer", "mine", "--json").json["ids"] == ids
    assert nanoshell("set", "tokenizer", "mine").code == 0
    assert nanoshell("tokens", "Speak", "--json").json["ids"] == ids
    assert nanoshell("unset", "tokenizer").code == 0
    unknown = nanoshell("set", "tokenizer", "mime")
    assert unknown.code == 2
    assert "did you mean 'mine'" in unknown.err

    (row,) = nanoshell("tokenize", "play.txt", "-o", "play.bin", "--tokenizer", "mine", "--json").json
    assert row["tokens"] == len(TEXT) + 1
    (home / "other.txt").write_text("Speak, é")
    refused = nanoshell("tokenize", "other.txt", "-o", "other.bin", "--tokenizer", "mine")
    assert refused.code == 1
    assert "'é' (U+00E9) at position 7" in refused.err
    assert "other.txt" in refused.err
    assert not (home / "other.bin").exists()


def test_a_model_carries_its_tokenizer(nanoshell, home: Path) -> None:
    """Trained, removed, trained anew under the same name: sampling and resuming use the run's own."""
    assert nanoshell("tokenizer", "train", "--kind", "char", "--data", "play.txt", "--name", "mine").code == 0
    trained = nanoshell("train", "--config", "mine.yaml", "--data", "play.txt", "--json", "--max-steps", "1")
    assert trained.code == 0, trained.err
    run = home / "runs" / "tiny-1"
    checkpoint = run / "checkpoints" / "step-000001"
    for folder in (run, checkpoint):
        assert nanoshell("tokenizer", "show", str(folder), "--json").json["characters"] == "".join(
            sorted(set(TEXT))
        )
    (home / "play2.txt").write_text(TEXT + "é")
    forced = nanoshell(
        "tokenizer", "train", "--kind", "char", "--data", "play2.txt", "--name", "mine", "--force"
    )
    assert forced.code == 0
    sampled = nanoshell("sample", "Speak", "--max-tokens", "3", "--seed", "1", "--json")
    assert sampled.code == 0, sampled.err
    assert nanoshell("tokenizer", "rm", "mine").code == 0
    assert (
        nanoshell("sample", "Speak", "--max-tokens", "3", "--seed", "1", "--json").json["text"]
        == (sampled.json["text"])
    )
    resumed = nanoshell("train", "--config", "mine.yaml", "--data", "play.txt", "--resume", "auto", "--json")
    assert resumed.code == 0, resumed.err
    assert (run / "checkpoints" / "step-000002" / "tokenizer.json").is_file()

    elsewhere = home / "elsewhere"
    shutil.copytree(checkpoint, elsewhere)
    (elsewhere / "tokenizer.json").unlink()
    lost = nanoshell("--model", str(elsewhere), "sample", "Speak")
    assert lost.code == 2
    assert "unknown tokenizer 'mine'" in lost.err
    assert (
        nanoshell("tokenizer", "train", "--kind", "char", "--data", "play2.txt", "--name", "mine").code == 0
    )
    other = nanoshell("--model", str(elsewhere), "sample", "Speak")
    assert other.code == 1
    assert "another version of tokenizer 'mine'" in other.err


@pytest.mark.parametrize(("config", "vocab_size"), [("char", len(set(TEXT)) + 4), ("bpe", 280)])
def test_a_preset_makes_its_tokenizer_from_the_data(
    home: Path, monkeypatch: pytest.MonkeyPatch, config: str, vocab_size: int
) -> None:
    from nanoshell.plugin.manager import load_plugins
    from nanoshell.training import launch
    from nanoshell.training.presets import load_config
    from nanoshell.training.record import build_tokenizer, read_record

    monkeypatch.setattr(launch, "start_worker", lambda *arguments, **options: None)
    plugins = load_plugins(safe=True)
    request = launch.TrainRequest(
        load_config(home / f"{config}.yaml"), str(home / "play.txt"), home / "runs", device="cpu"
    )
    run = launch.start_run(request, plugins)
    record = read_record(run)
    assert record.config.model.vocab_size == vocab_size
    tokenizer = build_tokenizer(run, record, plugins)
    assert tokenizer.vocab_size == vocab_size
    assert tokenizer.decode(np.fromfile(record.corpus.path, "<u4").tolist()) == TEXT + "<|endoftext|>"
    made = read_tokenizer(run.path / "tokenizer.json")
    assert made.fingerprint == record.tokenizer_fingerprint
    again = launch.start_run(request, plugins)
    assert read_record(again).corpus == record.corpus

    (run.path / "tokenizer.json").write_text((run.path / "tokenizer.json").read_text().replace("user", "you"))
    with pytest.raises(RunError, match="another version"):
        build_tokenizer(run, record, plugins)


def test_a_preset_is_counted_with_the_vocabulary_that_it_will_have(nanoshell, home: Path) -> None:
    bpe = nanoshell("model", "info", "bpe.yaml", "--json").json
    assert (bpe["config"]["vocab_size"], bpe["parameters"]["embedding"]) == (280, 280 * 16)
    char = nanoshell("model", "info", "char.yaml")
    assert "the characters of the data, counted here as 100" in char.out
    unknown = nanoshell("model", "info", "mine.yaml")
    assert unknown.code == 2
    assert "unknown tokenizer 'mine'" in unknown.err
