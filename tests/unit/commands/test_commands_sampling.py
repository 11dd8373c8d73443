"""``sample`` and what it says of a model, on one of one layer with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanoshell.session import Session

STOPPER = """
import signal
from nanoshell import hookimpl

class Stopper:
    def __init__(self, after):
        self.left = after

    def __call__(self, logits, history):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return logits

@hookimpl
def register_samplers(register):
    register("stopper", Stopper, order=1, default=0, neutral=0, minimum=0)
"""


def test_the_continuation_alone_goes_to_stdout(nanoshell, model: str) -> None:
    arguments = ("--model", model, "--max-tokens", "6", "--temperature", "0")
    said = nanoshell("generate", *arguments, "--prompt", "The capital of France is")
    assert said.code == 0
    document = nanoshell("generate", *arguments, "--json", "The", "capital", "of", "France", "is").json
    assert said.out == document["text"] + "\n"
    assert document["prompt"] == "The capital of France is"
    assert document["finish_reason"] == "length"
    assert len(document["ids"]) == 6
    assert document["prompt_tokens"] == 6  # the token that starts a document, and five words
    assert document["model"] == "tiny"
    whole = nanoshell("sample", *arguments, "--no-stream", "The capital of France is")
    assert whole.out == said.out


def test_a_seed_repeats_and_another_does_not(nanoshell, model: str) -> None:
    def ids(*more: str) -> list[int]:
        return nanoshell(
            "sample", "--model", model, "--json", "--temperature", "5", "--top-p", "1", *more, "a"
        ).json["ids"]

    assert ids("--seed", "1", "--max-tokens", "8") == ids("--seed", "1", "--max-tokens", "8")
    assert ids("--seed", "1", "--max-tokens", "8") != ids("--seed", "2", "--max-tokens", "8")


def test_an_option_of_any_sampler_is_the_same_as_its_own(nanoshell, model: str) -> None:
    own = nanoshell("sample", "--model", model, "--top-k", "1", "--max-tokens", "5", "--json", "a").json
    any_ = nanoshell(
        "sample", "--model", model, "--sampler", "top-k=1", "--max-tokens", "5", "--json", "a"
    ).json
    assert own["ids"] == any_["ids"]


def test_several_samples_are_those_of_seeds_that_follow_each_other(nanoshell, model: str) -> None:
    arguments = ("--model", model, "--max-tokens", "6", "--temperature", "3", "--top-p", "1", "The capital")
    said = nanoshell("sample", "-n", "3", "--seed", "5", *arguments)
    assert said.code == 0
    assert "sample 2 of 3 · seed 6" in said.err
    assert "3 texts · 18 tokens" in said.err
    found = nanoshell("sample", "--n", "3", "--seed", "5", *arguments, "--json").json
    assert [sample["seed"] for sample in found["samples"]] == [5, 6, 7]
    assert said.out == "".join(sample["text"] + "\n" for sample in found["samples"])
    assert nanoshell("sample", "-n", "3", "--seed", "5", "--no-stream", *arguments).out == said.out
    for sample in found["samples"]:
        one = nanoshell("sample", "--seed", str(sample["seed"]), *arguments, "--json").json
        assert one.keys() == sample.keys()
        assert (one["ids"], one["text"], one["prompt"]) == (sample["ids"], sample["text"], "The capital")


def test_several_prompts_are_computed_together(nanoshell, model: str) -> None:
    command = ("generate", "--model", model, "--temperature", "0", "--max-tokens", "4", "--prompt", "The")
    said = nanoshell(*command, "--prompt", "-", stdin=b"A longer prompt\nof two lines\n")
    assert "prompt 2 of 2: A longer prompt of two lines\n" in said.err
    found = nanoshell(*command, "--prompt", "Hello, you", "-n", "2", "--json").json["samples"]
    assert [sample["prompt"] for sample in found] == ["The", "The", "Hello, you", "Hello, you"]
    assert found[0]["ids"] == found[1]["ids"] == nanoshell(*command, "--json").json["ids"]
    assert nanoshell("generate", "--model", model, "--prompt", "-", "--prompt", "-").code == 2


def test_ctrl_c_ends_all_texts_and_keeps_what_has_come(nanoshell, model: str, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "stopper.py").write_text(STOPPER)
    command = ("--plugins-dir", "extra", "sample", "--model", model, "--top-k", "1", "-n", "2")
    cut = nanoshell(*command, "--sampler", "stopper=4", "--json", "a")
    assert cut.code == 130
    assert {sample["finish_reason"] for sample in cut.json["samples"]} == {"interrupted"}
    first, second = (len(sample["ids"]) for sample in cut.json["samples"])
    assert first == second >= 4  # the keyboard is answered beside the step, which may be the next one by then


def test_how_likely_the_tokens_were_is_told(nanoshell, model: str) -> None:
    command = ("sample", "--model", model, "--temperature", "0", "--max-tokens", "3", "a")
    found = nanoshell(*command, "--logprobs", "2", "--json").json
    assert [token["id"] for token in found["logprobs"]] == found["ids"]
    assert "".join(token["token"] for token in found["logprobs"]) == found["text"]
    for token in found["logprobs"]:
        first, second = token["top"]
        assert token["logprob"] <= first["logprob"] < 0
        assert second["logprob"] <= first["logprob"]
    bare = nanoshell(*command, "--logprobs", "0", "--json").json
    assert [token["top"] for token in bare["logprobs"]] == [[], [], []]
    assert "logprobs" not in nanoshell(*command, "--json").json
    shown = nanoshell(*command, "--logprobs", "2").out
    assert shown.startswith(found["text"] + "\n")
    assert "likeliest here" in shown
    assert shown.count("%") == 9
    assert nanoshell(*command, "--logprobs", "0").out.count("%") == 3


def test_a_bias_bans_or_forces_a_token_by_id_text_or_spelling(nanoshell, model: str) -> None:
    command = ("sample", "--model", model, "--temperature", "0", "--max-tokens", "2", "--json", "a")
    free = nanoshell(*command).json
    banned = nanoshell(*command, "--logit-bias", f"{free['ids'][0]}=-100").json
    assert free["ids"][0] not in banned["ids"]
    assert nanoshell(*command, "--logit-bias", " Paris=100").json["text"] == " Paris Paris"
    assert nanoshell(*command, "--logit-bias", "===100").json["text"] == "===="
    ended = nanoshell(*command, "--logit-bias", "<|endoftext|>=100").json
    assert (ended["ids"], ended["finish_reason"]) == ([], "stop")


@pytest.mark.parametrize(
    ("bias", "told"),
    [
        ("Paris", "'Paris' is not TOKEN=NUMBER"),
        ("=3", "'=3' is not TOKEN=NUMBER"),
        (" Paris=much", "is not TOKEN=NUMBER"),
        ("The capital of=3", "'The capital of' is 3: 791, 6864, 315"),
        ("100331=1", "the ids are 0 to 100,330"),
    ],
)
def test_a_bias_that_names_no_token_is_refused(nanoshell, model: str, bias: str, told: str) -> None:
    said = nanoshell("sample", "--model", model, "--logit-bias", bias, "a")
    assert (said.code, said.out) == (2, "")
    assert told in said.err


def test_the_dtype_is_a_setting_and_an_option(session: Session, prompt, model: str) -> None:
    import torch

    def dtype() -> torch.dtype:
        return session.model().engine.model.embed_tokens.weight.dtype

    own = session.model()
    assert dtype() == torch.float32
    assert prompt(":sample --dtype bfloat16 --max-tokens 2 a")[0] == 0
    assert dtype() == torch.bfloat16
    assert prompt(":set dtype auto")[0] == 0
    assert dtype() == torch.float32
    assert session.model() is session.model() is not own
    code, _, told = prompt(":set dtype bfloat")
    assert (code, "did you mean 'bfloat16'" in told) == (2, True)


def test_a_dtype_that_the_device_lacks_is_refused(
    session: Session, prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(session.backend()), "supports_dtype", lambda self, dtype: False)
    code, _, told = prompt(":sample --dtype float16 a")
    assert (code, "cannot compute in float16" in told, "set dtype auto" in told) == (1, True, True)


def test_the_prompt_can_be_piped_and_its_last_newline_is_dropped(nanoshell, model: str) -> None:
    said = nanoshell("sample", "--model", model, "--max-tokens", "1", "--json", "-", stdin=b"two\nlines\n")
    assert said.json["prompt"] == "two\nlines"


def test_no_bos_and_special(nanoshell, model: str) -> None:
    arguments = ("sample", "--model", model, "--max-tokens", "1", "--json")
    assert nanoshell(*arguments, "a").json["prompt_tokens"] == 2
    assert nanoshell(*arguments, "--no-bos", "a").json["prompt_tokens"] == 1
    assert nanoshell(*arguments, "--special", "<|user|>").json["prompt_tokens"] == 2
    assert nanoshell(*arguments, "<|user|>").json["prompt_tokens"] > 3


def test_a_full_context_is_said_on_stderr(nanoshell, model: str) -> None:
    said = nanoshell("sample", "--model", model, "--max-tokens", "500", "--temperature", "0", "a")
    assert said.code == 0
    assert "48 positions" in said.err
    assert said.out.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--top-p", "2"), "top_p"),
        (("--sampler", "topk=2"), "did you mean 'top_k'"),
        (("--stop", ""), "stop text is empty"),
    ],
)
def test_what_cannot_be_sampled_is_said(nanoshell, model: str, arguments: tuple[str, ...], told: str) -> None:
    said = nanoshell("sample", "--model", model, *arguments, "a")
    assert said.code == 2
    assert said.out == ""
    assert told in said.err


def test_a_prompt_longer_than_the_model_is_refused_with_the_sizes(nanoshell, model: str) -> None:
    said = nanoshell("sample", "--model", model, "word " * 100)
    assert said.code == 1
    assert "48 positions" in said.err


def test_ctrl_c_keeps_what_has_come(nanoshell, model: str, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "stopper.py").write_text(STOPPER)
    command = ("--plugins-dir", "extra", "sample", "--model", model, "--top-k", "1", "--max-tokens", "40")
    whole = nanoshell(*command, "a")
    said = nanoshell(*command, "--sampler", "stopper=4", "a")
    assert said.code == 130
    assert said.out.endswith("\n")
    assert len(said.out) > 1
    assert whole.out.startswith(said.out.rstrip("\n"))
    cut = nanoshell(*command, "--sampler", "stopper=4", "--json", "a")
    assert cut.code == 130
    assert cut.json["finish_reason"] == "interrupted"
    assert cut.json["text"]
    assert whole.out.startswith(cut.json["text"])


def test_an_empty_model_is_not_the_latest(nanoshell) -> None:
    said = nanoshell("sample", "--model", "", "a")
    assert said.code == 2
    assert "--model is empty" in said.err


def test_a_loaded_model_is_described(session: Session, prompt, model: str) -> None:
    found = json.loads(prompt(":model info --json")[1])
    assert found["parameters"]["head"] == 0
    assert found["dtype"] == "float32"
    assert found["bytes"] == (Path(model) / "model.safetensors").stat().st_size
    assert "tied to the embedding" in prompt(":model load " + model)[1]


def ended_by(tmp_path: Path, spelling: str) -> str:
    """Return the folder of a plugin whose sampler ends every text at once."""
    folder = tmp_path / f"plugins{len(spelling)}"
    folder.mkdir()
    (folder / "ending.py").write_text(
        "from nanoshell import cl100k_base, hookimpl\n\n"
        "def end(value):\n"
        f"    token = cl100k_base().special_tokens[{spelling!r}]\n\n"
        "    def step(logits, history):\n"
        "        logits = logits.clone()\n"
        "        logits[:, token] += 1000.0\n"
        "        return logits\n\n"
        "    return step\n\n"
        "@hookimpl\n"
        "def register_samplers(register):\n"
        "    register('ending', end, order=1, default=1, neutral=0)\n"
    )
    return str(folder)


@pytest.mark.parametrize("spelling", ["<|endoftext|>", "<|user|>"])
def test_an_empty_text_is_told_and_may_be_refused(
    nanoshell, model: str, tmp_path: Path, spelling: str
) -> None:
    plugin = ("--plugins-dir", ended_by(tmp_path, spelling))
    arguments = ("--model", model, "--max-tokens", "5")
    said = nanoshell(*plugin, "sample", *arguments, "a")
    assert (said.code, said.out) == (0, "\n")
    assert "the model ended its reply at once" in said.err
    document = nanoshell(*plugin, "sample", *arguments, "--json", "a").json
    assert (document["finish_reason"], document["stop_reason"], document["ids"]) == ("stop", spelling, [])
    document = nanoshell(*plugin, "sample", *arguments, "--ignore-eos", "--json", "a").json
    assert (document["finish_reason"], len(document["ids"])) == ("length", 5)
    said = nanoshell(*plugin, "chat", "--model", model, "--message", "a")
    assert "the model ended its reply at once" in said.err
    assert "0 tokens" not in said.err
    turn = nanoshell(*plugin, "chat", "--model", model, "--message", "a", "--json").lines[-1]
    assert turn["stop_reason"] == spelling


def test_the_stop_text_that_ended_a_text_is_named(nanoshell, model: str) -> None:
    arguments = ("sample", "--model", model, "--temperature", "0", "--max-tokens", "6", "--json", "a")
    whole = nanoshell(*arguments).json
    assert whole["stop_reason"] is None
    stop = whole["text"][3:5]
    first = whole["text"].index(stop)
    found = nanoshell(*arguments[:-2], "--stop", "not in it", "--stop", stop, "--json", "a").json
    assert (found["finish_reason"], found["stop_reason"]) == ("stop", stop)
    assert found["text"] == whole["text"][:first]
    said = nanoshell(*arguments[:-2], "--stop", whole["text"][:2], "a")
    assert f"'{whole['text'][:2]}' came at once" in said.err


@pytest.mark.parametrize("option", [("--top-k", "-1"), ("--sampler", "top_k=-1")])
def test_a_range_is_told_as_for_a_setting(nanoshell, model: str, option: tuple[str, str]) -> None:
    said = nanoshell("sample", "--model", model, *option, "a")
    assert said.code == 2
    assert nanoshell("set", "top_k", "-1").err == said.err
    assert "top_k must be a whole number at least 0, not -1" in said.err


def test_an_option_of_chat_holds_for_it_alone(nanoshell, session: Session, prompt, model: str) -> None:
    said = nanoshell("chat", "--model", model, "--message", "a", "--max-tokens", "2", "--json")
    assert said.lines[1]["tokens"] <= 2
    code, _, _ = prompt(":chat --message a --max-tokens 2")
    assert (code, session.settings.get("max_tokens")) == (0, 3)
    said = nanoshell("chat", "--model", model, "tell", "me")
    assert said.code == 2
    assert "nanoshell chat --message 'tell me'" in said.err


def test_hints_are_spelled_for_the_face(nanoshell, prompt) -> None:
    assert "nanoshell sample --temp" in nanoshell("sample").err
    assert "try: :sample --temp" in prompt(":sample")[2]
    assert "train one with: nanoshell train" in nanoshell("model", "list").out
    assert "train one with: :train" in prompt(":model list")[1]
    assert "did you mean 'info'" in nanoshell("model", "show", "nano").err


def test_a_loaded_model_tells_its_size_in_file_and_memory(nanoshell, model: str) -> None:
    one, half = (
        nanoshell("model", "load", model, "--dtype", dtype, "--json").json for dtype in ("float32", "bf16")
    )
    assert (half["dtype"], half["bytes"]) == ("bfloat16", one["bytes"])
    assert half["memory_bytes"] * 2 == one["memory_bytes"] == 4 * one["parameters"]["total"]
