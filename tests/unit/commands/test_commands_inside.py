"""``next``, ``why``, ``loss``, ``attention``, ``model info``: their JSON, pictures, and what they refuse."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st
from rich.console import Console
from rich.theme import Theme

from nanoshell.command.script import run_line
from nanoshell.inspection.scores import next_scores
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import build_model
from nanoshell.model.weights import save_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.session import Session
from nanoshell.theme import rich_styles
from nanoshell.tokenizer.making import make_char
from nanoshell_commands.heat import Chart, HeatLine, Label, bar, heat, labels, percent

END = 100257


@pytest.fixture
def roomy(tmp_path: Path) -> Path:
    """A model with 400 rows for the few tokens of its tokenizer."""
    folder, plugins = tmp_path / "roomy", load_plugins(only=[])
    folder.mkdir()
    shape = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 400, "max_seq_len": 48}
    config = ModelConfig(**shape, tokenizer="letters")
    save_model(folder, build_model(config, plugins.mixers, seed=1), make_char("letters", ["Hi"]))
    return folder


def drawn(value: Any, *, width: int = 80, colour: bool = False, encoding: str = "utf-8") -> str:
    """Return what a terminal of ``width`` gets, with its escapes where it has ``colour``."""
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(
        file=file,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        theme=Theme(rich_styles("terminal")),
        legacy_windows=False,
    )
    console.print(value)
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def result_of(session: Session, line: str) -> Any:
    """Return what the command of ``line`` returns, before any face shows it."""
    shown: list[Any] = []

    class Screen:
        out = type("Out", (), {"print": staticmethod(shown.append)})
        live = False
        prompt = True

        def note(self, text: str) -> None:
            shown.append(text)

    assert run_line(session, line, Screen()).code == 0  # type: ignore[arg-type]
    return shown[-1]


# The shared drawing


@pytest.mark.parametrize(
    ("probability", "level"), [(1.0, 0), (0.5, 0), (0.49, 1), (0.1, 1), (0.05, 2), (0.001, 3), (1e-9, 4)]
)
def test_heat_rises_as_probability_falls(probability: float, level: int) -> None:
    assert heat(probability) == level


@given(share=st.floats(0, 1), width=st.integers(1, 60))
def test_a_bar_is_as_long_as_its_share(share: float, width: int) -> None:
    blocks = bar(share, width)
    length = sum(1.0 if sign == "█" else " ▏▎▍▌▋▊▉".index(sign) / 8 for sign in blocks)
    assert abs(length - share * width) <= 1 / 16 + 1e-9
    assert abs(len(bar(share, width, ascii_only=True)) - share * width) <= 0.5
    assert len(blocks) <= width


@pytest.mark.parametrize(
    ("share", "text"),
    [(1, "100.0%"), (0.984, "98.4%"), (0.001, "0.1%"), (0.00034, "0.034%"), (1e-7, "<0.001%"), (0, "0%")],
)
def test_a_share_has_the_digits_that_tell_something(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_heat_line_colours_every_token_and_says_what_colours_mean() -> None:
    tokens = [
        (Label(1, b" sure", False), 0.9),
        (Label(2, b" odd\n", False), 0.00001),
        (Label(3, b"x", False), None),
    ]
    shown = drawn(HeatLine(tokens), colour=True)
    assert "\x1b[32m·sure\x1b[0m" in shown
    assert "\x1b[1;31m·odd↵\x1b[0m\n" in shown
    assert "\x1b[2mx\x1b[0m" in shown
    assert "probability  ■ 50% and more  ■ 10%  ■ 1%  ■ 0.1%  ■ less" in drawn(HeatLine(tokens))
    assert drawn(HeatLine(tokens), encoding="ascii").startswith("_sure_odd\\n\nx\n")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_chart_keeps_to_its_width(width: int) -> None:
    long = Label(1, b"an identifier of many letters", False)
    chart = Chart(
        [">", "token", ">likely", ""], [("1", long.short, "98.4%", 1.0), ("2", long.short, "1%", 0.1)]
    )
    lines = drawn(chart, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert "█" in lines[1]
    assert "an·identifier·of·ma…" in lines[1]
    assert "#" in drawn(chart, width=width, encoding="ascii")


def test_ids_without_a_token_have_no_bytes(session: Session) -> None:
    shown = labels([END, 100256, 1917, 200_000], session.tokenizer)
    assert [label.text for label in shown] == ["<|endoftext|>", "", " world", ""]
    assert [label.special for label in shown] == [True, False, False, False]


# next


def test_next_tells_the_likeliest_tokens(nanoshell, model: str) -> None:
    found = nanoshell("next", "Hello", "world", "-n", "4", "--model", model, "--json").json
    assert found["prompt_ids"] == [END, 9906, 1917]
    assert len(found["tokens"]) == 4
    probabilities = [token["probability"] for token in found["tokens"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) + found["rest"] == pytest.approx(1, abs=1e-6)
    for token in found["tokens"]:
        assert math.exp(token["logprob"]) == pytest.approx(token["probability"])
        assert token["sampled"] is None
    first, second = found["tokens"][:2]
    assert first["logit"] - second["logit"] == pytest.approx(first["logprob"] - second["logprob"], abs=1e-5)
    assert found["kept"] is None


def test_next_tells_what_samplers_leave(nanoshell, model: str) -> None:
    found = nanoshell(
        "next", "Hello", "--model", model, "--top-k", "3", "--temperature", "0.5", "--json"
    ).json
    assert found["sampling"]["top_k"] == 3
    assert found["kept"] <= 3
    assert sum(token["sampled"] for token in found["tokens"]) == pytest.approx(1, abs=1e-5)
    greedy = nanoshell("next", "Hello", "--model", model, "--temperature", "0", "--json").json
    assert [token["sampled"] for token in greedy["tokens"]][:2] == [1.0, 0.0]
    assert greedy["kept"] == 1


def test_next_reads_special_tokens_and_begins_where_told(nanoshell, model: str) -> None:
    def ids(*words: str) -> list[int]:
        return nanoshell("next", "--model", model, "--json", *words).json["prompt_ids"]

    assert ids("--special", "<|user|>Hi")[1] == 100278
    assert ids("<|user|>Hi")[1] != 100278
    assert ids("--no-bos", "Hello") == [9906]


def test_next_warns_of_a_space_at_the_end_and_of_what_is_not_seen(nanoshell, model: str) -> None:
    assert "ends in a space" in nanoshell("next", "Hello ", "--model", model).err
    said = nanoshell("next", "-", "--model", model, stdin=b"one two " * 40 + b"three\n")
    assert said.code == 0
    assert "the last 48 of 82 tokens" in said.err


def test_next_fits_a_terminal(session: Session) -> None:
    for line in (":next Hello", ":next --sampled Hello"):
        shown = drawn(result_of(session, line))
        assert all(len(row) <= 80 for row in shown.splitlines())
        assert "others share" in shown


# why


def test_why_explains_the_last_sample(session: Session, prompt) -> None:
    code, _, err = prompt(":why")
    assert code == 2
    assert "nothing has been written yet" in err
    ids = json.loads(prompt(":sample Hello --seed 1 --max-tokens 5 --logprobs 2 --json")[1])
    found = json.loads(prompt(":why --top 2 --json")[1])
    assert [token["id"] for token in found["tokens"]] == ids["ids"]
    assert found["written_by"] == found["model"] == ids["model"]
    for token, told in zip(found["tokens"], ids["logprobs"], strict=True):
        assert token["logprob"] == pytest.approx(told["logprob"], abs=1e-4)
        assert [other["id"] for other in token["top"]] == [other["id"] for other in told["top"]]
    mean = -sum(token["logprob"] for token in found["tokens"]) / len(found["tokens"])
    assert found["perplexity"] == pytest.approx(math.exp(mean))
    assert [token["position"] for token in found["tokens"]] == [1, 2, 3, 4, 5]


def test_why_is_about_the_conversation_that_is_taken_up(
    session: Session, prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(type(session.narrator), "note", lambda _narrator, text: notes.append(text))
    for name in ("first", "second"):
        prompt(f":chat new {name}")
        prompt("hello")
    prompt(":why")
    assert not any("the last reply" in note for note in notes), "that reply has its tokens still"
    for name in ("first", "second"):
        prompt(f":chat switch {name}")
        prompt(":why")
        assert notes[-1] == f"the last reply of {name}, split into tokens anew"


def test_why_of_a_position_tells_what_was_expected_there(session: Session, prompt) -> None:
    prompt(":sample Hello --seed 1 --max-tokens 4")
    whole = json.loads(prompt(":why --json")[1])
    place = json.loads(prompt(":why 3 --json")[1])
    assert place["token"]["id"] == whole["tokens"][2]["id"]
    assert place["token"]["logprob"] == pytest.approx(whole["tokens"][2]["logprob"], abs=1e-4)
    assert place["expected"]["prompt_ids"][-2:] == [token["id"] for token in whole["tokens"][:2]]
    assert len(place["expected"]["tokens"]) == 10
    code, _, err = prompt(":why 9")
    assert code == 2
    assert "tokens 1 to 4" in err


def test_why_explains_a_reply_and_one_of_a_kept_conversation(nanoshell, model: str) -> None:
    answer = nanoshell(
        "chat", "--model", model, "--message", "Hello", "--max-tokens", "3", "--seed", "2", "--json"
    ).lines[-1]
    said = nanoshell("why", "--model", model, "--json")
    assert said.code == 0
    assert "split into tokens anew" in said.err
    assert said.json["written_by"] == "tiny"
    assert "".join(token["text"] for token in said.json["tokens"]) == answer["content"]


def test_why_says_that_another_model_wrote_it(
    session: Session, prompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(session, "narrator", SimpleNamespace(note=told.append))
    prompt(":sample Hello --seed 1")
    other = tmp_path / "another"
    shutil.copytree(str(session.model().path), other)
    _, out, _ = prompt(f":why --model {other} --json")
    assert told == ["tiny wrote this; the probabilities are those of another"]
    assert json.loads(out)["written_by"] == "tiny"


@pytest.mark.parametrize("first", [":sample Hello --seed 1", "Hello"])
def test_why_does_not_read_the_tokens_of_another_tokenizer(
    prompt, model: str, nanoshell_model: Path, first: str
) -> None:
    assert prompt(first)[0] == 0
    for line in (":why", ":why 1", ":why --top 2"):
        code, out, err = prompt(f"{line} --model {nanoshell_model}")
        assert (code, out) == (2, "")
        assert "tiny wrote it in tokens that tiny-model does not know: their tokenizers differ" in err
    assert prompt(f":why --model {model}")[0] == 0
    asked = "<|user|>Hello<|assistant|>"
    assert prompt(f":sample --special --temperature 0 --model {nanoshell_model} '{asked}'")[0] == 0
    code, out, _ = prompt(f":why --json --model {nanoshell_model}")
    assert (code, json.loads(out)["written_by"]) == (0, "tiny-model")


def test_why_is_a_heat_line_in_colour_and_a_table_without(session: Session, prompt) -> None:
    prompt(":sample Hello --seed 1")
    found = result_of(session, ":why")
    assert "■" in drawn(found, colour=True)
    assert "rank" in drawn(found)
    assert "likeliest here" in drawn(result_of(session, ":why --top 4"), colour=True)
    assert "rank" in drawn(result_of(session, ":why --list"), colour=True)
    for line in (":why", ":why --top 9", ":why 2"):
        assert all(len(row) <= 80 for row in drawn(result_of(session, line)).splitlines())


# loss


def test_loss_adds_up(nanoshell, model: str) -> None:
    found = nanoshell("loss", "Hello world é", "--model", model, "--json").json
    losses = [token["loss"] for token in found["tokens"]]
    assert [token["id"] for token in found["tokens"]][:2] == [9906, 1917]
    assert found["loss"] == pytest.approx(sum(losses) / len(losses))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bytes"] == len("Hello world é".encode())
    assert found["bits_per_byte"] == pytest.approx(sum(losses) / math.log(2) / found["bytes"])
    assert found["left_out"] == 0


def test_the_first_token_is_judged_as_the_beginning_of_a_document(
    nanoshell, session: Session, model: str
) -> None:
    engine = session.model().engine
    expected = next_scores(engine.model, [END], engine.vocab_size).double().log_softmax(-1)[9906]
    whole = nanoshell("loss", "Hello", "--model", model, "--json").json
    second = nanoshell("loss", "--no-bos", "Hello world", "--model", model, "--json").json
    assert [token["id"] for token in whole["tokens"]] == [9906]
    assert [token["id"] for token in second["tokens"]] == [1917]
    assert whole["tokens"][0]["loss"] == pytest.approx(-float(expected), abs=1e-5)


def test_rows_without_a_token_take_part_nowhere(prompt, roomy: Path) -> None:
    def tokens(line: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(prompt(line)[1])["tokens"]
        return found

    prompt(f":model load {roomy}")
    begun = {each["id"]: each["logprob"] for each in tokens(":next --no-bos --special <|endoftext|> --json")}
    judged = tokens(":loss --json H")[0]
    assert -judged["loss"] == pytest.approx(begun[judged["id"]], abs=1e-5)
    assert sum(math.exp(logprob) for logprob in begun.values()) == pytest.approx(1, abs=1e-5)
    prompt(":sample H --seed 1 --max-tokens 1")
    expected = {each["id"]: each["logprob"] for each in tokens(":next --json H")}
    written = tokens(":why --json")[0]
    assert written["logprob"] == pytest.approx(expected[written["id"]], abs=1e-5)


def test_special_tokens_count_no_bytes(nanoshell, model: str) -> None:
    found = nanoshell("loss", "--special", "Hi<|endoftext|>", "--model", model, "--json").json
    assert (len(found["tokens"]), found["bytes"]) == (2, 2)
    alone = nanoshell("loss", "--special", "<|endoftext|>", "--model", model, "--json").json
    assert alone["bits_per_byte"] is None


def test_loss_reads_a_file_as_far_as_told(nanoshell, model: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one two three four five six")
    said = nanoshell("loss", "--file", "words.txt", "--limit", "4", "--model", model, "--json")
    assert "4 of 6 tokens are read" in said.err
    assert len(said.json["tokens"]) == 4
    assert said.json["left_out"] == 2
    whole = nanoshell("loss", "--file", "words.txt", "--limit", "0", "--model", model, "--json").json
    assert whole["tokens"][:4] == said.json["tokens"]


def test_loss_of_a_long_text_tells_of_windows_and_shows_the_beginning(nanoshell, model: str) -> None:
    said = nanoshell("loss", "-", "--model", model, stdin=b"one two " * 300)
    assert said.code == 0
    assert "read in windows that overlap" in said.err
    assert "more tokens" in said.out
    assert "bits per byte" in said.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is no text"),
        (("Hello", "--file", "words.txt"), "the text is given twice"),
        (("",), "no token to judge"),
        (("--no-bos", "Hello"), "no token to judge"),
    ],
)
def test_loss_needs_one_text(nanoshell, model: str, tmp_path: Path, arguments: Any, message: str) -> None:
    (tmp_path / "words.txt").write_text("one")
    said = nanoshell("loss", *arguments, "--model", model)
    assert said.code == 2
    assert message in said.err


# attention


def test_attention_tells_the_whole_matrix(nanoshell, model: str) -> None:
    heads = [
        nanoshell("attention", "Hello world!", "--head", str(head), "--model", model, "--json").json
        for head in range(2)
    ]
    mean = nanoshell("attention", "Hello world!", "--model", model, "--json").json
    assert (mean["layer"], mean["head"], mean["num_heads"], mean["layers"]) == (0, None, 2, [0])
    assert mean["tokens"] == ["<|endoftext|>", "Hello", " world", "!"]
    for row in range(4):
        assert sum(mean["weights"][row]) == pytest.approx(1, abs=1e-5)
        assert not any(mean["weights"][row][row + 1 :])
        pairs = zip(heads[0]["weights"][row], heads[1]["weights"][row], strict=True)
        assert mean["weights"][row] == pytest.approx([(a + b) / 2 for a, b in pairs], abs=2e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--layer", "1"), "counted from 0 to 0"),
        (("--head", "2"), "counted from 0 to 1"),
        (("--head", "-1"), "counted from 0 to 1"),
    ],
)
def test_attention_names_the_layers_and_heads_that_are_there(nanoshell, model, options, message) -> None:
    said = nanoshell("attention", "Hello", *options, "--model", model)
    assert said.code == 2
    assert message in said.err


def test_the_grid_holds_what_fits(session: Session) -> None:
    text = "one two three four five six seven eight nine ten " * 4
    found = result_of(session, f":attention {text}")
    for width in (40, 80, 200):
        lines = drawn(found, width=width).splitlines()
        assert max(map(len, lines)) <= width
        words = " ".join(" ".join(lines).split())
        assert f"of {len(found.ids)} tokens, which do not see" in words or width == 200
    narrow = drawn(found, width=40)
    assert "looks most at" not in narrow
    rows = [line for line in narrow.splitlines() if line[:2].strip().isdigit()]
    assert len(rows) == 11
    ascii_rows = drawn(found, width=40, encoding="ascii")
    assert "##" in ascii_rows
    assert ascii_rows.isascii()


def test_attention_cuts_what_the_model_cannot_see(nanoshell, model: str) -> None:
    said = nanoshell("attention", "-", "--model", model, "--json", stdin=b"one two " * 40)
    assert "the first 48 of 82 tokens" in said.err
    assert len(said.json["weights"]) == 48


def test_attention_and_its_options_are_told_in_the_help(nanoshell) -> None:
    said = nanoshell("attention", "--help")
    assert said.code == 0
    shown = " ".join(said.out.split())
    for words in ("--layer", "--head", "--special", "--model", "which tokens of TEXT look at which"):
        assert words in shown


# model info


def test_a_preset_tells_what_it_costs_without_torch(nanoshell) -> None:
    found = nanoshell("model", "info", "nano-llama", "--json").json
    costs, total = found["costs"], found["parameters"]["total"]
    assert costs["training"]["weights"] == costs["training"]["gradients"] == 4 * total
    assert costs["training"]["total"] == sum(
        costs["training"][part] for part in ("weights", "gradients", "optimizer", "activations")
    )
    assert costs["inference"]["weights"] == 4 * total
    assert costs["token"]["training"] == pytest.approx(3 * costs["token"]["forward"], rel=1e-6)
    wider = nanoshell("model", "info", "nano-llama", "--batch-size", "64", "--json").json["costs"]
    assert wider["training"]["batch_size"] == 64
    assert wider["training"]["activations"] > costs["training"]["activations"]
    assert any("32 bits" in line for line in costs["assuming"])


def test_a_loaded_model_tells_what_it_takes_in_its_dtype(session: Session, prompt) -> None:
    found = json.loads(prompt(":model info --json")[1])
    assert found["costs"]["inference"]["weights"] == found["memory_bytes"]
    half = json.loads(prompt(f":model load {session.model().path} --dtype bfloat16 --json")[1])
    assert half["costs"]["inference"]["weights"] == half["memory_bytes"] == found["memory_bytes"] / 2
    assert "to train" in prompt(":model info")[1]
