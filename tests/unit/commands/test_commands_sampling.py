"""``sample``, ``chat`` and the commands of the conversation, on a model of one layer with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanoshell.model.config import ModelConfig
from nanoshell.session import Session, open_session

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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model directory: 1 layer, 16 channels, 48 positions."""
    from nanoshell.model.transformer import build_model
    from nanoshell.model.weights import save_model
    from nanoshell.plugin.manager import load_plugins

    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    plugins = load_plugins(only=[])
    config = ModelConfig(
        hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, max_seq_len=48, tie_embeddings=True
    )
    tokenizer = plugins.tokenizers.get("cl100k_base")()
    save_model(folder, build_model(config, plugins.mixers, seed=1), tokenizer)
    return str(folder)


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
    assert [len(sample["ids"]) for sample in cut.json["samples"]] == [4, 4]


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


def test_chat_takes_a_bias_too(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "2")
    command = ("chat", "--model", model, "--message", "Hello", "--logit-bias", " Paris=100")
    assert nanoshell(*command).out == " Paris Paris\n"


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


def test_a_turn_of_chat_computes_its_new_tokens_alone(session: Session, prompt) -> None:
    prompt("first")
    again = json.loads(prompt(":retry --json")[1])
    assert again["reused_tokens"] == again["prompt_tokens"] - 1
    session.settings.override("max_tokens", "1")
    prompt("x")
    last = json.loads(prompt(":retry --json")[1])
    assert last["reused_tokens"] == last["prompt_tokens"] - 1


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
    assert cut.json["text"] == said.out[:-1]


def test_chat_answers_each_message_in_turn(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "5")
    command = (
        "chat",
        "--model",
        model,
        "--system",
        "Be kind.",
        "--message",
        "Hello!",
        "--message",
        "And now?",
    )
    said = nanoshell(*command, "--seed", "1")
    assert said.code == 0
    lines = nanoshell(*command, "--seed", "1", "--json").lines
    assert [line["role"] for line in lines] == ["user", "assistant"] * 2
    assert said.out == "".join(line["content"] + "\n" for line in lines if line["role"] == "assistant")
    (second, _first) = nanoshell("history", "--json").json
    assert second["messages"] == 5
    kept = nanoshell("history", second["name"], "--json").json["messages"]
    assert kept[0] == {"role": "system", "content": "Be kind.", "interrupted": False}
    assert [turn["content"] for turn in kept[1:]] == [line["content"] for line in lines]


def test_chat_answers_piped_lines(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "2")
    lines = nanoshell("chat", "--model", model, "--json", stdin=b"one\n\n  two\n").lines
    assert [line["content"] for line in lines if line["role"] == "user"] == ["one", "two"]
    said = nanoshell("chat", "--model", model, stdin=b"one\nt\xffo\n")
    assert said.code == 1
    assert "line 2" in said.err


def test_turns_that_do_not_fit_are_left_out_and_it_is_said(nanoshell, model: str) -> None:
    nanoshell("set", "max_tokens", "4")
    message = "word " * 12
    said = nanoshell("chat", "--model", model, *("--message", message) * 3)
    assert said.code == 0
    assert "oldest" in said.err
    lines = nanoshell("chat", "--model", model, *("--message", message) * 3, "--json").lines
    assert lines[1]["dropped_turns"] == 0
    assert lines[-1]["dropped_turns"] > 0


def test_chat_without_a_model_says_what_to_do(nanoshell) -> None:
    said = nanoshell("chat", "--message", "hello")
    assert said.code == 1
    assert "train" in said.err


@pytest.fixture
def session(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session at the prompt, with the model loaded and replies of three tokens."""
    monkeypatch.chdir(tmp_path)
    session = open_session(safe=True)
    session.settings.override("max_tokens", "3")
    session.use_model(model)
    return session


@pytest.fixture
def prompt(session: Session, capfd: pytest.CaptureFixture[str]):
    """Carry out one line of the prompt, and return its exit code and what it printed."""
    from nanoshell.command.render import TerminalScreen
    from nanoshell.command.script import run_line

    def carry_out(line: str) -> tuple[int, str, str]:
        capfd.readouterr()
        outcome = run_line(session, line, TerminalScreen())
        return outcome.code, *capfd.readouterr()

    return carry_out


def contents(session: Session) -> list[str]:
    return [message.content for message in session.conversation.messages]


def test_the_system_turn_is_taken_as_typed(session: Session, prompt) -> None:
    assert prompt(':system You\'re "kind" & brief.')[0] == 0
    assert session.conversation.system == 'You\'re "kind" & brief.'
    assert prompt(":system")[1] == 'You\'re "kind" & brief.\n'
    prompt(":system --clear")
    assert session.conversation.system is None


def test_undo_takes_back_a_turn_and_retry_asks_again(session: Session, prompt) -> None:
    prompt("first")
    prompt("second")
    before = contents(session)
    assert len(before) == 4
    assert prompt(":retry")[0] == 0
    after = contents(session)
    assert after[:3] == before[:3]
    assert len(after) == 4
    code, out, _ = prompt(":undo --json")
    assert code == 0
    assert [turn["content"] for turn in json.loads(out)["messages"]] == after[2:]
    assert contents(session) == after[:2]
    prompt(":undo")
    assert prompt(":undo")[0] == 1
    assert prompt(":retry")[0] == 1


def test_a_retry_that_cannot_be_answered_takes_nothing_back(session: Session, prompt) -> None:
    prompt("first")
    before = contents(session)
    session.conversation.set_system("word " * 60)
    assert prompt(":retry")[0] == 1
    assert contents(session)[1:] == before


def test_reset_keeps_the_old_conversation_and_the_system_turn(session: Session, prompt) -> None:
    prompt(":system Be kind.")
    prompt("first")
    old = session.conversation.name
    prompt(":reset")
    assert session.conversation.name != old
    assert contents(session) == ["Be kind."]
    assert prompt(f":load {old}")[0] == 0
    assert contents(session)[:2] == ["Be kind.", "first"]
    prompt(":reset --system")
    assert contents(session) == []


def test_a_saved_conversation_is_data_and_can_be_loaded(session: Session, prompt, tmp_path: Path) -> None:
    prompt("first")
    assert prompt(":save talk.jsonl")[0] == 0
    said = contents(session)
    (line,) = (tmp_path / "talk.jsonl").read_text().splitlines()
    assert [message["content"] for message in json.loads(line)["messages"]] == said
    (document,) = session.open_source("talk.jsonl").documents()
    assert [message.content for message in document.messages] == said
    prompt(":reset")
    assert prompt(":load talk.jsonl")[0] == 0
    assert contents(session) == said
    assert prompt(":load missing.jsonl")[0] == 1
    assert contents(session) == said


def test_save_writes_the_current_conversation_and_replaces_nothing_unasked(
    session: Session, prompt, tmp_path: Path
) -> None:
    prompt("first")
    first = session.conversation.name
    prompt(":reset")
    assert prompt(":save talk.jsonl")[0] == 2  # the new one is empty, and the old one is not meant
    assert not (tmp_path / "talk.jsonl").exists()
    assert prompt(f":save talk.jsonl {first}")[0] == 0
    kept = (tmp_path / "talk.jsonl").read_bytes()
    prompt("second")
    code, _, told = prompt(":save talk.jsonl")
    assert (code, "--force" in told) == (2, True)
    assert (tmp_path / "talk.jsonl").read_bytes() == kept
    assert prompt(":save talk.jsonl --force")[0] == 0
    assert "second" in (tmp_path / "talk.jsonl").read_text()


def test_a_turn_has_one_shape_in_json(session: Session, prompt, nanoshell, model: str) -> None:
    typed = json.loads(prompt(":retry --json")[1]) if prompt("first")[0] == 0 else {}
    line = nanoshell("chat", "--model", model, "--message", "first", "--json").lines[1]
    assert typed.keys() == line.keys()
    assert typed["role"] == "assistant"


def test_an_empty_model_is_not_the_latest(nanoshell) -> None:
    said = nanoshell("sample", "--model", "", "a")
    assert said.code == 2
    assert "--model is empty" in said.err


def test_a_conversation_can_be_removed_from_the_history(session: Session, prompt) -> None:
    prompt("first")
    name = session.conversation.name
    assert prompt(f":history {name} --delete")[0] == 0
    assert json.loads(prompt(":history --json")[1]) == []
    assert prompt(f":load {name}")[0] == 2


def test_a_loaded_model_is_described(session: Session, prompt, model: str) -> None:
    found = json.loads(prompt(":model info --json")[1])
    assert found["parameters"]["head"] == 0
    assert found["dtype"] == "float32"
    assert found["bytes"] == (Path(model) / "model.safetensors").stat().st_size
    assert "tied to the embedding" in prompt(":model load " + model)[1]
